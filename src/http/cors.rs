//! CORS for every response, errors included (Fetch §3.2).

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Methods of all resources; clients look here for PATCH before they trickle.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PATCH, DELETE, OPTIONS");

/// Request fields; written out because `*` does not cover Authorization.
const REQUEST_FIELDS: HeaderValue =
    HeaderValue::from_static("Authorization, Content-Type, If-Match");

/// Response fields that a page may read.
const RESPONSE_FIELDS: HeaderValue = HeaderValue::from_static(
    "Location, ETag, Link, Accept-Patch, Accept-Post, Access-Control-Allow-Methods, \
     Retry-After, WWW-Authenticate",
);

/// Which origins may call.
#[derive(Debug, Clone)]
pub struct Cors {
    any: bool,
    origins: Vec<String>,
}

impl Cors {
    /// The origins of the configuration; `*` is every one.
    pub fn new(origins: &[String]) -> Self {
        Self {
            any: origins.iter().any(|origin| origin == "*"),
            origins: origins.to_vec(),
        }
    }

    /// The `Access-Control-Allow-Origin` for a request.
    pub(super) fn allow(&self, request: &HeaderMap) -> Option<HeaderValue> {
        if self.any {
            return Some(HeaderValue::from_static("*"));
        }
        let origin = request.get(header::ORIGIN)?;
        let known = self
            .origins
            .iter()
            .any(|known| known.as_bytes() == origin.as_bytes());
        known.then(|| origin.clone())
    }

    /// Tells the browser, in every response.
    pub(super) fn mark(&self, allowed: Option<HeaderValue>, headers: &mut HeaderMap) {
        if !self.any {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        let Some(origin) = allowed else { return };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_FIELDS);
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_FIELDS);
    }
}

/// A preflight, as against an OPTIONS that somebody sends on purpose.
fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ORIGIN)
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight, which carries no `Authorization` and gets no `Link`s
/// (RFC 9725 §4.6); `None` for all other requests.
pub(super) fn preflight(request: &Request) -> Option<Response> {
    is_preflight(request).then(|| {
        let mut response = StatusCode::NO_CONTENT.into_response();
        response.headers_mut().insert(
            header::ACCESS_CONTROL_MAX_AGE,
            HeaderValue::from_static("7200"),
        );
        response
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ORIGIN, HeaderValue::from_static(value))])
    }

    #[test]
    fn every_origin_or_only_listed_ones() {
        let any = Cors::new(&["*".into()]);
        assert_eq!(any.allow(&HeaderMap::new()).unwrap(), "*");
        let some = Cors::new(&["https://a.example".into()]);
        assert_eq!(
            some.allow(&origin("https://a.example")).unwrap(),
            "https://a.example"
        );
        assert_eq!(some.allow(&origin("https://b.example")), None);
        assert_eq!(some.allow(&HeaderMap::new()), None);
    }

    #[test]
    fn an_origin_that_is_not_listed_gets_no_permission_but_caches_are_told() {
        let some = Cors::new(&["https://a.example".into()]);
        let mut headers = HeaderMap::new();
        some.mark(some.allow(&origin("https://b.example")), &mut headers);
        assert!(!headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
        assert_eq!(headers[header::VARY], "Origin");
    }
}
