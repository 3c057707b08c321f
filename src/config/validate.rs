//! Checks that need more than one value, or more than the value's type.

use std::net::IpAddr;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::{AuthMode, Config};

/// Shortest API secret on a listener that others can reach: HS256 secrets can
/// be guessed offline from any one token (RFC 7518 §3.2 asks for 256 bits).
const MIN_SECRET: usize = 32;

/// Shortest stream key on such a listener: guessing has to go through the
/// server's request limit, and people type it.
const MIN_STREAM_KEY: usize = 12;

/// More workers than this are never useful on one machine's network card.
const MAX_WORKERS: usize = 128;

/// Sections of one kind that a viewer may have: more pictures than this nobody
/// looks at, and every one makes its offer and answer longer.
const MAX_SLOTS: u8 = 25;

/// A key whose value can't be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid {
    /// The key.
    pub(super) key: &'static str,
    /// What is wrong, and what is allowed.
    pub(super) message: String,
}

fn invalid(key: &'static str, message: impl Into<String>) -> Invalid {
    Invalid {
        key,
        message: message.into(),
    }
}

impl Config {
    /// How many worker threads to run.
    pub fn worker_count(&self) -> usize {
        if self.workers > 0 {
            return usize::from(self.workers);
        }
        std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MAX_WORKERS))
    }

    /// True when the HTTP listener takes requests of this machine only, and no
    /// proxy is said to bring others.
    pub fn is_local(&self) -> bool {
        self.http.listen.ip().to_canonical().is_loopback() && self.http.trusted_proxies.is_empty()
    }

    /// True when everybody may publish and watch: `auth.mode` is `open`, or it
    /// is `auto`, only this machine can reach the server and no keys are configured.
    pub fn open_access(&self) -> bool {
        match self.auth.mode {
            AuthMode::Open => true,
            AuthMode::Token => false,
            AuthMode::Auto => self.is_local() && !self.has_keys(),
        }
    }

    /// True when everybody is let in only because nobody but this machine reaches the server,
    /// and not because the configuration says so.
    pub fn is_open_to_this_machine(&self) -> bool {
        self.auth.mode == AuthMode::Auto && self.open_access()
    }

    fn has_keys(&self) -> bool {
        !self.auth.keys.is_empty() || !self.auth.stream_keys.is_empty()
    }

    /// The external UDP and TCP port of a worker whose internal port is
    /// `internal`, for an address with or without a port of its own.
    pub fn external_port(&self, own: Option<u16>, worker: usize, internal: u16) -> u16 {
        let base = own.or((self.announce.port != 0).then_some(self.announce.port));
        match base {
            Some(base) => u16::try_from(worker)
                .ok()
                .and_then(|worker| base.checked_add(worker))
                .unwrap_or(internal),
            None => internal,
        }
    }

    /// Refuses what can't work together.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        self.validate_http()?;
        self.validate_media()?;
        self.validate_auth()?;
        for (index, server) in self.ice_servers.iter().enumerate() {
            server
                .check()
                .map_err(|why| invalid("ice_servers", format!("entry {}: {why}", index + 1)))?;
        }
        self.validate_limits()?;
        if !is_log_level(&self.log.level) {
            return Err(invalid(
                "log.level",
                "expected off, error, warn, info, debug, trace, or directives such as \"info,weir::http=debug\"",
            ));
        }
        Ok(())
    }

    fn validate_http(&self) -> Result<(), Invalid> {
        let http = &self.http;
        if !http.public_url.is_empty() && !is_base_url(&http.public_url) {
            return Err(invalid(
                "http.public_url",
                "expected a URL such as \"https://media.example.org\", without a path and a slash at the end",
            ));
        }
        for origin in &http.cors_origins {
            if origin != "*" && !is_origin(origin) {
                return Err(invalid(
                    "http.cors_origins",
                    format!(
                        "{origin:?}: expected \"*\" or an origin such as \"https://app.example.org\""
                    ),
                ));
            }
        }
        for (key, value) in [
            ("http.header_timeout", http.header_timeout),
            ("http.body_timeout", http.body_timeout),
            ("http.idle_timeout", http.idle_timeout),
        ] {
            within(
                key,
                value,
                Duration::from_millis(100),
                Duration::from_secs(3600),
            )?;
        }
        within(
            "shutdown_timeout",
            self.shutdown_timeout,
            Duration::from_millis(100),
            Duration::from_secs(600),
        )?;
        if !(4096..=16 * 1024 * 1024).contains(&http.body_limit) {
            return Err(invalid(
                "http.body_limit",
                "expected from 4096 to 16777216 bytes",
            ));
        }
        Ok(())
    }

    fn validate_media(&self) -> Result<(), Invalid> {
        let workers = self.worker_count();
        if workers > MAX_WORKERS {
            return Err(invalid(
                "workers",
                format!("expected 0 (one per core) or from 1 to {MAX_WORKERS}"),
            ));
        }
        let last = workers.saturating_sub(1);
        for (key, first) in [
            ("udp.port", self.udp.port),
            ("announce.port", self.announce.port),
        ] {
            if usize::from(first) + last > usize::from(u16::MAX) {
                return Err(invalid(
                    key,
                    format!(
                        "{workers} workers need that many ports from here, and 65535 is the last"
                    ),
                ));
            }
        }
        for announced in &self.announce.addresses {
            if announced
                .port
                .is_some_and(|port| usize::from(port) + last > usize::from(u16::MAX))
            {
                return Err(invalid(
                    "announce.addresses",
                    format!(
                        "{announced}: {workers} workers need that many ports from here, and 65535 is the last"
                    ),
                ));
            }
        }
        for (key, bytes) in [
            ("udp.receive_buffer", self.udp.receive_buffer),
            ("udp.send_buffer", self.udp.send_buffer),
        ] {
            if !(65_536..=1 << 30).contains(&bytes) {
                return Err(invalid(key, "expected from 65536 to 1073741824 bytes"));
            }
        }
        for (index, ip) in self.udp.listen.iter().enumerate() {
            if ip.is_multicast() || self.udp.listen[..index].contains(ip) {
                return Err(invalid(
                    "udp.listen",
                    format!("{ip}: expected addresses of this machine, each once"),
                ));
            }
        }
        if !self.announce.stun.is_empty() && !is_host_port(&self.announce.stun) {
            return Err(invalid(
                "announce.stun",
                "expected a host and a port such as \"stun.example.org:3478\", or nothing",
            ));
        }
        Ok(())
    }

    fn validate_auth(&self) -> Result<(), Invalid> {
        let auth = &self.auth;
        if !self.open_access() && !self.has_keys() {
            let keys = "configure auth.keys (API key and secret) or auth.stream_keys";
            return Err(if self.is_local() {
                invalid(
                    "auth.mode",
                    format!("nobody could get in: {keys}, or choose \"open\""),
                )
            } else if self.http.trusted_proxies.is_empty() {
                invalid(
                    "http.listen",
                    format!(
                        "others can reach this listener and there is no key: {keys}, \
                         listen on 127.0.0.1, or write auth.mode = \"open\" to let everybody in"
                    ),
                )
            } else {
                invalid(
                    "http.trusted_proxies",
                    format!(
                        "others can reach this server through the proxy and there is no key: \
                         {keys}, or write auth.mode = \"open\" to let everybody in"
                    ),
                )
            });
        }
        for (name, secret) in &auth.keys {
            if name.is_empty() || secret.is_empty() {
                return Err(invalid("auth.keys", "names and secrets can't be empty"));
            }
            if !self.is_local() && secret.expose().len() < MIN_SECRET {
                return Err(invalid(
                    "auth.keys",
                    format!(
                        "the secret of {name:?} is too short for a server that others can reach: \
                         expected at least {MIN_SECRET} characters (try: openssl rand -base64 32)"
                    ),
                ));
            }
        }
        for (index, key) in auth.stream_keys.iter().enumerate() {
            let number = index + 1;
            let text = key.key.expose();
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(invalid(
                    "auth.stream_keys",
                    format!(
                        "entry {number}: expected a key of visible ASCII characters without spaces"
                    ),
                ));
            }
            if !self.is_local() && text.len() < MIN_STREAM_KEY {
                return Err(invalid(
                    "auth.stream_keys",
                    format!(
                        "entry {number}: the key is too short for a server that others can reach: \
                         expected at least {MIN_STREAM_KEY} characters (try: openssl rand -hex 12)"
                    ),
                ));
            }
            let length = usize::from(self.limits.name_length);
            for name in [Some(&key.room), key.identity.as_ref()]
                .into_iter()
                .flatten()
            {
                if name_fault(name, length).is_some() {
                    return Err(invalid(
                        "auth.stream_keys",
                        format!(
                            "entry {number}: expected a room and an identity of 1 to {length} bytes \
                             (limits.name_length) that can be read"
                        ),
                    ));
                }
            }
            if !key.publish && !key.subscribe {
                return Err(invalid(
                    "auth.stream_keys",
                    format!("entry {number}: it may neither publish nor subscribe"),
                ));
            }
            if auth.stream_keys[..index]
                .iter()
                .any(|other| other.key == key.key)
            {
                return Err(invalid(
                    "auth.stream_keys",
                    format!(
                        "entry {number}: the same key was given before; each key opens one room"
                    ),
                ));
            }
        }
        Ok(())
    }

    fn validate_limits(&self) -> Result<(), Invalid> {
        let limits = &self.limits;
        if limits.requests_per_second.get().is_some() && limits.requests_burst == 0 {
            return Err(invalid("limits.requests_burst", "expected at least 1"));
        }
        if !(1..=1024).contains(&limits.name_length) {
            return Err(invalid(
                "limits.name_length",
                "expected from 1 to 1024 bytes",
            ));
        }
        for (key, value) in [
            ("whep.video_slots", self.whep.video_slots),
            ("whep.audio_slots", self.whep.audio_slots),
        ] {
            if !(1..=MAX_SLOTS).contains(&value) {
                return Err(invalid(key, format!("expected from 1 to {MAX_SLOTS}")));
            }
        }
        for (key, value) in [
            ("limits.consent_timeout", limits.consent_timeout),
            ("limits.connect_timeout", limits.connect_timeout),
        ] {
            within(key, value, Duration::from_secs(1), Duration::from_secs(600))?;
        }
        within(
            "rooms.empty_timeout",
            self.rooms.empty_timeout,
            Duration::ZERO,
            Duration::from_secs(7 * 24 * 3600),
        )
    }
}

fn within(
    key: &'static str,
    value: Duration,
    least: Duration,
    most: Duration,
) -> Result<(), Invalid> {
    if value < least || value > most {
        return Err(invalid(
            key,
            format!(
                "expected from \"{}\" to \"{}\"",
                humantime::format_duration(least),
                humantime::format_duration(most)
            ),
        ));
    }
    Ok(())
}

/// Why nobody could read the name of a room or a participant, or why it would fill memory: what it
/// is that it can't be.
pub fn name_fault(name: &str, limit: usize) -> Option<String> {
    if name.len() > limit {
        Some(format!("longer than {limit} bytes"))
    } else if name.trim().is_empty() {
        Some("empty".to_owned())
    } else if name.chars().any(char::is_control) {
        Some("made of control characters".to_owned())
    } else {
        None
    }
}

/// Directives of which each is a level, or names what it is about with a level. A lone name,
/// which the log's filter takes for a target, is a level that was misspelt.
fn is_log_level(text: &str) -> bool {
    let alone = |directive: &str| !directive.contains(['=', '[']);
    let mut directives = text.split(',').map(str::trim);
    directives.all(|one| !alone(one) || one.parse::<LevelFilter>().is_ok())
        && EnvFilter::try_new(text).is_ok()
}

/// `http(s)://host[:port]`, without a path: sessions are at `/session/…` of the host (RFC 9725's
/// `Location`), whatever stands before an endpoint's path.
fn is_base_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<axum::http::Uri>() else {
        return false;
    };
    matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.host().is_some_and(|host| !host.is_empty())
        && uri.path_and_query().is_none_or(|rest| rest == "/")
        && !text.ends_with('/')
        && !text.contains('#')
}

/// `scheme://host[:port]` (RFC 6454 §6.2).
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else {
        return false;
    };
    !scheme.is_empty()
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        && !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
}

fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let host_ok = match host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4())
                || (!host.is_empty()
                    && host
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)))
        }
    };
    host_ok && port.parse::<u16>().is_ok_and(|port| port != 0)
}
