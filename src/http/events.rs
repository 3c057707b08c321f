//! Event streams of viewers (draft-ietf-wish-whep-events):
//! `/session/{id}/events` and `/session/{id}/events/{stream}`.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use serde_json::json;

use super::App;
use super::body::require_media_type;
use super::endpoint::insert;
use super::problem::{Kind, Problem};
use super::session::{authorize, open_session, path};
use crate::control::events::{EventSet, EventSource};
use crate::control::messages::InactiveReason;
use crate::control::{Activity, KindCodecs};
use crate::peer::negotiate::Direction;

/// The number of viewers is told at most this often: when a thousand viewers
/// join, their streams must not send a million events.
const VIEWERCOUNT_INTERVAL: Duration = Duration::from_secs(1);

/// A comment is sent when nothing else was, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

const JSON: &str = "application/json";

/// `POST` of a JSON array of event names.
pub(super) async fn subscribe(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let session = open_session(&app, &id)?;
    authorize(&app, request.headers(), &session)?;
    if session.direction() != Direction::View {
        return Err(Problem::not_found("event resource: only viewers have one"));
    }
    require_media_type(
        request.headers(),
        JSON,
        HeaderName::from_static("accept-post"),
    )?;
    let body = app.read_body(request).await?;
    let known = EventSet::NAMES.join(", ");
    let names: Vec<String> = serde_json::from_str(&body).map_err(|_| {
        Problem::new(
            Kind::Malformed,
            format!("Send a JSON array of event names; there are {known}."),
        )
    })?;
    let mut events = EventSet::default();
    for name in &names {
        if !events.add(name) {
            return Err(Problem::new(
                Kind::Malformed,
                format!("There is no such event; there are {known}."),
            ));
        }
    }
    if events.is_empty() {
        return Err(Problem::new(
            Kind::Malformed,
            format!("Name at least one event; there are {known}."),
        ));
    }
    let stream = app.0.control.subscribe(&session, events)?;
    let mut response = StatusCode::CREATED.into_response();
    insert(
        response.headers_mut(),
        header::LOCATION,
        &format!("{}/events/{stream}", path(session.id())),
    );
    Ok(response)
}

/// `OPTIONS` that is no preflight.
pub(super) async fn options() -> Response {
    (
        StatusCode::OK,
        [
            (header::ALLOW, "POST, OPTIONS"),
            (HeaderName::from_static("accept-post"), JSON),
        ],
    )
        .into_response()
}

/// `DELETE` of a stream.
pub(super) async fn unsubscribe(
    State(app): State<App>,
    Path((id, stream)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let session = open_session(&app, &id)?;
    authorize(&app, &headers, &session)?;
    if app.0.control.unsubscribe(&session, &stream) {
        Ok(StatusCode::OK)
    } else {
        Err(Problem::not_found("event stream"))
    }
}

/// `GET` of a stream: the events until it ends.
pub(super) async fn read(
    State(app): State<App>,
    Path((id, stream)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let session = open_session(&app, &id)?;
    let source = app
        .0
        .control
        .event_source(&session, &stream)
        .ok_or_else(|| Problem::not_found("event stream"))?;
    let offered = session.codecs();
    let events = tell(source, move |activity| describe(activity, &offered));
    let mut response = Sse::new(events)
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response();
    response
        .headers_mut()
        .insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// An event's name and data, when the activity is one to tell.
fn describe(
    activity: Activity,
    offered: &crate::control::SessionCodecs,
) -> Option<(&'static str, serde_json::Value)> {
    let names =
        |codecs: &KindCodecs| -> Vec<_> { codecs.negotiated.iter().map(|c| c.name()).collect() };
    match activity {
        Activity::Unknown | Activity::Closed => None,
        Activity::Active => Some(("active", json!({}))),
        Activity::Inactive(InactiveReason::NoPublisher) => {
            Some(("inactive", json!({ "reason": "no-publisher" })))
        }
        Activity::Inactive(InactiveReason::Bandwidth) => {
            Some(("inactive", json!({ "reason": "bandwidth" })))
        }
        Activity::Inactive(InactiveReason::Codec { kind, publishes }) => Some((
            "inactive",
            json!({
                "reason": "codec",
                "kind": kind.as_str(),
                "publishes": publishes.name(),
                "offered": names(offered.kind(kind)),
            }),
        )),
    }
}

struct Teller<D> {
    source: EventSource,
    describe: D,
    /// When the number of viewers may be told again.
    count_from: tokio::time::Instant,
    told_count: Option<usize>,
}

/// The present state first, then every change.
fn tell<D>(mut source: EventSource, describe: D) -> impl Stream<Item = Result<Event, Infallible>>
where
    D: Fn(Activity) -> Option<(&'static str, serde_json::Value)>,
{
    source.activity.mark_changed();
    source.viewers.mark_changed();
    let teller = Teller {
        source,
        describe,
        count_from: tokio::time::Instant::now(),
        told_count: None,
    };
    stream::unfold(teller, |mut teller| async move {
        let event = teller.next().await?;
        Some((Ok(event), teller))
    })
}

impl<D> Teller<D>
where
    D: Fn(Activity) -> Option<(&'static str, serde_json::Value)>,
{
    async fn next(&mut self) -> Option<Event> {
        loop {
            let EventSource {
                events,
                activity,
                viewers,
                ended,
            } = &mut self.source;
            let count_from = self.count_from;
            let count_changed = async {
                tokio::time::sleep_until(count_from).await;
                viewers.changed().await
            };
            tokio::select! {
                biased;
                () = ended.cancelled() => return None,
                changed = activity.changed() => {
                    changed.ok()?;
                    let now = *activity.borrow_and_update();
                    if let Some((name, data)) = (self.describe)(now)
                        && (name == "active" && events.active || name == "inactive" && events.inactive)
                    {
                        return Some(event(name, &data));
                    }
                }
                changed = count_changed, if events.viewercount => {
                    changed.ok()?;
                    let count = *viewers.borrow_and_update();
                    if self.told_count != Some(count) {
                        self.told_count = Some(count);
                        self.count_from = tokio::time::Instant::now() + VIEWERCOUNT_INTERVAL;
                        return Some(event("viewercount", &json!({ "viewercount": count })));
                    }
                }
            }
        }
    }
}

fn event(name: &str, data: &serde_json::Value) -> Event {
    Event::default().event(name).data(data.to_string())
}
