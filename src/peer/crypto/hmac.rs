//! HMAC-SHA1 for str0m that remembers the state of recent SRTP keys.

use std::cell::RefCell;

use aws_lc_rs::hmac::{Context, HMAC_SHA1_FOR_LEGACY_USE_ONLY, Key};
use str0m::crypto::Sha1HmacProvider;
use zeroize::Zeroizing;

/// SRTP's authentication keys are 160 bits (RFC 3711 §5.2). STUN passwords,
/// which are used seldom, have other lengths and pass the cache by.
const KEY_LEN: usize = 20;

/// Keys remembered by each thread, a power of two. A session that uses
/// HMAC-SHA1 needs up to four.
const SLOTS: usize = 256;

struct Entry {
    bytes: Zeroizing<[u8; KEY_LEN]>,
    key: Key,
}

thread_local! {
    static CACHE: RefCell<Vec<Option<Box<Entry>>>> = const { RefCell::new(Vec::new()) };
}

/// The provider's HMAC: str0m hands over the raw key with each packet, and
/// hashing its two pads anew is half of the work for a small packet.
#[derive(Debug)]
pub(super) struct CachedSha1Hmac;

impl Sha1HmacProvider for CachedSha1Hmac {
    fn sha1_hmac(&self, key: &[u8], payloads: &[&[u8]]) -> [u8; 20] {
        match <&[u8; KEY_LEN]>::try_from(key) {
            Ok(key) => with_cached(key, |key| sign(key, payloads)),
            Err(_) => sign(&Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, key), payloads),
        }
    }
}

fn sign(key: &Key, payloads: &[&[u8]]) -> [u8; 20] {
    let mut context = Context::with_key(key);
    for payload in payloads {
        context.update(payload);
    }
    let mut out = [0; 20];
    out.copy_from_slice(context.sign().as_ref());
    out
}

fn with_cached<R>(bytes: &[u8; KEY_LEN], f: impl FnOnce(&Key) -> R) -> R {
    CACHE.with_borrow_mut(|slots| {
        if slots.is_empty() {
            slots.resize_with(SLOTS, || None);
        }
        let entry = &mut slots[slot(bytes)];
        match entry {
            Some(e) if *e.bytes == *bytes => f(&e.key),
            _ => {
                let e = entry.insert(Box::new(Entry {
                    bytes: Zeroizing::new(*bytes),
                    key: Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, bytes),
                }));
                f(&e.key)
            }
        }
    })
}

/// Derived keys are uniform, so any of their bits will do.
fn slot(bytes: &[u8; KEY_LEN]) -> usize {
    usize::from(u16::from_le_bytes([bytes[0], bytes[1]])) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2202 §3, test cases 1 and 2.
    #[test]
    fn known_answers() {
        let tag = CachedSha1Hmac.sha1_hmac(&[0x0b; 20], &[b"Hi ", b"There"]);
        assert_eq!(
            tag,
            [
                0xb6, 0x17, 0x31, 0x86, 0x55, 0x05, 0x72, 0x64, 0xe2, 0x8b, 0xc0, 0xb6, 0xfb, 0x37,
                0x8c, 0x8e, 0xf1, 0x46, 0xbe, 0x00
            ]
        );
        let tag = CachedSha1Hmac.sha1_hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(
            tag,
            [
                0xef, 0xfc, 0xdf, 0x6a, 0xe5, 0xeb, 0x2f, 0xa2, 0xd2, 0x74, 0x16, 0xd5, 0xf1, 0x84,
                0xdf, 0x9c, 0x25, 0x9a, 0x7c, 0x79
            ]
        );
    }

    /// Keys that share a slot evict each other and never answer for each other.
    #[test]
    fn keys_of_one_slot_stay_apart() {
        let keys: Vec<[u8; KEY_LEN]> = (0..4u8)
            .map(|i| {
                let mut k = [i; KEY_LEN];
                k[0] = 7;
                k[1] = 0;
                k
            })
            .collect();
        for round in 0..3u8 {
            for key in &keys {
                let fresh = sign(&Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, key), &[&[round]]);
                assert_eq!(CachedSha1Hmac.sha1_hmac(key, &[&[round]]), fresh);
                assert_eq!(CachedSha1Hmac.sha1_hmac(key, &[&[round]]), fresh);
            }
        }
    }
}
