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

#[tokio::test]
async fn stopping_says_goodbye_to_all_and_ends_cleanly() {
    let mut server = Server::start().await;
    let mut publisher = Client::publisher(&[Track::new(Codec::Vp8)]);
    let answer = server.post("/whip/r", &publisher.offer).await;
    answer.expect(201);
    publisher.accept(&answer.body);
    publisher.connected().await;
    // A session that never connects must not hold the server up.
    server.post("/whip/s", OBS).await.expect(201);
    let started = std::time::Instant::now();
    assert_eq!(server.terminate().await, Some(0));
    assert!(started.elapsed() < Duration::from_secs(8), "bounded");
    assert!(
        publisher
            .until(Duration::from_secs(2), |seen| seen.closed)
            .await
    );
}

#[tokio::test]
async fn the_list_of_rooms_has_its_agreed_form() {
    let server = Server::start().await;
    let mut publisher = Client::publisher(&[Track::new(Codec::Opus), Track::new(Codec::Vp8)]);
    let answer = server.post("/whip/studio/ann", &publisher.offer).await;
    answer.expect(201);
    publisher.accept(&answer.body);
    publisher.connected().await;
    let mut viewer = Client::viewer(&[Codec::Opus, Codec::Vp8]);
    let answer = server.post("/whep/studio", &viewer.offer).await;
    answer.expect(201);
    viewer.accept(&answer.body);
    assert!(viewer.more_video(60, Duration::from_secs(10)).await);
    // Rates and counts are those of the last whole second.
    let end = tokio::time::Instant::now() + Duration::from_secs(10);
    let rooms = loop {
        let rooms = server.rooms().await;
        let video = &rooms[0]["participants"][0]["tracks"][1];
        let measured = video["encodings"][0]["bitrate"].as_u64() > Some(0)
            && video["encodings"][0]["packets"].as_u64() > Some(60)
            && rooms[0]["viewing"][0]["packets"].as_u64() > Some(60);
        if measured || tokio::time::Instant::now() > end {
            break rooms;
        }
        assert!(viewer.more_video(10, Duration::from_secs(10)).await);
    };
    assert_eq!(rooms.len(), 1);
    assert_eq!(rooms[0]["name"], "studio");
    assert_eq!(rooms[0]["viewers"], 1);
    let ann = &rooms[0]["participants"][0];
    assert_eq!(ann["identity"], "ann");
    let tracks = ann["tracks"].as_array().expect("tracks");
    let codecs: Vec<_> = tracks
        .iter()
        .map(|t| (t["kind"].as_str(), t["codec"].as_str()))
        .collect();
    assert!(
        codecs.contains(&(Some("audio"), Some("opus"))),
        "{codecs:?}"
    );
    assert!(codecs.contains(&(Some("video"), Some("VP8"))), "{codecs:?}");
    let video = tracks.iter().find(|t| t["kind"] == "video").expect("video");
    let encoding = &video["encodings"][0];
    assert_eq!(encoding["active"], true);
    assert_eq!(
        (&encoding["width"], &encoding["height"]),
        (&640.into(), &480.into())
    );
    assert!(
        encoding["bitrate"].as_u64().expect("a rate") > 10_000,
        "{encoding}"
    );
    assert!(encoding["packets"].as_u64().expect("a count") > 60);
    let watching = &rooms[0]["viewing"][0];
    assert_eq!(watching["watching"], "ann");
    assert_eq!(watching["connected"], true);
    assert!(
        watching["packets"].as_u64().expect("a count") > 60,
        "{watching}"
    );
}
