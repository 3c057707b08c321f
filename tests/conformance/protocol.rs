//! Cases 1–7 and 31–37: HTTP around offers.

use super::offers::{OBS, PLAYER};
use super::server::Server;

#[tokio::test]
async fn case_01_valid_offer_is_created() {
    let server = Server::start().await;
    for (path, offer) in [("/whip/r", OBS), ("/whep/r", PLAYER)] {
        let answer = server.post(path, offer).await;
        answer.expect(201);
        assert_eq!(answer.field("content-type"), "application/sdp");
        let location = answer.field("location");
        assert!(
            location.starts_with('/') && !location.contains('?'),
            "{location}"
        );
        let tag = answer.field("etag");
        assert!(
            tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"'),
            "{tag}"
        );
        assert!(answer.body.starts_with("v=0\r\n"));
        assert!(answer.body.ends_with("\r\n"));
        let bare = answer.body.replace("\r\n", "");
        assert!(!bare.contains(['\r', '\n']), "CRLF throughout");
    }
}

#[tokio::test]
async fn case_02_content_type_has_any_case_and_parameters() {
    let server = Server::start().await;
    let kind = ("content-type", "Application/SDP; charset=utf-8");
    server
        .send("POST", "/whip/r", &[kind], OBS)
        .await
        .expect(201);
}

#[tokio::test]
async fn case_03_missing_content_type_is_415_with_accept_post() {
    let server = Server::start().await;
    let answer = server.send("POST", "/whip/r", &[], OBS).await;
    answer.expect(415);
    assert_eq!(answer.field("accept-post"), "application/sdp");
}

#[tokio::test]
async fn case_04_json_is_415() {
    let server = Server::start().await;
    let kind = ("content-type", "application/json");
    let answer = server.send("POST", "/whip/r", &[kind], "{}").await;
    answer.expect(415);
    assert_eq!(answer.field("accept-post"), "application/sdp");
}

#[tokio::test]
async fn case_05_garbage_is_400() {
    let server = Server::start().await;
    for garbage in ["hello", "v=0\r\n", "v=0\r\no=-\r\nm=\r\n", "\u{0}\u{1}"] {
        for path in ["/whip/r", "/whep/r"] {
            server.post(path, garbage).await.expect(400);
        }
    }
    assert!(server.rooms().await.is_empty());
}

#[tokio::test]
async fn case_06_empty_body_is_refused_and_makes_no_session() {
    let server = Server::start().await;
    for path in ["/whip/r", "/whep/r"] {
        server.post(path, "").await.expect(400);
    }
    assert!(server.rooms().await.is_empty());
}

#[tokio::test]
async fn case_07_large_body_is_413() {
    let server = Server::start().await;
    let large = format!("{OBS}{}", "a=x:y\r\n".repeat(20 * 1024));
    assert!(large.len() > 128 * 1024);
    server.post("/whip/r", &large).await.expect(413);
}

#[tokio::test]
async fn case_31_get_is_empty() {
    let server = Server::start().await;
    let publisher = server.post("/whip/r", OBS).await.location();
    let viewer = server.post("/whep/r", PLAYER).await.location();
    for path in [
        "/whip/r",
        "/whep/r",
        "/whip/r/p",
        "/whep/r/p",
        &publisher,
        &viewer,
    ] {
        let answer = server.get(path).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.status);
        assert_eq!(answer.body, "", "{path}");
    }
}

#[tokio::test]
async fn case_32_whep_head_tells_the_type() {
    let server = Server::start().await;
    let answer = server.send("HEAD", "/whep/r", &[], "").await;
    answer.expect(200);
    assert_eq!(answer.field("content-type"), "application/sdp");
    assert_eq!(answer.body, "");
}

#[tokio::test]
async fn case_33_put_is_405_with_allow() {
    let server = Server::start().await;
    let session = server.post("/whip/r", OBS).await.location();
    for (path, allowed) in [
        ("/whip/r", "POST"),
        ("/whep/r", "POST"),
        (&*session, "PATCH"),
    ] {
        let answer = server.send("PUT", path, &[], "x").await;
        answer.expect(405);
        assert!(
            answer.field("allow").contains(allowed),
            "{:?}",
            answer.headers
        );
    }
}

#[tokio::test]
async fn case_34_preflight_needs_no_token_and_has_no_links() {
    let server = Server::with(
        "ice_servers = [{ urls = [\"stun:stun.example.org\"] }]\n\
         [auth]\nmode = \"token\"\n[auth.keys]\nkey = \"a-secret-that-is-long-enough-for-hs256\"\n",
    )
    .await;
    for path in ["/whip/r", "/whep/r", "/session/anything"] {
        let fields = [
            ("origin", "https://player.example"),
            ("access-control-request-method", "PATCH"),
            (
                "access-control-request-headers",
                "authorization,content-type,if-match",
            ),
        ];
        let answer = server.send("OPTIONS", path, &fields, "").await;
        assert!(answer.status.is_success(), "{path}: {}", answer.status);
        assert_eq!(answer.field("access-control-allow-origin"), "*");
        let allowed = answer.field("access-control-allow-headers").to_lowercase();
        for name in ["authorization", "content-type", "if-match"] {
            assert!(allowed.contains(name), "{allowed}");
        }
        let methods = answer.field("access-control-allow-methods");
        assert!(methods.contains("PATCH") && methods.contains("DELETE"));
        assert!(answer.fields("link").is_empty());
    }
}

#[tokio::test]
async fn case_35_plain_options_tells_what_is_taken() {
    let server = Server::with("ice_servers = [{ urls = [\"stun:stun.example.org\"] }]\n").await;
    for path in ["/whip/r", "/whep/r"] {
        let answer = server.send("OPTIONS", path, &[], "").await;
        answer.expect(200);
        assert_eq!(answer.field("accept-post"), "application/sdp");
        let methods = answer.field("access-control-allow-methods");
        assert!(methods.contains("PATCH"), "{methods}");
        let exposed = answer.field("access-control-expose-headers");
        assert!(
            exposed.contains("Access-Control-Allow-Methods"),
            "{exposed}"
        );
        assert_eq!(
            answer.field("link"),
            "<stun:stun.example.org>; rel=\"ice-server\""
        );
    }
}

#[tokio::test]
async fn case_36_created_and_errors_are_readable_across_origins() {
    let server = Server::start().await;
    let origin = ("origin", "https://player.example");
    let sdp = ("content-type", "application/sdp");
    for (offer, status) in [(OBS, 201), ("garbage", 400)] {
        let answer = server.send("POST", "/whip/r", &[origin, sdp], offer).await;
        answer.expect(status);
        assert_eq!(answer.field("access-control-allow-origin"), "*");
        let exposed = answer.field("access-control-expose-headers");
        for name in ["Location", "ETag", "Link", "Accept-Patch"] {
            assert!(exposed.contains(name), "{name}: {exposed}");
        }
    }
    let missing = server.send("GET", "/nothing/here", &[origin], "").await;
    missing.expect(404);
    let wrong = [origin, ("content-type", "text/plain")];
    let refused = server.send("POST", "/whip/r", &wrong, OBS).await;
    refused.expect(415);
    let method = server.send("PUT", "/whip/r", &[origin], "").await;
    method.expect(405);
    for error in [missing, refused, method] {
        assert_eq!(error.field("access-control-allow-origin"), "*");
        assert_eq!(error.field("content-type"), "application/problem+json");
        assert_eq!(error.json()["status"], error.status.as_u16());
    }
}

#[tokio::test]
async fn case_37_each_turn_server_has_a_link_line_of_its_own() {
    let server = Server::with(
        "[[ice_servers]]\nurls = [\"turn:a.example:3478?transport=udp\"]\n\
         username = \"fixed\"\ncredential = \"word\"\n\
         [[ice_servers]]\nurls = [\"turns:b.example:443\"]\nsecret = \"shared\"\n",
    )
    .await;
    let answer = server.post("/whip/r", OBS).await;
    answer.expect(201);
    let links = answer.fields("link");
    assert_eq!(links.len(), 2, "{links:?}");
    assert_eq!(
        links[0],
        "<turn:a.example:3478?transport=udp>; rel=\"ice-server\"; username=\"fixed\"; \
         credential=\"word\"; credential-type=\"password\""
    );
    assert!(links[1].starts_with("<turns:b.example:443>; rel=\"ice-server\"; username=\""));
    for link in links {
        assert!(!link.contains(','), "clients split at commas: {link}");
    }
}
