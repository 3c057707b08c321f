//! Session resources (RFC 9725 §4.2, §4.3): `/session/{id}`.
//!
//! The id is a capability of 144 random bits. By default it is enough for
//! PATCH and DELETE (a browser that leaves a page, or a player that never had
//! a header to spare, sends no token); a token that is sent must be right.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::App;
use super::auth::{Access, AuthError, Denied};
use super::body::require_media_type;
use super::endpoint::insert;
use super::precondition::{IfMatch, Meaning, meaning};
use super::problem::{Kind, Problem};
use crate::control::messages::{CloseReason, SessionRole};
use crate::control::{Session, SessionId};
use crate::peer::negotiate::{AnswerContext, fragment};

/// The media type of trickle fragments (RFC 8840 §9).
pub const SDP_FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// The path of a session: absolute, without a query, because OBS puts it
/// straight into a URL.
pub(super) fn path(id: &SessionId) -> String {
    format!("/session/{}", id.as_str())
}

/// The session of that id, if it is open.
pub(super) fn open_session(app: &App, id: &str) -> Result<Arc<Session>, Problem> {
    app.0
        .control
        .session(&SessionId::from(id))
        .filter(|session| session.closed().is_none())
        .ok_or_else(|| Problem::not_found("session"))
}

/// Lets the request pass that shows a right token, or none where the URL alone
/// is enough.
pub(super) fn authorize(app: &App, headers: &HeaderMap, session: &Session) -> Result<(), Problem> {
    let access = match app.authenticate(headers) {
        Err(AuthError::Missing) if app.0.config.auth.session_url_is_capability => return Ok(()),
        access => access?,
    };
    Ok(may_change(&access, session)?)
}

fn may_change(access: &Access, session: &Session) -> Result<(), Denied> {
    if access.may_administer(&session.room_name).is_ok() {
        return Ok(());
    }
    match (session.role, &session.identity) {
        (SessionRole::Publisher(_), Some(identity)) => {
            access.may_publish(&session.room_name, identity)
        }
        _ => access.may_subscribe(&session.room_name),
    }
}

/// `GET`: nothing to see.
pub(super) async fn get(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    open_session(&app, &id)?;
    Ok(StatusCode::NO_CONTENT)
}

/// `OPTIONS` that is no preflight.
pub(super) async fn options() -> Response {
    (
        StatusCode::OK,
        [
            (header::ALLOW, "GET, HEAD, PATCH, DELETE, OPTIONS"),
            (HeaderName::from_static("accept-patch"), SDP_FRAGMENT),
        ],
    )
        .into_response()
}

/// `DELETE`: ends the session. `If-Match` is ignored. A session that ended a
/// short while ago answers the same, because DTLS `close_notify` overtakes the
/// DELETE of a client that closes its connection first.
pub(super) async fn delete(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let session = app
        .0
        .control
        .session(&SessionId::from(&*id))
        .ok_or_else(|| Problem::not_found("session"))?;
    authorize(&app, &headers, &session)?;
    if session.closed().is_none() {
        app.0.control.close(&session, CloseReason::Deleted);
    }
    Ok(StatusCode::OK)
}

/// `PATCH`: more candidates, or an ICE restart; the answer to a counter-offer
/// while one is pending.
pub(super) async fn patch(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let session = open_session(&app, &id)?;
    authorize(&app, request.headers(), &session)?;
    if session.counter_offer().is_some() {
        return super::counter::answer(&app, &session, request).await;
    }
    require_media_type(
        request.headers(),
        SDP_FRAGMENT,
        HeaderName::from_static("accept-patch"),
    )?;
    let if_match = IfMatch::read(request.headers());
    let body = app.read_body(request).await?;
    let fragment = fragment::read(&body)
        .map_err(|error| Problem::new(Kind::Malformed, format!("{error}.")))?;
    let strict = app.0.config.strict;
    // Of two restarts at a time, the second must find the tag of the first (RFC 9725 §4.3.1).
    let _one_at_a_time = session.restarting.lock().await;
    let meant = session.with_ice(|ice| meaning(&if_match, fragment.ice.as_ref(), ice, strict));
    match (meant, fragment.ice) {
        (Meaning::Restart, Some(remote)) => {
            let (local, tag) = app.0.control.restart_ice(&session, remote).await?;
            let context = app.0.control.context(&session)?;
            Ok(restarted(&session, &context, &local, tag.as_str()))
        }
        // A lite agent checks nothing itself: the peer's candidates are of no use to it.
        (Meaning::Trickle | Meaning::Restart, _) => Ok(StatusCode::NO_CONTENT.into_response()),
        (Meaning::Stale, _) => Err(Problem::new(
            Kind::PreconditionFailed,
            "The fragment concerns an ICE session that is over. Use the newest ETag, or restart ICE.",
        )),
        (Meaning::NeedsIfMatch, _) => Err(Problem::new(
            Kind::PreconditionRequired,
            "Send If-Match with the session's ETag, or * for an ICE restart.",
        )),
    }
}

fn restarted(
    session: &Session,
    context: &AnswerContext,
    local: &crate::peer::negotiate::IceCredentials,
    tag: &str,
) -> Response {
    let body = fragment::render_restart(local, context, &session.bundle);
    let mut response = (StatusCode::OK, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP_FRAGMENT));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    insert(headers, header::ETAG, tag);
    response
}
