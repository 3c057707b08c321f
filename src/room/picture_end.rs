//! Where a picture of several spatial layers ends for who does not get all of them.
//!
//! The marker bit stands on the last packet of a picture (RFC 9628 §4.1, AV1 RTP §4.2), and
//! libwebrtc decodes no picture that has none, nor any that refers to it. Who gets the lower
//! layers only needs it on the last packet of the highest one of those that is there. Encoders leave single
//! layers of a picture out, lower ones too, and no packet tells whether a frame of the next
//! layer follows: only the packet behind it does.

use super::packet::Packet;

/// No frame of its picture follows.
pub const PICTURE_OVER: u8 = u8::MAX;

/// Watches one encoding for ends of frames within pictures.
#[derive(Debug, Default)]
pub struct PictureEnds {
    newest: Option<u64>,
    open: Option<Open>,
}

/// The newest packet, which ends a frame.
#[derive(Debug, Clone, Copy)]
struct Open {
    seq: u64,
    timestamp: u32,
    spatial: u8,
    frame: Option<u16>,
}

impl Open {
    fn of(packet: &Packet) -> Option<Self> {
        let ends = packet.info.ends_frame && !packet.marker;
        ends.then(|| Self {
            seq: packet.seq,
            timestamp: packet.timestamp,
            spatial: packet.info.spatial,
            frame: packet.frame_number(),
        })
    }

    /// What follows it, as `next` tells.
    fn above(&self, next: &Packet) -> u8 {
        let numbers = self.frame.zip(next.frame_number());
        let adjacent = next.seq == self.seq + 1
            || numbers.is_some_and(|(frame, next)| next == frame.wrapping_add(1));
        match next.timestamp == self.timestamp {
            // The rest of it may have been lost: it is waited for.
            _ if !adjacent => self.spatial.saturating_add(1),
            true => next.info.spatial,
            false => PICTURE_OVER,
        }
    }
}

impl PictureEnds {
    /// No end of a frame waits to be told what follows.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.open.is_none()
    }

    /// Takes note of the next packet of an encoding that has `layers`, spatial ones. Returns the number of
    /// one that came before it, and what that is followed by.
    pub fn follow(&mut self, packet: &Packet, layers: bool) -> Option<(u64, u8)> {
        if self.newest.is_some_and(|newest| packet.seq <= newest) {
            return None;
        }
        self.newest = Some(packet.seq);
        let open = if layers { Open::of(packet) } else { None };
        let before = std::mem::replace(&mut self.open, open)?;
        Some((before.seq, before.above(packet)))
    }
}

/// What follows `packet`, which came late, in its picture, when `next` stands behind it.
pub fn above(packet: &Packet, next: &Packet) -> Option<u8> {
    Some(Open::of(packet)?.above(next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::testing::packet;

    /// A frame of one packet; `last` of its picture.
    fn frame(seq: u64, timestamp: u32, spatial: u8, last: bool) -> Packet {
        let mut packet = packet(seq, timestamp);
        packet.info.spatial = spatial;
        packet.info.ends_frame = true;
        packet.marker = last;
        packet
    }

    fn numbered(mut packet: Packet, number: u16) -> Packet {
        let [high, low] = number.to_be_bytes();
        packet.passed.dependency = [0xc0, high, low][..].into();
        packet
    }

    #[test]
    fn the_packet_behind_the_end_of_a_frame_tells_what_follows() {
        for (next, above) in [
            (frame(11, 0, 1, true), 1),
            (frame(11, 0, 2, true), 2),
            (frame(11, 3000, 0, false), PICTURE_OVER),
            // What lies between was lost, or comes late.
            (frame(13, 0, 2, true), 1),
            (frame(13, 3000, 0, false), 1),
        ] {
            let mut ends = PictureEnds::default();
            assert_eq!(ends.follow(&frame(10, 0, 0, false), true), None);
            assert_eq!(ends.follow(&frame(9, 0, 0, false), true), None, "late");
            assert_eq!(ends.follow(&next, true), Some((10, above)), "{next:?}");
        }
    }

    #[test]
    fn frame_numbers_tell_what_was_lost() {
        for (number, above) in [(8, 2), (9, 1)] {
            let mut ends = PictureEnds::default();
            ends.follow(&numbered(frame(10, 0, 0, false), 7), true);
            let next = numbered(frame(13, 0, 2, true), number);
            assert_eq!(ends.follow(&next, true), Some((10, above)), "{number}");
        }
    }

    #[test]
    fn nothing_is_told_of_ends_of_pictures_and_of_streams_without_layers() {
        let mut ends = PictureEnds::default();
        ends.follow(&frame(10, 0, 1, true), true);
        assert_eq!(ends.follow(&frame(11, 3000, 0, false), false), None);
        assert_eq!(ends.follow(&frame(12, 3000, 1, true), true), None);
    }
}
