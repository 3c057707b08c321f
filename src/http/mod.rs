//! WHIP, WHEP, the API and the pages over HTTP.
//!
//! | path | |
//! |---|---|
//! | `/whip/{room}`, `/whip/{room}/{participant}` | publish (RFC 9725) |
//! | `/whep/{room}`, `/whep/{room}/{participant}` | watch (draft-ietf-wish-whep) |
//! | `/session/{id}` | a session: PATCH, DELETE |
//! | `/session/{id}/events` | a viewer's event streams |
//! | `/session/{id}/layer` | a viewer's choice of layers |
//! | `/api/rooms` | what happens, as JSON |
//! | `/metrics`, `/healthz`, `/readyz` | for machines |
//! | `/`, `/publish/…`, `/watch/…`, `/assets/…` | for people |
//!
//! Without a participant in the path, a publisher's identity is that of its
//! token or stream key, else [`DEFAULT_IDENTITY`]: a second POST to the same
//! URL with the same key takes the stream over. A viewer's is that of its token or
//! stream key, else `?identity=`: it is not shown itself.

mod api;
mod around;
pub mod auth;
mod body;
mod caller;
mod cors;
mod counter;
mod drain;
mod endpoint;
mod events;
mod guard;
pub mod layer;
mod links;
mod observe;
mod pages;
mod precondition;
mod problem;
mod server;
mod session;
mod stream;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use auth::{Access, AuthError, Authenticator};
pub use endpoint::DEFAULT_IDENTITY;
use problem::Problem;
pub use server::HttpServer;

use crate::config::Config;
use crate::control::Control;
use crate::control::limits::{RequestLimiter, SessionLimiter};

/// Everything that handlers need; clones share it.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    config: Arc<Config>,
    control: Control,
    auth: Authenticator,
    /// Requests that change something.
    requests: RequestLimiter,
    /// Requests that only read, with a token.
    readers: RequestLimiter,
    sessions: SessionLimiter,
    cors: cors::Cors,
    pages: pages::Pages,
    metrics: MetricsText,
}

/// What reverse proxies add to a request (RFC 7239, and what was there before).
const PROXY_FIELDS: [&str; 2] = ["x-forwarded-for", "forwarded"];

/// Renders `/metrics`; `None` when it is switched off.
pub type MetricsText = Option<Box<dyn Fn(&crate::control::SnapshotSet) -> String + Send + Sync>>;

impl App {
    /// The application over a running control plane.
    pub fn new(config: Arc<Config>, control: Control, metrics: MetricsText) -> Self {
        Self(Arc::new(Inner {
            auth: Authenticator::from_config(&config),
            requests: RequestLimiter::new(&config.limits),
            readers: RequestLimiter::new(&config.limits),
            sessions: SessionLimiter::new(&config.limits),
            cors: cors::Cors::new(&config.http.cors_origins),
            pages: pages::Pages::new(),
            metrics,
            control,
            config,
        }))
    }

    /// All routes.
    pub fn router(&self) -> Router {
        let whip = || {
            post(endpoint::publish)
                .get(endpoint::get)
                .options(endpoint::options)
        };
        let whep = || {
            post(endpoint::watch)
                .get(endpoint::get)
                .head(endpoint::head)
                .options(endpoint::options)
        };
        Router::new()
            .route("/whip/{room}", whip())
            .route("/whip/{room}/{participant}", whip())
            .route("/whep/{room}", whep())
            .route("/whep/{room}/{participant}", whep())
            .route(
                "/session/{id}",
                get(session::get)
                    .patch(session::patch)
                    .delete(session::delete)
                    .options(session::options),
            )
            .route(
                "/session/{id}/events",
                post(events::subscribe).options(events::options),
            )
            .route(
                "/session/{id}/events/{stream}",
                get(events::read).delete(events::unsubscribe),
            )
            .route(
                "/session/{id}/layer",
                post(layer::choose).options(events::options),
            )
            .route("/api/rooms", get(api::rooms))
            .route("/metrics", get(api::metrics))
            .route("/healthz", get(api::healthy))
            .route("/readyz", get(api::ready))
            .merge(pages::routes())
            .fallback(|| async { Problem::not_found("resource") })
            .layer(from_fn_with_state(self.clone(), around::layer))
            .with_state(self.clone())
    }

    /// Who sends the request.
    fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Access>, AuthError> {
        let brought = || PROXY_FIELDS.iter().any(|name| headers.contains_key(*name));
        if self.0.config.is_open_to_this_machine() && brought() {
            return Err(AuthError::Proxied);
        }
        let value = match headers.get(header::AUTHORIZATION) {
            None => None,
            // What is not text is no token that anybody made.
            Some(value) => Some(value.to_str().unwrap_or("Bearer \u{fffd}")),
        };
        self.0.auth.authenticate(value)
    }

    /// The client's address.
    fn client(&self, request: &Request) -> IpAddr {
        caller::client(
            request.extensions(),
            request.headers(),
            &self.0.config.http.trusted_proxies,
        )
    }

    /// The request's body as text, within the configured size and time.
    async fn read_body(&self, request: Request) -> Result<String, Problem> {
        let http = &self.0.config.http;
        let limit = http.body_limit as usize;
        body::read_text(request.into_body(), limit, http.body_timeout).await
    }
}
