//! The egress against one that is put together from other crates (`rtp` writes
//! the packets, `webrtc-srtp` seals them): bit for bit the same datagrams.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt, SeedableRng};
use rtp::header::{EXTENSION_PROFILE_ONE_BYTE, EXTENSION_PROFILE_TWO_BYTE, Header};
use rtp::packet::Packet;
use smallvec::SmallVec;
use webrtc_srtp::context::Context;
use webrtc_srtp::protection_profile::ProtectionProfile;
use webrtc_util::marshal::Marshal;

use super::*;
use crate::net::path::Proto;
use crate::peer::negotiate::HeaderExtension as E;
use crate::peer::srtp::SrtpProfile;

const PROFILES: [(SrtpProfile, ProtectionProfile); 3] = [
    (SrtpProfile::AeadAes256Gcm, ProtectionProfile::AeadAes256Gcm),
    (SrtpProfile::AeadAes128Gcm, ProtectionProfile::AeadAes128Gcm),
    (
        SrtpProfile::Aes128CmHmacSha1_80,
        ProtectionProfile::Aes128CmHmacSha1_80,
    ),
];

/// Extensions in the order in which they are written.
const ORDER: [E; 10] = [
    E::Mid,
    E::AbsSendTime,
    E::TransportWideCc,
    E::AudioLevel,
    E::VideoOrientation,
    E::PlayoutDelay,
    E::VideoContentType,
    E::AbsCaptureTime,
    E::DependencyDescriptor,
    E::ColorSpace,
];

/// Turns all bits of the payload's first bytes.
struct Turned(usize);

impl Patch for Turned {
    fn apply(&self, payload: &mut [u8]) {
        payload.iter_mut().take(self.0).for_each(|b| *b = !*b);
    }

    fn changes(&self) -> bool {
        self.0 > 0
    }
}

/// The other implementation.
struct Reference {
    context: Context,
}

impl Reference {
    fn new(keying: &Keying, profile: ProtectionProfile) -> Self {
        let local = keying.local();
        Self {
            context: Context::new(local.key, local.salt, profile, None, None).unwrap(),
        }
    }

    fn seal(
        &mut self,
        header: &OutgoingHeader<'_>,
        values: &[(u8, Vec<u8>)],
        payload: &[u8],
    ) -> Vec<u8> {
        let mut theirs = Header {
            version: 2,
            marker: header.marker,
            payload_type: header.payload_type,
            sequence_number: header.sequence,
            timestamp: header.timestamp,
            ssrc: header.ssrc,
            ..Header::default()
        };
        if !values.is_empty() {
            theirs.extension = true;
            let long = values.iter().any(|(_, value)| value.len() > 16);
            theirs.extension_profile = if long {
                EXTENSION_PROFILE_TWO_BYTE
            } else {
                EXTENSION_PROFILE_ONE_BYTE
            };
        }
        for (id, value) in values {
            theirs
                .set_extension(*id, Bytes::copy_from_slice(value))
                .unwrap();
        }
        let packet = Packet {
            header: theirs,
            payload: Bytes::copy_from_slice(payload),
        };
        let plain = packet.marshal().unwrap();
        self.context.encrypt_rtp(&plain).unwrap().to_vec()
    }
}

fn path() -> Path {
    Path {
        proto: Proto::Udp,
        local: SocketAddr::from(([127, 0, 0, 1], 1)),
        remote: SocketAddr::from(([127, 0, 0, 1], 2)),
    }
}

fn bytes(rng: &mut StdRng, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    rng.fill_bytes(&mut out);
    out
}

/// A packet's extension values.
#[derive(Default)]
struct Values {
    passed: PassedExtensions,
    mid: Option<Vec<u8>>,
    send_time: Option<u32>,
    sequence: Option<u16>,
    /// What of them goes out, with its id.
    written: Vec<(u8, Vec<u8>)>,
}

/// Random values.
fn values(rng: &mut StdRng, pairs: &[(u8, E)]) -> Values {
    let mut values = Values::default();
    let passed = &mut values.passed;
    for extension in ORDER {
        if rng.random_range(0..3) == 0 {
            continue;
        }
        let value = match extension {
            E::Mid => {
                let length = rng.random_range(1..=16);
                values.mid.insert(bytes(rng, length)).clone()
            }
            E::AbsSendTime => {
                let value = rng.random::<u32>() >> 8;
                values.send_time = Some(value);
                value.to_be_bytes()[1..].to_vec()
            }
            E::TransportWideCc => {
                let value: u16 = rng.random();
                values.sequence = Some(value);
                value.to_be_bytes().to_vec()
            }
            E::AudioLevel => vec![*passed.audio_level.insert(rng.random())],
            E::VideoOrientation => vec![*passed.orientation.insert(rng.random())],
            E::PlayoutDelay => passed.playout_delay.insert(rng.random()).to_vec(),
            E::VideoContentType => vec![*passed.content_type.insert(rng.random())],
            E::AbsCaptureTime => {
                let length = if rng.random() { 8 } else { 16 };
                passed.capture_time = SmallVec::from_vec(bytes(rng, length));
                passed.capture_time.to_vec()
            }
            E::DependencyDescriptor => {
                let length = rng.random_range(3..=48);
                passed.dependency = SmallVec::from_vec(bytes(rng, length));
                passed.dependency.to_vec()
            }
            _ => {
                let length = if rng.random() { 4 } else { 28 };
                passed.color_space = SmallVec::from_vec(bytes(rng, length));
                passed.color_space.to_vec()
            }
        };
        if let Some((id, _)) = pairs.iter().find(|(_, e)| *e == extension) {
            values.written.push((*id, value));
        }
    }
    values
}

/// Media, RTX and plain resends over all profiles and two roll-overs.
#[test]
fn another_implementation_makes_the_same_datagrams() {
    let now = Instant::now();
    let clock = WallClock::new(now, Duration::from_secs(1));
    for (profile, theirs) in PROFILES {
        for seed in 0..6 {
            let mut rng = StdRng::seed_from_u64(seed);
            let exported = bytes(&mut rng, profile.material_len());
            let keying = Keying::new(profile, seed % 2 == 0, &exported).unwrap();
            let mut egress = Egress::new(&keying).unwrap();
            let mut reference = Reference::new(&keying, theirs);
            let mut arena = SendArena::new(4096, 4);

            let mut ids: Vec<u8> = (1..=14).collect();
            ids.shuffle(&mut rng);
            let negotiated = rng.random_range(0..=ORDER.len());
            let mut order = ORDER;
            order.shuffle(&mut rng);
            let pairs: Vec<(u8, E)> = ids.into_iter().zip(order).take(negotiated).collect();
            let outgoing = OutgoingIds::new(&pairs, true);

            let (media, rtx): (u32, u32) = (rng.random(), rng.random());
            // A receiver takes the first number for one before any roll-over.
            let mut lines = [
                (media, rng.random_range(60_000..64_000u64)),
                (rtx, rng.random_range(0..64_000u64)),
            ];
            for _ in 0..300 {
                let repair = rng.random_range(0..4) == 0;
                let (ssrc, seq) = &mut lines[usize::from(repair)];
                *seq += rng.random_range(1..800);
                let values = values(&mut rng, &pairs);
                let header = OutgoingHeader {
                    payload_type: rng.random_range(0..128),
                    marker: rng.random(),
                    sequence: *seq as u16,
                    timestamp: rng.random(),
                    ssrc: *ssrc,
                    padding: false,
                    dependency: None,
                    mid: values.mid.as_deref(),
                    abs_send_time: values.send_time,
                    transport_sequence: values.sequence,
                };
                let prefix = if repair {
                    bytes(&mut rng, 2)
                } else {
                    Vec::new()
                };
                let length = rng.random_range(0..1200);
                let payload = bytes(&mut rng, length);
                let patch = Turned([0, 0, 5][rng.random_range(0..3)]);

                let mut expected = payload.clone();
                patch.apply(&mut expected);
                let expected =
                    reference.seal(&header, &values.written, &[&prefix[..], &expected].concat());
                // A plain resend is the same once more (RFC 7714 §8).
                for _ in 0..1 + usize::from(!repair && rng.random::<bool>()) {
                    let mut out = Outlet {
                        now,
                        clock: &clock,
                        arena: &mut arena,
                        path: path(),
                    };
                    let roc = (*seq >> 16) as u32;
                    let size = egress
                        .send(
                            &mut out,
                            &header,
                            &outgoing,
                            &values.passed,
                            &prefix,
                            &payload,
                            &patch,
                            roc,
                        )
                        .unwrap();
                    let (_, sent) = arena.datagrams().next().unwrap();
                    assert!(sent == expected, "{profile:?} seed {seed} sequence {seq}");
                    assert_eq!(size, expected.len());
                    arena.clear();
                }
            }
        }
    }
}

/// Reports get the index of each, whatever the SSRC.
#[test]
fn another_implementation_makes_the_same_reports() {
    let now = Instant::now();
    let clock = WallClock::new(now, Duration::from_secs(1));
    for (profile, theirs) in PROFILES {
        let mut rng = StdRng::seed_from_u64(7);
        let exported = bytes(&mut rng, profile.material_len());
        let keying = Keying::new(profile, true, &exported).unwrap();
        let mut egress = Egress::new(&keying).unwrap();
        let mut reference = Reference::new(&keying, theirs);
        let mut arena = SendArena::new(4096, 4);
        let mut plain = vec![0x80, 201, 0, 1, 0, 0, 0, 1];
        for n in 0..50 {
            let mut out = Outlet {
                now,
                clock: &clock,
                arena: &mut arena,
                path: path(),
            };
            egress
                .send_rtcp(&mut out, |buffer| {
                    buffer[..plain.len()].copy_from_slice(&plain);
                    Some(plain.len())
                })
                .unwrap();
            let (_, sent) = arena.datagrams().next().unwrap();
            // Theirs counts from one, ours from zero, as RFC 3711 §3.2.1 does.
            if n > 0 {
                let expected = reference.context.encrypt_rtcp(&plain).unwrap();
                assert_eq!(sent, &expected[..], "{profile:?}");
            }
            arena.clear();
            let words = rng.random_range(1..60u16);
            plain = vec![0x80, 204];
            plain.extend(words.to_be_bytes());
            plain.extend(1u32.to_be_bytes());
            plain.extend(bytes(&mut rng, usize::from(words - 1) * 4));
        }
    }
}
