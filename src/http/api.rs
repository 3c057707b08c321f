//! The JSON API and the health checks.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::App;
use super::problem::{Kind, Problem};
use crate::control::Scope;

/// What of `/api/rooms` is asked for.
#[derive(Debug, serde::Deserialize)]
pub(super) struct RoomsQuery {
    room: Option<String>,
    viewing: Option<bool>,
}

/// `GET /api/rooms`: rooms, participants, tracks, encodings, viewers. On a
/// server with tokens it needs the `roomList` grant; a token for one room that
/// may manage it sees that room. `?room=` asks for one room, and `?viewing=false` leaves
/// the rows of viewers out.
pub(super) async fn rooms(
    State(app): State<App>,
    query: Result<Query<RoomsQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let access = app.authenticate(&headers)?;
    let only = match access.may_list() {
        Ok(()) => None,
        Err(denied) => match &access.room {
            Some(room) if access.may_administer(room).is_ok() => Some(room.clone()),
            _ => return Err(denied.into()),
        },
    };
    let Query(query) = query.map_err(|_| {
        Problem::new(
            Kind::Malformed,
            "The query has room=NAME and viewing=false or true, each once at most.",
        )
    })?;
    let scope = Scope {
        room: query.room.as_deref().or(only.as_deref()),
        viewing: query.viewing.unwrap_or(true),
    };
    let mut overview = app.0.control.overview(scope).await;
    if let Some(only) = only {
        overview.rooms.retain(|room| room.name == only);
    }
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(overview)).into_response())
}

/// `GET /healthz`: the process serves HTTP.
pub(super) async fn healthy() -> Response {
    ([(header::CACHE_CONTROL, "no-store")], "ok\n").into_response()
}

/// `GET /readyz`: new sessions are taken, and every worker answers.
pub(super) async fn ready(State(app): State<App>) -> Result<Response, Problem> {
    let control = &app.0.control;
    if !control.accepting() {
        return Err(Problem::new(
            Kind::Overloaded,
            "The server is shutting down.",
        ));
    }
    let answered = control
        .snapshots(std::time::Duration::from_secs(2))
        .await
        .workers
        .len();
    if answered < control.worker_count() {
        return Err(Problem::new(
            Kind::Overloaded,
            format!(
                "{answered} of {} media workers answer.",
                control.worker_count()
            ),
        ));
    }
    Ok((
        StatusCode::OK,
        [(header::CACHE_CONTROL, "no-store")],
        "ready\n",
    )
        .into_response())
}

/// `GET /metrics`, in Prometheus' text format.
pub(super) async fn metrics(State(app): State<App>) -> Result<Response, Problem> {
    let Some(render) = &app.0.metrics else {
        return Err(Problem::not_found(
            "resource: metrics are switched off (metrics.enabled)",
        ));
    };
    let snapshots = app
        .0
        .control
        .snapshots(std::time::Duration::from_secs(1))
        .await;
    let headers = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    Ok((headers, render(&snapshots)).into_response())
}
