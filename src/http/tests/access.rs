//! Who gets in: tokens, stream keys, proxies and limits.

use std::time::Duration;

use super::{OBS, PLAYER, server};
use crate::config::{AuthMode, Config, IceServer, Limit, Secret, StreamKey};
use crate::control::testing::ALL;
use crate::http::{DEFAULT_IDENTITY, auth};

fn with_tokens(config: &mut Config) {
    config.auth.mode = AuthMode::Token;
    config.auth.keys.insert(
        "api".into(),
        Secret::new("a-secret-of-sufficient-length-for-hmac"),
    );
    config.auth.stream_keys.push(StreamKey {
        key: Secret::new("obs-key"),
        room: "r".into(),
        identity: None,
        publish: true,
        subscribe: false,
    });
    config.ice_servers.push(IceServer {
        urls: vec!["turn:turn.example.org".into()],
        username: "user".into(),
        credential: Secret::new("pass"),
        secret: Secret::default(),
        ttl: Duration::from_secs(3600),
    });
}

#[tokio::test]
async fn a_stream_key_publishes_in_its_room_only() {
    let server = server(with_tokens);
    let fields = [
        ("content-type", "application/sdp"),
        ("authorization", "Bearer obs-key"),
    ];
    let opened = server.call("POST", "/whip/r", &fields, OBS).await;
    assert_eq!(opened.status, 201);
    assert!(opened.field("link").contains("username=\"user\""));
    let elsewhere = server.call("POST", "/whip/s", &fields, OBS).await;
    assert_eq!(elsewhere.status, 403);
    assert_eq!(elsewhere.json()["status"], 403);
    let watching = server.call("POST", "/whep/r", &fields, PLAYER).await;
    assert_eq!(watching.status, 403);
    // Whose identity is not said publishes under the default one.
    let room = &server.control.overview(ALL).await.rooms[0];
    assert_eq!(room.participants[0].identity, DEFAULT_IDENTITY);
}

#[tokio::test]
async fn the_list_of_rooms_names_the_grant_that_it_needs() {
    let server = server(with_tokens);
    let fields = [("authorization", "Bearer obs-key")];
    let refused = server.call("GET", "/api/rooms", &fields, "").await;
    assert_eq!(refused.status, 403);
    // The start page tells by this name that the token is no mistake.
    let detail = refused.json()["detail"].to_string();
    assert!(detail.contains("roomList"), "{detail}");
}

#[tokio::test]
async fn turn_credentials_are_not_for_strangers() {
    let server = server(with_tokens);
    let stranger = server.call("OPTIONS", "/whip/r", &[], "").await;
    assert_eq!(stranger.status, 200);
    assert_eq!(stranger.field("link"), "");
    let known = [("authorization", "Bearer obs-key")];
    let known = server.call("OPTIONS", "/whip/r", &known, "").await;
    assert!(known.field("link").contains("rel=\"ice-server\""));
    let list = server.call("GET", "/api/rooms", &[], "").await;
    assert_eq!(list.status, 401);
}

#[tokio::test]
async fn a_session_url_is_enough_unless_the_configuration_says_otherwise() {
    for (capability, status) in [(true, 200), (false, 401)] {
        let server = server(|config| {
            with_tokens(config);
            config.auth.session_url_is_capability = capability;
        });
        let fields = [
            ("content-type", "application/sdp"),
            ("authorization", "Bearer obs-key"),
        ];
        let opened = server.call("POST", "/whip/r", &fields, OBS).await;
        let path = opened.field("location");
        let wrong = [("authorization", "Bearer wrong")];
        assert_eq!(server.call("DELETE", path, &wrong, "").await.status, 401);
        assert_eq!(server.call("DELETE", path, &[], "").await.status, status);
    }
}

#[tokio::test]
async fn requests_that_change_something_are_limited_and_reading_is_not() {
    let server = server(|config| {
        config.limits.requests_per_second = Limit(1);
        config.limits.requests_burst = 2;
    });
    for _ in 0..2 {
        assert_eq!(server.post("/whip/r", "x").await.status, 400);
    }
    assert_eq!(server.post("/whip/r", "x").await.status, 429);
    let rooms = server.call("GET", "/api/rooms", &[], "").await;
    assert_eq!(rooms.status, 200);
}

#[tokio::test]
async fn reading_with_a_token_is_limited_so_that_stream_keys_can_not_be_tried_out() {
    let server = server(|config| {
        with_tokens(config);
        config.limits.requests_per_second = Limit(1);
        config.limits.requests_burst = 2;
    });
    for (method, path) in [("GET", "/api/rooms"), ("OPTIONS", "/whip/r")] {
        let wrong = [("authorization", "Bearer guess")];
        server.call(method, path, &wrong, "").await;
        server.call(method, path, &wrong, "").await;
        let right = [("authorization", "Bearer obs-key")];
        for fields in [wrong, right] {
            let refused = server.call(method, path, &fields, "").await;
            assert_eq!(refused.status, 429, "{method}");
            assert!(!refused.field("retry-after").is_empty());
        }
        let without = server.call(method, path, &[], "").await;
        assert_ne!(without.status, 429, "{method}");
    }
    // Who publishes has requests of its own.
    let fields = [
        ("content-type", "application/sdp"),
        ("authorization", "Bearer obs-key"),
    ];
    let opened = server.call("POST", "/whip/r", &fields, OBS).await;
    assert_eq!(opened.status, 201);
}

#[tokio::test]
async fn a_server_that_is_open_to_its_own_machine_takes_nothing_from_an_unknown_proxy() {
    let sdp = ("content-type", "application/sdp");
    for proxy in [("x-forwarded-for", "203.0.113.5"), ("forwarded", "for=_x")] {
        let local = server(|_| {});
        for (method, path) in [
            ("POST", "/whip/r"),
            ("POST", "/whep/r"),
            ("GET", "/api/rooms"),
        ] {
            let refused = local.call(method, path, &[proxy, sdp], OBS).await;
            assert_eq!(refused.status, 403, "{path}");
            assert!(
                refused.body.contains("http.trusted_proxies"),
                "{}",
                refused.body
            );
        }
        assert_eq!(local.post("/whip/r", OBS).await.status, 201);
        // Whoever writes it out means everybody.
        let open = server(|config| config.auth.mode = AuthMode::Open);
        let opened = open.call("POST", "/whip/r", &[proxy, sdp], OBS).await;
        assert_eq!(opened.status, 201);
    }
}

#[tokio::test]
async fn an_identity_of_a_token_is_as_short_as_one_of_a_path() {
    let server = server(with_tokens);
    for (length, status) in [(128, 201), (129, 400)] {
        let claims = auth::Claims {
            sub: "x".repeat(length),
            video: auth::VideoGrant {
                room_join: true,
                ..auth::VideoGrant::default()
            },
            ..auth::Claims::default()
        };
        let secret = "a-secret-of-sufficient-length-for-hmac";
        let token = auth::mint("api", secret, claims, Duration::from_secs(60)).unwrap();
        let bearer = format!("Bearer {token}");
        let fields = [
            ("content-type", "application/sdp"),
            ("authorization", &*bearer),
        ];
        let answer = server.call("POST", "/whip/r", &fields, OBS).await;
        assert_eq!(answer.status, status, "{length}");
    }
}
