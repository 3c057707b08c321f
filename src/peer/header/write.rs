//! Writes a viewer's header: the fixed part and the extension elements.

use super::{ExtensionIds, PassedExtensions};
use crate::peer::negotiate::HeaderExtension;

/// What a viewer's packet carries beside the passed values.
#[derive(Debug, Clone, Copy)]
pub struct OutgoingHeader<'a> {
    /// Payload type.
    pub payload_type: u8,
    /// Marker bit.
    pub marker: bool,
    /// Sequence number on the viewer's line.
    pub sequence: u16,
    /// Timestamp on the viewer's line.
    pub timestamp: u32,
    /// The slot's SSRC.
    pub ssrc: u32,
    /// The payload is padding alone (RFC 3550 §5.1).
    pub padding: bool,
    /// A dependency descriptor in place of the packet's own.
    pub dependency: Option<&'a [u8]>,
    /// `a=mid`, for whom no answer has told the SSRC; viewers are told theirs.
    pub mid: Option<&'a [u8]>,
    /// 24-bit 6.18 fixed point seconds.
    pub abs_send_time: Option<u32>,
    /// Transport-wide sequence number.
    pub transport_sequence: Option<u16>,
}

/// Which id each value goes out with, resolved once a slot.
#[derive(Debug, Clone, Copy, Default)]
pub struct OutgoingIds {
    mid: Option<u8>,
    audio_level: Option<u8>,
    abs_send_time: Option<u8>,
    capture_time: Option<u8>,
    transport_cc: Option<u8>,
    orientation: Option<u8>,
    playout_delay: Option<u8>,
    dependency: Option<u8>,
    color_space: Option<u8>,
    content_type: Option<u8>,
    /// Both forms may be mixed (RFC 8285 §4.1): most packets have the one of one byte.
    mixed: bool,
}

impl OutgoingIds {
    /// The ids of one negotiated section; `mixed` where `a=extmap-allow-mixed` was agreed on.
    pub fn new(pairs: &[(u8, HeaderExtension)], mixed: bool) -> Self {
        let ids = ExtensionIds::new(pairs);
        Self {
            mid: ids.id(HeaderExtension::Mid),
            audio_level: ids.id(HeaderExtension::AudioLevel),
            abs_send_time: ids.id(HeaderExtension::AbsSendTime),
            capture_time: ids.id(HeaderExtension::AbsCaptureTime),
            transport_cc: ids.id(HeaderExtension::TransportWideCc),
            orientation: ids.id(HeaderExtension::VideoOrientation),
            playout_delay: ids.id(HeaderExtension::PlayoutDelay),
            // Of no use without the structures that keyframes bring, which are longer.
            dependency: ids
                .id(HeaderExtension::DependencyDescriptor)
                .filter(|_| mixed),
            color_space: ids.id(HeaderExtension::ColorSpace),
            content_type: ids.id(HeaderExtension::VideoContentType),
            mixed,
        }
    }

    /// The viewer reads transport-wide sequence numbers.
    pub fn has_transport_cc(&self) -> bool {
        self.transport_cc.is_some()
    }

    /// The viewer reads dependency descriptors.
    pub fn has_dependency(&self) -> bool {
        self.dependency.is_some()
    }

    /// The viewer reads absolute send times.
    pub fn has_abs_send_time(&self) -> bool {
        self.abs_send_time.is_some()
    }
}

/// The longest value of the form of one byte (RFC 8285 §4.2).
const ONE_BYTE: usize = 16;

/// The longest header [`write()`] makes: fixed part, extension header, and every
/// extension at its largest.
pub const MAX_HEADER: usize = 12 + 4 + 512;

/// Writes a header with its extensions, padded to 32 bits (RFC 8285 §4.1.2),
/// and returns its length. `None` when `out` is too small.
///
/// The one-byte form is used unless a value is longer than 16 bytes; where both forms must not be
/// mixed, such a value is left out. Ids above 14 never got into [`OutgoingIds`].
pub fn write(
    out: &mut [u8],
    header: &OutgoingHeader<'_>,
    ids: &OutgoingIds,
    passed: &PassedExtensions,
) -> Option<usize> {
    let (fixed, rest) = out.split_first_chunk_mut::<12>()?;
    let [q0, q1] = header.sequence.to_be_bytes();
    let [t0, t1, t2, t3] = header.timestamp.to_be_bytes();
    let [s0, s1, s2, s3] = header.ssrc.to_be_bytes();
    let second = header.payload_type | if header.marker { 0x80 } else { 0 };
    let first = if header.padding { 0xa0 } else { 0x80 };
    *fixed = [first, second, q0, q1, t0, t1, t2, t3, s0, s1, s2, s3];

    let dependency = header.dependency.unwrap_or(&passed.dependency);
    let color_space = &passed.color_space;
    let color_space_id = ids
        .color_space
        .filter(|_| ids.mixed || color_space.len() <= ONE_BYTE);
    let long = (ids.dependency.is_some() && dependency.len() > ONE_BYTE)
        || (color_space_id.is_some() && color_space.len() > ONE_BYTE);
    let (extension, body) = rest.split_first_chunk_mut::<4>()?;
    let mut writer = ElementWriter {
        body,
        used: 0,
        long,
    };
    if let (Some(id), Some(mid)) = (ids.mid, header.mid) {
        writer.put(id, mid)?;
    }
    if let (Some(id), Some(time)) = (ids.abs_send_time, header.abs_send_time) {
        let [_, a, b, c] = time.to_be_bytes();
        writer.put_array(id, [a, b, c])?;
    }
    if let (Some(id), Some(sequence)) = (ids.transport_cc, header.transport_sequence) {
        writer.put_array(id, sequence.to_be_bytes())?;
    }
    if let (Some(id), Some(level)) = (ids.audio_level, passed.audio_level) {
        writer.put_array(id, [level])?;
    }
    if let (Some(id), Some(orientation)) = (ids.orientation, passed.orientation) {
        writer.put_array(id, [orientation])?;
    }
    if let (Some(id), Some(delay)) = (ids.playout_delay, passed.playout_delay) {
        writer.put_array(id, delay)?;
    }
    if let (Some(id), Some(content)) = (ids.content_type, passed.content_type) {
        writer.put_array(id, [content])?;
    }
    if let Some(id) = ids.capture_time
        && !passed.capture_time.is_empty()
    {
        writer.put(id, &passed.capture_time)?;
    }
    if let Some(id) = ids.dependency
        && !dependency.is_empty()
    {
        writer.put(id, dependency)?;
    }
    if let Some(id) = color_space_id
        && !color_space.is_empty()
    {
        writer.put(id, color_space)?;
    }
    if writer.used == 0 {
        return Some(12);
    }
    let words = writer.pad()?;
    fixed[0] |= 0x10;
    let profile: u16 = if long { 0x1000 } else { 0xbede };
    let [p0, p1] = profile.to_be_bytes();
    let [w0, w1] = u16::try_from(words).ok()?.to_be_bytes();
    *extension = [p0, p1, w0, w1];
    Some(16 + words * 4)
}

struct ElementWriter<'a> {
    body: &'a mut [u8],
    used: usize,
    long: bool,
}

impl ElementWriter<'_> {
    /// A value whose length is known when this is compiled: a few stores.
    #[inline]
    fn put_array<const N: usize>(&mut self, id: u8, value: [u8; N]) -> Option<()> {
        if self.long {
            return self.put(id, &value);
        }
        let (head, rest) = self.body.get_mut(self.used..)?.split_first_mut()?;
        *rest.first_chunk_mut::<N>()? = value;
        *head = id << 4 | (N as u8 - 1);
        self.used += 1 + N;
        Some(())
    }

    fn put(&mut self, id: u8, value: &[u8]) -> Option<()> {
        let length = u8::try_from(value.len()).ok()?;
        let head: &[u8] = if self.long {
            &[id, length]
        } else {
            &[id << 4 | (length.checked_sub(1)? & 0x0f)]
        };
        let end = self.used + head.len() + value.len();
        let room = self.body.get_mut(self.used..end)?;
        room[..head.len()].copy_from_slice(head);
        room[head.len()..].copy_from_slice(value);
        self.used = end;
        Some(())
    }

    fn pad(&mut self) -> Option<usize> {
        while !self.used.is_multiple_of(4) {
            *self.body.get_mut(self.used)? = 0;
            self.used += 1;
        }
        Some(self.used / 4)
    }
}
