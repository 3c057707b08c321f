//! Against other implementations: the `webrtc-srtp` crate (RustCrypto) with given
//! keys, and str0m sessions with the keys of a real handshake.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use str0m::crypto::CryptoProvider;
use str0m::media::{MediaKind, Mid, Pt};
use str0m::rtp::{RawPacket, RtpWrite, Ssrc};
use str0m::{Event, RtcConfig};
use webrtc_srtp::context::Context;
use webrtc_srtp::protection_profile::ProtectionProfile;

use super::tests::{PROFILES, both_ends, rtcp_packet, rtp_packet};
use super::*;
use crate::peer::crypto::Crypto;
use crate::peer::crypto::testing::{Pair, plain_provider, with_profile};

fn theirs(master: MasterKey<'_>) -> Context {
    let profile = match master.profile {
        SrtpProfile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        SrtpProfile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        SrtpProfile::Aes128CmHmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
    };
    Context::new(master.key, master.salt, profile, None, None).unwrap()
}

/// Both ways, byte for byte, over two wraps of the sequence number.
#[test]
fn webrtc_srtp_agrees_on_rtp() {
    for profile in PROFILES {
        for seed in 0..4 {
            let mut rng = StdRng::seed_from_u64(seed);
            let (client, server) = both_ends(profile, seed);
            let mut sender = SrtpSender::new(&client).unwrap();
            let mut receiver = SrtpReceiver::new(&server).unwrap();
            let mut they_send = theirs(client.local());
            let mut they_receive = theirs(server.remote());
            let ssrc = rng.random();
            let mut index: u64 = rng.random_range(60_000..65_536);
            while index < 3 << 16 {
                let (plain, header_len) = rtp_packet(&mut rng, ssrc, index as u16);
                let mut ours = plain.clone();
                ours.resize(plain.len() + MAX_RTP_OVERHEAD, 0);
                let roc = (index >> 16) as u32;
                let len = sender
                    .protect_rtp(&mut ours, header_len, plain.len(), roc)
                    .unwrap();
                let mut sealed = they_send.encrypt_rtp(&plain).unwrap().to_vec();
                ours.truncate(len);
                assert_eq!(ours, sealed, "{profile:?} {index}");
                assert_eq!(they_receive.decrypt_rtp(&ours).unwrap(), plain);
                let opened = receiver.unprotect_rtp(&mut sealed).unwrap();
                assert_eq!(sealed[..opened.len], plain);
                assert_eq!(opened.index, index);
                index += rng.random_range(1..4000);
            }
        }
    }
}

#[test]
fn webrtc_srtp_agrees_on_rtcp() {
    for profile in PROFILES {
        let mut rng = StdRng::seed_from_u64(9);
        let (client, server) = both_ends(profile, 9);
        let mut sender = SrtpSender::new(&server).unwrap();
        let mut receiver = SrtpReceiver::new(&server).unwrap();
        let mut they_receive = theirs(client.remote());
        let mut they_send = theirs(client.local());
        for _ in 0..2000 {
            let plain = rtcp_packet(rng.random_range(1..4), rng.random_range(0..200));
            let mut ours = plain.clone();
            ours.resize(plain.len() + MAX_RTCP_OVERHEAD, 0);
            let len = sender.protect_rtcp(&mut ours, plain.len()).unwrap();
            ours.truncate(len);
            assert_eq!(they_receive.decrypt_rtcp(&ours).unwrap(), plain);
            let mut sealed = they_send.encrypt_rtcp(&plain).unwrap().to_vec();
            let len = receiver.unprotect_rtcp(&mut sealed).unwrap();
            assert_eq!(sealed[..len], plain);
        }
    }
}

const SSRC: u32 = 0x1234_5678;
const PT: u8 = 111;

/// A str0m pair that agreed on `profile`. Ours has the cached provider, the peer
/// str0m's own; the keying is ours.
fn str0m_pair(profile: SrtpProfile, active: bool) -> (Pair, Keying) {
    let crypto = Crypto::new().unwrap();
    let config = || RtcConfig::new().set_rtp_mode(true).enable_raw_packets(true);
    let (ours, exported) = with_profile(CryptoProvider::clone(crypto.provider()), profile);
    let (peer, _) = with_profile(plain_provider(), profile);
    let mut pair = Pair::new(
        config().set_crypto_provider(Arc::new(ours)),
        config().set_crypto_provider(Arc::new(peer)),
        active,
    );
    for end in [&mut pair.ours, &mut pair.peer] {
        let mut api = end.rtc.direct_api();
        let mid = Mid::from("a");
        api.declare_media(mid, MediaKind::Audio);
        api.expect_stream_rx(Ssrc::from(SSRC), None, mid, None);
        api.declare_stream_tx(Ssrc::from(SSRC + 1), None, mid, None);
    }
    pair.connect();
    let exported = exported.lock().unwrap().take().unwrap();
    (pair, Keying::new(profile, active, &exported).unwrap())
}

/// The RTP payloads that came out of a session, unsealed, with their numbers.
fn rtp_of(events: &mut Vec<Event>, ssrc: u32) -> Vec<(u16, Vec<u8>)> {
    events
        .drain(..)
        .filter_map(|event| match event {
            Event::RawPacket(raw) => match *raw {
                RawPacket::RtpRx(header, payload) if *header.ssrc == ssrc => {
                    Some((header.sequence_number, payload))
                }
                _ => None,
            },
            _ => None,
        })
        .collect()
}

/// What we seal, a str0m peer opens: RTP over a sequence wrap, and RTCP.
#[test]
fn str0m_opens_what_we_seal() {
    for profile in PROFILES {
        for active in [false, true] {
            let (mut pair, keying) = str0m_pair(profile, active);
            let mut sender = SrtpSender::new(&keying).unwrap();
            let from = pair.ours.addr;
            pair.peer.events.clear();
            let mut sent = Vec::new();
            for index in 65_500..65_600_u64 {
                let mut buf = vec![0x80, PT];
                buf.extend((index as u16).to_be_bytes());
                buf.extend((index as u32 * 960).to_be_bytes());
                buf.extend(SSRC.to_be_bytes());
                let payload = vec![index as u8; index as usize % 900 + 1];
                buf.extend(&payload);
                let len = buf.len();
                buf.resize(len + MAX_RTP_OVERHEAD, 0);
                let roc = (index >> 16) as u32;
                let len = sender.protect_rtp(&mut buf, 12, len, roc).unwrap();
                pair.peer.receive(pair.now, from, &buf[..len]);
                sent.push((index as u16, payload));
            }
            let got = rtp_of(&mut pair.peer.events, SSRC);
            assert_eq!(got, sent, "{profile:?} active {active}");

            for i in 0..200_u32 {
                let mut buf = rtcp_packet(SSRC, 0);
                // A PLI, which differs each time and is short.
                buf.extend([0x81, 206, 0, 2]);
                buf.extend(SSRC.to_be_bytes());
                buf.extend(i.to_be_bytes());
                let len = buf.len();
                buf.resize(len + MAX_RTCP_OVERHEAD, 0);
                let len = sender.protect_rtcp(&mut buf, len).unwrap();
                pair.peer.receive(pair.now, from, &buf[..len]);
            }
            let plis: Vec<u32> = pair
                .peer
                .events
                .drain(..)
                .filter_map(|event| match event {
                    Event::RawPacket(raw) => match *raw {
                        RawPacket::RtcpRx(str0m::rtp::rtcp::Rtcp::Pli(pli)) => Some(*pli.ssrc),
                        _ => None,
                    },
                    _ => None,
                })
                .collect();
            assert_eq!(plis, (0..200).collect::<Vec<_>>(), "{profile:?}");
        }
    }
}

/// What a str0m peer seals, we open: RTP and the reports it makes itself.
#[test]
fn we_open_what_str0m_seals() {
    for profile in PROFILES {
        for active in [false, true] {
            let (mut pair, keying) = str0m_pair(profile, active);
            let mut receiver = SrtpReceiver::new(&keying).unwrap();
            let (mut rtp, mut rtcp) = (Vec::new(), 0);
            for index in 0..300_u64 {
                let start = 65_400;
                let payload = vec![index as u8; index as usize % 900 + 1];
                let now = pair.now;
                let mut api = pair.peer.rtc.direct_api();
                let stream = api.stream_tx(&Ssrc::from(SSRC + 1)).unwrap();
                stream.write_rtp(RtpWrite::new(
                    Pt::from(PT),
                    (start + index).into(),
                    index as u32 * 960,
                    now,
                    payload.clone(),
                ));
                pair.now += std::time::Duration::from_millis(50);
                let timeout = str0m::Input::Timeout(pair.now);
                pair.peer.rtc.handle_input(timeout).unwrap();
                pair.peer.drain();
                for datagram in std::mem::take(&mut pair.peer.outgoing) {
                    let mut buf = datagram.clone();
                    match (buf[0], buf[1]) {
                        (128..=191, 192..=223) => {
                            let len = receiver.unprotect_rtcp(&mut buf).unwrap();
                            let all = crate::peer::rtcp::packets(&buf[..len]);
                            rtcp += all.map(Result::unwrap).count();
                        }
                        (128..=191, _) => {
                            let opened = receiver.unprotect_rtp(&mut buf).unwrap();
                            rtp.push((opened.index, buf[opened.header_len..opened.len].to_vec()));
                            assert_eq!(rtp.last(), Some(&(start + index, payload.clone())));
                        }
                        _ => {}
                    }
                    pair.ours.receive(pair.now, pair.peer.addr, &datagram);
                }
            }
            assert_eq!(rtp.len(), 300, "{profile:?} active {active}");
            assert!(rtcp >= 4, "{rtcp} reports");
        }
    }
}

/// Media between a session with the cached provider and one with str0m's own,
/// both ways: the cached ciphers and HMACs are the same functions.
#[test]
fn cached_str0m_ciphers_interoperate() {
    for profile in PROFILES {
        let (mut pair, _) = str0m_pair(profile, false);
        for end in [&mut pair.ours, &mut pair.peer] {
            let mut api = end.rtc.direct_api();
            api.expect_stream_rx(Ssrc::from(SSRC + 1), None, Mid::from("a"), None);
            end.events.clear();
        }
        for index in 0..100_u64 {
            for end in [&mut pair.ours, &mut pair.peer] {
                let mut api = end.rtc.direct_api();
                let stream = api.stream_tx(&Ssrc::from(SSRC + 1)).unwrap();
                stream.write_rtp(RtpWrite::new(
                    Pt::from(PT),
                    index.into(),
                    index as u32 * 960,
                    pair.now,
                    vec![index as u8; 1 + index as usize * 11],
                ));
            }
            pair.step();
        }
        pair.step();
        let expected: Vec<_> = (0..100)
            .map(|i| (i as u16, vec![i as u8; 1 + i * 11]))
            .collect();
        assert_eq!(rtp_of(&mut pair.ours.events, SSRC + 1), expected);
        assert_eq!(rtp_of(&mut pair.peer.events, SSRC + 1), expected);
    }
}
