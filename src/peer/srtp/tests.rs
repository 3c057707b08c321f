//! Known answers, round trips and everything that must be refused.

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use super::cipher::{Cipher, PacketId};
use super::kdf::SessionKeys;
use super::*;

pub(super) const PROFILES: [SrtpProfile; 3] = [
    SrtpProfile::AeadAes256Gcm,
    SrtpProfile::AeadAes128Gcm,
    SrtpProfile::Aes128CmHmacSha1_80,
];

/// The keying of both ends of one session, client first.
pub(super) fn both_ends(profile: SrtpProfile, seed: u64) -> (Keying, Keying) {
    let mut exported = vec![0; profile.material_len()];
    StdRng::seed_from_u64(seed).fill_bytes(&mut exported);
    (
        Keying::new(profile, true, &exported).unwrap(),
        Keying::new(profile, false, &exported).unwrap(),
    )
}

fn ends(profile: SrtpProfile, seed: u64) -> (SrtpSender, SrtpReceiver) {
    let (client, server) = both_ends(profile, seed);
    (
        SrtpSender::new(&client).unwrap(),
        SrtpReceiver::new(&server).unwrap(),
    )
}

/// A packet with random CSRCs, extension and payload, and its header length.
pub(super) fn rtp_packet(rng: &mut StdRng, ssrc: u32, seq: u16) -> (Vec<u8>, usize) {
    let csrcs = rng.random_range(0..=3_usize);
    let extension = rng.random::<bool>();
    let mut packet = vec![0x80 | csrcs as u8 | u8::from(extension) << 4];
    packet.push(rng.random::<u8>() & 0x80 | 96);
    packet.extend(seq.to_be_bytes());
    packet.extend(rng.random::<u32>().to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    for _ in 0..csrcs {
        packet.extend(rng.random::<u32>().to_be_bytes());
    }
    if extension {
        packet.extend([0xBE, 0xDE, 0, 2, 0x10, 0xAA, 0x31, 1, 2, 0, 0, 0]);
    }
    let header_len = packet.len();
    let payload = rng.random_range(0..1200);
    packet.extend((0..payload).map(|_| rng.random::<u8>()));
    (packet, header_len)
}

/// A receiver report without blocks, then `extra` words of an APP packet.
pub(super) fn rtcp_packet(ssrc: u32, extra: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend(ssrc.to_be_bytes());
    if extra >= 2 {
        packet.extend([0x80, 204]);
        packet.extend(extra.to_be_bytes());
        packet.extend((0..extra).flat_map(|i| u32::from(i).to_be_bytes()));
    }
    packet
}

fn seal(sender: &mut SrtpSender, packet: &[u8], header_len: usize, roc: u32) -> Vec<u8> {
    let mut buf = packet.to_vec();
    buf.resize(packet.len() + MAX_RTP_OVERHEAD, 0);
    let len = sender
        .protect_rtp(&mut buf, header_len, packet.len(), roc)
        .unwrap();
    buf.truncate(len);
    assert_eq!(buf[..header_len], packet[..header_len]);
    buf
}

fn seal_rtcp(sender: &mut SrtpSender, packet: &[u8]) -> Vec<u8> {
    let mut buf = packet.to_vec();
    buf.resize(packet.len() + MAX_RTCP_OVERHEAD, 0);
    let len = sender.protect_rtcp(&mut buf, packet.len()).unwrap();
    buf.truncate(len);
    buf
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| b.is_ascii_hexdigit()).collect();
    digits
        .chunks(2)
        .map(|d| u8::from_str_radix(str::from_utf8(d).unwrap(), 16).unwrap())
        .collect()
}

/// RFC 3711 appendix B.2: the key stream, as the ciphertext of zeros.
#[test]
fn rfc_3711_b2_key_stream() {
    let keys = SessionKeys::given(
        SrtpProfile::Aes128CmHmacSha1_80,
        &hex("2B7E151628AED2A6ABF7158809CF4F3C"),
        &hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD"),
        &[0; 20],
    );
    let cipher = Cipher::new(&keys).unwrap();
    // The appendix starts at SSRC 0, ROC 0, sequence number 0.
    let id = PacketId { ssrc: 0, index: 0 };
    let mut buf = vec![0; 12 + 0xFF03 * 16 + 10];
    let len = buf.len() - 10;
    cipher.seal_rtp(&mut buf, 12, len, id).unwrap();
    assert_eq!(
        buf[12..60],
        hex("E03EAD0935C95E80E166B16DD92B4EB4
             D23513162B02D0F72A43A2FE4A5F97AB
             41E95B3BB0A2E8DD477901E4FCA894C0")
    );
    assert_eq!(
        buf[12 + 0xFEFF * 16..12 + 0xFF02 * 16],
        hex("EC8CDF7398607CB0F2D21675EA9EA1E4
             362B7C3C6773516318A077D7FC5073AE
             6A2CC3787889374FBEB4C81B17BA6C44")
    );
}

const RFC_7714_RTP: &str = "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973
    20646976 69736120 696e2070 61727465 73207472 6573";
const RFC_7714_RTCP: &str = "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930
    4c756e61 deadbeef deadbeef deadbeef deadbeef deadbeef";

fn rfc_7714(profile: SrtpProfile, rtp: &str, rtcp: &str) {
    let key: Vec<u8> = (0..profile.key_len() as u8).collect();
    let salt = b"Quid pro quo";
    let cipher = || Cipher::new(&SessionKeys::given(profile, &key, salt, &[])).unwrap();
    let mut sender = SrtpSender::with_ciphers(cipher(), cipher(), 0x5d4);
    let mut receiver = SrtpReceiver::with_ciphers(cipher(), cipher());

    let plain = hex(RFC_7714_RTP);
    let mut sealed = seal(&mut sender, &plain, 12, 0);
    assert_eq!(sealed, hex(rtp));
    let opened = receiver.unprotect_rtp(&mut sealed).unwrap();
    assert_eq!(sealed[..opened.len], plain);
    assert_eq!((opened.header_len, opened.index), (12, 0xf17b));

    let plain = hex(RFC_7714_RTCP);
    let mut sealed = seal_rtcp(&mut sender, &plain);
    assert_eq!(sealed, hex(rtcp));
    let len = receiver.unprotect_rtcp(&mut sealed).unwrap();
    assert_eq!(sealed[..len], plain);
}

/// RFC 7714 §16.1.1 and §17.1.
#[test]
fn rfc_7714_aes_128() {
    rfc_7714(
        SrtpProfile::AeadAes128Gcm,
        "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f
         42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce",
        "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1
         730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4",
    );
}

/// RFC 7714 §16.2.1 and §17.3.
#[test]
fn rfc_7714_aes_256() {
    rfc_7714(
        SrtpProfile::AeadAes256Gcm,
        "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3
         b50b2a02 76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13",
        "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50 a2eaa5c1
         110555be 8415f658 c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4",
    );
}

#[test]
fn rtp_goes_round_over_sequence_wraps() {
    for profile in PROFILES {
        let mut rng = StdRng::seed_from_u64(1);
        let (mut sender, mut receiver) = ends(profile, 2);
        // Losses of just less than half a cycle are followed.
        for index in (65_000..67_000_u64)
            .chain(99_000..99_100)
            .chain(130_900..131_300)
        {
            let (plain, header_len) = rtp_packet(&mut rng, 77, index as u16);
            let roc = (index >> 16) as u32;
            let mut sealed = seal(&mut sender, &plain, header_len, roc);
            assert_eq!(sealed.len(), plain.len() + profile.tag_len());
            let opened = receiver.unprotect_rtp(&mut sealed).unwrap();
            assert_eq!(sealed[..opened.len], plain);
            assert_eq!((opened.header_len, opened.index), (header_len, index));
        }
    }
}

#[test]
fn reordered_and_repeated_rtp() {
    let (mut sender, mut receiver) = ends(SrtpProfile::AeadAes128Gcm, 3);
    let mut rng = StdRng::seed_from_u64(4);
    let mut sealed: Vec<(u64, Vec<u8>)> = (65_400..70_000)
        .map(|index: u64| {
            let (plain, header_len) = rtp_packet(&mut rng, 5, index as u16);
            let roc = (index >> 16) as u32;
            (index, seal(&mut sender, &plain, header_len, roc))
        })
        .collect();
    // Swap neighbours far and near, but keep the first: it sets the start.
    for at in 1..sealed.len() {
        let other = (at + rng.random_range(0..60)).min(sealed.len() - 1);
        sealed.swap(at, other);
    }
    for (index, packet) in &sealed {
        let opened = receiver.unprotect_rtp(&mut packet.clone()).unwrap();
        assert_eq!(opened.index, *index);
    }
    let mut errors = std::collections::HashSet::new();
    for (_, packet) in &sealed {
        errors.insert(receiver.unprotect_rtp(&mut packet.clone()).unwrap_err());
    }
    assert!(errors.contains(&SrtpError::Replayed) && errors.contains(&SrtpError::TooOld));
    assert_eq!(errors.len(), 2);
}

#[test]
fn rtcp_goes_round_and_is_not_replayed() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = ends(profile, 5);
        let mut kept = Vec::new();
        for i in 0..300_u16 {
            let plain = rtcp_packet(u32::from(i % 3) + 1, i % 40);
            let mut sealed = seal_rtcp(&mut sender, &plain);
            assert_eq!(sealed.len(), plain.len() + profile.tag_len() + 4);
            kept.push(sealed.clone());
            let len = receiver.unprotect_rtcp(&mut sealed).unwrap();
            assert_eq!(sealed[..len], plain);
        }
        for (i, packet) in kept.iter().enumerate() {
            // 128 indices, counted from the newest of the packet's own SSRC.
            let newest = kept.len() - 3 + i % 3;
            let expected = if newest - i >= 128 {
                SrtpError::TooOld
            } else {
                SrtpError::Replayed
            };
            let error = receiver.unprotect_rtcp(&mut packet.clone());
            assert_eq!(error, Err(expected), "{i}");
        }
    }
}

/// Any flipped bit and any cut is noticed, and leaves the receiver able to open
/// the real packet.
#[test]
fn damage_is_noticed() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = ends(profile, 6);
        let mut rng = StdRng::seed_from_u64(7);
        for seq in 0..40 {
            let (plain, header_len) = rtp_packet(&mut rng, 9, seq);
            let sealed = seal(&mut sender, &plain, header_len, 0);
            for _ in 0..40 {
                let mut bad = sealed.clone();
                if rng.random() {
                    let at = rng.random_range(0..bad.len());
                    bad[at] ^= 1 << rng.random_range(0..8);
                } else {
                    bad.truncate(rng.random_range(0..bad.len()));
                }
                assert!(receiver.unprotect_rtp(&mut bad).is_err());
            }
            let opened = receiver.unprotect_rtp(&mut sealed.clone()).unwrap();
            assert_eq!(opened.index, u64::from(seq));

            let plain = rtcp_packet(9, seq);
            let sealed = seal_rtcp(&mut sender, &plain);
            for at in 0..sealed.len() {
                let mut bad = sealed.clone();
                bad[at] ^= 1 << rng.random_range(0..8);
                assert!(receiver.unprotect_rtcp(&mut bad).is_err());
                assert!(receiver.unprotect_rtcp(&mut sealed[..at].to_vec()).is_err());
            }
            assert!(receiver.unprotect_rtcp(&mut sealed.clone()).is_ok());
        }
    }
}

/// Its first packets were lost, or came before there were keys: the first that is seen may be of
/// the second cycle.
#[test]
fn a_stream_may_have_rolled_over_before_it_is_heard() {
    for profile in PROFILES {
        for (seq, roc) in [(3, 1), (3, 0), (16_000, 1), (65_530, 0)] {
            let (mut sender, mut receiver) = ends(profile, 12);
            let mut rng = StdRng::seed_from_u64(2);
            let (plain, header_len) = rtp_packet(&mut rng, 9, seq);
            let sealed = seal(&mut sender, &plain, header_len, roc);
            for at in [0, header_len, sealed.len() - 1] {
                let mut bad = sealed.clone();
                bad[at] ^= 1;
                assert!(receiver.unprotect_rtp(&mut bad).is_err());
            }
            let mut first = sealed.clone();
            let opened = receiver.unprotect_rtp(&mut first).unwrap();
            assert_eq!(first[..opened.len], plain);
            assert_eq!(opened.index, u64::from(roc) << 16 | u64::from(seq));
            let again = receiver.unprotect_rtp(&mut sealed.clone());
            assert_eq!(again.unwrap_err(), SrtpError::Replayed);
            let (plain, header_len) = rtp_packet(&mut rng, 9, seq + 1);
            let mut next = seal(&mut sender, &plain, header_len, roc);
            let opened = receiver.unprotect_rtp(&mut next).unwrap();
            assert_eq!(next[..opened.len], plain);
        }
        // Far into a cycle it is the first: nobody loses so much before he is heard.
        let (mut sender, mut receiver) = ends(profile, 13);
        let (plain, header_len) = rtp_packet(&mut StdRng::seed_from_u64(3), 9, 40_000);
        let mut late = seal(&mut sender, &plain, header_len, 1);
        let refused = receiver.unprotect_rtp(&mut late);
        assert_eq!(refused.unwrap_err(), SrtpError::Authentication);
    }
}

#[test]
fn garbage_is_refused() {
    let mut rng = StdRng::seed_from_u64(8);
    for profile in PROFILES {
        let (_, mut receiver) = ends(profile, 9);
        for _ in 0..20_000 {
            let mut bytes = vec![0; rng.random_range(0..80)];
            rng.fill_bytes(&mut bytes);
            if let Some(first) = bytes.first_mut() {
                *first = *first & 0x3F | 0x80;
            }
            assert!(receiver.unprotect_rtp(&mut bytes.clone()).is_err());
            assert!(receiver.unprotect_rtcp(&mut bytes).is_err());
        }
    }
}

#[test]
fn clear_srtcp_is_refused() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = ends(profile, 10);
        let mut sealed = seal_rtcp(&mut sender, &rtcp_packet(1, 4));
        let flag = match profile {
            SrtpProfile::Aes128CmHmacSha1_80 => sealed.len() - 14,
            _ => sealed.len() - 4,
        };
        sealed[flag] &= 0x7F;
        let refused = receiver.unprotect_rtcp(&mut sealed);
        assert_eq!(refused, Err(SrtpError::Clear));
    }
}

#[test]
fn the_source_that_was_silent_for_longest_gives_way() {
    let (mut sender, mut receiver) = ends(SrtpProfile::AeadAes128Gcm, 11);
    let packet = |sender: &mut SrtpSender, ssrc, seq| {
        let (plain, header_len) = rtp_packet(&mut StdRng::seed_from_u64(1), ssrc, seq);
        seal(sender, &plain, header_len, 0)
    };
    let first = packet(&mut sender, 0, 1);
    assert!(receiver.unprotect_rtp(&mut first.clone()).is_ok());
    let second = packet(&mut sender, 1, 1);
    assert!(receiver.unprotect_rtp(&mut second.clone()).is_ok());
    for ssrc in 2..MAX_SOURCES as u32 + 1 {
        // The first one goes on.
        let mut rtp = packet(&mut sender, 0, ssrc as u16);
        assert!(receiver.unprotect_rtp(&mut rtp).is_ok());
        let mut rtp = packet(&mut sender, ssrc, 1);
        assert!(receiver.unprotect_rtp(&mut rtp).is_ok());
        let mut rtcp = seal_rtcp(&mut sender, &rtcp_packet(ssrc, 2));
        assert!(receiver.unprotect_rtcp(&mut rtcp).is_ok());
    }
    let replayed = receiver.unprotect_rtp(&mut first.clone());
    assert_eq!(replayed, Err(SrtpError::Replayed));
    assert!(
        receiver.unprotect_rtp(&mut second.clone()).is_ok(),
        "forgotten"
    );
}

#[test]
fn the_last_srtcp_index_is_the_last() {
    let cipher = || {
        let profile = SrtpProfile::AeadAes128Gcm;
        Cipher::new(&SessionKeys::given(profile, &[1; 16], &[2; 12], &[])).unwrap()
    };
    let mut sender = SrtpSender::with_ciphers(cipher(), cipher(), (1 << 31) - 1);
    let last = seal_rtcp(&mut sender, &rtcp_packet(1, 0));
    assert_eq!(last[last.len() - 4..], [0xFF; 4]);
    let mut buf = [0; 64];
    assert_eq!(sender.protect_rtcp(&mut buf, 8), Err(SrtpError::Exhausted));
}

#[test]
fn buffers_without_room_are_refused_untouched() {
    for profile in PROFILES {
        let (mut sender, _) = ends(profile, 12);
        let (plain, header_len) = rtp_packet(&mut StdRng::seed_from_u64(2), 1, 1);
        for room in 0..profile.tag_len() {
            let mut buf = plain.clone();
            buf.resize(plain.len() + room, 0);
            let before = buf.clone();
            let refused = sender.protect_rtp(&mut buf, header_len, plain.len(), 0);
            assert_eq!(refused, Err(SrtpError::TooShort));
            assert_eq!(buf, before);
        }
        let mut buf = vec![0x80; 100];
        for (header_len, len) in [(11, 50), (51, 50), (12, 101), (12, usize::MAX)] {
            let refused = sender.protect_rtp(&mut buf, header_len, len, 0);
            assert_eq!(refused, Err(SrtpError::TooShort));
        }
        for len in [0, 7, 87, 101, usize::MAX] {
            let refused = sender.protect_rtcp(&mut buf, len);
            assert_eq!(refused, Err(SrtpError::TooShort), "{len}");
        }
    }
}

#[test]
fn a_plain_resend_is_the_same_packet() {
    let (mut sender, _) = ends(SrtpProfile::AeadAes256Gcm, 13);
    let (plain, header_len) = rtp_packet(&mut StdRng::seed_from_u64(3), 1, 1);
    let first = seal(&mut sender, &plain, header_len, 0);
    assert_eq!(seal(&mut sender, &plain, header_len, 0), first);
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "sealed again for another packet")]
fn reusing_a_nonce_for_another_header_panics_in_debug_builds() {
    let (mut sender, _) = ends(SrtpProfile::AeadAes256Gcm, 14);
    let mut packet = [0x80; 40];
    seal(&mut sender, &packet, 12, 0);
    // Another time-stamp under the same sequence number.
    packet[7] ^= 1;
    seal(&mut sender, &packet, 12, 0);
}
