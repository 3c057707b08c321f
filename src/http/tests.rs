//! The routes over fake workers. What clients see is proved case by case in
//! `tests/conformance`; here stands what that suite can't bring about.

mod access;

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;
use crate::config::Limit;
use crate::control::ControlSettings;
use crate::control::messages::{Event, InactiveReason, Refusal};
use crate::control::testing::{FakeWorker, Mood, control_with};
use crate::units::SessionKey;

const OBS: &str = include_str!("../../tests/fixtures/offers/obs-32.2-h264.sdp");
const PLAYER: &str = include_str!("../../tests/fixtures/offers/chromium-recvonly.sdp");

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn field(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

struct Server {
    app: App,
    control: Control,
    workers: Vec<Arc<FakeWorker>>,
}

fn server(change: impl FnOnce(&mut Config)) -> Server {
    let mut config = Config::default();
    change(&mut config);
    let (control, workers) = control_with(1, ControlSettings::from_config(&config));
    let app = App::new(Arc::new(config), control.clone(), None);
    Server {
        app,
        control,
        workers,
    }
}

impl Server {
    async fn call(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.app.router().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    async fn post(&self, path: &str, offer: &str) -> Answer {
        let sdp = ("content-type", "application/sdp");
        self.call("POST", path, &[sdp], offer).await
    }
}

#[tokio::test]
async fn a_worker_that_is_full_or_broken_gives_the_right_status() {
    let server = server(|_| {});
    for (mood, status, retry) in [
        (Mood::Full, 503, true),
        (Mood::Refusing(Refusal::Full), 503, true),
        (Mood::Refusing(Refusal::Setup), 500, false),
    ] {
        server.workers[0].set_mood(mood);
        let answer = server.post("/whip/r", OBS).await;
        assert_eq!(answer.status, status, "{mood:?}");
        assert_eq!(!answer.field("retry-after").is_empty(), retry);
        assert_eq!(answer.field("content-type"), "application/problem+json");
        assert_eq!(answer.field("access-control-allow-origin"), "*");
    }
    server.workers[0].set_mood(Mood::Willing);
    assert_eq!(server.post("/whip/r", OBS).await.status, 201);
}

#[tokio::test]
async fn a_refused_restart_keeps_tag_and_session() {
    let server = server(|_| {});
    let opened = server.post("/whip/r", OBS).await;
    let (path, tag) = (opened.field("location"), opened.field("etag"));
    let restart = "a=ice-ufrag:newu\r\na=ice-pwd:newpasswordnewpasswordnew\r\n";
    let fields = [
        ("content-type", "application/trickle-ice-sdpfrag"),
        ("if-match", "*"),
    ];
    server.workers[0].set_mood(Mood::Refusing(Refusal::Setup));
    let refused = server.call("PATCH", path, &fields, restart).await;
    assert_eq!(refused.status, 500);
    server.workers[0].set_mood(Mood::Willing);
    let trickle = "a=ice-ufrag:Wf78\r\na=ice-pwd:Hdi5ydYlM9vhD2rhzwPtWL\r\na=end-of-candidates\r\n";
    let fields = [
        ("content-type", "application/trickle-ice-sdpfrag"),
        ("if-match", tag),
    ];
    let trickled = server.call("PATCH", path, &fields, trickle).await;
    assert_eq!(trickled.status, 204, "{}", trickled.body);
}

#[tokio::test]
async fn each_address_has_its_number_of_sessions() {
    let server = server(|config| config.limits.sessions_per_address = Limit(1));
    let first = server.post("/whip/r", OBS).await;
    assert_eq!(first.status, 201);
    let second = server.post("/whip/s", OBS).await;
    assert_eq!(second.status, 429);
    assert!(!second.field("retry-after").is_empty());
    let path = first.field("location");
    assert_eq!(server.call("DELETE", path, &[], "").await.status, 200);
    assert_eq!(server.post("/whip/s", OBS).await.status, 201);
}

#[tokio::test]
async fn of_two_restarts_at_a_time_one_is_stale() {
    let server = server(|_| {});
    let opened = server.post("/whip/r", OBS).await;
    let (path, tag) = (opened.field("location"), opened.field("etag"));
    let fields = [
        ("content-type", "application/trickle-ice-sdpfrag"),
        ("if-match", tag),
    ];
    let fragment =
        |name: &str| format!("a=ice-ufrag:{name}\r\na=ice-pwd:{name}passwordpasswordpassword\r\n");
    let (one, two) = (fragment("one1"), fragment("two2"));
    let id = path.trim_start_matches("/session/").into();
    let session = server.control.session(&id).unwrap();
    // Both are read before either begins.
    let busy = session.restarting.lock().await;
    let both = async {
        tokio::join!(
            server.call("PATCH", path, &fields, &one),
            server.call("PATCH", path, &fields, &two),
        )
    };
    let free = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(busy);
    };
    let ((one, two), ()) = tokio::join!(both, free);
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
}

#[tokio::test]
async fn an_event_stream_tells_a_codec_mismatch_and_ends_with_its_session() {
    let server = server(|_| {});
    let opened = server.post("/whep/r", PLAYER).await;
    assert_eq!(opened.status, 201);
    let path = opened.field("location").to_owned();
    assert!(opened.field("link").contains(&format!("<{path}/events>")));
    let events = format!("{path}/events");
    let json = ("content-type", "application/json");
    let bad = server.call("POST", &events, &[json], "[\"scte35\"]").await;
    assert_eq!(bad.status, 400);
    let wanted = "[\"active\",\"inactive\",\"viewercount\"]";
    let stream = server.call("POST", &events, &[json], wanted).await;
    assert_eq!(stream.status, 201);
    let stream = stream.field("location").to_owned();
    let session = server
        .control
        .session(&path.trim_start_matches("/session/").into())
        .unwrap();
    let worker = server.workers[0].clone();
    let tell = tokio::spawn(async move {
        let key: SessionKey = session.key().unwrap();
        worker.say(Event::ViewerInactive {
            key,
            why: InactiveReason::Codec {
                kind: crate::units::MediaKind::Video,
                publishes: crate::codec::Codec::H265,
            },
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        worker.say(Event::ViewerActive { key });
        tokio::time::sleep(Duration::from_millis(50)).await;
        worker.say(Event::Closed {
            key,
            reason: crate::control::messages::CloseReason::PeerClosed,
        });
    });
    // The body ends because the session does.
    let told = server.call("GET", &stream, &[], "").await;
    tell.await.unwrap();
    assert_eq!(told.status, 200);
    assert_eq!(told.field("content-type"), "text/event-stream");
    let inactive = told.body.find("event: inactive").unwrap();
    let active = told.body.find("event: active").unwrap();
    assert!(inactive < active, "{}", told.body);
    assert!(
        told.body.contains("\"publishes\":\"H265\""),
        "{}",
        told.body
    );
    assert!(told.body.contains("\"viewercount\":1"), "{}", told.body);
    assert_eq!(server.call("GET", &stream, &[], "").await.status, 404);
    assert_eq!(
        server.call("POST", &events, &[json], wanted).await.status,
        404
    );
}

#[tokio::test]
async fn the_overview_is_of_one_room_and_without_viewers_where_that_is_asked() {
    let server = server(|_| {});
    for path in ["/whip/a%20b", "/whip/c"] {
        assert_eq!(server.post(path, OBS).await.status, 201);
    }
    assert_eq!(server.post("/whep/c", PLAYER).await.status, 201);
    let names = |answer: &Answer| -> Vec<String> {
        let rooms = answer.json()["rooms"].as_array().unwrap().clone();
        let name = |room: &Value| room["name"].as_str().unwrap().to_owned();
        rooms.iter().map(name).collect()
    };
    let all = server.call("GET", "/api/rooms", &[], "").await;
    assert_eq!(names(&all), ["a b", "c"]);
    assert!(all.json()["rooms"][1]["viewing"].is_array());
    let one = server
        .call("GET", "/api/rooms?room=a%20b&viewing=false", &[], "")
        .await;
    assert_eq!(names(&one), ["a b"]);
    let few = server
        .call("GET", "/api/rooms?viewing=false", &[], "")
        .await;
    assert_eq!(names(&few), ["a b", "c"]);
    assert_eq!(few.json()["rooms"][1].get("viewing"), None);
    assert_eq!(few.json()["rooms"][1]["viewers"], 1);
    assert_eq!(
        few.json()["rooms"][1]["participants"][0]["identity"],
        "publisher"
    );
    let none = server.call("GET", "/api/rooms?room=x", &[], "").await;
    assert!(names(&none).is_empty());
    for bad in ["viewing=maybe", "room=a&room=b"] {
        let refused = server
            .call("GET", &format!("/api/rooms?{bad}"), &[], "")
            .await;
        assert_eq!(refused.status, 400, "{bad}");
        assert!(refused.body.contains("viewing=false"), "{}", refused.body);
    }
}

#[tokio::test]
async fn pages_and_health_are_served() {
    let server = server(|_| {});
    for path in ["/", "/publish/r", "/publish/r/p", "/watch/r", "/watch/r/p"] {
        let page = server.call("GET", path, &[], "").await;
        assert_eq!(page.status, 200, "{path}");
        assert_eq!(page.field("content-type"), "text/html; charset=utf-8");
        assert!(
            page.field("content-security-policy")
                .contains("script-src 'self'")
        );
    }
    let script = server.call("GET", "/assets/watch.js", &[], "").await;
    assert_eq!(
        script.field("content-type"),
        "text/javascript; charset=utf-8"
    );
    assert_eq!(
        server
            .call("GET", "/assets/nothing.js", &[], "")
            .await
            .status,
        404
    );
    assert_eq!(server.call("GET", "/healthz", &[], "").await.status, 200);
    assert_eq!(server.call("GET", "/readyz", &[], "").await.status, 200);
    server.control.shutdown(Duration::from_secs(1)).await;
    assert_eq!(server.call("GET", "/readyz", &[], "").await.status, 503);
    assert_eq!(server.post("/whip/r", OBS).await.status, 503);
}

/// A listener on a free port with these time-outs.
async fn listening(
    change: impl FnOnce(&mut Config),
) -> (
    std::net::SocketAddr,
    CancellationToken,
    tokio::task::JoinHandle<()>,
) {
    let server = server(|config| {
        config.http.listen = "127.0.0.1:0".parse().unwrap();
        change(config);
    });
    let http = &server.app.0.config.http;
    let bound = HttpServer::bind(http, server.app.router()).await.unwrap();
    let address = bound.local_addr().unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(bound.serve(stop.clone(), Duration::from_millis(200)));
    (address, stop, task)
}

#[tokio::test]
async fn slow_headers_and_slow_bodies_are_cut_off() {
    let (address, _stop, _task) = listening(|config| {
        config.http.header_timeout = Duration::from_millis(100);
        config.http.body_timeout = Duration::from_millis(100);
    })
    .await;
    let mut half = tokio::net::TcpStream::connect(address).await.unwrap();
    half.write_all(b"GET /healthz HTTP/1.1\r\nHost:")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let wait = Duration::from_secs(5);
    tokio::time::timeout(wait, half.read_to_end(&mut rest))
        .await
        .expect("closed")
        .ok();
    assert!(!String::from_utf8_lossy(&rest).contains("200"));

    let mut body = tokio::net::TcpStream::connect(address).await.unwrap();
    body.write_all(
        b"POST /whip/r HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nContent-Length: 99\r\n\r\nv=0",
    )
    .await
    .unwrap();
    let mut rest = vec![0; 1024];
    let n = tokio::time::timeout(wait, body.read(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert!(String::from_utf8_lossy(&rest[..n]).starts_with("HTTP/1.1 408"));
}

#[tokio::test]
async fn stopping_closes_idle_connections_and_ends() {
    let (address, stop, task) = listening(|_| {}).await;
    let mut idle = tokio::net::TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut buffer = vec![0; 1024];
    let n = idle.read(&mut buffer).await.unwrap();
    assert!(String::from_utf8_lossy(&buffer[..n]).starts_with("HTTP/1.1 200"));
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), task)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(idle.read(&mut buffer).await.unwrap_or(0), 0);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_connection_too_many_is_told_to_come_back_later() {
    let (address, _stop, _task) = listening(|_| {}).await;
    let mut kept = Vec::new();
    for _ in 0..512 {
        kept.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    let mut more = tokio::net::TcpStream::connect(address).await.unwrap();
    more.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    more.read_to_string(&mut answer).await.expect("no reset");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(head.contains("\r\nretry-after: 5\r\n"), "{head}");
    assert!(
        head.ends_with(&format!("content-length: {}", body.len())),
        "{head}"
    );
    let document: Value = serde_json::from_str(body).unwrap();
    assert_eq!(document["status"], 503);
}
