//! A publisher's packet as it travels through a worker.

use std::sync::Arc;
use std::time::Instant;

use crate::codec::{Codec, FrameLayers, PacketInfo, red};
use crate::peer::header::PassedExtensions;

/// An authentic RTP packet, parsed once. Cloning it copies a handle on the
/// payload, which never leaves the worker: another worker gets its own copy.
#[derive(Debug, Clone)]
pub struct Packet {
    /// When it arrived, by the worker's clock.
    pub arrival: Instant,
    /// Extended sequence number on the publisher's line.
    pub seq: u64,
    /// RTP timestamp on the publisher's line.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// Index into the track's formats.
    pub format: u8,
    /// For RED (RFC 2198), what its headers say.
    pub red: Option<red::Summary>,
    /// The codec, of the primary block with RED.
    pub codec: Codec,
    /// What the payload says about its frame.
    pub info: PacketInfo,
    /// What its frame is to each choice of layers.
    pub layers: FrameLayers,
    /// Which of the encoding's template structures its dependency descriptor
    /// belongs to; 0 without one.
    pub structure: u32,
    /// The decode targets that the publisher produces as of this packet, bit 0
    /// for the first; 0 without a dependency descriptor.
    pub targets: u32,
    /// Where it ends a frame and its picture may go on: the spatial layer of the frame that follows
    /// there, or [`PICTURE_OVER`](super::picture_end::PICTURE_OVER). `None` as long as nothing tells.
    pub above: Option<u8>,
    /// First packet of a frame from which a decoder can start.
    pub entry: bool,
    /// The entry frame comes without the parameter sets that it needs; the
    /// encoding's kept ones go out ahead of it.
    pub needs_parameter_sets: bool,
    /// Header extension values that pass through.
    pub passed: PassedExtensions,
    /// The payload, without header and padding.
    pub payload: Arc<[u8]>,
}

impl Packet {
    /// The number in its dependency descriptor.
    #[inline]
    pub fn frame_number(&self) -> Option<u16> {
        match self.passed.dependency[..] {
            [_, high, low, ..] => Some(u16::from_be_bytes([high, low])),
            _ => None,
        }
    }

    /// The packet for another worker: its payload copied, nothing shared.
    pub fn detached(&self) -> Self {
        Self {
            payload: Arc::from(&self.payload[..]),
            ..self.clone()
        }
    }
}
