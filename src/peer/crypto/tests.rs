//! Real handshakes against an unmodified str0m peer on a virtual clock.

use str0m::Event;
use str0m::config::DtlsVersion;

use super::testing::{Pair, plain_config};
use super::{Crypto, Keying, SrtpProfile, take_keying};
use crate::peer::negotiate::PeerKeys;

fn handshake(active: bool, version: DtlsVersion) -> Pair {
    let crypto = Crypto::new().unwrap();
    let mut pair = Pair::new(
        crypto.rtc_config(PeerKeys::Ecdsa).set_dtls_version(version),
        plain_config().set_dtls_version(version),
        active,
    );
    pair.connect();
    pair
}

#[test]
fn both_roles_export_usable_keys() {
    for version in [DtlsVersion::Dtls12, DtlsVersion::Dtls13, DtlsVersion::Auto] {
        for active in [false, true] {
            let pair = handshake(active, version);
            let keying = pair.ours.keying.as_ref().unwrap();
            assert_eq!(keying.we_are_client(), active, "{version}");
            assert_eq!(keying.profile(), SrtpProfile::AeadAes256Gcm);
            assert_ne!(keying.local().key, keying.remote().key);
            assert_ne!(keying.local().salt, keying.remote().salt);
            assert!(keying.local().key.iter().any(|b| *b != 0));
            // The plain peer has no tap, so what was taken is ours alone.
            assert!(pair.peer.keying.is_none());
        }
    }
}

/// Both ends tapped: one's local keys are the other's remote keys.
#[test]
fn the_two_ends_mirror_each_other() {
    let (a, b) = (Crypto::new().unwrap(), Crypto::new().unwrap());
    let mut pair = Pair::new(
        a.rtc_config(PeerKeys::Ecdsa),
        b.rtc_config(PeerKeys::Ecdsa),
        true,
    );
    pair.connect();
    let (ours, peer) = (
        pair.ours.keying.as_ref().unwrap(),
        pair.peer.keying.as_ref().unwrap(),
    );
    assert!(ours.we_are_client() && !peer.we_are_client());
    assert_eq!(ours.local().key, peer.remote().key);
    assert_eq!(ours.local().salt, peer.remote().salt);
    assert_eq!(ours.remote().key, peer.local().key);
    assert_eq!(ours.remote().salt, peer.local().salt);
}

#[test]
fn sessions_share_the_certificate_that_the_answer_names() {
    let crypto = Crypto::new().unwrap();
    let named = crypto.fingerprint();
    assert_eq!(named.algorithm, "sha-256");
    assert_eq!(named.bytes.len(), 32);
    let mut pair = Pair::new(crypto.rtc_config(PeerKeys::Ecdsa), plain_config(), false);
    pair.connect();
    let seen = pair.peer.rtc.direct_api();
    assert_eq!(seen.remote_dtls_fingerprint().unwrap().bytes, named.bytes);
    let other = Crypto::new().unwrap();
    assert_ne!(other.fingerprint().bytes, named.bytes);
}

/// A peer whose certificate is not the one its SDP named gets no session.
#[test]
fn a_wrong_fingerprint_is_refused() {
    let crypto = Crypto::new().unwrap();
    let mut pair = Pair::new(crypto.rtc_config(PeerKeys::Ecdsa), plain_config(), false);
    let mut wrong = crypto.fingerprint();
    wrong.bytes[0] ^= 1;
    pair.ours
        .rtc
        .direct_api()
        .set_remote_fingerprint(wrong.into());
    for _ in 0..200 {
        pair.step();
    }
    let failure = pair.ours.failure.as_deref().unwrap();
    assert!(failure.contains("fingerprint"), "{failure}");
    assert!(pair.ours.keying.is_none());
    assert!(
        !pair
            .ours
            .events
            .iter()
            .any(|e| matches!(e, Event::Connected))
    );
}

#[test]
fn polling_another_session_discards_keys_nobody_took() {
    let keying = Keying::new(SrtpProfile::AeadAes128Gcm, true, &[7; 56]).unwrap();
    super::keying::put(1, keying.clone());
    super::keying::discard_others(1);
    assert!(take_keying().is_some());
    assert!(take_keying().is_none());
    super::keying::put(1, keying);
    super::keying::discard_others(2);
    assert!(take_keying().is_none());
}

#[test]
fn material_splits_as_rfc_5764_says() {
    for (profile, key, salt) in [
        (SrtpProfile::AeadAes256Gcm, 32, 12),
        (SrtpProfile::AeadAes128Gcm, 16, 12),
        (SrtpProfile::Aes128CmHmacSha1_80, 16, 14),
    ] {
        let mut exported = vec![1; key];
        exported.extend(vec![2; key]);
        exported.extend(vec![3; salt]);
        exported.extend(vec![4; salt]);
        let client = Keying::new(profile, true, &exported).unwrap();
        assert_eq!(client.local().key, vec![1; key]);
        assert_eq!(client.remote().key, vec![2; key]);
        assert_eq!(client.local().salt, vec![3; salt]);
        assert_eq!(client.remote().salt, vec![4; salt]);
        let server = Keying::new(profile, false, &exported).unwrap();
        assert_eq!(server.local().key, client.remote().key);
        assert_eq!(server.remote().salt, client.local().salt);
        assert!(Keying::new(profile, true, &exported[1..]).is_none());
    }
}

#[test]
fn secrets_are_not_printed() {
    let keying = Keying::new(SrtpProfile::AeadAes128Gcm, true, &[0xAB; 56]).unwrap();
    let printed = format!("{keying:?} {:?}", keying.local());
    assert!(!printed.contains("171") && !printed.to_lowercase().contains("ab, "));
    assert!(printed.contains("AeadAes128Gcm"));
}

/// Every MTU gets its configuration, and the table of them stays small.
#[test]
fn other_mtus_work() {
    let crypto = Crypto::new().unwrap();
    for mtu in (1000..1100).step_by(10) {
        let config = crypto.rtc_config(PeerKeys::Ecdsa).set_mtu(mtu..=1500);
        let mut pair = Pair::new(config, plain_config(), false);
        pair.connect();
    }
}

/// With a seed, DTLS draws the same randoms in each run.
#[test]
fn a_seed_repeats_the_hello() {
    let hello = |seed| {
        let crypto = Crypto::dangerously_seeded(seed).unwrap();
        let mut cert = vec![0; 65536];
        let provider = crypto.provider();
        let certificate = provider.dtls_provider.generate_certificate().unwrap();
        let start = std::time::Instant::now();
        let mut dtls = provider
            .dtls_provider
            .new_dtls(&certificate, start, DtlsVersion::Dtls13, Some(1150))
            .unwrap();
        dtls.set_active(true);
        dtls.handle_timeout(start).unwrap();
        match dtls.poll_output(&mut cert) {
            // Record header, handshake header, version: then the 32 random bytes.
            str0m::crypto::dtls::DtlsOutput::Packet(p) => p[27..59].to_vec(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(hello(1), hello(1));
    assert_ne!(hello(1), hello(2));
}

/// What sharing saves: the time of setting up and connecting a pair, which on a
/// virtual link is nothing but computing. Run with `--ignored --nocapture`.
#[test]
#[ignore = "measurement"]
fn measure_connect() {
    let crypto = Crypto::new().unwrap();
    let run = |name: &str, config: &dyn Fn() -> str0m::RtcConfig| {
        let mut micros: Vec<u128> = (0..101)
            .map(|_| {
                let start = std::time::Instant::now();
                Pair::new(config(), config(), false).connect();
                start.elapsed().as_micros() / 2
            })
            .collect();
        micros.sort_unstable();
        println!("{name}: {} us for one side, median of 101", micros[50]);
    };
    run("str0m's provider", &plain_config);
    run("shared configuration", &|| {
        crypto.rtc_config(PeerKeys::Ecdsa)
    });
    run("any kind of keys", &|| crypto.rtc_config(PeerKeys::Unknown));
}
