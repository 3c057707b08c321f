//! RTP headers (RFC 3550 §5.1): read fast, written with the extensions we send.

/// What a receiver needs of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The marker: the last packet of a frame.
    pub marker: bool,
    /// The padding bit.
    pub padding: bool,
    /// Payload type.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Time-stamp in the codec's clock.
    pub timestamp: u32,
    /// Synchronization source.
    pub ssrc: u32,
    /// Bytes of the header, with CSRCs and extensions.
    pub len: usize,
}

/// Reads a header; `None` when it is cut or not version 2.
pub fn parse(data: &[u8]) -> Option<Header> {
    let h = data.first_chunk::<12>()?;
    if h[0] >> 6 != 2 {
        return None;
    }
    let mut len = 12 + 4 * usize::from(h[0] & 15);
    if h[0] & 0x10 != 0 {
        let words = data.get(len + 2..len + 4)?;
        len += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
    }
    if data.len() < len {
        return None;
    }
    Some(Header {
        marker: h[1] & 0x80 != 0,
        padding: h[0] & 0x20 != 0,
        payload_type: h[1] & 0x7F,
        sequence: u16::from_be_bytes([h[2], h[3]]),
        timestamp: u32::from_be_bytes([h[4], h[5], h[6], h[7]]),
        ssrc: u32::from_be_bytes([h[8], h[9], h[10], h[11]]),
        len,
    })
}

/// The bytes of a one-byte-form header extension (RFC 8285 §4.2), if it is there.
pub fn extension<'a>(packet: &'a [u8], header: &Header, id: u8) -> Option<&'a [u8]> {
    if packet.first()? & 0x10 == 0 {
        return None;
    }
    let start = 12 + 4 * usize::from(packet[0] & 15);
    if packet.get(start..start + 2)? != [0xBE, 0xDE] {
        return None;
    }
    let mut rest = packet.get(start + 4..header.len)?;
    while let [first, tail @ ..] = rest {
        if *first == 0 {
            rest = tail;
            continue;
        }
        let (this, len) = (first >> 4, usize::from(first & 15) + 1);
        if this == 15 {
            return None;
        }
        let value = tail.get(..len)?;
        if this == id {
            return Some(value);
        }
        rest = &tail[len..];
    }
    None
}

/// Appends a header with these one-byte-form extensions and returns its length.
pub fn write(
    out: &mut Vec<u8>,
    marker: bool,
    payload_type: u8,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    extensions: &[(u8, &[u8])],
) -> usize {
    let start = out.len();
    out.push(if extensions.is_empty() { 0x80 } else { 0x90 });
    out.push(u8::from(marker) << 7 | payload_type);
    out.extend_from_slice(&sequence.to_be_bytes());
    out.extend_from_slice(&timestamp.to_be_bytes());
    out.extend_from_slice(&ssrc.to_be_bytes());
    if !extensions.is_empty() {
        out.extend_from_slice(&[0xBE, 0xDE, 0, 0]);
        let body = out.len();
        for (id, value) in extensions {
            out.push(id << 4 | (value.len().clamp(1, 16) - 1) as u8);
            out.extend_from_slice(&value[..value.len().min(16)]);
        }
        out.resize(body + (out.len() - body).next_multiple_of(4), 0);
        let words = ((out.len() - body) / 4) as u16;
        out[body - 2..body].copy_from_slice(&words.to_be_bytes());
    }
    out.len() - start
}

#[cfg(test)]
mod tests {
    use super::*;
    use webrtc_util::marshal::Unmarshal;

    /// What is written reads back, here and by another implementation.
    #[test]
    fn headers_agree_with_another_parser() {
        let mut packet = Vec::new();
        let len = write(
            &mut packet,
            true,
            96,
            65_535,
            0x1234_5678,
            0xDEAD_BEEF,
            &[(1, b"0"), (10, b"hi!")],
        );
        packet.extend_from_slice(&[1, 2, 3]);
        let h = parse(&packet).unwrap();
        assert_eq!(h.len, len);
        let theirs = rtp::packet::Packet::unmarshal(&mut &packet[..]).unwrap();
        assert_eq!(theirs.header.marker, h.marker);
        assert_eq!(theirs.header.payload_type, h.payload_type);
        assert_eq!(theirs.header.sequence_number, h.sequence);
        assert_eq!(theirs.header.timestamp, h.timestamp);
        assert_eq!(theirs.header.ssrc, h.ssrc);
        assert_eq!(theirs.header.get_extension(10).unwrap()[..], b"hi!"[..]);
        assert_eq!(theirs.payload[..], [1, 2, 3]);
        assert_eq!(extension(&packet, &h, 1), Some(&b"0"[..]));
        assert_eq!(extension(&packet, &h, 10), Some(&b"hi!"[..]));
        assert_eq!(extension(&packet, &h, 3), None);
        for cut in 0..len {
            assert_eq!(parse(&packet[..cut]), None);
        }
    }
}
