//! The pages for people, embedded in the binary.

use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::App;
use super::problem::Problem;

/// What a page may do: run its own scripts, talk to this server (and, where a
/// proxy has given the media URLs another host, to none other), show media.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
     media-src 'self' blob: mediastream:; connect-src 'self'; worker-src 'self' blob:; \
     manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

macro_rules! assets {
    ($($name:literal)*) => {
        &[$(($name, include_bytes!(concat!("assets/", $name)))),*]
    };
}

/// Every file of `assets/`.
const ASSETS: &[(&str, &[u8])] = assets! {
    "capture.js" "common.js" "doctor.js" "favicon.svg" "index.html" "index.js" "pattern.js" "player.js"
    "publish.html" "publish.js" "quality.js" "sdp.js" "stats.js" "ticker.js" "watch.html" "watch.js" "weir.css"
    "whip-whep.js"
};

/// The embedded files with their entity tags.
pub(super) struct Pages(Vec<Asset>);

struct Asset {
    name: &'static str,
    bytes: &'static [u8],
    tag: HeaderValue,
}

impl Pages {
    /// Works out the entity tags.
    pub fn new() -> Self {
        let asset = |&(name, bytes): &(&'static str, &'static [u8])| {
            let hash = digest(&SHA256, bytes);
            let hex: String = hash
                .as_ref()
                .iter()
                .take(12)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            Asset {
                name,
                bytes,
                tag: HeaderValue::from_str(&format!("\"{hex}\""))
                    .unwrap_or(HeaderValue::from_static("\"\"")),
            }
        };
        Self(ASSETS.iter().map(asset).collect())
    }

    fn respond(&self, name: &str, request: &HeaderMap) -> Result<Response, Problem> {
        let asset = self
            .0
            .iter()
            .find(|asset| asset.name == name)
            .ok_or_else(|| Problem::not_found("page"))?;
        let known = request
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|field| field.to_str().ok())
            .flat_map(|field| field.split(','))
            // A cache's comparison is weak (RFC 9110 §13.1.2).
            .any(|tag| tag.trim().trim_start_matches("W/").as_bytes() == asset.tag.as_bytes());
        let mut response = if known {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            asset.bytes.into_response()
        };
        let headers = response.headers_mut();
        let fixed = |value| HeaderValue::from_static(value);
        headers.insert(header::CONTENT_TYPE, fixed(content_type(name)));
        headers.insert(header::ETAG, asset.tag.clone());
        // Asked for again each time, answered 304 until the server is updated.
        headers.insert(header::CACHE_CONTROL, fixed("no-cache"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
        headers.insert(header::CONTENT_SECURITY_POLICY, fixed(POLICY));
        headers.insert(header::REFERRER_POLICY, fixed("no-referrer"));
        headers.insert(
            HeaderName::from_static("permissions-policy"),
            fixed("camera=(self), microphone=(self), display-capture=(self)"),
        );
        Ok(response)
    }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}

/// The routes of all pages.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/", get(index))
        .route("/publish/{room}", get(publish))
        .route("/publish/{room}/{participant}", get(publish))
        .route("/watch/{room}", get(watch))
        .route("/watch/{room}/{participant}", get(watch))
        .route("/assets/{file}", get(asset))
        .route("/favicon.ico", get(icon))
}

async fn index(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    app.0.pages.respond("index.html", &headers)
}

async fn publish(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    app.0.pages.respond("publish.html", &headers)
}

async fn watch(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    app.0.pages.respond("watch.html", &headers)
}

async fn icon(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    app.0.pages.respond("favicon.svg", &headers)
}

async fn asset(
    State(app): State<App>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    app.0.pages.respond(&file, &headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_beside_this_module_is_embedded_with_a_type() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/pages/assets");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let embedded: Vec<&str> = ASSETS.iter().map(|(name, _)| *name).collect();
        assert_eq!(files, embedded);
        for name in embedded {
            assert_ne!(content_type(name), "application/octet-stream", "{name}");
        }
    }

    #[test]
    fn what_a_browser_has_already_is_not_sent_again() {
        let pages = Pages::new();
        let first = pages.respond("weir.css", &HeaderMap::new()).unwrap();
        assert_eq!(first.status(), 200);
        let tag = first.headers()[header::ETAG].clone();
        let again = HeaderMap::from_iter([(header::IF_NONE_MATCH, tag)]);
        assert_eq!(pages.respond("weir.css", &again).unwrap().status(), 304);
        assert_eq!(pages.respond("nothing", &again).unwrap_err().status(), 404);
    }
}
