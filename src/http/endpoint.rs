//! The WHIP and WHEP endpoints (RFC 9725 §4.2, draft-ietf-wish-whep):
//! `/whip/{room}[/{participant}]` and `/whep/{room}[/{participant}]`.

use std::net::IpAddr;
use std::time::SystemTime;

use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rand::Rng;

use super::auth::Access;
use super::body::require_media_type;
use super::problem::{Kind, Problem};
use super::session::SDP_FRAGMENT;
use super::{App, counter, layer, links};
use crate::config::{CounterOffers, name_fault};
use crate::control::limits::SessionGuard;
use crate::control::messages::{CloseReason, LayerWish};
use crate::control::{ControlError, Join, OpenRequest, Opened};
use crate::peer::negotiate::{
    Accepted, AnswerNames, Direction, NegotiateError, Negotiated, Policy, read_offer,
};

/// The media type of offers and answers.
pub const SDP: &str = "application/sdp";

/// Who publishes at `/whip/{room}` when neither the path nor the token says:
/// one fixed name, so that a second POST to the same URL takes the stream over.
pub const DEFAULT_IDENTITY: &str = "publisher";

/// Room and participant of the path.
#[derive(Debug)]
pub(super) struct Target {
    room: String,
    participant: Option<String>,
}

impl Target {
    /// Checks what the path says.
    fn new(app: &App, mut names: Vec<String>) -> Result<Self, Problem> {
        let limit = usize::from(app.0.config.limits.name_length);
        for name in &names {
            check_name(name, limit)?;
        }
        let participant = (names.len() > 1).then(|| names.pop()).flatten();
        let room = names.pop().ok_or_else(|| Problem::not_found("room"))?;
        Ok(Self { room, participant })
    }
}

/// Refuses names that nobody could read or that would fill memory.
fn check_name(name: &str, limit: usize) -> Result<(), Problem> {
    name_fault(name, limit).map_or(Ok(()), |why| {
        Err(Problem::new(
            Kind::Malformed,
            format!("A room or participant name can't be {why}."),
        ))
    })
}

type Names = Result<Path<Vec<String>>, axum::extract::rejection::PathRejection>;

fn target(app: &App, names: Names) -> Result<Target, Problem> {
    let Path(names) = names
        .map_err(|_| Problem::new(Kind::Malformed, "The path is not percent-encoded UTF-8."))?;
    Target::new(app, names)
}

/// `POST /whip/…`: publish.
pub(super) async fn publish(
    State(app): State<App>,
    names: Names,
    request: Request,
) -> Result<Response, Problem> {
    let target = target(&app, names)?;
    let access = app.authenticate(request.headers())?;
    let identity = access
        .publisher_identity(target.participant.as_deref())
        .unwrap_or(DEFAULT_IDENTITY)
        .to_owned();
    check_name(&identity, usize::from(app.0.config.limits.name_length))?;
    access.may_publish(&target.room, &identity)?;
    let join = Join::Publish(identity);
    open(&app, target.room, join, &access, request).await
}

/// `POST /whep/…`: watch.
pub(super) async fn watch(
    State(app): State<App>,
    names: Names,
    request: Request,
) -> Result<Response, Problem> {
    let target = target(&app, names)?;
    let access = app.authenticate(request.headers())?;
    access.may_subscribe(&target.room)?;
    let query = watch_query(&app, request.uri())?;
    let access = access.named(query.identity)?;
    // The path names the participant, or the query does.
    let join = Join::View(target.participant.or(query.participant));
    open(&app, target.room, join, &access, request).await
}

/// The query of a WHEP endpoint.
#[derive(Debug, serde::Deserialize)]
struct WatchQuery {
    /// Whom to watch.
    participant: Option<String>,
    /// Who watches, where no token tells.
    identity: Option<String>,
}

fn watch_query(app: &App, uri: &Uri) -> Result<WatchQuery, Problem> {
    let Query(query) = Query::<WatchQuery>::try_from_uri(uri).map_err(|_| {
        Problem::new(
            Kind::Malformed,
            "The query is not key=value pairs, each once.",
        )
    })?;
    for name in [&query.participant, &query.identity].into_iter().flatten() {
        check_name(name, usize::from(app.0.config.limits.name_length))?;
    }
    Ok(query)
}

/// Reads the offer, opens the session and answers.
async fn open(
    app: &App,
    room: String,
    join: Join,
    access: &Access,
    request: Request,
) -> Result<Response, Problem> {
    let client = app.client(&request);
    let wish = match join {
        Join::Publish(_) => LayerWish::default(),
        Join::View(_) => layer::parse_query(request.uri().query().unwrap_or_default())
            .map_err(|why| Problem::new(Kind::Malformed, why))?,
    };
    require_media_type(
        request.headers(),
        SDP,
        header::HeaderName::from_static("accept-post"),
    )?;
    let offer = app.read_body(request).await?;
    let direction = match join {
        Join::Publish(_) => Direction::Publish,
        Join::View(_) => Direction::View,
    };
    let mut policy = Policy {
        data_channels: access.may_publish_data(&room).is_ok(),
        ..Policy::default()
    };
    if join == Join::View(None) {
        let whep = &app.0.config.whep;
        policy.max_view_video = usize::from(whep.video_slots);
        policy.max_view_audio = usize::from(whep.audio_slots);
    }
    let answers = app.0.config.whep.counter_offer;
    let view = direction == Direction::View;
    let accepted = match read_offer(&offer, direction, &policy) {
        Ok(_) if view && answers == CounterOffers::Always => None,
        Ok(accepted) => Some(accepted),
        Err(NegotiateError::NoCommonCodec { .. }) if view && answers != CounterOffers::Off => None,
        Err(error) => return Err(error.into()),
    };
    let Some(accepted) = accepted else {
        return counter::offer(app, room, join, access, client, wish).await;
    };
    if direction == Direction::Publish {
        for section in &accepted.negotiated.media {
            access.may_publish_kind(section.kind)?;
        }
    }
    let negotiated = (accepted.negotiated.clone(), accepted.bundle_mids().to_vec());
    let place = (room.clone(), join.clone());
    let caller = (client, app.0.sessions.enter(client)?);
    let opened = match open_session(app, place, access, negotiated, caller).await {
        Err(ControlError::CodecMismatch { .. }) if answers != CounterOffers::Off => {
            return counter::offer(app, room, join, access, client, wish).await;
        }
        opened => opened?,
    };
    choose(app, &opened, wish).await?;
    Ok(created(app, &accepted, &opened))
}

/// Applies a viewer's wish; a session whose wish can't be met is not kept.
pub(super) async fn choose(app: &App, opened: &Opened, wish: LayerWish) -> Result<(), Problem> {
    layer::apply(app, &opened.session, wish)
        .await
        .inspect_err(|_| app.0.control.close(&opened.session, CloseReason::Deleted))
}

/// Opens a session of what was agreed on, with the mids of its BUNDLE group.
pub(super) async fn open_session(
    app: &App,
    (room, join): (String, Join),
    access: &Access,
    (negotiated, bundle): (Negotiated, Vec<String>),
    (client, guard): (IpAddr, SessionGuard),
) -> Result<Opened, ControlError> {
    let may_create = access.may_create_room(&room).is_ok();
    let request = OpenRequest {
        room,
        join,
        caller: access.identity.clone(),
        may_create,
        negotiated,
        bundle,
        client,
        guard: Some(guard),
    };
    app.0.control.open(request).await
}

/// The 201 with everything a client needs.
fn created(app: &App, accepted: &Accepted, opened: &Opened) -> Response {
    let answer = accepted.answer(&opened.context, &opened.local, &names(opened));
    let mut response = (StatusCode::CREATED, answer).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP));
    headers.insert("accept-patch", HeaderValue::from_static(SDP_FRAGMENT));
    describe(app, headers, opened);
    response
}

/// The names in an answer, or in an offer of ours.
pub(super) fn names(opened: &Opened) -> AnswerNames<'_> {
    let log_id = opened.session.log_id();
    AnswerNames {
        session_id: rand::rng().next_u64(),
        stream_id: log_id,
        cname: log_id,
    }
}

/// Where the session is, and what belongs to it.
pub(super) fn describe(app: &App, headers: &mut HeaderMap, opened: &Opened) {
    let session = &opened.session;
    let path = super::session::path(session.id());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    insert(headers, header::LOCATION, &path);
    insert(headers, header::ETAG, session.tag().as_str());
    links::add_ice_servers(
        headers,
        &app.0.config.ice_servers,
        session.log_id(),
        SystemTime::now(),
    );
    if session.direction() == Direction::View {
        links::add_extensions(headers, &path);
    }
}

/// Sets a field to text that this server made and that is a field value.
pub(super) fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// `GET` on an endpoint: nothing to see (RFC 9725 §4.1).
pub(super) async fn get(State(app): State<App>, names: Names) -> Result<StatusCode, Problem> {
    target(&app, names)?;
    Ok(StatusCode::NO_CONTENT)
}

/// `HEAD` on a WHEP endpoint tells what a POST would give.
pub(super) async fn head(State(app): State<App>, names: Names) -> Result<Response, Problem> {
    target(&app, names)?;
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, SDP)]).into_response())
}

/// `OPTIONS` that is no preflight: what the endpoint takes, and the ICE
/// servers for whoever may use them (their credentials are not for strangers).
pub(super) async fn options(
    State(app): State<App>,
    names: Names,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    target(&app, names)?;
    let mut response = (
        StatusCode::OK,
        [
            (header::ALLOW, "GET, HEAD, POST, OPTIONS"),
            (header::HeaderName::from_static("accept-post"), SDP),
        ],
    )
        .into_response();
    if app.authenticate(&headers).is_ok() {
        links::add_ice_servers(
            response.headers_mut(),
            &app.0.config.ice_servers,
            "options",
            SystemTime::now(),
        );
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_readable() {
        for good in [
            "a",
            "Zimmer 1",
            "комната",
            "🎥",
            "a/b",
            "..",
            &"x".repeat(128),
        ] {
            assert!(check_name(good, 128).is_ok(), "{good}");
        }
        for bad in ["", " ", "a\u{0}", "a\nb", &"x".repeat(129)] {
            assert_eq!(check_name(bad, 128).unwrap_err().status(), 400, "{bad:?}");
        }
    }
}
