//! The STUN and TURN servers that clients are told to use, with credentials
//! that are fixed or made for each session.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::types::{Secret, duration};

/// One of `ice_servers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IceServer {
    /// `stun:`, `stuns:`, `turn:` and `turns:` URLs (RFC 7064, RFC 7065).
    pub urls: Vec<String>,
    /// The user of fixed TURN credentials.
    #[serde(default)]
    pub username: String,
    /// The password of fixed TURN credentials.
    #[serde(default)]
    pub credential: Secret,
    /// A secret shared with the TURN server, which makes credentials for each
    /// session (coturn: `use-auth-secret` with `static-auth-secret`).
    #[serde(default)]
    pub secret: Secret,
    /// How long credentials made from `secret` stay good.
    #[serde(default = "day", with = "duration")]
    pub ttl: Duration,
}

fn day() -> Duration {
    Duration::from_secs(24 * 3600)
}

/// What a client needs of an ICE server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIceServer {
    /// Its URLs.
    pub urls: Vec<String>,
    /// User and password, for TURN.
    pub credentials: Option<(String, Secret)>,
}

impl IceServer {
    /// The server with credentials for one session: the fixed ones, or a user
    /// `expiry:user` with its password `base64(HMAC-SHA1(secret, user))`
    /// (draft-uberti-behave-turn-rest §2.2).
    pub fn for_client(&self, user: &str, now: SystemTime) -> ClientIceServer {
        let credentials = if !self.secret.is_empty() {
            let expiry = now
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .saturating_add(self.ttl)
                .as_secs();
            let username = format!("{expiry}:{user}");
            let key = hmac::Key::new(
                hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
                self.secret.expose().as_bytes(),
            );
            let password = STANDARD.encode(hmac::sign(&key, username.as_bytes()));
            Some((username, Secret::new(password)))
        } else if !self.username.is_empty() {
            Some((self.username.clone(), self.credential.clone()))
        } else {
            None
        };
        ClientIceServer {
            urls: self.urls.clone(),
            credentials,
        }
    }

    /// What is wrong with the entry, if anything is.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.urls.is_empty() {
            return Err("urls must name at least one server".to_owned());
        }
        let fixed = !self.username.is_empty() && !self.credential.is_empty();
        if fixed && !self.secret.is_empty() {
            return Err(
                "either username and credential or secret can be given, not both".to_owned(),
            );
        }
        if self.username.is_empty() != self.credential.is_empty() {
            return Err("username and credential belong together".to_owned());
        }
        for url in &self.urls {
            let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
            if !matches!(scheme, "stun" | "stuns" | "turn" | "turns") {
                return Err(format!(
                    "url {url:?}: expected stun:, stuns:, turn: or turns: and a host"
                ));
            }
            // URLs go into `Link: <url>` lines, which a well-known client splits at commas.
            let clean = rest
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b"<>\",;\\".contains(&b));
            if rest.is_empty() || rest.starts_with('/') || !clean {
                return Err(format!(
                    "url {url:?}: expected a host and an optional port, such as turn:turn.example.org:3478?transport=udp"
                ));
            }
            if scheme.starts_with("turn") && !fixed && self.secret.is_empty() {
                return Err(format!(
                    "url {url:?} needs username and credential, or secret"
                ));
            }
        }
        if !clean_quoted(&self.username) || !clean_quoted(self.credential.expose()) {
            return Err(
                "username and credential can't hold quotes, commas, backslashes or control characters"
                    .to_owned(),
            );
        }
        if self.ttl < Duration::from_secs(60) {
            return Err("ttl must be at least \"60s\"".to_owned());
        }
        Ok(())
    }
}

/// Safe inside a quoted `Link` parameter, also for clients that split at commas.
fn clean_quoted(text: &str) -> bool {
    text.bytes()
        .all(|b| (b.is_ascii_graphic() || b == b' ') && !b"\",\\".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(urls: &[&str]) -> IceServer {
        IceServer {
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            username: String::new(),
            credential: Secret::default(),
            secret: Secret::default(),
            ttl: day(),
        }
    }

    #[test]
    fn shared_secret_makes_the_password_that_openssl_makes() {
        // printf %s 1700086400:WS_abc | openssl dgst -sha1 -hmac north -binary | base64
        let mut turn = server(&["turn:turn.example.org:3478"]);
        turn.secret = Secret::new("north");
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let client = turn.for_client("WS_abc", now);
        let (username, password) = client.credentials.expect("credentials");
        assert_eq!(username, "1700086400:WS_abc");
        assert_eq!(password.expose(), "t2wpTnwRVUTfuy60FWUrwWVT6Z4=");
    }

    #[test]
    fn fixed_credentials_are_passed_on_and_stun_has_none() {
        let mut turn = server(&["turns:turn.example.org:443"]);
        turn.username = "u".to_owned();
        turn.credential = Secret::new("p");
        assert_eq!(turn.check(), Ok(()));
        let client = turn.for_client("x", UNIX_EPOCH);
        assert_eq!(client.credentials, Some(("u".to_owned(), Secret::new("p"))));

        let stun = server(&["stun:stun.example.org"]);
        assert_eq!(stun.check(), Ok(()));
        assert_eq!(stun.for_client("x", UNIX_EPOCH).credentials, None);
    }

    #[test]
    fn bad_entries_are_refused() {
        let turn_without = server(&["turn:turn.example.org"]);
        assert!(turn_without.check().unwrap_err().contains("needs username"));
        assert!(server(&[]).check().is_err());
        for url in [
            "http://x", "turn", "stun:", "stun://x", "stun:a b", "stun:a,b",
        ] {
            assert!(server(&[url]).check().is_err(), "{url}");
        }
        let mut half = server(&["turn:t"]);
        half.username = "u".to_owned();
        assert!(half.check().unwrap_err().contains("belong together"));
        let mut quoted = server(&["turn:t"]);
        quoted.username = "u\"".to_owned();
        quoted.credential = Secret::new("p");
        assert!(quoted.check().unwrap_err().contains("quotes"));
    }
}
