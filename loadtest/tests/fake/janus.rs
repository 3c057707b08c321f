//! As much of Janus's REST API as a client of the VideoRoom plugin needs.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

use serde_json::{Value, json};

use super::{Reply, Request};

#[derive(Default)]
pub(super) struct Janus(Mutex<State>);

#[derive(Default)]
struct State {
    last: u64,
    room: bool,
    /// Feeds that are published.
    feeds: Vec<u64>,
    /// Events that wait for a poll, by session.
    events: HashMap<u64, Vec<Value>>,
    /// The media session that a Janus session was invited to.
    invited: HashMap<u64, u64>,
}

fn event(transaction: &Value, data: Value, jsep: Option<(&str, String)>) -> Value {
    let mut out = json!({
        "janus": "event", "transaction": transaction, "plugindata": {"data": data},
    });
    if let Some((kind, sdp)) = jsep {
        out["jsep"] = json!({"type": kind, "sdp": sdp});
    }
    out
}

impl Janus {
    /// The reply to a request below the base path.
    pub(super) fn reply(
        &self,
        method: &str,
        path: &str,
        body: &str,
        requests: &Sender<Request>,
    ) -> Option<Value> {
        let mut state = self.0.lock().unwrap();
        let path = path.split('?').next()?;
        let session: Option<u64> = path.split('/').nth(1).and_then(|p| p.parse().ok());
        if method == "GET" {
            let waiting = state.events.get_mut(&session?)?;
            let keepalive = json!({"janus": "keepalive"});
            return Some(if waiting.is_empty() {
                keepalive
            } else {
                waiting.remove(0)
            });
        }
        let message: Value = serde_json::from_str(body).ok()?;
        match message["janus"].as_str()? {
            "create" | "attach" => {
                state.last += 1;
                let id = state.last;
                state.events.entry(id).or_default();
                Some(json!({"janus": "success", "data": {"id": id}}))
            }
            "message" => Some(state.message(session?, &message, requests)?),
            _ => Some(json!({"janus": "success"})),
        }
    }
}

impl State {
    fn message(
        &mut self,
        session: u64,
        message: &Value,
        requests: &Sender<Request>,
    ) -> Option<Value> {
        let (transaction, body) = (&message["transaction"], &message["body"]);
        let sdp = || message["jsep"]["sdp"].as_str().map(str::to_owned);
        let refused = |code: u64| json!({"videoroom": "event", "error_code": code, "error": "no"});
        let made = match (body["request"].as_str()?, body["ptype"].as_str()) {
            ("create", _) => {
                // A second one is told that it is there, as by the real one.
                let data = if std::mem::replace(&mut self.room, true) {
                    refused(427)
                } else {
                    json!({"videoroom": "created"})
                };
                let reply = json!({"janus": "success", "plugindata": {"data": data}});
                return Some(reply);
            }
            ("joinandconfigure", Some("publisher")) => {
                let (answer, answered) = channel();
                let viewer = false;
                let sdp = sdp()?;
                requests
                    .send(Request::Offer {
                        viewer,
                        sdp,
                        answer,
                    })
                    .ok()?;
                self.feeds.push(body["id"].as_u64()?);
                let Reply::Answer(sdp) = answered.recv().ok()? else {
                    return None;
                };
                let jsep = ("answer", sdp);
                event(transaction, json!({"videoroom": "event"}), Some(jsep))
            }
            ("join", Some("subscriber")) => {
                let feed = body["streams"][0]["feed"].as_u64()?;
                if self.feeds.contains(&feed) {
                    let (offer, offered) = channel();
                    requests.send(Request::Invite { offer }).ok()?;
                    let (id, sdp) = offered.recv().ok()?;
                    self.invited.insert(session, id);
                    event(
                        transaction,
                        json!({"videoroom": "attached"}),
                        Some(("offer", sdp)),
                    )
                } else {
                    event(transaction, refused(428), None)
                }
            }
            ("start", _) => {
                let (session, sdp) = (*self.invited.get(&session)?, sdp()?);
                requests.send(Request::Accept { session, sdp }).ok()?;
                event(
                    transaction,
                    json!({"videoroom": "event", "started": "ok"}),
                    None,
                )
            }
            _ => event(transaction, refused(424), None),
        };
        self.events.get_mut(&session)?.push(made);
        Some(json!({"janus": "ack", "transaction": transaction}))
    }
}
