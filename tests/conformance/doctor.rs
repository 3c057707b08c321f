//! The doctor: publishers that really have a fault, and those that have none.

use std::time::Duration;

use serde_json::Value;

use super::client::{Client, Faults, Track};
use super::media::{Codec, ParameterSets};
use super::server::Server;

/// What a busy machine does to any publisher.
const OF_THE_MACHINE: [&str; 2] = ["late_frames", "clock_drift"];

async fn publish(
    server: &Server,
    room: &str,
    tracks: &[Track],
    change: fn(&str) -> bool,
) -> Client {
    let mut publisher = Client::publisher(tracks);
    let lines = publisher.offer.lines().filter(|line| change(line));
    let offer: String = lines.map(|line| format!("{line}\r\n")).collect();
    let answer = server.post(&format!("/whip/{room}"), &offer).await;
    answer.expect(201);
    publisher.accept(&answer.body);
    publisher.connected().await;
    publisher
}

/// The findings of a room's only publisher.
async fn findings(server: &Server, room: &str) -> Vec<Value> {
    let rooms = server.rooms().await;
    let found = rooms.iter().find(|r| r["name"] == room).expect("the room");
    let list = found["participants"][0]["findings"].as_array();
    list.expect("findings").clone()
}

fn with(codec: Codec, faults: Faults) -> Track {
    Track {
        faults,
        ..Track::new(codec)
    }
}

/// Waits until the finding is there, and checks that it explains itself.
async fn finds(server: &Server, room: &str, code: &str) -> Value {
    for _ in 0..90 {
        let found = findings(server, room).await;
        if let Some(finding) = found.into_iter().find(|f| f["code"] == code) {
            let text = |value: &Value| value.as_str().is_some_and(|t| t.len() > 10);
            assert!(
                text(&finding["what"]) && text(&finding["effect"]),
                "{finding}"
            );
            for tool in ["obs", "ffmpeg", "gstreamer", "browser"] {
                assert!(text(&finding["change"][tool]), "{finding}");
            }
            return finding;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("{code} was not found: {:?}", findings(server, room).await);
}

#[tokio::test]
async fn publishers_without_fault_have_no_findings() {
    let server = Server::start().await;
    let mut layers = Track::new(Codec::Vp8);
    layers.layers = vec![("h", (1280, 720)), ("l", (320, 180))];
    let both = [Track::new(Codec::Opus), Track::new(Codec::Vp8)];
    let _plain = publish(&server, "plain", &both, |_| true).await;
    let _simulcast = publish(&server, "simulcast", &[layers], |_| true).await;
    let mut viewer = Client::viewer(&[Codec::Opus, Codec::Vp8]);
    let answer = server.post("/whep/plain", &viewer.offer).await;
    answer.expect(201);
    viewer.accept(&answer.body);
    viewer.connected().await;
    // As long as the slowest finding takes.
    tokio::time::sleep(Duration::from_secs(12)).await;
    for room in ["plain", "simulcast"] {
        let mut found = findings(&server, room).await;
        found.retain(|f| !OF_THE_MACHINE.iter().any(|code| f["code"] == *code));
        assert!(found.is_empty(), "{room}: {found:?}");
    }
}

#[tokio::test]
async fn every_fault_of_a_publisher_is_found_and_explained() {
    let server = Server::start().await;
    let deaf = Faults {
        deaf: Some(30 * 5),
        ..Faults::default()
    };
    let fast = Faults {
        clock: 20,
        ..Faults::default()
    };
    let dead = Faults {
        dead_layer: Some("h"),
        ..Faults::default()
    };
    let mut layers = with(Codec::Vp8, dead);
    layers.layers = vec![("h", (1280, 720)), ("l", (320, 180))];
    let mut bare = Track::new(Codec::H264);
    bare.sets = ParameterSets::Never;
    let no_nack = |line: &str| !line.ends_with(" nack");

    let _a = publish(&server, "b-frames", &[Track::new(Codec::H264)], |_| true).await;
    let _b = publish(&server, "bare", &[bare], |_| true).await;
    let _c = publish(&server, "deaf", &[with(Codec::Vp8, deaf)], |_| true).await;
    let _d = publish(&server, "fast", &[with(Codec::Vp8, fast)], |_| true).await;
    let _e = publish(&server, "dead", &[layers], |_| true).await;
    let _f = publish(&server, "no-nack", &[Track::new(Codec::Vp8)], no_nack).await;
    let lossy = publish(&server, "lossy", &[Track::new(Codec::Vp8)], |_| true).await;
    lossy.lose_every(12);

    assert_eq!(
        finds(&server, "b-frames", "b_frames").await["severity"],
        "error"
    );
    finds(&server, "bare", "parameter_sets_missing").await;
    finds(&server, "no-nack", "no_nack").await;
    finds(&server, "lossy", "uplink_loss").await;
    assert_eq!(finds(&server, "dead", "dead_layer").await["rid"], "h");
    let interval = finds(&server, "deaf", "keyframe_interval").await;
    let what = interval["what"].as_str().expect("text");
    assert!(
        what.contains("every 5.") || what.contains("every 4."),
        "{what}"
    );
    let drift = finds(&server, "fast", "clock_drift").await;
    let what = drift["what"].as_str().expect("text");
    assert!(what.contains("too fast"), "{what}");
}
