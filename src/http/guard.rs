//! What stands before every handler: rate limits, and problem documents for
//! errors that the router itself makes.

use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::App;
use super::problem::{Kind, PROBLEM_JSON, Problem};

/// Limits requests that change something, by client address (RFC 9725 §5), and those that only
/// read but show a token, which would try out stream keys as fast as they can be sent. The two
/// are counted apart: pages that look at the list of rooms leave players their requests.
pub(super) fn limit_rate(app: &App, request: &Request) -> Result<(), Problem> {
    let changes = matches!(
        *request.method(),
        Method::POST | Method::PATCH | Method::DELETE
    );
    let shows_token =
        || !app.0.auth.is_open() && request.headers().contains_key(header::AUTHORIZATION);
    if changes {
        app.0.requests.check(app.client(request))?;
    } else if shows_token() {
        app.0.readers.check(app.client(request))?;
    }
    Ok(())
}

/// Gives errors without a document one: the router's 404 and 405, and refusals
/// of a path.
pub(super) fn explain(response: Response) -> Response {
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
