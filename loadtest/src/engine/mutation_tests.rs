//! Whatever a server sends, authentic or not, nothing of ours panics.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::link::LinkSpec;
use super::peer::{Peer, Seed};
use super::publisher::sender::testing::publisher_of;
use super::viewer::{Behaviour, NewViewer, Viewer};
use super::{Shared, Streams, rtcp_in, rtcp_out, twcc};
use crate::measure::window::Window;
use crate::media::stamp::Stamp;
use crate::media::{VideoCodec, audio, h264, starts_keyframe, vp8};
use crate::scenario::types::{Feedback, Tracks};
use crate::signal::answer;
use crate::signal::negotiated::{Negotiated, sections};
use crate::signal::offer::{Formats, OPUS_PT, RTX_PT, TRANSPORT_CC_EXTENSION, VIDEO_PT};
use crate::sys::realtime_ns;
use crate::wire::srtp::{Profile, Srtp};
use crate::wire::stun::Role;
use crate::wire::transport::{Credentials, Remote};
use crate::wire::{classify, rtp, stun};

const ROUNDS: u32 = 20_000;

/// A valid input damaged in one of the ways that find mistakes: bits, bytes of
/// meaning, cuts, repeats and noise.
fn damaged(rng: &mut StdRng, valid: &[u8]) -> Vec<u8> {
    let mut out = valid.to_vec();
    for _ in 0..rng.random_range(1..4) {
        if out.is_empty() {
            return out;
        }
        let at = rng.random_range(0..out.len());
        match rng.random_range(0..6) {
            0 => out[at] ^= 1 << rng.random_range(0..8),
            1 => out[at] = [0, 1, 0x7F, 0x80, 0xFE, 0xFF][rng.random_range(0..6)],
            2 => out.truncate(at),
            3 => {
                let to = rng.random_range(at..out.len()) + 1;
                let piece = out[at..to].to_vec();
                out.splice(at..at, piece);
            }
            4 => {
                out.remove(at);
            }
            _ => out.insert(at, rng.random()),
        }
    }
    out
}

fn compound() -> Vec<u8> {
    let mut out = rtcp_out::sender_report(7, 1_000_000_000, 5, 1, 2)
        .unwrap()
        .to_vec();
    out.extend_from_slice(&rtcp_out::nack(1, 7, &[3, 4, 900]).unwrap());
    out.extend_from_slice(&rtcp_out::pli(1, 7).unwrap());
    // FIR of two entries (RFC 5104 §4.3.1).
    out.extend_from_slice(&[0x84, 206, 0, 6, 0, 0, 0, 1, 0, 0, 0, 0]);
    out.extend_from_slice(&[0, 0, 0, 7, 1, 0, 0, 0, 0, 0, 0, 8, 2, 0, 0, 0]);
    let mut arrivals = twcc::Arrivals::default();
    for i in 0..40u16 {
        arrivals.push(i * 3, 1_000_000_000 + u64::from(i) * 70_000_000);
    }
    assert!(arrivals.message(1, 7, &mut out));
    out
}

fn packet(payload_type: u8, sequence: u16, padding: bool, payload: &[u8]) -> (usize, Vec<u8>) {
    let mut out = Vec::new();
    let number = sequence.to_be_bytes();
    let extensions = [(TRANSPORT_CC_EXTENSION, &number[..]), (1, b"1")];
    // Each stream has an SSRC of its own.
    let ssrc = payload_type.into();
    let len = rtp::write(&mut out, true, payload_type, sequence, 9, ssrc, &extensions);
    out.extend_from_slice(payload);
    if padding {
        out[0] |= 0x20;
    }
    (len, out)
}

fn keys() -> Srtp {
    Srtp::new(Profile::Gcm128, &[1; 16], &[2; 12]).unwrap()
}

pub(super) fn connected_seed() -> Seed {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = socket.local_addr().unwrap();
    socket.connect(to).unwrap();
    socket.set_nonblocking(true).unwrap();
    Seed {
        id: 1,
        socket,
        local: Credentials::random(),
        remote: Remote {
            credentials: Credentials::random(),
            fingerprint: vec![0; 32],
            we_are_client: true,
            candidates: vec![to],
            role: Role::Controlling,
        },
        formats: Formats::offered(true),
        negotiated: Negotiated {
            audio_transport_cc: true,
            video_transport_cc: true,
            rtx: true,
            remb: true,
        },
        sections: Vec::new(),
        posted_ns: realtime_ns(),
        keys: Some((keys(), keys())),
    }
}

fn shared() -> Shared {
    // Nobody listens: a thread goes on all the same.
    let (events, _) = tokio::sync::mpsc::unbounded_channel();
    Shared {
        phase: Arc::new(AtomicU32::new(0)),
        events,
        streams: Arc::new(Streams::default()),
    }
}

#[test]
fn parsers_take_anything() {
    let mut rng = StdRng::seed_from_u64(1);
    let (_, media) = packet(VIDEO_PT, 5, true, &[0x65, 1, 2, 3, 4]);
    let check = stun::binding_request([1; 12], "a:b", "password", (Role::Controlling, 1), true);
    let answer = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\n\
        a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
        a=mid:0\r\na=ssrc-group:FID 1 2\r\na=ssrc:1 cname:x\r\na=ssrc:2 cname:x\r\n\
        a=rtcp-fb:96 transport-cc\r\na=rtpmap:97 rtx/90000\r\na=fingerprint:sha-256 00:01:FF\r\n\
        a=setup:passive\r\na=candidate:1 1 udp 5 10.0.0.1 7000 typ host\r\n";
    let aggregate = [24, 0, 2, 0x67, 1, 0, 1, 0x68, 0, 1, 0x65];
    let descriptor = [0x90, 0xF0, 0x80, 0x01, 5, 5, 0x00];
    let stamp = Stamp {
        stream: 1,
        sequence: 2,
        sent_ns: 3,
        age_us: 4,
    };
    let compound = compound();
    for _ in 0..ROUNDS {
        let data = damaged(&mut rng, &media);
        let _ = classify(&data);
        if let Some(header) = rtp::parse(&data) {
            for id in 0..16 {
                let _ = rtp::extension(&data, &header, id);
            }
        }
        let _ = stun::parse(&damaged(&mut rng, &check), "password");
        let text = damaged(&mut rng, answer.as_bytes());
        let text = String::from_utf8_lossy(&text);
        let _ = answer::parse(&text);
        let _ = Negotiated::of(&text);
        let _ = sections(&text);
        let _ = starts_keyframe(VideoCodec::H264, &damaged(&mut rng, &aggregate));
        let _ = starts_keyframe(VideoCodec::Vp8, &damaged(&mut rng, &descriptor));
        let _ = Stamp::decode(&damaged(&mut rng, &stamp.encode()));
        let _ = rtcp_in::read(&damaged(&mut rng, &compound)).count();
    }
}

#[test]
fn media_files_are_taken_or_refused() {
    let mut rng = StdRng::seed_from_u64(2);
    let annex_b = include_bytes!("../media/fixtures/video-160x90.h264");
    let ivf = include_bytes!("../media/fixtures/video-160x90.ivf");
    let ogg = include_bytes!("../media/fixtures/audio.opus");
    for _ in 0..ROUNDS / 20 {
        let _ = h264::pictures(&damaged(&mut rng, annex_b));
        let _ = vp8::pictures(&damaged(&mut rng, ivf));
        let _ = audio::sound(&damaged(&mut rng, ogg));
    }
}

/// Packets that a server sealed, with whatever inside and around.
#[test]
fn a_viewer_takes_anything() {
    let mut rng = StdRng::seed_from_u64(3);
    let shared = shared();
    for (full_check, link) in [(true, false), (false, false), (true, true)] {
        let now = Instant::now();
        let new = NewViewer {
            seed: connected_seed(),
            behaviour: Behaviour {
                full_check,
                nack: true,
                video: Some(VideoCodec::H264),
                link: link.then_some(LinkSpec {
                    reorder_percent: 10.0,
                    loss_percent: 10.0,
                    ..LinkSpec::default()
                }),
                feedback: Feedback::Auto,
                stop_reading: false,
                freeze_ns: 1,
                tracks: Tracks { audio: 1, video: 1 },
                room: None,
            },
        };
        let mut viewer = Viewer::new(new, now);
        let mut window = Window::default();
        let from = "127.0.0.1:1".parse().unwrap();
        let mut server = keys();
        let _ = viewer.tick(now, &shared, &mut window);
        for round in 0..ROUNDS {
            let now = now + Duration::from_millis(round.into());
            let mut payload = [0u8; 60];
            rng.fill(&mut payload[..]);
            let len = rng.random_range(0..payload.len());
            let kind = [VIDEO_PT, OPUS_PT, RTX_PT, rng.random_range(0..128)];
            let kind = kind[rng.random_range(0..4)];
            let sequence = match rng.random_range(0..4) {
                // Late, repeated or ahead; the line begins at 500.
                0 => 400 + round as u16 + rng.random_range(0..200),
                _ => 500 + round as u16,
            };
            let mut data = if rng.random_bool(0.2) {
                let plain = damaged(&mut rng, &compound());
                match server.seal_rtcp(&plain) {
                    Some(sealed) => sealed,
                    None => plain,
                }
            } else {
                let (header, mut data) =
                    packet(kind, sequence, rng.random_bool(0.2), &payload[..len]);
                server.seal_rtp(&mut data, 0, header, 0);
                data
            };
            if rng.random_bool(0.2) {
                data = damaged(&mut rng, &data);
            }
            let kernel_ns = realtime_ns() + u64::from(round) * 1_000_000;
            let _ = viewer.datagram(now, kernel_ns, from, &mut data, &shared, &mut window);
            viewer.after_batch(now, &mut window);
            if round % 50 == 0 {
                let _ = viewer.tick(now, &shared, &mut window);
                viewer.settle(kernel_ns, false, &mut window);
            }
        }
        viewer.release(now, u64::MAX, &shared, &mut window);
        viewer.settle(realtime_ns(), true, &mut window);
        // It did look at what came.
        assert!(window.received_packets > 10_000, "{window:?}");
        assert!(
            window.opened > 100 && window.not_authentic > 100,
            "{window:?}"
        );
        // Few packets keep a sensible number through the damage, and keys differ each time.
        assert!(window.feedbacks > 0, "{window:?}");
    }
}

#[test]
fn a_publisher_takes_anything() {
    let mut rng = StdRng::seed_from_u64(4);
    let mut publisher = publisher_of(Peer::new(connected_seed(), Instant::now()));
    let mut window = Window::default();
    for _ in 0..ROUNDS {
        publisher.take(&damaged(&mut rng, &compound()), &mut window);
    }
    assert!(window.keyframe_requests > 0 && window.publisher_nacks > 0);
    assert!(window.publisher_feedbacks > 0 && window.malformed > 0);
}
