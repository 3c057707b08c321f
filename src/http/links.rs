//! `Link` fields: ICE servers (RFC 9725 §4.6) and WHEP extensions.

use std::sync::LazyLock;
use std::time::SystemTime;

use axum::http::{HeaderMap, HeaderValue, header};

use crate::config::IceServer;
use crate::control::events::EventSet;

/// The extensions of a viewer's session (draft-ietf-wish-whep-events), and events of our own on
/// the same event streams: the end of the path, and what stands behind it.
static EXTENSIONS: LazyLock<[(&str, String); 3]> = LazyLock::new(|| {
    let events =
        |of: &str, names: &[&str]| format!(">; rel=\"{of}\"; events=\"{}\"", names.join(","));
    [
        (
            "/events",
            events(
                "urn:ietf:params:whep:ext:core:server-sent-events",
                &EventSet::NAMES,
            ),
        ),
        (
            "/layer",
            ">; rel=\"urn:ietf:params:whep:ext:core:layer\"".to_owned(),
        ),
        (
            "/events",
            events("urn:weir:whep:events", &EventSet::OWN_NAMES),
        ),
    ]
});

/// Adds one `Link` line for each ICE server URL. One line each, without commas
/// inside, because some clients split at them.
pub fn add_ice_servers(
    headers: &mut HeaderMap,
    servers: &[IceServer],
    user: &str,
    now: SystemTime,
) {
    for server in servers {
        let server = server.for_client(user, now);
        for url in &server.urls {
            let line = match &server.credentials {
                Some((username, credential)) if url.starts_with("turn") => format!(
                    "<{url}>; rel=\"ice-server\"; username=\"{username}\"; \
                     credential=\"{}\"; credential-type=\"password\"",
                    credential.expose()
                ),
                _ => format!("<{url}>; rel=\"ice-server\""),
            };
            add(headers, &line);
        }
    }
}

/// Adds the extensions of a viewer's session.
pub fn add_extensions(headers: &mut HeaderMap, session_path: &str) {
    for (end, rest) in &*EXTENSIONS {
        add(headers, &["<", session_path, end, rest].concat());
    }
}

fn add(headers: &mut HeaderMap, line: &str) {
    if let Ok(mut value) = HeaderValue::from_str(line) {
        value.set_sensitive(line.contains("credential="));
        headers.append(header::LINK, value);
    }
}
