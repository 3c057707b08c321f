//! Event streams of viewers (draft-ietf-wish-whep-events):
//! `/session/{id}/events` and `/session/{id}/events/{stream}`.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use serde_json::json;
use tokio::time::Instant;

use super::App;
use super::body::require_media_type;
use super::endpoint::insert;
use super::problem::{Kind, Problem};
use super::session::{authorize, open_session, path};
use crate::control::events::{EventSet, EventSource};
use crate::control::messages::InactiveReason;
use crate::control::{
    Activity, Control, KindCodecs, LayersView, QualityView, Session, SessionCodecs,
};
use crate::peer::negotiate::Direction;

/// The number of viewers is told at most this often: when a thousand viewers
/// join, their streams must not send a million events.
const VIEWERCOUNT_INTERVAL: Duration = Duration::from_secs(1);

/// A comment is sent when nothing else was, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Layers are looked at this often, and after a change so much later: what
/// changes for many viewers at once is read from one snapshot.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const LOOK_AFTER: Duration = Duration::from_millis(100);

/// Bitrates that moved, with nothing else changed, are told this often.
const RATES_INTERVAL: Duration = Duration::from_secs(2);

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
    let known = [&EventSet::NAMES[..], &EventSet::OWN_NAMES]
        .concat()
        .join(", ");
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

/// `OPTIONS` that is no preflight, of a resource that takes JSON by POST.
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
    let control = app.0.control.clone();
    let events = tell(Teller::new(control, session, source));
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
    offered: &SessionCodecs,
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
        Activity::Inactive(InactiveReason::Keyframe { since, expected }) => {
            let now = std::time::Instant::now();
            let tenths = |time: Duration| (time.as_secs_f64() * 10.0).round() / 10.0;
            let waited = now.saturating_duration_since(since);
            let left = expected.map(|at| at.saturating_duration_since(now));
            Some((
                "inactive",
                json!({
                    "reason": "keyframe",
                    "seconds": tenths(waited),
                    "expectedSeconds": left.map(tenths),
                }),
            ))
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

/// One stream's reader: the present state first, then every change.
struct Teller {
    control: Control,
    session: Arc<Session>,
    source: EventSource,
    offered: SessionCodecs,
    /// When the number of viewers may be told again.
    count_from: Instant,
    told_count: Option<usize>,
    /// When layers are looked at next, and how new they must be.
    look_at: Instant,
    since: Option<std::time::Instant>,
    told_layers: Told<LayersView>,
    told_quality: Told<QualityView>,
    /// What is to be told next.
    waiting: VecDeque<Event>,
}

/// What was told last, and when.
struct Told<T>(Option<(T, Instant)>);

impl<T: PartialEq> Told<T> {
    /// Whether `news` is to be told: at once where it `differs` in kind, else at
    /// a bounded pace.
    fn is_due(&self, news: &T, now: Instant, differs: impl Fn(&T, &T) -> bool) -> bool {
        match &self.0 {
            None => true,
            Some((told, at)) => {
                differs(told, news) || (told != news && now >= *at + RATES_INTERVAL)
            }
        }
    }
}

/// The events of a stream until it ends.
fn tell(teller: Teller) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(teller, |mut teller| async move {
        let event = teller.next().await?;
        Some((Ok(event), teller))
    })
}

impl Teller {
    fn new(control: Control, session: Arc<Session>, mut source: EventSource) -> Self {
        source.activity.mark_changed();
        source.viewers.mark_changed();
        // A room's viewer has slots; nothing is told of others.
        if !source.slots.borrow().is_empty() {
            source.slots.mark_changed();
        }
        let now = Instant::now();
        Self {
            control,
            offered: session.codecs(),
            session,
            source,
            count_from: now,
            told_count: None,
            look_at: now,
            since: None,
            told_layers: Told(None),
            told_quality: Told(None),
            waiting: VecDeque::new(),
        }
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            let EventSource {
                events,
                activity,
                viewers,
                layers,
                slots,
                ended,
            } = &mut self.source;
            let count_from = self.count_from;
            let count_changed = async {
                tokio::time::sleep_until(count_from).await;
                viewers.changed().await
            };
            let looks = events.layers || events.quality;
            tokio::select! {
                biased;
                () = ended.cancelled() => return None,
                changed = activity.changed() => {
                    changed.ok()?;
                    let now = *activity.borrow_and_update();
                    if let Some((name, data)) = describe(now, &self.offered)
                        && (name == "active" && events.active || name == "inactive" && events.inactive)
                        // A stream that never was active does not begin with `inactive`.
                        && (now != Activity::Inactive(InactiveReason::NoPublisher) || self.session.was_active())
                    {
                        return Some(event(name, &data));
                    }
                }
                changed = layers.changed(), if looks => {
                    changed.ok()?;
                    layers.mark_unchanged();
                    let now = Instant::now();
                    self.since = Some(now.into_std());
                    self.look_at = self.look_at.min(now + LOOK_AFTER);
                }
                changed = slots.changed(), if events.slots => {
                    changed.ok()?;
                    let now = slots.borrow_and_update().clone();
                    let named = self.control.named_slots(self.session.room, &now);
                    return Some(event("slots", &json!(named)));
                }
                () = tokio::time::sleep_until(self.look_at), if looks => self.look().await,
                changed = count_changed, if events.viewercount => {
                    changed.ok()?;
                    let count = *viewers.borrow_and_update();
                    if self.told_count != Some(count) {
                        self.told_count = Some(count);
                        self.count_from = Instant::now() + VIEWERCOUNT_INTERVAL;
                        return Some(event("viewercount", &json!({ "viewercount": count })));
                    }
                }
            }
        }
    }

    /// Looks at the layers, and notes what is to be told of them.
    async fn look(&mut self) {
        let now = Instant::now();
        self.look_at = now + LOOK_INTERVAL;
        let std_now = now.into_std();
        let oldest = std_now.checked_sub(LOOK_INTERVAL).unwrap_or(std_now);
        let since = self.since.take().map_or(oldest, |since| since.max(oldest));
        let Some(report) = self.control.viewer_report(&self.session, since).await else {
            return;
        };
        let events = self.source.events;
        if events.layers
            && self
                .told_layers
                .is_due(&report.layers, now, LayersView::differs)
        {
            self.waiting
                .push_back(event("layers", &json!(report.layers)));
            self.told_layers = Told(Some((report.layers, now)));
        }
        if events.quality
            && self
                .told_quality
                .is_due(&report.quality, now, QualityView::differs)
        {
            self.waiting
                .push_back(event("quality", &json!(report.quality)));
            self.told_quality = Told(Some((report.quality, now)));
        }
    }
}

fn event(name: &str, data: &serde_json::Value) -> Event {
    Event::default().event(name).data(data.to_string())
}
