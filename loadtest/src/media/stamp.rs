//! The stamp at the end of each packet's payload. Every byte has its top bit
//! set, so that no start code can arise in it and no NAL unit ends in a zero.

/// Bytes of a stamp.
pub const STAMP_LEN: usize = 24;
const MAGIC: [u8; 2] = [0xD7, 0xE1];

/// Who sent a packet, which one it is, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The published stream: one per encoding and per start of a publisher.
    pub stream: u32,
    /// Counts the packets of the stream from 0.
    pub sequence: u32,
    /// When it was sent, nanoseconds of `CLOCK_REALTIME`.
    pub sent_ns: u64,
    /// How long after the media's own time that was, in microseconds.
    pub age_us: u32,
}

fn put(out: &mut [u8], mut value: u64) {
    for b in out.iter_mut().rev() {
        *b = 0x80 | (value & 0x7F) as u8;
        value >>= 7;
    }
}

fn get(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |v, b| v << 7 | u64::from(b & 0x7F))
}

/// Seven bits that depend on every bit below each byte's top one.
fn sum(bytes: &[u8]) -> u8 {
    let sum = bytes
        .iter()
        .fold(0u8, |s, b| ((s << 1 | s >> 6) ^ b) & 0x7F);
    0x80 | sum
}

impl Stamp {
    const MAX_AGE: u32 = (1 << 21) - 1;

    /// Its bytes.
    pub fn encode(&self) -> [u8; STAMP_LEN] {
        let mut out = [0; STAMP_LEN];
        out[..2].copy_from_slice(&MAGIC);
        put(&mut out[2..5], u64::from(self.stream));
        put(&mut out[5..10], u64::from(self.sequence));
        put(&mut out[10..20], self.sent_ns);
        put(&mut out[20..23], u64::from(self.age_us.min(Self::MAX_AGE)));
        out[23] = sum(&out[..23]);
        out
    }

    /// The stamp a payload ends with.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (_, s) = payload.split_last_chunk::<STAMP_LEN>()?;
        if s[..2] != MAGIC || s[23] != sum(&s[..23]) || s.iter().any(|b| b & 0x80 == 0) {
            return None;
        }
        Some(Self {
            stream: get(&s[2..5]) as u32,
            sequence: get(&s[5..10]) as u32,
            sent_ns: get(&s[10..20]),
            age_us: get(&s[20..23]) as u32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_read_back_and_noise_does_not() {
        let stamp = Stamp {
            stream: 70_000,
            sequence: u32::MAX,
            sent_ns: 1_790_000_000_123_456_789,
            age_us: 1_234_567,
        };
        let mut payload = vec![1, 2, 3];
        payload.extend_from_slice(&stamp.encode());
        assert_eq!(Stamp::decode(&payload), Some(stamp));
        for i in 3..payload.len() {
            let mut damaged = payload.clone();
            damaged[i] ^= 1;
            assert_eq!(Stamp::decode(&damaged), None, "byte {i}");
        }
        assert_eq!(Stamp::decode(&payload[4..]), None);
        assert_eq!(Stamp::decode(&[0xFF; 40]), None);
    }
}
