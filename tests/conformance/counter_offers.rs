//! Case 70: counter-offers (draft-ietf-wish-whep, "Server Sends Counter-offer").

use std::time::Duration;

use super::client::{Client, Track};
use super::media::{self, Codec};
use super::offers::{OBS, PLAYER};
use super::server::{Answer, Server};

const SOON: Duration = Duration::from_secs(8);
const ALWAYS: &str = "[whep]\ncounter_offer = \"always\"\n";
const MISMATCH: &str = "[whep]\ncounter_offer = \"mismatch\"\n";

async fn publish(server: &Server, codecs: &[Codec]) -> Client {
    let tracks: Vec<Track> = codecs.iter().copied().map(Track::new).collect();
    let mut publisher = Client::publisher(&tracks);
    let answer = server.post("/whip/r", &publisher.offer).await;
    answer.expect(201);
    publisher.accept(&answer.body);
    publisher.connected().await;
    publisher
}

/// Checks a 406 with an offer, and returns the session.
#[track_caller]
fn offered(answer: &Answer) -> String {
    assert_eq!(answer.status, 406, "{}", answer.body);
    let kind = answer.field("content-type");
    assert!(
        kind.starts_with("application/sdp; valid-until=\""),
        "{kind}"
    );
    assert!(kind.ends_with(" GMT\""), "an HTTP date: {kind}");
    assert_eq!(answer.field("accept-patch"), "application/sdp");
    assert_eq!(answer.field("access-control-allow-origin"), "*");
    assert!(answer.body.starts_with("v=0\r\n"));
    assert!(answer.body.contains("a=setup:actpass\r\n"));
    assert_eq!(answer.body.matches("a=sendonly\r\n").count(), 2);
    let session = answer.field("location");
    assert!(session.starts_with("/session/"), "{session}");
    session.to_owned()
}

#[tokio::test]
async fn case_70_is_off_by_default() {
    let server = Server::start().await;
    let viewer = server.post("/whep/r", PLAYER).await;
    let session = viewer.location();
    let answer = server.patch_answer(&session, PLAYER).await;
    answer.expect(415);
    assert_eq!(
        answer.field("accept-patch"),
        "application/trickle-ice-sdpfrag"
    );
    // A mismatch is 422, not 406.
    let _publisher = publish(&server, &[Codec::Vp8]).await;
    let viewer = Client::viewer(&[Codec::H264]);
    server.post("/whep/r", &viewer.offer).await.expect(422);
}

#[tokio::test]
async fn case_70_the_offer_is_answered_and_media_flows() {
    let server = Server::with(ALWAYS).await;
    let _publisher = publish(&server, &[Codec::Opus, Codec::Vp8]).await;
    let viewer = Client::answerer(&[Codec::Opus, Codec::Vp8, Codec::H264]);
    let answer = server.post("/whep/r", &viewer.offer).await;
    let session = offered(&answer);
    let tag = answer.field("etag").to_owned();
    // A fragment has no place before the answer.
    let fragment = "a=end-of-candidates\r\n";
    let early = server.patch(&session, &tag, fragment).await;
    assert_eq!(early.expect(415).field("accept-patch"), "application/sdp");

    let sdp = viewer.answer(&answer.body);
    let done = server.patch_answer(&session, &sdp).await;
    assert_eq!((done.status, &*done.body), (204.try_into().unwrap(), ""));
    viewer.connected().await;
    assert!(viewer.more_video(40, SOON).await);
    assert!(
        viewer
            .until(SOON, |seen| {
                let audio = seen.packets.len() - seen.video().len();
                audio > 20
            })
            .await
    );
    viewer.seen(|seen| {
        let first = seen.video().into_iter().min_by_key(|p| p.sequence).cloned();
        let first = first.expect("video");
        assert!(media::begins_keyframe(Codec::Vp8, &first.payload));
    });
    // From here it is a session as any other.
    server.patch(&session, &tag, fragment).await.expect(204);
    server.patch_answer(&session, &sdp).await.expect(415);
    assert_eq!(server.rooms().await[0]["viewers"], 1);
    server.delete(&session).await.expect(200);
    assert!(viewer.until(SOON, |seen| seen.closed).await);
}

#[tokio::test]
async fn case_70_publishers_and_malformed_offers_get_none() {
    let server = Server::with(ALWAYS).await;
    server.post("/whip/r", OBS).await.expect(201);
    server.post("/whep/r", "garbage").await.expect(400);
    let viewing = server.rooms().await[0]["viewers"].clone();
    assert_eq!(viewing, 0);
}

#[tokio::test]
async fn case_70_a_wrong_answer_is_refused_and_may_be_mended() {
    let server = Server::with(ALWAYS).await;
    let _publisher = publish(&server, &[Codec::Vp8]).await;
    let viewer = Client::answerer(&[Codec::Vp8]);
    let answer = server.post("/whep/r", &viewer.offer).await;
    let session = offered(&answer);
    let sdp = viewer.answer(&answer.body);
    for (bad, status) in [
        ("garbage".to_owned(), 400),
        (String::new(), 400),
        (sdp.replace("a=ice-pwd", "a=x"), 400),
        (sdp.replace("a=recvonly", "a=sendonly"), 422),
    ] {
        server.patch_answer(&session, &bad).await.expect(status);
    }
    // An answer without the codec that is published.
    let deaf = Client::answerer(&[Codec::H264]);
    let refused = server
        .patch_answer(&session, &deaf.answer(&answer.body))
        .await;
    refused.expect(422);
    assert_eq!(refused.json()["publishes"], serde_json::json!(["VP8"]));
    server.patch_answer(&session, &sdp).await.expect(204);
    viewer.connected().await;
    assert!(viewer.more_video(20, SOON).await);
}

#[tokio::test]
async fn case_70_an_offer_that_is_not_answered_ends() {
    let limits = "[limits]\nconnect_timeout = \"2s\"\n";
    let server = Server::with(&format!("{ALWAYS}{limits}")).await;
    let viewer = Client::answerer(&[Codec::Vp8]);
    let answer = server.post("/whep/r", &viewer.offer).await;
    let session = offered(&answer);
    let sdp = viewer.answer(&answer.body);
    tokio::time::sleep(Duration::from_secs(4)).await;
    server.patch_answer(&session, &sdp).await.expect(404);
    assert!(server.rooms().await.is_empty(), "its place is free");
    // DELETE ends one too.
    let answer = server.post("/whep/r", &viewer.offer).await;
    let session = offered(&answer);
    server.delete(&session).await.expect(200);
    server.patch_answer(&session, &sdp).await.expect(404);
}

#[tokio::test]
async fn case_70_mismatch_mode_offers_only_what_the_viewer_lacked() {
    let server = Server::with(MISMATCH).await;
    let _publisher = publish(&server, &[Codec::Vp8]).await;
    let mut fits = Client::viewer(&[Codec::Vp8]);
    let answer = server.post("/whep/r", &fits.offer).await;
    answer.expect(201);
    fits.accept(&answer.body);
    assert!(fits.more_video(20, SOON).await);
    let lacks = Client::viewer(&[Codec::H264]);
    let answer = server.post("/whep/r", &lacks.offer).await;
    let session = offered(&answer);
    // What is published stands first.
    let video = answer.body.split("m=video ").nth(1).expect("video");
    let first = video.lines().find_map(|l| l.strip_prefix("a=rtpmap:"));
    assert!(first.expect("a codec").ends_with(" VP8/90000"), "{first:?}");
    let able = Client::answerer(&[Codec::Vp8]);
    let sdp = able.answer(&answer.body);
    server.patch_answer(&session, &sdp).await.expect(204);
    able.connected().await;
    assert!(able.more_video(20, SOON).await);
}
