//! Errors as problem documents (RFC 9457): what was wrong, and what to do.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::auth::{AuthError, Denied};
use crate::codec::Codec;
use crate::control::ControlError;
use crate::control::events::SubscribeError;
use crate::control::limits::{TooManyRequests, TooManySessions};
use crate::peer::negotiate::{AnswerError, NegotiateError};

/// The media type of problem documents.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Kinds of problems; the last part of the document's `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request can't be understood.
    Malformed,
    /// No valid token.
    Unauthorized,
    /// The token does not allow it.
    Forbidden,
    /// No such resource.
    NotFound,
    /// The resource has no such method.
    MethodNotAllowed,
    /// The body did not arrive in time.
    Timeout,
    /// Nobody publishes what was asked for.
    NoPublisher,
    /// `If-Match` names an ICE session that is over.
    PreconditionFailed,
    /// The body is too large.
    TooLarge,
    /// The body has another media type than the resource takes.
    UnsupportedMediaType,
    /// The offer is understood but can't be met.
    Unprocessable,
    /// The offer has no codec that the publisher sends.
    CodecMismatch,
    /// The layer or the media section that was asked for is not there.
    UnknownLayer,
    /// `If-Match` is needed.
    PreconditionRequired,
    /// Too many requests from one address.
    TooManyRequests,
    /// A failure of this server.
    Internal,
    /// No capacity at present.
    Overloaded,
}

impl Kind {
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::Malformed => (S::BAD_REQUEST, "malformed", "Malformed request"),
            Self::Unauthorized => (S::UNAUTHORIZED, "unauthorized", "No valid token"),
            Self::Forbidden => (S::FORBIDDEN, "forbidden", "Not allowed"),
            Self::NotFound => (S::NOT_FOUND, "not-found", "Not found"),
            Self::MethodNotAllowed => (
                S::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "Method not allowed",
            ),
            Self::Timeout => (S::REQUEST_TIMEOUT, "timeout", "Request too slow"),
            Self::NoPublisher => (S::CONFLICT, "no-publisher", "Nobody publishes"),
            Self::PreconditionFailed => (
                S::PRECONDITION_FAILED,
                "precondition-failed",
                "Stale ICE session",
            ),
            Self::TooLarge => (S::PAYLOAD_TOO_LARGE, "too-large", "Body too large"),
            Self::UnsupportedMediaType => (
                S::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "Unsupported media type",
            ),
            Self::Unprocessable => (
                S::UNPROCESSABLE_ENTITY,
                "unprocessable",
                "Offer can't be met",
            ),
            Self::CodecMismatch => (
                S::UNPROCESSABLE_ENTITY,
                "codec-mismatch",
                "No codec in common",
            ),
            Self::UnknownLayer => (S::UNPROCESSABLE_ENTITY, "unknown-layer", "No such layer"),
            Self::PreconditionRequired => (
                S::PRECONDITION_REQUIRED,
                "precondition-required",
                "If-Match required",
            ),
            Self::TooManyRequests => (
                S::TOO_MANY_REQUESTS,
                "too-many-requests",
                "Too many requests",
            ),
            Self::Internal => (S::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
            Self::Overloaded => (S::SERVICE_UNAVAILABLE, "overloaded", "No capacity"),
        }
    }
}

/// An error response in the making. Boxed, because results carry it around.
#[derive(Debug)]
pub struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    kind: Kind,
    detail: String,
    members: Map<String, Value>,
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem of this kind; `detail` says what is wrong and what to do.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            kind,
            detail: detail.into(),
            members: Map::new(),
            fields: Vec::new(),
        }))
    }

    /// Adds a header field; a value that is no field value is left out.
    pub fn field(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.0.fields.push((name, value));
        }
        self
    }

    /// Adds a member to the document.
    pub fn member(mut self, name: &str, value: Value) -> Self {
        self.0.members.insert(name.to_owned(), value);
        self
    }

    /// Adds `Retry-After` in whole seconds, at least one.
    pub fn retry_after(self, time: Duration) -> Self {
        let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
        self.field(header::RETRY_AFTER, &seconds.max(1).to_string())
    }

    /// A session, event stream or page that is not there.
    pub fn not_found(what: &str) -> Self {
        Self::new(Kind::NotFound, format!("There is no such {what}."))
    }

    /// The HTTP status.
    #[cfg(test)]
    pub fn status(&self) -> StatusCode {
        self.0.kind.parts().0
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Parts {
            kind,
            detail,
            members,
            fields,
        } = *self.0;
        let (status, slug, title) = kind.parts();
        let mut document = Map::new();
        document.insert("type".into(), json!(format!("urn:weir:problem:{slug}")));
        document.insert("title".into(), json!(title));
        document.insert("status".into(), json!(status.as_u16()));
        document.insert("detail".into(), json!(detail));
        document.extend(members);
        let mut response = Response::new(Body::from(Value::Object(document).to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in fields {
            headers.append(name, value);
        }
        response
    }
}

/// Makes the first letter large and ends with a full stop.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let mut out: String = chars
        .next()
        .map(|c| c.to_uppercase().chain(chars).collect())
        .unwrap_or_default();
    if !out.ends_with(['.', '!', '?']) {
        out.push('.');
    }
    out
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let text = sentence(&error.to_string());
        if error == AuthError::Proxied {
            // No token would help.
            return Self::new(Kind::Forbidden, text);
        }
        Self::new(Kind::Unauthorized, text)
            .field(header::WWW_AUTHENTICATE, &error.www_authenticate())
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        Self::new(Kind::Forbidden, sentence(&denied.to_string()))
            .field(header::WWW_AUTHENTICATE, &denied.www_authenticate())
    }
}

impl From<NegotiateError> for Problem {
    fn from(error: NegotiateError) -> Self {
        let kind = match error.status() {
            400 => Kind::Malformed,
            _ => Kind::Unprocessable,
        };
        Self::new(kind, sentence(&error.to_string()))
    }
}

impl From<AnswerError> for Problem {
    fn from(error: AnswerError) -> Self {
        let kind = match error.0.status() {
            400 => Kind::Malformed,
            _ => Kind::Unprocessable,
        };
        Self::new(kind, sentence(&error.to_string()))
    }
}

impl From<SubscribeError> for Problem {
    fn from(error: SubscribeError) -> Self {
        match error {
            SubscribeError::TooMany => Self::new(
                Kind::TooManyRequests,
                format!("{} Delete one first.", sentence(&error.to_string())),
            )
            .retry_after(Duration::from_secs(1)),
            SubscribeError::Ended => Self::not_found("session"),
            SubscribeError::NoRandomness(_) => {
                Self::new(Kind::Internal, sentence(&error.to_string()))
            }
        }
    }
}

impl From<TooManyRequests> for Problem {
    fn from(error: TooManyRequests) -> Self {
        Self::new(Kind::TooManyRequests, sentence(&error.to_string()))
            .retry_after(error.retry_after)
    }
}

impl From<TooManySessions> for Problem {
    fn from(error: TooManySessions) -> Self {
        let text = sentence(&error.to_string());
        Self::new(Kind::TooManyRequests, format!("{text} End one first."))
            .retry_after(Duration::from_secs(5))
    }
}

fn names(codecs: &[Codec]) -> Vec<&'static str> {
    codecs.iter().map(|codec| codec.name()).collect()
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        let text = sentence(&error.to_string());
        let problem = match &error {
            ControlError::NoPublisher => Self::new(
                Kind::NoPublisher,
                "Nobody publishes there at present. Try again when the stream has begun.",
            ),
            ControlError::CodecMismatch {
                kind,
                publishes,
                offered,
            } => Self::new(
                Kind::CodecMismatch,
                format!(
                    "The publisher sends {kind} as {}, and the offer has only {}. \
                     Offer one of the publisher's codecs, or let it publish one of yours.",
                    names(publishes).join(" or "),
                    names(offered).join(", "),
                ),
            )
            .member("kind", json!(kind.as_str()))
            .member("publishes", json!(names(publishes)))
            .member("offered", json!(names(offered))),
            ControlError::UnknownSession => Self::not_found("session"),
            ControlError::UnknownLayer => Self::not_found("layer"),
            ControlError::UnknownMedia => Self::not_found("media section"),
            ControlError::NoSuchRoom => Self::new(
                Kind::NotFound,
                "There is no such room, and the token may not create it (roomCreate).",
            ),
            ControlError::Setup | ControlError::NoRandomness(_) => Self::new(Kind::Internal, text),
            ControlError::ShuttingDown | ControlError::Overloaded(_) | ControlError::Limit(_) => {
                Self::new(Kind::Overloaded, format!("{text} Try again later."))
            }
        };
        match error.retry_after() {
            Some(time) => problem.retry_after(time),
            None => problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::MediaKind;

    async fn document(problem: Problem) -> (Response, Value) {
        let (parts, body) = problem.into_response().into_parts();
        let bytes = axum::body::to_bytes(body, 10_000).await.unwrap();
        let json = serde_json::from_slice(&bytes).unwrap();
        (Response::from_parts(parts, Body::empty()), json)
    }

    #[tokio::test]
    async fn a_codec_mismatch_names_the_codecs_of_both_sides() {
        let error = ControlError::CodecMismatch {
            kind: MediaKind::Video,
            publishes: vec![Codec::H265],
            offered: vec![Codec::Vp8, Codec::Av1],
        };
        let (response, json) = document(error.into()).await;
        assert_eq!(response.status(), 422);
        assert_eq!(response.headers()["content-type"], PROBLEM_JSON);
        assert_eq!(json["status"], 422);
        assert_eq!(json["publishes"], json!(["H265"]));
        assert_eq!(json["offered"], json!(["VP8", "AV1"]));
        assert!(json["detail"].as_str().unwrap().contains("H265"));
    }

    #[tokio::test]
    async fn what_may_pass_says_when_to_try_again() {
        for error in [
            ControlError::ShuttingDown,
            ControlError::Overloaded("x"),
            ControlError::NoPublisher,
            ControlError::Limit("full".into()),
        ] {
            let (response, _) = document(error.into()).await;
            assert!(response.headers().contains_key("retry-after"));
        }
    }

    #[test]
    fn retry_after_is_rounded_up() {
        let problem = Problem::new(Kind::Overloaded, "x").retry_after(Duration::from_millis(1));
        assert_eq!(problem.0.fields[0].1, "1");
        let problem = Problem::new(Kind::Overloaded, "x").retry_after(Duration::from_millis(2500));
        assert_eq!(problem.0.fields[0].1, "3");
    }
}
