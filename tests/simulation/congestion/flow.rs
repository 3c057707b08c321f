//! What a scenario drives: a sender with its receiver, seen as datagrams.

use std::time::Instant;

/// A datagram from sender to receiver.
#[derive(Debug, Clone)]
pub struct Datagram {
    /// Bytes on the wire.
    pub size: usize,
    /// What the flow made of it.
    pub content: Content,
}

#[derive(Debug, Clone)]
pub enum Content {
    /// Of our own sender: transport-wide number, and media or padding.
    Numbered { sequence: u16, media: bool },
    /// Of str0m's.
    Bytes(Vec<u8>),
}

/// A sender that adapts its media to its own estimate, and the receiver.
pub trait Flow {
    /// Lets the sender's time pass; what it sends goes to `out`.
    fn send(&mut self, now: Instant, out: &mut Vec<Datagram>);

    /// A datagram reaches the receiver.
    fn arrive(&mut self, at: Instant, datagram: Datagram);

    /// Lets the receiver's time pass; its feedback goes to `out`.
    fn report(&mut self, now: Instant, out: &mut Vec<Vec<u8>>);

    /// Feedback reaches the sender.
    fn hear(&mut self, now: Instant, feedback: &[u8]);

    /// Bits per second that the sender thinks it may send.
    fn estimate(&self) -> f64;

    /// Media bytes that reached the receiver.
    fn delivered(&self) -> u64;
}

/// Media that follows an estimate as an encoder does: frames of varying size.
#[derive(Debug)]
pub struct Encoder {
    most: f64,
    next: Option<Instant>,
    seed: u64,
}

pub const FRAME: std::time::Duration = std::time::Duration::from_micros(33_333);

/// Payload bytes of a packet.
pub const PAYLOAD: usize = 1100;

/// Media takes this share of the estimate.
const SHARE: f64 = 0.95;

const LEAST: f64 = 100_000.0;

impl Encoder {
    pub fn new(most: f64, seed: u64) -> Self {
        Self {
            most,
            next: None,
            seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    /// The payload sizes of the frame that is due, if one is.
    pub fn frame(&mut self, now: Instant, estimate: f64) -> Option<Vec<usize>> {
        let next = *self.next.get_or_insert(now);
        if now < next {
            return None;
        }
        self.next = Some(next + FRAME);
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        let vary = 0.85 + 0.3 * (self.seed >> 40) as f64 / f64::from(1u32 << 24);
        let rate = (estimate * SHARE).clamp(LEAST, self.most);
        let bytes = (rate * FRAME.as_secs_f64() / 8.0 * vary) as usize;
        let packets = bytes.div_ceil(PAYLOAD).max(1);
        Some(vec![(bytes / packets).max(50); packets])
    }
}
