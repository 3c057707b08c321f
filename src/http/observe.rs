//! Logs and metrics of requests. Paths are logged as their pattern, because a
//! session's URL is a capability.

use std::net::IpAddr;
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::http::uri::PathAndQuery;
use axum::response::Response;
use tracing::{debug, warn};

use super::App;
use crate::control::LOG_CHARS;

/// The method as a label: a bounded set, whatever clients send.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// What the path is about, for the log: a room, or the harmless part of a
/// session's id.
fn subject<'a>(route: &str, path: &'a str) -> (&'static str, &'a str) {
    let second = path.split('/').nth(2).unwrap_or_default();
    if route.contains("{room}") {
        ("room", second)
    } else if route.starts_with("/session/") {
        ("session", second.get(..LOG_CHARS).unwrap_or_default())
    } else {
        ("", "")
    }
}

/// A request that is being answered.
pub(super) struct Seen {
    started: Instant,
    method: &'static str,
    /// `None` where no route matches.
    route: Option<MatchedPath>,
    client: IpAddr,
    path: PathAndQuery,
}

impl Seen {
    pub(super) fn new(app: &App, request: &Request) -> Self {
        let path = request.uri().path_and_query().cloned();
        Self {
            started: Instant::now(),
            method: method_label(request.method()),
            route: request.extensions().get::<MatchedPath>().cloned(),
            client: app.client(request),
            path: path.unwrap_or_else(|| PathAndQuery::from_static("/")),
        }
    }

    /// Logs and counts it.
    pub(super) fn answered(self, response: &Response) {
        let Self { method, client, .. } = self;
        let route = self.route.as_ref().map_or("none", MatchedPath::as_str);
        let status = response.status();
        let took = self.started.elapsed();
        metrics::counter!(
            "weir_http_requests_total",
            "route" => route.to_owned(), "method" => method, "status" => status.as_str().to_owned()
        )
        .increment(1);
        metrics::histogram!("weir_http_request_seconds", "route" => route.to_owned())
            .record(took.as_secs_f64());
        let (about, name) = subject(route, self.path.path());
        let micros = took.as_micros() as u64;
        if status.is_server_error() {
            warn!(method, route, status = status.as_u16(), %client, about, name, micros, "request");
        } else {
            debug!(method, route, status = status.as_u16(), %client, about, name, micros, "request");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_names_rooms_and_never_a_session_url() {
        assert_eq!(subject("/whip/{room}", "/whip/a%20b"), ("room", "a%20b"));
        let path = "/session/AbCdEfGhsecretsecretsecretsecret/events";
        assert_eq!(
            subject("/session/{id}/events", path),
            ("session", "AbCdEfGh")
        );
        assert_eq!(subject("/session/{id}", "/session/x"), ("session", ""));
        assert_eq!(subject("none", "/whip/a/b/c"), ("", ""));
    }
}
