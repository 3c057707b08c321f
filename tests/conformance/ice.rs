//! Cases 15, 22, 25–30 and 48–50: connections as clients really make them.

use std::time::{Duration, Instant};

use super::client::{Client, Track};
use super::media::Codec;
use super::offers::{PLAYER, credentials};
use super::server::Server;
use super::stun;

const SOON: Duration = Duration::from_secs(5);

/// Publishes with this offer and expects a viewer to get pictures.
async fn flows(server: &Server, publisher: &mut Client, offer: &str) -> (String, Client) {
    let answer = server.post("/whip/r", offer).await;
    let session = answer.location();
    publisher.accept(&answer.body);
    publisher.connected().await;
    let viewer = watch(server).await;
    assert!(viewer.more_video(30, SOON).await, "pictures flow");
    (session, viewer)
}

async fn watch(server: &Server) -> Client {
    let mut viewer = Client::viewer(&[Codec::Opus, Codec::Vp8]);
    let answer = server.post("/whep/r", &viewer.offer).await;
    answer.expect(201);
    viewer.accept(&answer.body);
    viewer.connected().await;
    viewer
}

fn vp8() -> Vec<Track> {
    vec![Track::new(Codec::Vp8)]
}

#[tokio::test]
async fn case_15_an_application_section_is_taken() {
    let server = Server::start().await;
    let mut publisher = Client::with_channel(&vp8());
    assert!(publisher.offer.contains("m=application"));
    let offer = publisher.offer.clone();
    flows(&server, &mut publisher, &offer).await;
    assert!(
        publisher.until(SOON, |seen| seen.channels_open > 0).await,
        "the data channel opens"
    );
}

#[tokio::test]
async fn case_22_video_alone_flows_under_mid_1() {
    let server = Server::start().await;
    let mut publisher = Client::publisher(&vp8());
    let (_, sections) = super::offers::parts(&publisher.offer);
    let mid = sections[0].value("mid").expect("a mid").to_owned();
    // The client's library names its sections itself: translate on the way.
    let rename = |sdp: &str, from: &str, to: &str| {
        sdp.replace(&format!("a=mid:{from}\r\n"), &format!("a=mid:{to}\r\n"))
            .replace(&format!("BUNDLE {from}\r\n"), &format!("BUNDLE {to}\r\n"))
    };
    let offer = rename(&publisher.offer, &mid, "1");
    let answer = server.post("/whip/r", &offer).await;
    answer.expect(201);
    assert!(answer.body.contains("a=mid:1\r\n"));
    publisher.accept(&rename(&answer.body, "1", &mid));
    publisher.connected().await;
    let viewer = watch(&server).await;
    assert!(viewer.more_video(30, SOON).await);
}

#[tokio::test]
async fn case_25_an_active_client_does_its_handshake() {
    let server = Server::start().await;
    let mut publisher = Client::publisher(&vp8());
    let offer = publisher.offer.replace("a=setup:actpass", "a=setup:active");
    flows(&server, &mut publisher, &offer).await;
    assert_eq!(publisher.seen(|seen| seen.client_hellos), 0);
}

#[tokio::test]
async fn case_26_a_passive_client_gets_the_client_hello() {
    let server = Server::start().await;
    let mut publisher = Client::publisher(&vp8());
    let offer = publisher
        .offer
        .replace("a=setup:actpass", "a=setup:passive");
    flows(&server, &mut publisher, &offer).await;
    assert!(publisher.seen(|seen| seen.client_hellos) > 0);
}

#[tokio::test]
async fn case_27_a_client_without_candidates_connects() {
    let server = Server::start().await;
    let mut publisher = Client::publisher(&vp8());
    let offer = publisher.offer_without_candidates();
    assert!(!offer.contains("candidate"));
    flows(&server, &mut publisher, &offer).await;
}

#[tokio::test]
async fn case_28_a_check_without_ice_attributes_is_answered() {
    let server = Server::start().await;
    let answer = server.post("/whep/r", PLAYER).await;
    answer.expect(201);
    let (ufrag, pwd) = credentials(&answer.body);
    let (theirs, _) = credentials(PLAYER);
    let line = answer
        .body
        .lines()
        .find(|line| line.starts_with("a=candidate:"));
    let words: Vec<&str> = line.expect("a candidate").split(' ').collect();
    let address = format!("{}:{}", words[4], words[5])
        .parse()
        .expect("an address");
    let exchange = async |pwd: &str, transaction: &[u8; 12], more: &[u16]| {
        let request = stun::bare_request(&format!("{ufrag}:{theirs}"), pwd, *transaction, more);
        let reply = tokio::task::spawn_blocking(move || stun::exchange(address, &request));
        reply.await.expect("a thread")
    };
    let kind = |reply: &Option<Vec<u8>>| reply.as_ref().map(|reply| [reply[0], reply[1]]);
    // What must be understood and is not is refused by name (RFC 8489 §6.3.1, §14.13).
    let reply = exchange(&pwd, b"case28what??", &[0x4001, 0xC001, 0x0025, 0x4002]).await;
    assert_eq!(kind(&reply), Some([0x01, 0x11]), "binding error");
    let list = [
        0x00, 0x09, 0, 4, 0, 0, 4, 20, 0x00, 0x0A, 0, 4, 0x40, 1, 0x40, 2,
    ];
    assert_eq!(reply.expect("an error")[20..36], list);
    let reply = exchange(&pwd, b"case28case28", &[]).await;
    assert_eq!(kind(&reply), Some([0x01, 0x01]), "binding success");
    // With a wrong password there is no success.
    let reply = exchange("wrong", b"case28forged", &[]).await;
    assert_ne!(kind(&reply), Some([0x01, 0x01]));
}

/// A short consent time-out, so that the cases about it end soon.
const IMPATIENT: &str = "[limits]\nconsent_timeout = \"2s\"\n";

#[tokio::test]
async fn case_29_media_alone_keeps_a_session() {
    let server = Server::with(IMPATIENT).await;
    let mut publisher = Client::publisher(&vp8());
    let offer = publisher.offer.clone();
    let (session, viewer) = flows(&server, &mut publisher, &offer).await;
    publisher.send_no_stun();
    // Three times the time-out.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(viewer.more_video(20, SOON).await, "still flowing");
    assert_eq!(server.get(&session).await.status, 204);
}

#[tokio::test]
async fn case_30_a_silent_client_is_reaped() {
    let server = Server::with(IMPATIENT).await;
    let mut publisher = Client::publisher(&vp8());
    let offer = publisher.offer.clone();
    let (session, _viewer) = flows(&server, &mut publisher, &offer).await;
    publisher.send_nothing();
    let since = Instant::now();
    while server.get(&session).await.status == 204 {
        assert!(since.elapsed() < Duration::from_secs(8), "never reaped");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        since.elapsed() > Duration::from_secs(1),
        "not too early either"
    );
    // Its name is free, and the viewer waits for whoever comes.
    let rooms = server.rooms().await;
    assert_eq!(rooms[0]["participants"].as_array().unwrap().len(), 0);
    assert_eq!(rooms[0]["viewers"], 1);
}

#[tokio::test]
async fn case_48_after_a_restart_media_flows_on_a_new_path() {
    let server = Server::start().await;
    let mut publisher = Client::publisher(&vp8());
    let offer = publisher.offer.clone();
    let answer = server.post("/whip/r", &offer).await;
    let (session, tag) = (answer.location(), answer.field("etag").to_owned());
    publisher.accept(&answer.body);
    publisher.connected().await;
    let viewer = watch(&server).await;
    assert!(viewer.more_video(30, SOON).await);

    let old = publisher.address();
    let fragment = publisher.begin_restart();
    assert_ne!(publisher.address(), old);
    let answer = server.patch(&session, "*", &fragment).await;
    answer.expect(200);
    publisher.finish_restart(&answer.body);
    assert!(viewer.more_video(60, SOON).await, "flows on the new path");
    server.patch(&session, &tag, &fragment).await.expect(412);
    assert!(
        publisher.seen(|seen| seen.stun) > 0,
        "checks on the new path"
    );
    assert!(!publisher.seen(|seen| seen.closed));
}

#[tokio::test]
async fn case_48_a_viewer_restarts_too() {
    let server = Server::start().await;
    let mut publisher = Client::publisher(&vp8());
    let answer = server.post("/whip/r", &publisher.offer).await;
    answer.expect(201);
    publisher.accept(&answer.body);
    publisher.connected().await;
    let mut viewer = Client::viewer(&[Codec::Vp8]);
    let answer = server.post("/whep/r", &viewer.offer).await;
    let session = answer.location();
    viewer.accept(&answer.body);
    viewer.connected().await;
    assert!(viewer.more_video(30, SOON).await);
    let fragment = viewer.begin_restart();
    let answer = server.patch(&session, "*", &fragment).await;
    answer.expect(200);
    viewer.finish_restart(&answer.body);
    assert!(viewer.more_video(60, SOON).await, "flows on the new path");
}

#[tokio::test]
async fn case_49_the_restart_reply_keeps_what_describes_the_agent() {
    let server = Server::start().await;
    let mut publisher = Client::publisher(&vp8());
    let offer = publisher.offer.clone();
    let answer = server.post("/whip/r", &offer).await;
    let session = answer.location();
    publisher.accept(&answer.body);
    publisher.connected().await;
    let old = publisher.address();
    let fragment = publisher.begin_restart();
    let reply = server.patch(&session, "*", &fragment).await;
    reply.expect(200);
    for line in ["a=ice-lite", "a=ice-options:"] {
        let described = answer.body.lines().find(|l| l.starts_with(line));
        assert!(described.is_some());
        assert_eq!(reply.body.lines().find(|l| l.starts_with(line)), described);
    }
    assert!(reply.body.contains("a=candidate:"), "{}", reply.body);
    publisher.finish_restart(&reply.body);
    let viewer = watch(&server).await;
    assert!(viewer.more_video(30, SOON).await);
    // The old path is dead: nothing is sent to the address of the old generation.
    let socket = std::net::UdpSocket::bind(old).expect("the old port is free");
    socket
        .set_read_timeout(Some(Duration::from_secs(1)))
        .expect("a time-out");
    let read = tokio::task::spawn_blocking(move || socket.recv_from(&mut [0; 1500]).is_ok());
    assert!(!read.await.expect("a thread"), "a datagram to the old path");
}

#[tokio::test]
async fn case_50_a_failed_restart_leaves_the_old_session_flowing() {
    let server = Server::start().await;
    let mut publisher = Client::publisher(&vp8());
    let offer = publisher.offer.clone();
    let (session, viewer) = flows(&server, &mut publisher, &offer).await;
    // Passwords have at least 22 characters (RFC 8839 §5.4).
    let bad = "a=ice-ufrag:newu\r\na=ice-pwd:short\r\n";
    server.patch(&session, "*", bad).await.expect(400);
    let stale = "a=ice-ufrag:newu\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n";
    server.patch(&session, "\"stale\"", stale).await.expect(412);
    assert!(viewer.more_video(60, SOON).await, "still flowing");
}
