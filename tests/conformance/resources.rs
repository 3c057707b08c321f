//! Cases 54–57: the life of session resources.

use std::time::Duration;

use super::client::{Client, Track};
use super::media::Codec;
use super::offers::OBS;
use super::server::Server;

#[tokio::test]
async fn case_54_unknown_sessions_are_404() {
    let server = Server::start().await;
    let unknown = "/session/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    server
        .patch(unknown, "*", "a=end-of-candidates\r\n")
        .await
        .expect(404);
    server.delete(unknown).await.expect(404);
    server.get(unknown).await.expect(404);
}

#[tokio::test]
async fn case_55_delete_says_goodbye_and_the_id_is_dead() {
    let server = Server::start().await;
    let mut publisher = Client::publisher(&[Track::new(Codec::Vp8)]);
    let answer = server.post("/whip/r", &publisher.offer).await;
    let session = answer.location();
    publisher.accept(&answer.body);
    publisher.connected().await;
    server.delete(&session).await.expect(200);
    assert!(
        publisher
            .until(Duration::from_secs(2), |seen| seen.closed)
            .await,
        "DTLS close_notify"
    );
    server.get(&session).await.expect(404);
    let fragment = "a=end-of-candidates\r\n";
    server
        .patch(&session, answer.field("etag"), fragment)
        .await
        .expect(404);
    assert!(server.rooms().await.is_empty());
}

#[tokio::test]
async fn case_56_delete_ignores_if_match() {
    let server = Server::start().await;
    let session = server.post("/whip/r", OBS).await.location();
    let stale = [("if-match", "\"stale\"")];
    server
        .send("DELETE", &session, &stale, "")
        .await
        .expect(200);
}

#[tokio::test]
async fn case_57_delete_after_the_client_closed_dtls_is_200() {
    let server = Server::start().await;
    let mut publisher = Client::publisher(&[Track::new(Codec::Vp8)]);
    let answer = server.post("/whip/r", &publisher.offer).await;
    let session = answer.location();
    publisher.accept(&answer.body);
    publisher.connected().await;
    publisher.close();
    let mut gone = false;
    for _ in 0..100 {
        gone = server.get(&session).await.status == 404;
        if gone {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(gone, "close_notify ends the session");
    server.delete(&session).await.expect(200);
}
