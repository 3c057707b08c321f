//! What stands before every handler: rate limits, and problem documents for
//! errors that the router itself makes.

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::App;
use super::problem::{Kind, PROBLEM_JSON, Problem};

/// Limits requests that change something, by client address (RFC 9725 §5).
pub(super) async fn limit_rate(State(app): State<App>, request: Request, next: Next) -> Response {
    if matches!(
        *request.method(),
        Method::POST | Method::PATCH | Method::DELETE
    ) && let Err(refused) = app.0.requests.check(app.client(&request))
    {
        return Problem::from(refused).into_response();
    }
    next.run(request).await
}

/// Gives errors without a document one: the router's 404 and 405, and refusals
/// of a path.
pub(super) async fn explain(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let explained = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value == PROBLEM_JSON);
    // A counter-offer is no refusal, though its status is one of an error.
    let explained = explained || response.status() == StatusCode::NOT_ACCEPTABLE;
    if explained || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let problem = match status {
        StatusCode::NOT_FOUND => Problem::not_found("resource"),
        // The router adds `Allow` to this further out.
        StatusCode::METHOD_NOT_ALLOWED => Problem::new(
            Kind::MethodNotAllowed,
            "This resource has no such method. The Allow field names those that it has.",
        ),
        status if status.is_client_error() => {
            Problem::new(Kind::Malformed, "The request can't be understood.")
        }
        _ => Problem::new(Kind::Internal, "The server failed to answer."),
    };
    problem.into_response()
}
