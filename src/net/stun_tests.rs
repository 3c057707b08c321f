//! The samples of RFC 5769, damage, and answers as an independent parser reads them.

use super::*;

const ID: [u8; 12] = *b"abcdefghijkl";

/// RFC 5769 §2.1.
const SAMPLE_REQUEST: &[u8] = b"\x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\
\xfa\x87\xdf\xae\x80\x22\x00\x10STUN test client\x00\x24\x00\x04\x6e\x00\x01\xff\x80\x29\x00\x08\
\x93\x2f\xf9\xb1\x51\x26\x3b\x36\x00\x06\x00\x09evtj:h6vY\x20\x20\x20\x00\x08\x00\x14\x9a\xea\
\xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2\x80\x28\x00\x04\xe5\x7a\
\x3b\xcf";

/// RFC 5769 §2.2.
const SAMPLE_RESPONSE: &[u8] = b"\x01\x01\x00\x3c\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\
\xfa\x87\xdf\xae\x80\x22\x00\x0btest vector\x20\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43\
\x00\x08\x00\x14\x2b\x91\xf5\x99\xfd\x9e\x90\xc3\x8c\x74\x89\xf9\x2a\xf9\xba\x53\xf0\x6b\xe7\xd7\
\x80\x28\x00\x04\xc0\x7d\x4c\x96";

const SAMPLE_PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";

/// A check with the parts of RFC 8445 §7.2.2 that are asked for; other parts are of 8 bytes.
pub(crate) fn check(username: &[u8], password: &[u8], parts: &[u16]) -> Vec<u8> {
    let mut out = [0; 500];
    let mut writer = Writer::start(&mut out, BINDING_REQUEST, ID).expect("room");
    let padded = username.len().next_multiple_of(4);
    writer.raw(&USERNAME.to_be_bytes()).expect("room");
    let length = (username.len() as u16).to_be_bytes();
    writer.raw(&length).expect("room");
    writer.raw(username).expect("room");
    writer
        .raw(&[0; 3][..padded - username.len()])
        .expect("room");
    for &part in parts {
        let value: &[u8] = match part {
            PRIORITY => &[0x6e, 0, 1, 255],
            USE_CANDIDATE => &[],
            _ => &[9; 8],
        };
        writer.attribute(part, value).expect("room");
    }
    writer.integrity(password).expect("room");
    writer.fingerprint().expect("room");
    let len = writer.at;
    out[..len].to_vec()
}

#[test]
fn the_sample_request_of_rfc_5769_is_read() {
    let view = StunView::parse(SAMPLE_REQUEST).expect("parse");
    assert!(view.is_binding_request());
    assert_eq!(view.ufrags(), Some((&b"evtj"[..], &b"h6vY"[..])));
    assert!(view.has_fingerprint());
    assert!(!view.nominates() && view.unknown_required().is_empty());
    assert!(view.verify_integrity(SAMPLE_PASSWORD));
    assert!(!view.verify_integrity(b"VOkJxbRl1RmTxUk/WvJxBT"));
    assert!(!view.verify_integrity(b""));
    assert_eq!(view.transaction()[..4], [0xb7, 0xe7, 0xa7, 0x01]);
}

#[test]
fn the_sample_response_of_rfc_5769_is_read() {
    let view = StunView::parse(SAMPLE_RESPONSE).expect("parse");
    assert_eq!(view.kind, BINDING_SUCCESS);
    assert!(!view.is_binding_request());
    assert!(view.verify_integrity(SAMPLE_PASSWORD));
    let mapped = mapped_address(SAMPLE_RESPONSE, view.transaction());
    assert_eq!(mapped, Some(([192, 0, 2, 1], 32853).into()));
    assert_eq!(mapped_address(SAMPLE_RESPONSE, ID), None);
    assert_eq!(mapped_address(SAMPLE_REQUEST, view.transaction()), None);
}

#[test]
fn every_changed_byte_is_noticed() {
    for at in 0..SAMPLE_REQUEST.len() {
        if (100..102).contains(&at) {
            // Another attribute than FINGERPRINT behind MESSAGE-INTEGRITY is ignored.
            continue;
        }
        let mut bytes = SAMPLE_REQUEST.to_vec();
        bytes[at] ^= 0x10;
        let accepted = StunView::parse(&bytes).is_ok_and(|v| v.verify_integrity(SAMPLE_PASSWORD));
        assert!(!accepted, "byte {at}");
    }
    for len in 0..SAMPLE_REQUEST.len() {
        assert!(StunView::parse(&SAMPLE_REQUEST[..len]).is_err(), "{len}");
    }
}

#[test]
fn random_bytes_never_panic() {
    use rand::{RngExt, SeedableRng};
    let mut rng = rand::rngs::StdRng::seed_from_u64(3);
    let mut parsed = 0;
    for _ in 0..50_000 {
        let mut bytes = check(b"abcd:efgh", b"secret", &[PRIORITY, USE_CANDIDATE]);
        // The fingerprint is cut off, so that damage gets further than that.
        bytes.truncate(bytes.len() - 8);
        let length = (bytes.len() - HEADER) as u16;
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        for _ in 0..rng.random_range(0..4) {
            let at = rng.random_range(HEADER..bytes.len());
            bytes[at] = rng.random_range(0..=255);
        }
        if let Ok(view) = StunView::parse(&bytes) {
            parsed += 1;
            view.ufrags();
            view.verify_integrity(b"secret");
            mapped_address(&bytes, ID);
        }
    }
    assert!(parsed > 10_000, "{parsed}");
}

#[test]
fn responses_are_read_by_an_independent_parser() {
    let request = check(b"abcd:efgh", b"secret", &[PRIORITY, ICE_CONTROLLING]);
    let view = StunView::parse(&request).expect("parse");
    for mapped in ["192.0.2.7:4242", "[2001:db8::7]:4242"] {
        let mapped: SocketAddr = mapped.parse().expect("address");
        let mut out = [0; 84];
        let len = binding_success(&view, mapped, Some(b"secret"), &mut out).expect("room");
        let reply = str0m::ice::StunMessage::parse(&out[..len]).expect("parse");
        assert!(reply.is_successful_binding_response());
        assert_eq!(reply.mapped_address(), Some(mapped));
        assert_eq!(mapped_address(&out[..len], ID), Some(mapped));
        let reply = StunView::parse(&out[..len]).expect("parse");
        assert!(reply.verify_integrity(b"secret") && reply.has_fingerprint());
        for short in 0..len {
            assert_eq!(
                binding_success(&view, mapped, Some(b"secret"), &mut out[..short]),
                None
            );
        }
    }
    let mut out = [0; 84];
    let len = binding_error(&view, 401, None, &mut out).expect("room");
    let reply = str0m::ice::StunMessage::parse(&out[..len]).expect("parse");
    assert!(reply.is_failed_binding_response());
    assert_eq!(reply.error_code().map(|(code, _)| code), Some(401));
    assert!(len <= request.len());
    assert_eq!(binding_error(&view, 500, None, &mut out), None);
}

#[test]
fn attributes_that_must_be_known_and_are_not_are_listed_in_the_answer() {
    for count in [0, 1, 2, 3, 8, 20] {
        let unknown: Vec<u16> = (0x4000..0x4000 + count).collect();
        // Nobody has to know 0xC001.
        let parts = [&[PRIORITY], &unknown[..], &[0xC001, ICE_CONTROLLING]].concat();
        let request = check(b"abcd:efgh", b"secret", &parts);
        let view = StunView::parse(&request).expect("parse");
        let wanted = &unknown[..unknown.len().min(MAX_UNKNOWN)];
        assert_eq!(view.unknown_required(), wanted);
        let mut out = [0xFF; 128];
        let len = binding_error(&view, 420, Some(b"secret"), &mut out).expect("room");
        assert!(len <= request.len(), "no amplification");
        let reply = StunView::parse(&out[..len]).expect("parse");
        assert!(reply.kind == BINDING_ERROR && reply.verify_integrity(b"secret"));
        let mut list = vec![0, 0x0A, 0, wanted.len() as u8 * 2];
        list.extend(wanted.iter().flat_map(|kind| kind.to_be_bytes()));
        list.resize(list.len().next_multiple_of(4), 0);
        assert_eq!(out[HEADER..HEADER + 8], [0, 9, 0, 4, 0, 0, 4, 20]);
        assert_eq!(out[HEADER + 8..HEADER + 8 + list.len()], list);
        let other = str0m::ice::StunMessage::parse(&out[..len]).expect("parse");
        assert_eq!(other.error_code().map(|(code, _)| code), Some(420));
    }
}

#[test]
fn a_plain_request_gets_the_shortest_answer() {
    let mut bare = [0; HEADER];
    bare[1] = 1;
    bare[4..8].copy_from_slice(&MAGIC);
    let view = StunView::parse(&bare).expect("parse");
    assert!(view.is_binding_request() && view.ufrags().is_none());
    let mut out = [0; 84];
    let mapped = SocketAddr::from(([192, 0, 2, 7], 4242));
    assert_eq!(binding_success(&view, mapped, None, &mut out), Some(32));
}
