//! Janus VideoRoom over its REST API: each participant has a session and a handle
//! of its own. Publishers offer as with WHIP; viewers answer Janus's offer.
//!
//! <https://janus.conf.meetecho.com/docs/rest.html>,
//! <https://janus.conf.meetecho.com/docs/videoroom.html>

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::{Client, Url};
use serde_json::{Value, json};

use super::client::{HttpError, Trust};
use crate::media::VideoCodec;

/// A long poll is answered within 30 s at the latest.
const TIMEOUT: Duration = Duration::from_secs(35);
/// How long an answer to a message may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// Janus ends sessions that were silent for 60 s.
const KEEP_ALIVE: Duration = Duration::from_secs(25);
/// "No such room" would be 426; this says that the room is there already.
const ROOM_EXISTS: i64 = 427;

/// A client of one Janus.
#[derive(Debug, Clone)]
pub struct Janus {
    client: Client,
    base: Url,
    /// Janus calls it the API secret.
    secret: Option<String>,
    transactions: Arc<AtomicU64>,
}

/// A participant's session; it is kept alive until it is closed or dropped.
#[derive(Debug)]
pub struct Session {
    id: u64,
    handle: u64,
    keeper: tokio::task::JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// What a room must be able to do.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Its number.
    pub number: u64,
    /// How many may publish.
    pub publishers: u32,
    /// Codec of the video.
    pub video: Option<VideoCodec>,
}

fn malformed(what: &str) -> HttpError {
    HttpError::Answer(format!("janus: no {what}"))
}

/// The error in a reply of the core or of the plugin, if it is one.
fn error_of(reply: &Value) -> Option<(i64, String)> {
    let core = reply.get("error").filter(|e| e.is_object());
    let plugin = &reply["plugindata"]["data"];
    let (code, reason) = match core {
        Some(e) => (&e["code"], &e["reason"]),
        None => (&plugin["error_code"], &plugin["error"]),
    };
    let code = code.as_i64()?;
    Some((code, reason.as_str().unwrap_or_default().to_owned()))
}

fn checked(reply: Value) -> Result<Value, HttpError> {
    match error_of(&reply) {
        Some((code, reason)) => Err(HttpError::Api(format!("janus {code}: {reason}"))),
        None => Ok(reply),
    }
}

impl Janus {
    /// A client of the Janus whose REST base is at `base`.
    pub fn new(base: Url, secret: Option<String>, trust: &Trust) -> Result<Self, HttpError> {
        Ok(Self {
            client: trust.client(TIMEOUT)?,
            base,
            secret,
            transactions: Arc::default(),
        })
    }

    fn transaction(&self) -> String {
        let n = self.transactions.fetch_add(1, Ordering::Relaxed);
        format!("t{n}")
    }

    fn url(&self, path: &str) -> Result<Url, HttpError> {
        // The base ends with a slash, which Janus's own root must not have.
        if path.is_empty() {
            let mut url = self.base.clone();
            let trimmed = url.path().trim_end_matches('/').to_owned();
            url.set_path(&trimmed);
            return Ok(url);
        }
        self.base
            .join(path)
            .map_err(|_| HttpError::Answer("bad endpoint".to_owned()))
    }

    async fn send(&self, path: &str, mut body: Value) -> Result<Value, HttpError> {
        if let Some(secret) = &self.secret {
            body["apisecret"] = json!(secret);
        }
        let response = self.client.post(self.url(path)?).json(&body).send().await?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(HttpError::Status(status));
        }
        response.json().await.map_err(Into::into)
    }

    async fn open(&self) -> Result<Session, HttpError> {
        let create = json!({"janus": "create", "transaction": self.transaction()});
        let id = |reply: &Value| reply["data"]["id"].as_u64().ok_or(malformed("id"));
        let session = id(&checked(self.send("", create).await?)?)?;
        let attach = json!({
            "janus": "attach", "plugin": "janus.plugin.videoroom",
            "transaction": self.transaction(),
        });
        let reply = self.send(&session.to_string(), attach).await?;
        let handle = id(&checked(reply)?)?;
        let this = self.clone();
        let keeper = tokio::spawn(async move {
            loop {
                tokio::time::sleep(KEEP_ALIVE).await;
                let alive = json!({"janus": "keepalive", "transaction": this.transaction()});
                // A lost session shows by its media.
                let _ = this.send(&session.to_string(), alive).await;
            }
        });
        Ok(Session {
            id: session,
            handle,
            keeper,
        })
    }

    /// Sends a message to the plugin and waits for what it has to say: at once, or
    /// as an event of the session.
    async fn message(
        &self,
        session: &Session,
        body: Value,
        jsep: Option<Value>,
    ) -> Result<Value, HttpError> {
        let transaction = self.transaction();
        let mut message = json!({"janus": "message", "transaction": transaction, "body": body});
        if let Some(jsep) = jsep {
            message["jsep"] = jsep;
        }
        let path = format!("{}/{}", session.id, session.handle);
        let reply = checked(self.send(&path, message).await?)?;
        if reply["janus"] != "ack" {
            return Ok(reply);
        }
        let poll = async {
            loop {
                let mut url = self.url(&session.id.to_string())?;
                url.query_pairs_mut().append_pair("maxev", "1");
                if let Some(secret) = &self.secret {
                    url.query_pairs_mut().append_pair("apisecret", secret);
                }
                let event: Value = self.client.get(url).send().await?.json().await?;
                if event["transaction"] == transaction.as_str() {
                    return checked(event);
                }
                if event["janus"] == "error" {
                    return checked(event);
                }
            }
        };
        tokio::time::timeout(PATIENCE, poll)
            .await
            .unwrap_or(Err(HttpError::Timeout))
    }

    fn description(event: &Value, kind: &str) -> Result<String, HttpError> {
        let jsep = &event["jsep"];
        if jsep["type"] != kind {
            return Err(malformed(kind));
        }
        jsep["sdp"]
            .as_str()
            .map(str::to_owned)
            .ok_or(malformed("sdp"))
    }

    /// Makes the room if it is not there, and publishes in it as `feed`. Returns the
    /// session and Janus's answer.
    pub async fn publish(
        &self,
        room: Room,
        feed: u64,
        offer: &str,
    ) -> Result<(Session, String), HttpError> {
        let session = self.open().await?;
        let mut create = json!({
            "request": "create", "room": room.number, "publishers": room.publishers,
            "audiocodec": "opus",
        });
        if let Some(codec) = room.video {
            create["videocodec"] = json!(match codec {
                VideoCodec::H264 => "h264",
                VideoCodec::Vp8 => "vp8",
            });
        }
        let path = format!("{}/{}", session.id, session.handle);
        let message = json!({
            "janus": "message", "transaction": self.transaction(), "body": create,
        });
        let reply = self.send(&path, message).await?;
        if error_of(&reply).is_none_or(|(code, _)| code != ROOM_EXISTS) {
            checked(reply)?;
        }
        let join = json!({
            "request": "joinandconfigure", "ptype": "publisher", "room": room.number, "id": feed,
        });
        let jsep = json!({"type": "offer", "sdp": offer});
        let event = self.message(&session, join, Some(jsep)).await?;
        let answer = Self::description(&event, "answer")?;
        Ok((session, answer))
    }

    /// Subscribes to a feed. `answer` makes our answer, and whatever else it makes
    /// of Janus's offer is returned.
    pub async fn watch<T>(
        &self,
        room: u64,
        feed: u64,
        answer: impl FnOnce(&str) -> Result<(T, String), HttpError>,
    ) -> Result<(Session, T), HttpError> {
        let session = self.open().await?;
        let join = json!({
            "request": "join", "ptype": "subscriber", "room": room, "streams": [{"feed": feed}],
        });
        let event = self.message(&session, join, None).await?;
        let (made, answer) = answer(&Self::description(&event, "offer")?)?;
        let jsep = json!({"type": "answer", "sdp": answer});
        let start = json!({"request": "start"});
        self.message(&session, start, Some(jsep)).await?;
        Ok((session, made))
    }

    /// Ends a session.
    pub async fn close(&self, session: Session) -> Result<(), HttpError> {
        let destroy = json!({"janus": "destroy", "transaction": self.transaction()});
        checked(self.send(&session.id.to_string(), destroy).await?).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_core_and_plugin_are_told_apart_from_answers() {
        let core = json!({"janus": "error", "error": {"code": 403, "reason": "Unauthorized"}});
        let plugin =
            json!({"janus": "event", "plugindata": {"data": {"error_code": 426, "error": "No"}}});
        assert_eq!(
            checked(core).unwrap_err().to_string(),
            "janus 403: Unauthorized"
        );
        assert_eq!(checked(plugin).unwrap_err().to_string(), "janus 426: No");
        let fine = json!({"janus": "event", "plugindata": {"data": {"videoroom": "joined"}}});
        assert!(checked(fine).is_ok());
        assert!(Janus::description(&json!({"jsep": {"type": "offer"}}), "answer").is_err());
    }
}
