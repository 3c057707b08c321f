//! Cases 38–42, 59 and 60: who may, and how much.

use std::collections::HashSet;
use std::time::Duration;

use weir::http::auth::{Claims, VideoGrant, mint};

use super::offers::{OBS, PLAYER};
use super::server::{Answer, Server};

const KEY: &str = "key";
const SECRET: &str = "a-secret-that-is-long-enough-for-hs256";

async fn with_tokens(more: &str) -> Server {
    Server::with(&format!(
        "{more}\n[auth]\nmode = \"token\"\n[auth.keys]\n{KEY} = \"{SECRET}\"\n"
    ))
    .await
}

fn token(room: &str, identity: &str, publish: bool, subscribe: bool) -> String {
    let claims = Claims {
        sub: identity.into(),
        video: VideoGrant {
            room: room.into(),
            room_join: true,
            can_publish: Some(publish),
            can_subscribe: Some(subscribe),
            ..VideoGrant::default()
        },
        ..Claims::default()
    };
    mint(KEY, SECRET, claims, std::time::Duration::from_secs(600)).expect("a token")
}

async fn post_as(server: &Server, path: &str, offer: &str, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let fields = [
        ("content-type", "application/sdp"),
        ("authorization", &bearer),
    ];
    server.send("POST", path, &fields, offer).await
}

#[tokio::test]
async fn case_38_no_token_is_401_bearer() {
    let server = with_tokens("").await;
    for (path, offer) in [("/whip/r", OBS), ("/whep/r", PLAYER)] {
        let answer = server.post(path, offer).await;
        answer.expect(401);
        let challenge = answer.field("www-authenticate");
        assert!(challenge.starts_with("Bearer"), "{challenge}");
        assert!(!challenge.contains("error="), "{challenge}");
    }
}

#[tokio::test]
async fn case_39_bad_token_is_401_and_wrong_scope_is_403() {
    let server = with_tokens("").await;
    let forged = token("r", "a", true, true).replace('.', ".x");
    for bad in ["nonsense", &forged] {
        let answer = post_as(&server, "/whip/r", OBS, bad).await;
        answer.expect(401);
        let challenge = answer.field("www-authenticate");
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    }
    let publisher = token("r", "a", true, false);
    let viewer = token("r", "b", false, true);
    post_as(&server, "/whip/r", OBS, &viewer).await.expect(403);
    post_as(&server, "/whep/r", PLAYER, &publisher)
        .await
        .expect(403);
    post_as(&server, "/whip/other", OBS, &publisher)
        .await
        .expect(403);
    post_as(&server, "/whip/r/somebody-else", OBS, &publisher)
        .await
        .expect(403);
    post_as(&server, "/whip/r", OBS, &publisher)
        .await
        .expect(201);
    post_as(&server, "/whep/r", PLAYER, &viewer)
        .await
        .expect(201);
}

#[tokio::test]
async fn case_40_a_token_is_ignored_where_none_is_needed() {
    let server = Server::start().await;
    post_as(&server, "/whip/r", OBS, "undefined")
        .await
        .expect(201);
    post_as(&server, "/whep/r", PLAYER, "undefined")
        .await
        .expect(201);
}

#[tokio::test]
async fn case_41_a_wrong_token_can_not_change_a_session() {
    let server = with_tokens("").await;
    let mine = token("r", "a", true, true);
    let opened = post_as(&server, "/whip/r", OBS, &mine).await;
    let session = opened.location();
    let fragment = "a=end-of-candidates\r\n";
    let stranger = token("other", "x", true, true);
    let same_room = token("r", "b", true, true);
    for (token, status) in [("nonsense", 401), (&*stranger, 403), (&*same_room, 403)] {
        let bearer = format!("Bearer {token}");
        let fields = [
            ("authorization", &*bearer),
            ("content-type", "application/trickle-ice-sdpfrag"),
            ("if-match", opened.field("etag")),
        ];
        server
            .send("PATCH", &session, &fields, fragment)
            .await
            .expect(status);
        server
            .send("DELETE", &session, &fields[..1], "")
            .await
            .expect(status);
    }
    // The session is untouched; its URL alone may end it.
    server.delete(&session).await.expect(200);
}

#[tokio::test]
async fn case_42_session_ids_can_not_be_guessed() {
    let server =
        Server::with("[limits]\nrequests_per_second = 0\nsessions = 0\nsessions_per_address = 0\n")
            .await;
    let mut ids = HashSet::new();
    for _ in 0..300 {
        let location = server.post("/whep/r", PLAYER).await.location();
        let id = location.rsplit('/').next().unwrap().to_owned();
        // 64 symbols: 6 bits each. The test of the generator makes 10,000.
        assert!(id.len() * 6 >= 122, "{id}");
        assert!(
            id.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        );
        server.delete(&location).await.expect(200);
        assert!(ids.insert(id));
    }
    // No position is fixed, so none is a counter or a clock.
    for at in 0..ids.iter().next().unwrap().len() {
        let symbols: HashSet<u8> = ids.iter().map(|id| id.as_bytes()[at]).collect();
        assert!(
            symbols.len() > 32,
            "position {at}: {} symbols",
            symbols.len()
        );
    }
}

#[tokio::test]
async fn case_59_overload_is_503_and_a_flood_is_429() {
    let server = Server::with("[limits]\nsessions = 1\n").await;
    server.post("/whip/r", OBS).await.expect(201);
    let full = server.post("/whip/s", OBS).await;
    full.expect(503);
    assert!(full.field("retry-after").parse::<u32>().unwrap() >= 1);

    let server = Server::with("[limits]\nrequests_per_second = 1\nrequests_burst = 3\n").await;
    let mut last = server.post("/whip/r", "x").await;
    for _ in 0..3 {
        assert_eq!(last.status, 400);
        last = server.post("/whip/r", "x").await;
    }
    last.expect(429);
    assert!(last.field("retry-after").parse::<u32>().unwrap() >= 1);
}

#[tokio::test]
async fn case_60_without_a_publisher_viewers_wait_or_get_409() {
    let waiting = Server::start().await;
    waiting.post("/whep/r", PLAYER).await.expect(201);
    waiting.post("/whep/r/somebody", PLAYER).await.expect(201);

    let strict = Server::with("[whep]\nwait_for_publisher = false\n").await;
    for path in ["/whep/r", "/whep/r/somebody"] {
        let answer = strict.post(path, PLAYER).await;
        answer.expect(409);
        assert!(answer.field("retry-after").parse::<u32>().unwrap() >= 1);
    }
    strict.post("/whip/r/somebody", OBS).await.expect(201);
    for path in ["/whep/r", "/whep/r/somebody"] {
        strict.post(path, PLAYER).await.expect(201);
    }
}

/// A refusal that needs no body reaches a client that is still sending one, and
/// the connection serves the next request.
#[tokio::test]
async fn an_early_refusal_reaches_a_client_that_still_sends() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = with_tokens("").await;
    let address = server.base.trim_start_matches("http://");
    for _ in 0..5 {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let body = vec![b'x'; 60_000];
        for (path, status) in [("/whip/r", "401"), ("/nowhere", "404")] {
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/sdp\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            for part in body.chunks(20_000) {
                tokio::time::sleep(Duration::from_millis(20)).await;
                stream.write_all(part).await.expect("not reset");
            }
            let mut answer = vec![0; 4096];
            let read = stream.read(&mut answer).await.expect("not reset");
            let answer = String::from_utf8_lossy(&answer[..read]);
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")),
                "{answer}"
            );
        }
    }
}
