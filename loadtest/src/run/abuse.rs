//! Clients that misbehave over HTTP while everyone else watches: requests that
//! take for ever, and tokens that are no good.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::scenario::types::{Abuse, Scenario};
use crate::signal::Api;
use crate::signal::client::HttpError;

/// Between two bytes of a slow request.
const DRIP: Duration = Duration::from_millis(500);

pub(super) struct Abusers {
    stop: watch::Sender<bool>,
    tasks: JoinSet<Option<String>>,
}

/// Starts them; they go on until [`Abusers::stop`].
pub(super) fn start(abuse: &Abuse, target: &str, api: &Api, scenario: &Arc<Scenario>) -> Abusers {
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let place = Url::parse(target)
        .ok()
        .and_then(|u| Some((u.host_str()?.to_owned(), u.port_or_known_default()?)));
    for _ in 0..abuse.slow_requests {
        if let Some((host, port)) = place.clone() {
            let mut stopped = stopped.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = drip(host, port) => None,
                    _ = stopped.changed() => None,
                }
            });
        }
    }
    if abuse.bad_tokens_per_second > 0.0
        && let Api::Whip(signalling) = api
    {
        let mut every =
            tokio::time::interval(Duration::from_secs_f64(1.0 / abuse.bad_tokens_per_second));
        let (signalling, scenario) = (signalling.clone(), Arc::clone(scenario));
        let mut stopped = stopped.clone();
        tasks.spawn(async move {
            loop {
                tokio::select! {
                    _ = stopped.changed() => return None,
                    _ = every.tick() => {}
                }
                let path = scenario.http.whep.replace("{room}", "load-0");
                let path = path.replace("{publisher}", "p0");
                let posted = signalling
                    .post_with(&path, "v=0\r\n".to_owned(), Some("bad.token.here"))
                    .await;
                match posted {
                    // What a server must say (RFC 9725 §4.7), or may say to a flood.
                    Err(HttpError::Status(401 | 403 | 429 | 503)) => {}
                    // Without authentication the body is what is bad.
                    Err(HttpError::Status(400 | 422)) => {}
                    Err(e) => return Some(format!("bad token: {e}")),
                    Ok(_) => return Some("bad token: accepted".to_owned()),
                }
            }
        });
    }
    Abusers { stop, tasks }
}

async fn drip(host: String, port: u16) {
    let request = format!(
        "POST /whep/load-0 HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/sdp\r\nContent-Length: 5000\r\n\r\n"
    );
    loop {
        if let Ok(mut stream) = TcpStream::connect((host.as_str(), port)).await {
            for byte in request.bytes().chain(std::iter::repeat_n(b'v', 5000)) {
                if stream.write_all(&[byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(DRIP).await;
            }
        }
        tokio::time::sleep(DRIP).await;
    }
}

impl Abusers {
    /// Ends them and returns what went wrong.
    pub(super) async fn stop(mut self) -> Vec<String> {
        let _ = self.stop.send(true);
        let mut out = Vec::new();
        while let Some(done) = self.tasks.join_next().await {
            if let Ok(Some(error)) = done {
                out.push(error);
            }
        }
        out
    }
}
