//! What stands around every handler. It is one layer: each layer of the router is boxed, and
//! cloned with all that it holds for every request.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{App, cors, drain, guard, observe};

/// From the outside in: logs and metrics, CORS, documents for errors without one, bodies that
/// are read to their end, rate limits.
pub(super) async fn layer(State(app): State<App>, request: Request, next: Next) -> Response {
    let seen = observe::Seen::new(&app, &request);
    let allowed = app.0.cors.allow(request.headers());
    let mut response = match cors::preflight(&request) {
        Some(response) => response,
        None => {
            let request = drain::wrap(&app, request);
            guard::explain(match guard::limit_rate(&app, &request) {
                Ok(()) => next.run(request).await,
                Err(refused) => refused.into_response(),
            })
        }
    };
    app.0.cors.mark(allowed, response.headers_mut());
    seen.answered(&response);
    response
}
