//! Clients that misbehave while everyone else watches: requests that take for
//! ever, halves of bodies, tokens that are no good, and garbage over TCP and UDP.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use reqwest::Url;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use crate::scenario::types::{Abuse, Scenario};
use crate::signal::Api;
use crate::signal::client::{HttpError, Signalling};

/// Between two bytes of a slow request.
const DRIP: Duration = Duration::from_millis(500);
/// How long an answer to garbage is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a body is said to be long, and what comes of it.
const SAID: usize = 5000;
const COMES: usize = 500;

/// What came of it, by kind.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// What the server did, as it should or may.
    pub(super) done: BTreeMap<String, u64>,
    /// What it should not have done.
    pub(super) wrong: BTreeMap<String, u64>,
}

impl Outcome {
    fn note(&mut self, kind: String) {
        *self.done.entry(kind).or_default() += 1;
    }

    fn blame(&mut self, kind: String) {
        *self.wrong.entry(kind).or_default() += 1;
    }

    fn add(&mut self, other: Self) {
        for (kind, n) in other.done {
            *self.done.entry(kind).or_default() += n;
        }
        for (kind, n) in other.wrong {
            *self.wrong.entry(kind).or_default() += n;
        }
    }

    /// Sorts a status into what a server may say to such a request and what not.
    fn status(&mut self, what: &str, code: u16) {
        let kind = format!("{what}: status {code}");
        // 503 is a refusal under load; other 5xx are the server's own trouble.
        if (400..500).contains(&code) || code == 503 {
            self.note(kind);
        } else {
            self.blame(kind);
        }
    }
}

pub(super) struct Abusers {
    stop: watch::Sender<bool>,
    tasks: JoinSet<Outcome>,
}

/// Where the server listens.
#[derive(Debug, Clone)]
struct Place {
    host: String,
    port: u16,
    path: String,
}

impl Place {
    /// A path below a target, as viewers POST to it.
    fn of(target: &str, path: &str) -> Option<Self> {
        let base = Url::parse(&(target.trim_end_matches('/').to_owned() + "/")).ok()?;
        let url = base.join(path.trim_start_matches('/')).ok()?;
        // A URL writes IPv6 in brackets, which are no part of the address.
        let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
        let query = url.query().map(|q| format!("?{q}")).unwrap_or_default();
        Some(Self {
            host,
            port: url.port_or_known_default()?,
            path: format!("{}{query}", url.path()),
        })
    }
}

/// Starts them; they go on until [`Abusers::stop`]. `media` is where the server
/// takes media.
pub(super) fn start(
    abuse: &Abuse,
    target: &str,
    api: &Api,
    scenario: &Arc<Scenario>,
    media: &[SocketAddr],
) -> Abusers {
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let path = scenario.http.whep.replace("{room}", "load-0");
    let path = path.replace("{publisher}", "p0");
    let place = Place::of(target, &path);
    if let Some(place) = place {
        for _ in 0..abuse.slow_requests {
            tasks.spawn(open(place.clone(), "slow request", drip, stopped.clone()));
        }
        for _ in 0..abuse.half_bodies {
            tasks.spawn(open(place.clone(), "half body", half, stopped.clone()));
        }
        if abuse.garbage_requests_per_second > 0.0 {
            let every = abuse.garbage_requests_per_second;
            tasks.spawn(garbage_requests(place, every, stopped.clone()));
        }
    }
    if abuse.bad_tokens_per_second > 0.0
        && let Api::Whip(signalling) = api
    {
        let every = abuse.bad_tokens_per_second;
        tasks.spawn(bad_tokens(signalling.clone(), path, every, stopped.clone()));
    }
    if abuse.garbage_datagrams_per_second > 0.0 && !media.is_empty() {
        let every = abuse.garbage_datagrams_per_second;
        tasks.spawn(garbage_datagrams(media.to_vec(), every, stopped));
    }
    Abusers { stop, tasks }
}

/// Keeps one bad connection open, again and again, and tells how each ended.
async fn open<F, Fut>(
    place: Place,
    what: &'static str,
    write: F,
    mut stopped: watch::Receiver<bool>,
) -> Outcome
where
    F: Fn(tokio::net::tcp::OwnedWriteHalf, Place) -> Fut,
    Fut: Future<Output = ()>,
{
    let mut outcome = Outcome::default();
    loop {
        let Ok(stream) = TcpStream::connect((place.host.as_str(), place.port)).await else {
            outcome.note(format!("{what}: no connection"));
            tokio::select! {
                _ = stopped.changed() => return outcome,
                () = sleep(DRIP) => continue,
            }
        };
        let (mut reader, writer) = stream.into_split();
        let writing = write(writer, place.clone());
        let reading = status(&mut reader);
        tokio::pin!(writing);
        tokio::select! {
            _ = stopped.changed() => {
                outcome.note(format!("{what}: open"));
                return outcome;
            }
            code = reading => match code {
                Some(code) => outcome.status(what, code),
                None => outcome.note(format!("{what}: closed")),
            },
            // It never ends by itself.
            () = &mut writing => {}
        }
        sleep(DRIP).await;
    }
}

/// The status of the answer; `None` when the connection is closed without one.
async fn status(reader: &mut (impl AsyncReadExt + Unpin)) -> Option<u16> {
    let mut line = [0; 12];
    reader.read_exact(&mut line).await.ok()?;
    let line = std::str::from_utf8(&line).ok()?;
    line.strip_prefix("HTTP/1.1 ")?.parse().ok()
}

fn head(place: &Place) -> String {
    let Place { host, path, .. } = place;
    let host = match host.contains(':') {
        true => format!("[{host}]"),
        false => host.clone(),
    };
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/sdp\r\nContent-Length: {SAID}\r\n\r\n"
    )
}

async fn drip(mut writer: tokio::net::tcp::OwnedWriteHalf, place: Place) {
    for byte in head(&place).bytes().chain(std::iter::repeat_n(b'v', SAID)) {
        if writer.write_all(&[byte]).await.is_err() {
            break;
        }
        sleep(DRIP).await;
    }
    // The reading side tells how it ended; this half must stay open until then.
    std::future::pending().await
}

async fn half(mut writer: tokio::net::tcp::OwnedWriteHalf, place: Place) {
    let mut request = head(&place).into_bytes();
    request.extend(std::iter::repeat_n(b'v', COMES));
    // A failure shows on the reading side.
    let _ = writer.write_all(&request).await;
    std::future::pending().await
}

async fn bad_tokens(
    signalling: Signalling,
    path: String,
    per_second: f64,
    mut stopped: watch::Receiver<bool>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut every = interval(Duration::from_secs_f64(1.0 / per_second));
    loop {
        tokio::select! {
            _ = stopped.changed() => return outcome,
            _ = every.tick() => {}
        }
        let posted = signalling
            .post_with(&path, "v=0\r\n".to_owned(), Some("bad.token.here"))
            .await;
        match posted {
            // Without authentication the body is what is bad.
            Err(HttpError::Status(code)) => outcome.status("bad token", code),
            Err(e) => outcome.blame(format!("bad token: {e}")),
            Ok(_) => outcome.blame("bad token: accepted".to_owned()),
        }
    }
}

/// Bytes that are no HTTP, and requests whose bodies are no SDP, in turn.
async fn garbage_requests(
    place: Place,
    per_second: f64,
    mut stopped: watch::Receiver<bool>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut every = interval(Duration::from_secs_f64(1.0 / per_second));
    for count in 0u64.. {
        tokio::select! {
            _ = stopped.changed() => break,
            _ = every.tick() => {}
        }
        let mut noise = [0u8; SAID];
        rand::rng().fill(&mut noise[..]);
        let (what, request) = if count.is_multiple_of(2) {
            // A line of it, so that nobody waits for its end.
            noise[300] = b'\n';
            ("garbage request", noise.to_vec())
        } else {
            let mut request = head(&place).into_bytes();
            request.extend_from_slice(&noise);
            ("garbage body", request)
        };
        let answer = async {
            let mut stream = TcpStream::connect((place.host.as_str(), place.port))
                .await
                .ok()?;
            let _ = stream.write_all(&request).await;
            let _ = stream.shutdown().await;
            status(&mut stream).await
        };
        match timeout(PATIENCE, answer).await {
            Ok(Some(code)) => outcome.status(what, code),
            Ok(None) => outcome.note(format!("{what}: closed")),
            Err(_) => outcome.blame(format!("{what}: no answer")),
        }
    }
    outcome
}

/// Datagrams that look like nothing, STUN, DTLS, RTP or RTCP, from a stranger.
async fn garbage_datagrams(
    media: Vec<SocketAddr>,
    per_second: f64,
    mut stopped: watch::Receiver<bool>,
) -> Outcome {
    const FIRST: [u8; 5] = [0xFF, 0, 22, 0x80, 0x81];
    let mut outcome = Outcome::default();
    let mut every = interval(Duration::from_secs_f64(1.0 / per_second));
    let sockets = (UdpSocket::bind("0.0.0.0:0"), UdpSocket::bind("[::]:0"));
    let mut noise = [0u8; 1200];
    for count in 0usize.. {
        tokio::select! {
            _ = stopped.changed() => break,
            _ = every.tick() => {}
        }
        let len = rand::rng().random_range(1..noise.len());
        rand::rng().fill(&mut noise[..]);
        noise[0] = FIRST[count % FIRST.len()];
        let to = media[count / FIRST.len() % media.len()];
        let socket = if to.is_ipv4() { &sockets.0 } else { &sockets.1 };
        let sent = socket.as_ref().map(|s| s.send_to(&noise[..len], to));
        match sent {
            Ok(Ok(_)) => outcome.note("garbage datagram: sent".to_owned()),
            _ => outcome.note("garbage datagram: refused".to_owned()),
        }
    }
    outcome
}

impl Abusers {
    /// Ends them and tells what came of it.
    pub(super) async fn stop(mut self) -> Outcome {
        let _ = self.stop.send(true);
        let mut out = Outcome::default();
        while let Some(done) = self.tasks.join_next().await {
            if let Ok(outcome) = done {
                out.add(outcome);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_may_have_a_path() {
        let place = Place::of("http://[::1]:80/base", "/whep/x?a=b").unwrap();
        assert_eq!((&*place.host, place.port), ("::1", 80));
        assert_eq!(place.path, "/base/whep/x?a=b");
        assert!(head(&place).contains("Host: [::1]\r\n"));
    }

    #[test]
    fn a_servers_own_trouble_is_told_from_a_refusal() {
        let mut outcome = Outcome::default();
        for code in [400, 401, 408, 429, 503, 201, 500] {
            outcome.status("bad token", code);
        }
        assert_eq!(outcome.done.len(), 5);
        let wrong: Vec<&String> = outcome.wrong.keys().collect();
        assert_eq!(wrong, ["bad token: status 201", "bad token: status 500"]);
    }
}
