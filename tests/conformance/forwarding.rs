//! Cases 61–66: what viewers get.

use std::time::Duration;

use super::client::{Client, Packet, Track};
use super::media::{self, Codec, ParameterSets};
use super::server::Server;

const SOON: Duration = Duration::from_secs(5);

async fn publish(server: &Server, path: &str, tracks: &[Track]) -> (Client, String) {
    let mut publisher = Client::publisher(tracks);
    let answer = server.post(path, &publisher.offer).await;
    let session = answer.location();
    publisher.accept(&answer.body);
    publisher.connected().await;
    (publisher, session)
}

async fn watch(server: &Server, path: &str, codecs: &[Codec]) -> (Client, String) {
    let mut viewer = Client::viewer(codecs);
    let answer = server.post(path, &viewer.offer).await;
    let session = answer.location();
    viewer.accept(&answer.body);
    viewer.connected().await;
    (viewer, session)
}

/// Every packet follows the one before: no gap, no repeat, one SSRC.
fn assert_continuous(packets: &[&Packet]) {
    let mut numbers: Vec<u64> = packets.iter().map(|p| p.sequence).collect();
    numbers.sort_unstable();
    for pair in numbers.windows(2) {
        assert_eq!(pair[1], pair[0] + 1, "sequence numbers");
    }
    assert!(
        packets.iter().all(|p| p.ssrc == packets[0].ssrc),
        "one SSRC"
    );
}

#[tokio::test]
async fn case_61_a_second_publisher_takes_over_and_viewers_stay() {
    let server = Server::start().await;
    let (old, old_session) = publish(&server, "/whip/r", &[Track::new(Codec::Vp8)]).await;
    let (viewer, viewer_session) = watch(&server, "/whep/r", &[Codec::Vp8]).await;
    assert!(viewer.more_video(30, SOON).await);
    // An offer that fails changes nothing.
    server.post("/whip/r", "garbage").await.expect(400);
    assert!(viewer.more_video(30, SOON).await);

    let (_new, new_session) = publish(&server, "/whip/r", &[Track::new(Codec::Vp8)]).await;
    assert!(
        old.until(SOON, |seen| seen.closed).await,
        "close_notify to the old one"
    );
    assert!(
        viewer.more_video(60, SOON).await,
        "the viewer sees the new one"
    );
    assert!(!viewer.seen(|seen| seen.closed));
    server.get(&old_session).await.expect(404);
    for session in [&new_session, &viewer_session] {
        assert_eq!(server.get(session).await.status, 204);
    }
    let rooms = server.rooms().await;
    assert_eq!(rooms[0]["participants"].as_array().unwrap().len(), 1);
    assert_eq!(rooms[0]["viewers"], 1);
    viewer.seen(|seen| assert_continuous(&seen.video()));
}

#[tokio::test]
async fn case_62_the_best_layer_is_known_by_its_size_not_by_its_name() {
    let server = Server::start().await;
    let mut track = Track::new(Codec::Vp8);
    track.layers = vec![("0", (320, 180)), ("1", (1280, 720)), ("2", (640, 360))];
    let (_publisher, _) = publish(&server, "/whip/r", &[track]).await;
    let (viewer, _) = watch(&server, "/whep/r", &[Codec::Vp8]).await;
    let best = |p: &&Packet| media::vp8_size(&p.payload) == Some((1280, 720));
    assert!(
        viewer
            .until(SOON, |seen| seen.video().iter().any(best))
            .await,
        "sizes: {:?}",
        viewer.seen(|seen| seen
            .video()
            .iter()
            .filter_map(|p| media::vp8_size(&p.payload))
            .collect::<Vec<_>>())
    );
    assert!(viewer.more_video(30, SOON).await);
    viewer.seen(|seen| assert_continuous(&seen.video()));
    let rooms = server.rooms().await;
    let encodings = &rooms[0]["participants"][0]["tracks"][0]["encodings"];
    let widths: Vec<_> = encodings
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["width"])
        .collect();
    assert_eq!(widths.len(), 3, "{encodings}");
}

#[tokio::test]
async fn case_63_a_rid_that_was_not_negotiated_does_no_harm() {
    let server = Server::start().await;
    let mut track = Track::new(Codec::H264);
    track.stray_rid = Some("0");
    let (_publisher, _) = publish(&server, "/whip/r", &[track]).await;
    let (viewer, _) = watch(&server, "/whep/r", &[Codec::H264]).await;
    assert!(viewer.more_video(30, SOON).await, "video is received");
}

/// Joins late, several times, and expects a keyframe first, and soon.
async fn joins_at_a_keyframe(codec: Codec) {
    let server = Server::start().await;
    let (_publisher, _) = publish(&server, "/whip/r", &[Track::new(codec)]).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    for _ in 0..2 {
        let (viewer, _) = watch(&server, "/whep/r", &[codec]).await;
        let joined = std::time::Instant::now();
        let found = viewer.until(SOON, |seen| !seen.video().is_empty()).await;
        assert!(found, "something arrives");
        let took = joined.elapsed();
        assert!(took < Duration::from_millis(1000), "{took:?}");
        let first = viewer.seen(|seen| {
            let video = seen.video();
            let first = video.iter().min_by_key(|p| p.sequence);
            first.map(|p| p.payload.clone())
        });
        let first = first.expect("a packet");
        assert!(
            media::begins_keyframe(codec, &first),
            "{:02x?}",
            &first[..8]
        );
    }
}

#[tokio::test]
async fn case_64_a_late_joiner_starts_with_a_keyframe() {
    joins_at_a_keyframe(Codec::Vp8).await;
    joins_at_a_keyframe(Codec::H264).await;
}

#[tokio::test]
async fn case_65_a_forwarded_idr_carries_its_parameter_sets() {
    let mut server = Server::start().await;
    let mut track = Track::new(Codec::H264);
    track.sets = ParameterSets::Once;
    let (publisher, _) = publish(&server, "/whip/r", &[track]).await;
    // The first IDR, with its parameter sets, is long past when viewers come.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..2 {
        let (viewer, _) = watch(&server, "/whep/r", &[Codec::H264]).await;
        assert!(viewer.more_video(40, SOON).await);
        let units = viewer.seen(|seen| {
            let mut video: Vec<Packet> = seen.video().into_iter().cloned().collect();
            video.sort_by_key(|p| p.sequence);
            assert_continuous(&video.iter().collect::<Vec<_>>());
            let units = video
                .iter()
                .map(|p| (p.timestamp, media::nal_types(&p.payload)));
            units.collect::<Vec<_>>()
        });
        let (at, _) = units
            .iter()
            .find(|(_, kinds)| kinds.contains(&5))
            .expect("an IDR picture");
        let same: Vec<u8> = units
            .iter()
            .filter(|(timestamp, _)| timestamp == at)
            .flat_map(|(_, kinds)| kinds.clone())
            .collect();
        let place = |kind| same.iter().position(|k| *k == kind);
        assert!(
            place(7) < place(5) && place(7).is_some(),
            "SPS first: {same:?}"
        );
        assert!(
            place(8) < place(5) && place(8).is_some(),
            "PPS first: {same:?}"
        );
    }
    // B pictures, which browsers show out of order, were there all the time.
    assert!(server.alive());
    assert!(!publisher.seen(|seen| seen.closed));
}

#[tokio::test]
async fn case_66_a_nack_leaves_alone_and_reduced() {
    let server = Server::start().await;
    let mut publisher = Client::publisher(&[Track::new(Codec::Vp8)]);
    // What FFmpeg offers: reduced size, and no transport feedback.
    let offer = super::offers::without(&publisher.offer, &["a=rtcp-rsize"]);
    let offer: String = offer
        .lines()
        .filter(|line| !line.contains("transport-cc") && !line.contains("transport-wide-cc"))
        .map(|line| match line {
            "a=rtcp-mux" => "a=rtcp-mux\r\na=rtcp-rsize\r\n".to_owned(),
            line => format!("{line}\r\n"),
        })
        .collect();
    let answer = server.post("/whip/r", &offer).await;
    answer.expect(201);
    assert!(answer.body.contains("a=rtcp-rsize"));
    publisher.accept(&answer.body);
    publisher.connected().await;
    let (viewer, _) = watch(&server, "/whep/r", &[Codec::Vp8]).await;
    assert!(viewer.more_video(10, SOON).await);
    publisher.lose_every(20);
    // Generic NACK is transport feedback, packet type 205 (RFC 4585 §6.2.1).
    let nack = |seen: &super::client::Seen| seen.rtcp.iter().any(|(kind, ..)| *kind == 205);
    assert!(
        publisher.until(SOON, nack).await,
        "a NACK that stands first"
    );
    publisher.seen(|seen| {
        for (_, header, datagram) in seen.rtcp.iter().filter(|(kind, ..)| *kind == 205) {
            // SRTCP adds its index and a tag of 10 or 16 bytes; another packet would be 8 at least.
            let more = datagram - header;
            assert!(more == 14 || more == 20, "{header} of {datagram} bytes");
        }
    });
    // What was lost is repaired on the way, so the viewer's line has no gaps.
    publisher.lose_every(0);
    assert!(viewer.more_video(30, SOON).await);
    tokio::time::sleep(Duration::from_millis(300)).await;
    viewer.seen(|seen| assert_continuous(&seen.video()));
}

#[tokio::test]
async fn clients_with_ipv6_alone_publish_and_watch() {
    let server = Server::start().await;
    let tracks = [Track::new(Codec::Vp8)];
    let mut publisher = Client::over_ipv6(&tracks, true);
    let answer = server.post("/whip/r", &publisher.offer).await;
    publisher.accept(&answer.body);
    publisher.connected().await;
    let mut viewer = Client::over_ipv6(&tracks, false);
    let answer = server.post("/whep/r", &viewer.offer).await;
    viewer.accept(&answer.body);
    viewer.connected().await;
    assert!(viewer.address().is_ipv6());
    assert!(viewer.more_video(30, SOON).await);
    viewer.seen(|seen| assert_continuous(&seen.video()));
}

#[tokio::test]
async fn a_viewer_of_a_room_names_whom_it_sees_or_learns_who_is_in_its_sections() {
    let server = Server::start().await;
    let (_alice, _) = publish(&server, "/whip/r/alice", &[Track::new(Codec::Vp8)]).await;
    let (_bob, _) = publish(&server, "/whip/r/bob", &[Track::new(Codec::Vp8)]).await;
    let (named, _) = watch(&server, "/whep/r?participant=bob", &[Codec::Vp8]).await;
    assert!(named.more_video(30, SOON).await);
    let rooms = server.rooms().await;
    let viewing = &rooms[0]["viewing"][0];
    assert_eq!(viewing["watching"], "bob");
    assert_eq!(viewing["slots"][0]["participant"], "bob");

    let (all, session) = watch(&server, "/whep/r", &[Codec::Vp8, Codec::Vp8]).await;
    let mut events = server.events(&session, "[\"slots\"]").await;
    let slots = events
        .until("slots", |slots| {
            let shown = slots.as_object().expect("an object").values();
            shown.filter(|name| name.is_string()).count() == 2
        })
        .await;
    let mut shown: Vec<&str> = slots
        .as_object()
        .expect("an object")
        .values()
        .filter_map(|name| name.as_str())
        .collect();
    shown.sort_unstable();
    assert_eq!(shown, ["alice", "bob"]);
    let both = |seen: &super::client::Seen| {
        let ssrcs = seen.packets.iter().map(|p| p.ssrc);
        ssrcs.collect::<std::collections::BTreeSet<_>>().len() == 2
    };
    assert!(all.until(SOON, both).await, "media in both sections");

    let viewer = Client::viewer(&[Codec::Vp8]);
    let answer = server.post("/whep/r?participant=", &viewer.offer).await;
    answer.expect(400);
}

#[tokio::test]
async fn everybody_sees_and_hears_everybody_but_himself_in_one_session() {
    let server = Server::with("[whep]\nvideo_slots = 2\naudio_slots = 2\n").await;
    let tracks = [Track::new(Codec::Opus), Track::new(Codec::Vp8)];
    let (_alice, _) = publish(&server, "/whip/r/alice", &tracks).await;
    let (_bob, _) = publish(&server, "/whip/r/bob", &tracks).await;
    let (_carol, _) = publish(&server, "/whip/r/carol", &tracks).await;
    let sections = [Codec::Opus, Codec::Opus, Codec::Vp8, Codec::Vp8];
    for (name, others) in [("alice", ["bob", "carol"]), ("bob", ["alice", "carol"])] {
        let (viewer, session) =
            watch(&server, &format!("/whep/r?identity={name}"), &sections).await;
        let mut events = server.events(&session, "[\"slots\"]").await;
        let slots = events
            .until("slots", |slots| {
                let shown = slots.as_object().expect("an object").values();
                shown.filter(|name| name.is_string()).count() == 4
            })
            .await;
        let shown = slots.as_object().expect("an object").values();
        let mut shown: Vec<&str> = shown.filter_map(|name| name.as_str()).collect();
        shown.sort_unstable();
        assert_eq!(shown, [others[0], others[0], others[1], others[1]]);
        let all = |seen: &super::client::Seen| {
            let ssrcs = seen.packets.iter().map(|p| p.ssrc);
            ssrcs.collect::<std::collections::BTreeSet<_>>().len() == 4
        };
        assert!(viewer.until(SOON, all).await, "media in all sections");
    }
    let viewer = Client::viewer(&[Codec::Vp8]);
    for wrong in ["identity=", "identity=a&identity=b"] {
        let answer = server
            .post(&format!("/whep/r?{wrong}"), &viewer.offer)
            .await;
        answer.expect(400);
    }
}
