//! The RTP header in the clear (RFC 3550 §5.1) and its extension elements
//! (RFC 8285): read once from a publisher's packet, written once a viewer.

use smallvec::SmallVec;

use super::negotiate::HeaderExtension;

/// Extension ids that a session negotiated: what each of the ids 1 to 14 of
/// the one-byte form means.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExtensionIds([Option<HeaderExtension>; 15]);

impl ExtensionIds {
    /// The table for these negotiated pairs; ids above 14 are left out, since
    /// the one-byte form can't carry them.
    pub fn new(pairs: &[(u8, HeaderExtension)]) -> Self {
        let mut ids = Self::default();
        ids.add(pairs);
        ids
    }

    /// Adds the pairs of another section; in a bundle, ids mean the same
    /// everywhere (RFC 8843 §8.2).
    pub fn add(&mut self, pairs: &[(u8, HeaderExtension)]) {
        for &(id, extension) in pairs {
            if let Some(entry) = self.0.get_mut(usize::from(id))
                && id > 0
            {
                *entry = Some(extension);
            }
        }
    }

    /// What `id` means.
    #[inline]
    pub fn meaning(&self, id: u8) -> Option<HeaderExtension> {
        self.0.get(usize::from(id)).copied().flatten()
    }

    /// The id of `extension`.
    pub fn id(&self, extension: HeaderExtension) -> Option<u8> {
        let at = self.0.iter().position(|e| *e == Some(extension))?;
        u8::try_from(at).ok()
    }
}

/// Values of a publisher's packet that travel to viewers untouched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PassedExtensions {
    /// Voice activity and level, as on the wire (RFC 6464).
    pub audio_level: Option<u8>,
    /// Coordination of video orientation, as on the wire (3GPP TS 26.114).
    pub orientation: Option<u8>,
    /// Minimum and maximum playout delay, as on the wire.
    pub playout_delay: Option<[u8; 3]>,
    /// Content type, as on the wire.
    pub content_type: Option<u8>,
    /// Absolute capture time, 8 or 16 bytes as on the wire.
    pub capture_time: SmallVec<[u8; 16]>,
    /// Dependency descriptor, as on the wire; empty when absent.
    pub dependency: SmallVec<[u8; 48]>,
    /// Colour space, as on the wire; empty when absent.
    pub color_space: SmallVec<[u8; 28]>,
}

/// The extension elements of a received header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Elements<'a> {
    /// The values for viewers.
    pub passed: PassedExtensions,
    /// The media description's name (RFC 9143); empty when absent, as the next two.
    pub mid: &'a [u8],
    /// The encoding's name (RFC 8852).
    pub rid: &'a [u8],
    /// The name of the encoding that this packet repairs (RFC 8852).
    pub repaired_rid: &'a [u8],
    /// 24 bits of 6.18 fixed point seconds.
    pub abs_send_time: Option<u32>,
    /// Transport-wide sequence number.
    pub transport_sequence: Option<u16>,
}

/// The fields of a received header that Weir needs beside the extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClearHeader {
    /// Padding follows the payload.
    pub padding: bool,
    /// Payload type, 7 bits.
    pub payload_type: u8,
    /// Marker bit.
    pub marker: bool,
    /// Sequence number as on the wire.
    pub sequence: u16,
    /// Timestamp as on the wire.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Where the payload starts.
    pub length: usize,
}

impl ClearHeader {
    /// The payload of the opened packet that the header was read from, without padding; `None`
    /// when that is said to be nothing, or more than there is (RFC 3550 §5.1).
    pub fn payload<'a>(&self, packet: &'a [u8]) -> Option<&'a [u8]> {
        let body = packet.get(self.length..)?;
        if !self.padding {
            return Some(body);
        }
        let padding = usize::from(*body.last()?);
        let end = body.len().checked_sub(padding)?;
        body.get(..end).filter(|_| padding > 0)
    }
}

/// Reads the fixed header, the CSRC list's length and the extension elements.
/// `None` when the packet has no complete RTP header.
pub fn read<'a>(packet: &'a [u8], ids: &ExtensionIds) -> Option<(ClearHeader, Elements<'a>)> {
    let (&[first, second, s0, s1], rest) = packet.split_first_chunk::<4>()?;
    let (timestamp, rest) = rest.split_first_chunk::<4>()?;
    let (ssrc, rest) = rest.split_first_chunk::<4>()?;
    if first >> 6 != 2 {
        return None;
    }
    let csrc = usize::from(first & 0x0f) * 4;
    let rest = rest.get(csrc..)?;
    let mut length = 12 + csrc;
    let mut found = Elements::default();
    if first & 0x10 != 0 {
        let (&[p0, p1, l0, l1], rest) = rest.split_first_chunk::<4>()?;
        let words = usize::from(u16::from_be_bytes([l0, l1]));
        let elements = rest.get(..words * 4)?;
        length += 4 + words * 4;
        match u16::from_be_bytes([p0, p1]) {
            0xbede => read_elements(elements, ids, &mut found, one_byte),
            profile if profile & 0xfff0 == 0x1000 => {
                read_elements(elements, ids, &mut found, two_byte);
            }
            _ => {}
        }
    }
    let header = ClearHeader {
        padding: first & 0x20 != 0,
        payload_type: second & 0x7f,
        marker: second & 0x80 != 0,
        sequence: u16::from_be_bytes([s0, s1]),
        timestamp: u32::from_be_bytes(*timestamp),
        ssrc: u32::from_be_bytes(*ssrc),
        length,
    };
    Some((header, found))
}

/// One element off the front: its id, its value and what follows it.
type Element<'a> = (u8, &'a [u8], &'a [u8]);

/// RFC 8285 §4.2.
fn one_byte(elements: &[u8]) -> Option<Element<'_>> {
    let (&head, rest) = elements.split_first()?;
    let (id, length) = (head >> 4, usize::from(head & 0x0f) + 1);
    if id == 15 {
        return None; // reserved: processing stops here
    }
    let (value, rest) = rest.split_at_checked(length)?;
    Some((id, value, rest))
}

/// RFC 8285 §4.3.
fn two_byte(elements: &[u8]) -> Option<Element<'_>> {
    let (&[id, length], rest) = elements.split_first_chunk::<2>()?;
    let (value, rest) = rest.split_at_checked(usize::from(length))?;
    Some((id, value, rest))
}

fn read_elements<'a>(
    mut elements: &'a [u8],
    ids: &ExtensionIds,
    found: &mut Elements<'a>,
    next: fn(&'a [u8]) -> Option<Element<'a>>,
) {
    while let Some(&first) = elements.first() {
        if first == 0 {
            elements = &elements[1..]; // padding
            continue;
        }
        let Some((id, value, rest)) = next(elements) else {
            return;
        };
        elements = rest;
        let Some(meaning) = ids.meaning(id) else {
            continue;
        };
        let passed = &mut found.passed;
        match (meaning, value) {
            (HeaderExtension::Mid, value) => found.mid = value,
            (HeaderExtension::RtpStreamId, value) => found.rid = value,
            (HeaderExtension::RepairedRtpStreamId, value) => found.repaired_rid = value,
            (HeaderExtension::TransportWideCc, &[high, low]) => {
                found.transport_sequence = Some(u16::from_be_bytes([high, low]));
            }
            (HeaderExtension::AbsSendTime, &[a, b, c]) => {
                found.abs_send_time = Some(u32::from_be_bytes([0, a, b, c]));
            }
            (HeaderExtension::AudioLevel, &[level, ..]) => passed.audio_level = Some(level),
            (HeaderExtension::VideoOrientation, &[orientation, ..]) => {
                passed.orientation = Some(orientation);
            }
            (HeaderExtension::PlayoutDelay, &[a, b, c]) => passed.playout_delay = Some([a, b, c]),
            (HeaderExtension::VideoContentType, &[content, ..]) => {
                passed.content_type = Some(content);
            }
            (HeaderExtension::AbsCaptureTime, value) if matches!(value.len(), 8 | 16) => {
                passed.capture_time = SmallVec::from_slice(value);
            }
            (HeaderExtension::DependencyDescriptor, value) if value.len() >= 3 => {
                passed.dependency = SmallVec::from_slice(value);
            }
            (HeaderExtension::ColorSpace, value) if matches!(value.len(), 4 | 28) => {
                passed.color_space = SmallVec::from_slice(value);
            }
            _ => {}
        }
    }
}

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
}

impl OutgoingIds {
    /// The ids of one negotiated section.
    pub fn new(pairs: &[(u8, HeaderExtension)]) -> Self {
        let ids = ExtensionIds::new(pairs);
        Self {
            mid: ids.id(HeaderExtension::Mid),
            audio_level: ids.id(HeaderExtension::AudioLevel),
            abs_send_time: ids.id(HeaderExtension::AbsSendTime),
            capture_time: ids.id(HeaderExtension::AbsCaptureTime),
            transport_cc: ids.id(HeaderExtension::TransportWideCc),
            orientation: ids.id(HeaderExtension::VideoOrientation),
            playout_delay: ids.id(HeaderExtension::PlayoutDelay),
            dependency: ids.id(HeaderExtension::DependencyDescriptor),
            color_space: ids.id(HeaderExtension::ColorSpace),
            content_type: ids.id(HeaderExtension::VideoContentType),
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

/// The longest header [`write()`] makes: fixed part, extension header, and every
/// extension at its largest.
pub const MAX_HEADER: usize = 12 + 4 + 512;

/// Writes a header with its extensions, padded to 32 bits (RFC 8285 §4.1.2),
/// and returns its length. `None` when `out` is too small.
///
/// The one-byte form is used unless a value is longer than 16 bytes; ids above
/// 14 never got into [`OutgoingIds`].
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
    let long = (ids.dependency.is_some() && dependency.len() > 16)
        || (ids.color_space.is_some() && passed.color_space.len() > 16);
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
    if let Some(id) = ids.color_space
        && !passed.color_space.is_empty()
    {
        writer.put(id, &passed.color_space)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    const PAIRS: [(u8, HeaderExtension); 6] = [
        (1, HeaderExtension::AudioLevel),
        (2, HeaderExtension::AbsSendTime),
        (3, HeaderExtension::TransportWideCc),
        (4, HeaderExtension::Mid),
        (12, HeaderExtension::DependencyDescriptor),
        (7, HeaderExtension::AbsCaptureTime),
    ];

    fn outgoing<'a>() -> OutgoingHeader<'a> {
        OutgoingHeader {
            payload_type: 96,
            marker: true,
            sequence: 4711,
            timestamp: 90_000,
            ssrc: 0x1234_5678,
            padding: false,
            dependency: None,
            mid: Some(b"0"),
            abs_send_time: Some(0x01_02_03),
            transport_sequence: Some(77),
        }
    }

    #[test]
    fn what_is_written_reads_back_and_parses_elsewhere() {
        use webrtc_util::marshal::Unmarshal;
        for dependency in [vec![], vec![9; 3], vec![7; 16], vec![5; 40], vec![3; 120]] {
            let passed = PassedExtensions {
                audio_level: Some(0x85),
                capture_time: SmallVec::from_slice(&[1; 8]),
                dependency: SmallVec::from_slice(&dependency),
                ..Default::default()
            };
            let mut out = [0u8; MAX_HEADER + 10];
            let length = write(&mut out, &outgoing(), &OutgoingIds::new(&PAIRS), &passed).unwrap();
            let (header, read_back) = read(&out[..length], &ExtensionIds::new(&PAIRS)).unwrap();
            assert_eq!(header.length, length);
            assert_eq!(read_back.passed, passed);
            assert_eq!(read_back.mid, b"0");
            assert_eq!(read_back.abs_send_time, Some(0x01_02_03));
            assert_eq!(read_back.transport_sequence, Some(77));
            assert_eq!((header.sequence, header.ssrc), (4711, 0x1234_5678));
            // The independent implementation agrees.
            let mut bytes = &out[..length + 10];
            let packet = rtp::packet::Packet::unmarshal(&mut bytes).unwrap();
            assert_eq!(packet.header.sequence_number, 4711);
            assert!(packet.header.marker);
            assert_eq!(packet.payload.len(), 10);
            let element = packet.header.get_extension(12);
            assert_eq!(element.as_deref().unwrap_or_default(), &dependency[..]);
            assert_eq!(packet.header.get_extension(3).unwrap()[..], [0, 77]);
        }
    }

    #[test]
    fn a_header_without_values_has_no_extension() {
        let mut out = [0u8; 64];
        let plain = OutgoingHeader {
            mid: None,
            abs_send_time: None,
            transport_sequence: None,
            ..outgoing()
        };
        let ids = OutgoingIds::new(&PAIRS);
        assert_eq!(
            write(&mut out, &plain, &ids, &PassedExtensions::default()),
            Some(12)
        );
        assert_eq!(out[0], 0x80);
    }

    #[test]
    fn padding_is_cut_off_and_never_more_than_there_is() {
        let mut packet = [0u8; 20];
        packet[0] = 0xa0;
        for (padding, left) in [(3, Some(5)), (8, Some(0)), (9, None), (0, None)] {
            packet[19] = padding;
            let (header, _) = read(&packet, &ExtensionIds::default()).unwrap();
            assert_eq!(header.payload(&packet).map(<[u8]>::len), left, "{padding}");
        }
        assert_eq!(
            read(&packet[..12], &ExtensionIds::default())
                .unwrap()
                .0
                .payload(&packet[..12]),
            None
        );
        packet[0] = 0x80;
        let (header, _) = read(&packet, &ExtensionIds::default()).unwrap();
        assert_eq!(header.payload(&packet).map(<[u8]>::len), Some(8));
    }

    #[test]
    fn truncated_headers_are_refused_and_never_panic() {
        let mut out = [0u8; MAX_HEADER];
        let passed = PassedExtensions {
            dependency: SmallVec::from_slice(&[1; 30]),
            ..Default::default()
        };
        let length = write(&mut out, &outgoing(), &OutgoingIds::new(&PAIRS), &passed).unwrap();
        for end in 0..length {
            assert_eq!(read(&out[..end], &ExtensionIds::new(&PAIRS)), None);
            let mut small = vec![0; end];
            assert_eq!(
                write(&mut small, &outgoing(), &OutgoingIds::new(&PAIRS), &passed),
                None
            );
        }
    }
}
