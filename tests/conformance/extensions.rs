//! Cases 68 and 69: events and layer selection (draft-ietf-wish-whep-events).

use std::time::Duration;

use serde_json::Value;

use super::client::{Client, Faults, Packet, Track};
use super::media::{self, Codec};
use super::offers::{OBS, PLAYER};
use super::server::{Answer, Server};

const SOON: Duration = Duration::from_secs(8);

/// Three layers whose names say nothing about their sizes.
fn layers() -> Track {
    let mut track = Track::new(Codec::Vp8);
    track.layers = vec![("0", (320, 180)), ("1", (1280, 720)), ("2", (640, 360))];
    track
}

async fn publish(server: &Server, path: &str, track: Track) -> (Client, String) {
    let mut publisher = Client::publisher(&[track]);
    let answer = server.post(path, &publisher.offer).await;
    let session = answer.location();
    publisher.accept(&answer.body);
    publisher.connected().await;
    (publisher, session)
}

/// A viewer, its session and the mid of its section.
async fn watch(server: &Server, path: &str) -> (Client, String, String) {
    let mut viewer = Client::viewer(&[Codec::Vp8]);
    let answer = server.post(path, &viewer.offer).await;
    let session = answer.location();
    viewer.accept(&answer.body);
    viewer.connected().await;
    (viewer, session, mid(&answer))
}

fn mid(answer: &Answer) -> String {
    let mut lines = answer.body.lines();
    let line = lines.find_map(|line| line.strip_prefix("a=mid:"));
    line.expect("a mid").to_owned()
}

fn size(packet: &Packet) -> Option<(u16, u16)> {
    media::vp8_size(&packet.payload)
}

/// Waits until the newest keyframe to have come has this size.
async fn shows(viewer: &Client, wanted: (u16, u16)) -> bool {
    let newest = |seen: &super::client::Seen| {
        let mut video = seen.video();
        video.sort_by_key(|p| p.sequence);
        video.into_iter().rev().find_map(size)
    };
    viewer
        .until(SOON, |seen| newest(seen) == Some(wanted))
        .await
}

fn rids(layers: &Value) -> Vec<&str> {
    let list = layers.as_array().expect("a list");
    list.iter().filter_map(|l| l["rid"].as_str()).collect()
}

#[tokio::test]
async fn case_68_the_answer_links_events_and_layer_selection() {
    let server = Server::start().await;
    let viewer = server.post("/whep/r", PLAYER).await;
    let session = viewer.location();
    let links = viewer.fields("link");
    for wanted in [
        format!(
            "<{session}/events>; rel=\"urn:ietf:params:whep:ext:core:server-sent-events\"; \
             events=\"active,inactive,layers,viewercount\""
        ),
        format!("<{session}/layer>; rel=\"urn:ietf:params:whep:ext:core:layer\""),
    ] {
        assert!(links.contains(&&*wanted), "{links:?}");
    }
    let publisher = server.post("/whip/r", OBS).await;
    assert!(publisher.expect(201).fields("link").is_empty());
}

#[tokio::test]
async fn case_68_layers_are_told_by_mid_with_what_flows() {
    let server = Server::start().await;
    let (_publisher, _) = publish(&server, "/whip/r", layers()).await;
    let (viewer, session, mid) = watch(&server, "/whep/r").await;
    assert!(shows(&viewer, (1280, 720)).await);
    let mut events = server.events(&session, "[\"layers\"]").await;
    let complete = |data: &Value| {
        let list = data[&mid].as_array();
        list.is_some_and(|list| list.len() == 3 && list.iter().all(|l| l["bitrate"] != 0))
    };
    let data = events.until("layers", complete).await;
    let list = &data[&mid];
    // The best first, whatever the names.
    assert_eq!(rids(list), ["1", "2", "0"]);
    assert_eq!(list[0]["selected"], true, "{list}");
    assert!(list[0]["targetBitrate"].as_u64().expect("a rate") > 0);
    for (layer, (width, height)) in
        list.as_array()
            .expect("a list")
            .iter()
            .zip([(1280, 720), (640, 360), (320, 180)])
    {
        assert_eq!(
            (&layer["width"], &layer["height"]),
            (&width.into(), &height.into())
        );
        assert_eq!(
            (&layer["spatialLayerId"], &layer["temporalLayerId"]),
            (&0.into(), &0.into())
        );
        assert_eq!(layer["encodingId"], layer["rid"]);
        assert!(
            layer["bitrate"].as_u64().expect("a rate") > 10_000,
            "{layer}"
        );
    }
}

#[tokio::test]
async fn case_68_layers_are_told_again_when_they_change_and_else_seldom() {
    let server = Server::start().await;
    let (viewer, session, mid) = watch(&server, "/whep/r/ann").await;
    let mut events = server.events(&session, "[\"layers\"]").await;
    // Told at once, though nobody publishes yet.
    let (name, data) = events.next().await.expect("an event");
    assert_eq!(
        (&*name, &data),
        ("layers", &serde_json::json!({ mid.clone(): [] }))
    );
    let (_publisher, publishing) = publish(&server, "/whip/r/ann", layers()).await;
    events
        .until("layers", |data| rids(&data[&mid]).len() == 3)
        .await;
    assert!(viewer.more_video(30, SOON).await);
    // Bitrates move all the time; they are told every two seconds at most.
    let mut told = 0;
    let count = async {
        while events.next().await.is_some() {
            told += 1;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(5), count).await;
    assert!((1..=8).contains(&told), "{told} events in 5 s");
    server.delete(&publishing).await.expect(200);
    events
        .until("layers", |data| rids(&data[&mid]).is_empty())
        .await;
}

#[tokio::test]
async fn case_68_active_and_inactive_follow_the_publisher() {
    let server = Server::start().await;
    let (_viewer, session, _) = watch(&server, "/whep/r").await;
    let mut events = server
        .events(&session, "[\"active\",\"inactive\",\"viewercount\"]")
        .await;
    // Without a publisher the first news is no `inactive`.
    let (name, data) = events.next().await.expect("an event");
    assert_eq!((&*name, &data["viewercount"]), ("viewercount", &1.into()));
    let (_publisher, publishing) = publish(&server, "/whip/r", Track::new(Codec::Vp8)).await;
    let (name, _) = events.next().await.expect("an event");
    assert_eq!(name, "active");
    server.delete(&publishing).await.expect(200);
    let data = events.until("inactive", |_| true).await;
    assert_eq!(data["reason"], "no-publisher");
}

#[tokio::test]
async fn case_68_unknown_events_are_400() {
    let server = Server::start().await;
    let session = server.post("/whep/r", PLAYER).await.location();
    let events = format!("{session}/events");
    let json = ("content-type", "application/json");
    for body in [
        "[\"layer\"]",
        "[\"layers\",\"scte35\"]",
        "[]",
        "{}",
        "[1]",
        "",
        "layers",
    ] {
        let answer = server.send("POST", &events, &[json], body).await;
        answer.expect(400);
        let problem = answer.json();
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("viewercount"), "names them: {detail}");
    }
    let text = ("content-type", "text/plain");
    let answer = server.send("POST", &events, &[text], "[\"layers\"]").await;
    assert_eq!(answer.expect(415).field("accept-post"), "application/json");
    let publisher = server.post("/whip/r", OBS).await.location();
    let path = format!("{publisher}/events");
    server
        .send("POST", &path, &[json], "[\"layers\"]")
        .await
        .expect(404);
}

#[tokio::test]
async fn case_68_a_wait_for_the_publishers_keyframe_is_told() {
    let server = Server::start().await;
    let mut track = Track::new(Codec::Vp8);
    // The first one after four seconds, whoever asks.
    track.faults = Faults {
        deaf: Some(120),
        late: true,
        ..Faults::default()
    };
    let (publisher, _) = publish(&server, "/whip/r", track).await;
    let (viewer, session, _) = watch(&server, "/whep/r").await;
    let mut events = server.events(&session, "[\"active\",\"inactive\"]").await;
    let told = events
        .until("inactive", |data| data["reason"] == "keyframe")
        .await;
    let waited = told["seconds"].as_f64().expect("seconds");
    assert!((1.0..4.5).contains(&waited), "{told}");
    // No former keyframes tell when the next one comes.
    assert_eq!(told["expectedSeconds"], Value::Null, "{told}");
    assert!(viewer.seen(|seen| seen.video().is_empty()));
    assert!(
        publisher.seen(|seen| seen.keyframe_requests > 0),
        "it was asked"
    );
    events.until("active", |_| true).await;
    assert!(viewer.more_video(10, SOON).await);
}

#[tokio::test]
async fn case_68_a_stream_ends_with_its_delete_and_with_its_session() {
    let server = Server::start().await;
    let (_viewer, session, _) = watch(&server, "/whep/r").await;
    let json = [("content-type", "application/json")];
    let path = format!("{session}/events");
    let make = || server.send("POST", &path, &json, "[\"layers\",\"viewercount\"]");
    let (first, second) = (make().await.location(), make().await.location());
    assert_ne!(first, second);
    let (mut one, mut two) = (
        server.read_events(&first).await,
        server.read_events(&second).await,
    );
    server.delete(&first).await.expect(200);
    assert!(one.ended().await, "DELETE ends the stream");
    server.get(&first).await.expect(404);
    server.delete(&first).await.expect(404);
    assert!(two.next().await.is_some(), "the other stream goes on");
    server.delete(&session).await.expect(200);
    assert!(two.ended().await, "the session's end ends the stream");
    server.get(&second).await.expect(404);
    make().await.expect(404);
}

#[tokio::test]
async fn quality_tells_what_the_viewer_gets() {
    let server = Server::start().await;
    let (_publisher, _) = publish(&server, "/whip/r", layers()).await;
    let (viewer, session, mid) = watch(&server, "/whep/r").await;
    assert!(shows(&viewer, (1280, 720)).await);
    let mut events = server.events(&session, "[\"quality\"]").await;
    let data = events
        .until("quality", |data| data["slots"][&mid]["rid"] == "1")
        .await;
    assert_eq!(data["slots"][&mid]["automatic"], true);
    assert_eq!(data["slots"][&mid]["width"], 1280);
    assert!(data.get("estimate").is_some(), "{data}");
    let choice = format!("{{\"mediaId\":\"{mid}\",\"rid\":\"2\"}}");
    server.choose(&session, &choice).await.expect(200);
    let data = events
        .until("quality", |data| data["slots"][&mid]["rid"] == "2")
        .await;
    assert_eq!(data["slots"][&mid]["automatic"], false);
}

#[tokio::test]
async fn case_69_a_chosen_layer_flows_and_only_media_id_returns_to_automatic() {
    let server = Server::start().await;
    let (_publisher, _) = publish(&server, "/whip/r", layers()).await;
    let (viewer, session, mid) = watch(&server, "/whep/r").await;
    assert!(shows(&viewer, (1280, 720)).await);
    let mut events = server.events(&session, "[\"layers\"]").await;
    let selected = |rid: &'static str, mid: &str| {
        let mid = mid.to_owned();
        move |data: &Value| {
            let list = data[&mid].as_array().expect("a list");
            list.iter()
                .any(|l| l["rid"] == rid && l["selected"] == true)
        }
    };
    let choice = format!("{{\"mediaId\":\"{mid}\",\"rid\":\"0\"}}");
    server.choose(&session, &choice).await.expect(200);
    assert!(shows(&viewer, (320, 180)).await, "the chosen layer");
    events.until("layers", selected("0", &mid)).await;
    // By the older name, and the section by its place.
    server
        .choose(&session, "{\"mediaId\":\"0\",\"encodingId\":\"2\"}")
        .await
        .expect(200);
    assert!(shows(&viewer, (640, 360)).await);
    server
        .choose(&session, &format!("{{\"mediaId\":\"{mid}\"}}"))
        .await
        .expect(200);
    assert!(shows(&viewer, (1280, 720)).await, "automatic again");
    events.until("layers", selected("1", &mid)).await;
    // The line never broke.
    viewer.seen(|seen| {
        let mut numbers: Vec<u64> = seen.video().iter().map(|p| p.sequence).collect();
        numbers.sort_unstable();
        assert!(numbers.windows(2).all(|n| n[1] == n[0] + 1), "sequence");
    });
}

#[tokio::test]
async fn case_69_what_is_not_there_is_refused_and_named() {
    let server = Server::start().await;
    let (_publisher, publishing) = publish(&server, "/whip/r", layers()).await;
    let (viewer, session, mid) = watch(&server, "/whep/r").await;
    assert!(viewer.more_video(10, SOON).await);
    let choice = format!("{{\"mediaId\":\"{mid}\",\"rid\":\"9\"}}");
    let answer = server.choose(&session, &choice).await;
    answer.expect(422);
    let mut named: Vec<String> = Vec::new();
    for rid in answer.json()["rids"].as_array().expect("rids") {
        named.push(rid.as_str().expect("a rid").to_owned());
    }
    named.sort();
    assert_eq!(named, ["0", "1", "2"]);
    let answer = server
        .choose(&session, "{\"mediaId\":\"other\",\"rid\":\"0\"}")
        .await;
    answer.expect(422);
    assert_eq!(answer.json()["mediaIds"], serde_json::json!([mid]));
    // The refusals changed nothing.
    assert!(shows(&viewer, (1280, 720)).await);
    server
        .choose(&publishing, "{\"mediaId\":\"0\"}")
        .await
        .expect(404);
    server
        .choose("/session/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "{}")
        .await
        .expect(404);
}

#[tokio::test]
async fn case_69_malformed_choices_are_400() {
    let server = Server::start().await;
    let session = server.post("/whep/r", PLAYER).await.location();
    for body in [
        "",
        "[]",
        "{",
        "{\"mediaId\":\"0\",\"rid\":1}",
        "{\"mediaId\":\"0\",\"spatialLayerId\":-1}",
        "{\"mediaId\":\"0\",\"maxWidth\":0}",
        "{\"mediaId\":\"0\",\"rid\":\"a\",\"encodingId\":\"b\"}",
    ] {
        server.choose(&session, body).await.expect(400);
    }
    let path = format!("{session}/layer");
    let answer = server.send("POST", &path, &[], "{}").await;
    assert_eq!(answer.expect(415).field("accept-post"), "application/json");
    let options = server.send("OPTIONS", &path, &[], "").await;
    assert_eq!(options.expect(200).field("accept-post"), "application/json");
}

#[tokio::test]
async fn case_69_the_watching_post_takes_the_choice_as_parameters() {
    let server = Server::start().await;
    let (_publisher, _) = publish(&server, "/whip/r", layers()).await;
    // Other layers may be found wrong only when their sizes are known.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (viewer, session, _) = watch(&server, "/whep/r?rid=2&other=x").await;
    assert!(!session.contains('?'));
    assert!(shows(&viewer, (640, 360)).await);
    viewer.seen(|seen| {
        let sizes: Vec<_> = seen.video().into_iter().filter_map(size).collect();
        assert!(sizes.iter().all(|s| *s == (640, 360)), "{sizes:?}");
    });
    let bad = Client::viewer(&[Codec::Vp8]);
    server.post("/whep/r?rid=9", &bad.offer).await.expect(422);
    server
        .post("/whep/r?maxWidth=0", &bad.offer)
        .await
        .expect(400);
    server
        .post("/whep/r?spatialLayerId=x", &bad.offer)
        .await
        .expect(400);
    assert_eq!(server.rooms().await[0]["viewers"], 1);
}

#[tokio::test]
async fn case_69_a_choice_made_before_the_publisher_comes_is_kept() {
    let server = Server::start().await;
    let (viewer, _, _) = watch(&server, "/whep/r?rid=0").await;
    let (_publisher, _) = publish(&server, "/whip/r", layers()).await;
    assert!(shows(&viewer, (320, 180)).await);
}
