//! ICE user name fragments that say which worker and slot a session lives in, so
//! that the first datagram of a peer finds its session without a search.

use crate::units::WorkerId;

/// Characters in a fragment: 8 bits of worker, 32 of slot and 32 of randomness at
/// 6 bits each. RFC 8445 §5.3 wants at least 4 characters and 24 random bits.
pub const LENGTH: usize = 12;

/// `ice-char` of RFC 8839 §5.4, all 64 of them.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The fragment of a session; different for different arguments.
///
/// `random` comes fresh from a secure generator: it keeps a slot's next session
/// apart from the last one.
pub fn encode(worker: WorkerId, slot: u32, random: u32) -> String {
    // Randomness first, so that fragments also differ at a glance.
    let mut bits = (u128::from(random) << 40) | (u128::from(slot) << 8) | u128::from(worker.0);
    let mut text = [0; LENGTH];
    for place in text.iter_mut().rev() {
        *place = ALPHABET[(bits & 63) as usize];
        bits >>= 6;
    }
    text.iter().copied().map(char::from).collect()
}

/// The worker and slot that a fragment names; `None` for a text that
/// [`encode`] never makes. Whether the session still lives there is for the
/// worker to say: it compares the whole fragment with the session's.
pub fn decode(fragment: &[u8]) -> Option<(WorkerId, u32)> {
    if fragment.len() != LENGTH {
        return None;
    }
    let mut bits: u128 = 0;
    for &character in fragment {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u128::from(value);
    }
    Some((WorkerId(bits as u8), (bits >> 8) as u32))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn worker_and_slot_come_back() {
        let mut seen = HashSet::new();
        for worker in [0, 1, 7, 255] {
            for slot in [0, 1, 63, 64, 4095, 1 << 20, u32::MAX] {
                for random in [0, 1, 0x8000_0000, u32::MAX] {
                    let text = encode(WorkerId(worker), slot, random);
                    assert_eq!(text.len(), LENGTH);
                    assert!(
                        text.bytes()
                            .all(|c| c.is_ascii_alphanumeric() || c == b'+' || c == b'/')
                    );
                    assert_eq!(decode(text.as_bytes()), Some((WorkerId(worker), slot)));
                    assert!(seen.insert(text), "a fragment came twice");
                }
            }
        }
    }

    #[test]
    fn other_text_is_no_fragment() {
        for text in [
            "",
            "abcd",
            "ABCDEFGHIJK",
            "ABCDEFGHIJKLM",
            "ABCDEFGHIJK-",
            "ABCDEFGHIJK\0",
        ] {
            assert_eq!(decode(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(decode(&[0xff; LENGTH]), None);
    }
}
