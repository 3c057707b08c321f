//! Cases 43–47 and 51–53: PATCH.

use super::offers::{OBS, credentials};
use super::server::{Answer, Server};

const CANDIDATE: &str = "a=candidate:1 1 UDP 2015363327 127.0.0.1 40000 typ host\r\n";

struct Session {
    server: Server,
    path: String,
    tag: String,
    ufrag: String,
    pwd: String,
}

async fn open(configuration: &str) -> Session {
    let server = Server::with(configuration).await;
    let answer = server.post("/whip/r", OBS).await;
    let (ufrag, pwd) = credentials(OBS);
    Session {
        path: answer.location(),
        tag: answer.field("etag").to_owned(),
        server,
        ufrag,
        pwd,
    }
}

impl Session {
    /// A fragment of the present generation.
    fn fragment(&self, rest: &str) -> String {
        format!(
            "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n{rest}",
            self.ufrag, self.pwd
        )
    }

    async fn patch(&self, if_match: &str, fragment: &str) -> Answer {
        self.server.patch(&self.path, if_match, fragment).await
    }

    /// Plain trickle still works, so the session is as it was.
    async fn assert_untouched(&self) {
        let fragment = self.fragment("a=end-of-candidates\r\n");
        self.patch(&self.tag, &fragment).await.expect(204);
    }
}

fn section(candidate: &str) -> String {
    format!("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n{candidate}")
}

const NEW: &str = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n";

#[tokio::test]
async fn case_43_trickle_is_204_without_body_and_tag() {
    let session = open("").await;
    let answer = session
        .patch(&session.tag, &session.fragment(&section(CANDIDATE)))
        .await;
    answer.expect(204);
    assert_eq!(answer.body, "");
    assert_eq!(answer.field("etag"), "");
}

#[tokio::test]
async fn case_44_missing_if_match_is_judged_by_credentials_unless_strict() {
    let lenient = open("").await;
    let fragment = lenient.fragment(&section(CANDIDATE));
    lenient.patch("", &fragment).await.expect(204);
    let strict = open("strict = true\n").await;
    strict.patch("", &fragment).await.expect(428);
    strict.assert_untouched().await;
}

#[tokio::test]
async fn case_45_stale_if_match_is_412_and_changes_nothing() {
    let session = open("").await;
    let fragment = session.fragment(&section(CANDIDATE));
    session.patch("\"stale\"", &fragment).await.expect(412);
    session.patch("\"stale\"", NEW).await.expect(412);
    session.assert_untouched().await;
}

#[tokio::test]
async fn case_46_a_star_with_current_credentials_is_no_restart() {
    let session = open("").await;
    for star in ["*", "\"*\""] {
        let answer = session
            .patch(star, &session.fragment(&section(CANDIDATE)))
            .await;
        answer.expect(204);
    }
    session.assert_untouched().await;
}

#[tokio::test]
async fn case_47_a_star_with_new_credentials_restarts_ice() {
    for star in ["*", "\"*\""] {
        let session = open("").await;
        let answer = session
            .patch(star, &format!("{NEW}{}", section(CANDIDATE)))
            .await;
        answer.expect(200);
        assert_eq!(
            answer.field("content-type"),
            "application/trickle-ice-sdpfrag"
        );
        let tag = answer.field("etag");
        assert!(tag.starts_with('"') && tag != session.tag);
        let (ufrag, pwd) = credentials(&answer.body);
        assert!(ufrag.len() >= 4 && pwd.len() >= 22);
        assert!(!answer.body.replace("\r\n", "").contains('\n'), "CRLF");
        // The old tag is stale now, and candidates of the old generation too.
        session.patch(&session.tag, NEW).await.expect(412);
        let late = session.fragment(&section(CANDIDATE));
        session.patch("*", &late).await.expect(412);
        session
            .patch(tag, &format!("{NEW}{CANDIDATE}"))
            .await
            .expect(204);
    }
}

#[tokio::test]
async fn case_51_fragments_come_in_many_forms() {
    let session = open("").await;
    for rest in [
        CANDIDATE.to_owned(),
        format!("m=audio 9 RTP/AVP 0\r\na=mid:0\r\n{CANDIDATE}"),
        format!("m=audio 9 RTP/AVP 0\r\na=mid:1\r\n{CANDIDATE}"),
        CANDIDATE.replace("1 1 UDP", "1 0 UDP"),
        format!("m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:7\r\n{CANDIDATE}"),
        "a=end-of-candidates\r\n".to_owned(),
    ] {
        let answer = session.patch(&session.tag, &session.fragment(&rest)).await;
        assert_eq!(answer.status, 204, "{rest}: {}", answer.body);
    }
    let captured = include_str!("../fixtures/offers/simple-whip-client.trickle.txt");
    let body = captured.split_once("a=ice-ufrag").expect("a fragment").1;
    let body = body.split("\n----").next().expect("one").trim_end();
    let candidates: String = body
        .lines()
        .filter(|line| {
            line.starts_with("m=") || line.starts_with("a=mid") || line.contains("candidate")
        })
        .map(|line| format!("{line}\r\n"))
        .collect();
    assert!(candidates.contains("tcptype"));
    session
        .patch(&session.tag, &session.fragment(&candidates))
        .await
        .expect(204);
}

#[tokio::test]
async fn case_52_candidates_that_can_not_be_used_are_skipped() {
    let session = open("").await;
    for candidate in [
        "1 1 UDP 2122260223 0d1b2c3e-0000-4000-8000-000000000000.local 50000 typ host",
        "1 1 TCP 1015021823 192.0.2.2 9 typ host tcptype active",
        "1 1 UDP 2015363583 2001:db8::2 49265 typ host",
        "1 1 UDP 2015363583 fe80::1 49265 typ host",
    ] {
        let fragment = session.fragment(&section(&format!("a=candidate:{candidate}\r\n")));
        session.patch(&session.tag, &fragment).await.expect(204);
    }
}

#[tokio::test]
async fn case_53_malformed_fragments_are_400_and_wrong_types_415() {
    let session = open("").await;
    let half = format!("a=ice-ufrag:{}\r\n", session.ufrag);
    for bad in ["garbage", "", &half, "a=candidate:x\r\n"] {
        session.patch(&session.tag, bad).await.expect(400);
    }
    let fragment = session.fragment(&section(CANDIDATE));
    for kind in ["application/sdp", "text/plain"] {
        let fields = [("content-type", kind), ("if-match", &session.tag)];
        let answer = session
            .server
            .send("PATCH", &session.path, &fields, &fragment)
            .await;
        answer.expect(415);
        assert_eq!(
            answer.field("accept-patch"),
            "application/trickle-ice-sdpfrag"
        );
    }
    session.assert_untouched().await;
}
