//! `Link` fields: ICE servers (RFC 9725 §4.6) and WHEP extensions.

use std::time::SystemTime;

use axum::http::{HeaderMap, HeaderValue, header};

use crate::config::IceServer;
use crate::control::events::EventSet;

/// The server-sent events extension (draft-ietf-wish-whep-events).
const SERVER_SENT_EVENTS: &str = "urn:ietf:params:whep:ext:core:server-sent-events";

/// The layer selection extension (draft-ietf-wish-whep-events).
const LAYER: &str = "urn:ietf:params:whep:ext:core:layer";

/// Events of our own on the same event streams.
const OWN_EVENTS: &str = "urn:weir:whep:events";

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
    add(
        headers,
        &format!(
            "<{session_path}/events>; rel=\"{SERVER_SENT_EVENTS}\"; events=\"{}\"",
            EventSet::NAMES.join(",")
        ),
    );
    add(headers, &format!("<{session_path}/layer>; rel=\"{LAYER}\""));
    add(
        headers,
        &format!(
            "<{session_path}/events>; rel=\"{OWN_EVENTS}\"; events=\"{}\"",
            EventSet::OWN_NAMES.join(",")
        ),
    );
}

fn add(headers: &mut HeaderMap, line: &str) {
    if let Ok(mut value) = HeaderValue::from_str(line) {
        value.set_sensitive(line.contains("credential="));
        headers.append(header::LINK, value);
    }
}
