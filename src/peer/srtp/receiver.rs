//! Opening what the peer sends.

use std::fmt;

use smallvec::{Array, SmallVec};

use super::cipher::{Cipher, E_FLAG, PacketId};
use super::kdf::{SessionKeys, Use};
use super::replay::ReplayWindow;
use super::{Keying, MasterKey, RTCP_CLEAR_LEN, RTP_HEADER_LEN, SrtpError, be16, be32};

/// SSRCs whose indices are tracked, for RTP and RTCP each. A browser uses a few;
/// only authentic packets add one, in place of the one that was silent for longest.
pub const MAX_SOURCES: usize = 64;

/// 4096 packets: a repair may come more than a second after what it repairs, and libwebrtc's
/// 1024 are half a second at 20 Mb/s.
pub(crate) type RtpWindow = ReplayWindow<65>;

/// 128 packets (RFC 3711 §3.3.2 asks for 64 at least).
type RtcpWindow = ReplayWindow<3>;

/// Indices below this are the past of a stream that starts at 0: before the
/// first wrap a sequence number can't belong to an earlier cycle.
const CYCLE: u64 = 1 << 16;

/// A stream that is heard for the first time below this may have begun in the cycle before, and
/// its first packets were lost. (Senders should begin low, so that this does not happen: not all do.)
const BEGUN: u16 = 1 << 14;

/// The longest packet of a stream that is heard for the first time, in its second cycle.
const LONGEST: usize = 2048;

/// An RTP packet that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenedRtp {
    /// Bytes of the packet, header included; the tag is cut off.
    pub len: usize,
    /// Bytes of its header with CSRCs and extension.
    pub header_len: usize,
    /// The extended sequence number: ROC in the upper 32 of 48 bits.
    pub index: u64,
}

/// The receiving half of a session's SRTP.
#[derive(Debug)]
pub struct SrtpReceiver {
    rtp: Cipher,
    rtcp: Cipher,
    rtp_sources: Sources<[Source<RtpWindow>; 0]>,
    /// A viewer reports under one SSRC: its window lies here.
    rtcp_sources: Sources<[Source<RtcpWindow>; 1]>,
}

impl SrtpReceiver {
    /// A receiver with the peer's keys.
    ///
    /// # Errors
    /// [`SrtpError::Keys`] when the cryptographic library refuses them.
    pub fn new(keying: &Keying) -> Result<Self, SrtpError> {
        Self::from_master(keying.remote())
    }

    /// A receiver with these keys, for ends that are not DTLS sessions.
    ///
    /// # Errors
    /// [`SrtpError::Keys`] when the lengths are not the profile's.
    pub fn from_master(master: MasterKey<'_>) -> Result<Self, SrtpError> {
        Ok(Self::with_ciphers(
            Cipher::new(&SessionKeys::derive(master, Use::Rtp)?)?,
            Cipher::new(&SessionKeys::derive(master, Use::Rtcp)?)?,
        ))
    }

    pub(super) fn with_ciphers(rtp: Cipher, rtcp: Cipher) -> Self {
        Self {
            rtp,
            rtcp,
            rtp_sources: Sources::default(),
            rtcp_sources: Sources::default(),
        }
    }

    /// Opens the SRTCP packet `buf` in place; the RTCP packet is then
    /// `buf[..returned]`, compound or reduced-size.
    ///
    /// # Errors
    /// Any [`SrtpError`]; the content of `buf` is then undefined, the receiver
    /// unchanged.
    pub fn unprotect_rtcp(&mut self, buf: &mut [u8]) -> Result<usize, SrtpError> {
        let ssrc = be32(buf, 4).ok_or(SrtpError::TooShort)?;
        let least = RTCP_CLEAR_LEN + 4 + self.rtcp.tag_len();
        let trailer = self
            .rtcp
            .srtcp_trailer(buf)
            .filter(|_| buf.len() >= least)
            .ok_or(SrtpError::TooShort)?;
        if trailer & E_FLAG == 0 {
            return Err(SrtpError::Clear);
        }
        let index = u64::from(trailer & !E_FLAG);
        self.rtcp_sources
            .get(ssrc)
            .map_or(Ok(()), |window| window.check(index))?;
        let len = self.rtcp.open_rtcp(buf, PacketId { ssrc, index })?;
        self.rtcp_sources.heard(ssrc).accept(index);
        Ok(len)
    }

    /// Opens the SRTP packet `buf` in place. The roll-over counter of each
    /// source starts at 0 and is followed as RFC 3711 §3.3.1 tells; it is 1 where it has gone on
    /// by then before anything was heard.
    ///
    /// # Errors
    /// Any [`SrtpError`]; the content of `buf` is then undefined, the receiver
    /// unchanged.
    pub fn unprotect_rtp(&mut self, buf: &mut [u8]) -> Result<OpenedRtp, SrtpError> {
        let header_len = rtp_header_len(buf)?;
        let (Some(seq), Some(ssrc)) = (be16(buf, 2), be32(buf, 8)) else {
            return Err(SrtpError::TooShort);
        };
        let (index, len) = match self.rtp_sources.get(ssrc) {
            Some(window) => {
                let index = estimate(window.highest(), seq)?;
                window.check(index)?;
                let id = PacketId { ssrc, index };
                (index, self.rtp.open_rtp(buf, header_len, id)?)
            }
            None => self.open_first(buf, header_len, ssrc, seq)?,
        };
        self.rtp_sources.heard(ssrc).accept(index);
        Ok(OpenedRtp {
            len,
            header_len,
            index,
        })
    }

    /// Opens the packet that may be the first of its source; its index and length.
    #[cold]
    fn open_first(
        &self,
        buf: &mut [u8],
        header_len: usize,
        ssrc: u32,
        seq: u16,
    ) -> Result<(u64, usize), SrtpError> {
        let first = u64::from(seq);
        let open = |buf: &mut [u8], index| {
            let opened = self.rtp.open_rtp(buf, header_len, PacketId { ssrc, index });
            opened.map(|len| (index, len))
        };
        // What can't be opened is not left as it was.
        let mut kept = [0; LONGEST];
        let Some(kept) = kept.get_mut(..buf.len()).filter(|_| seq < BEGUN) else {
            return open(buf, first);
        };
        kept.copy_from_slice(buf);
        match open(buf, first) {
            Err(SrtpError::Authentication) => {
                buf.copy_from_slice(kept);
                open(buf, first + CYCLE)
            }
            opened => opened,
        }
    }
}

/// The index nearest to the highest so far (RFC 3711 §3.3.1, appendix A).
fn estimate(highest: Option<u64>, seq: u16) -> Result<u64, SrtpError> {
    let Some(highest) = highest else {
        return Ok(u64::from(seq));
    };
    let same_cycle = (highest & !(CYCLE - 1)) | u64::from(seq);
    if same_cycle > highest + CYCLE / 2 {
        // Of the cycle before; before the first there is nothing.
        same_cycle.checked_sub(CYCLE).ok_or(SrtpError::TooOld)
    } else if same_cycle + CYCLE / 2 < highest {
        Ok(same_cycle + CYCLE)
    } else {
        Ok(same_cycle)
    }
}

/// Bytes of the RTP header with CSRCs and extension (RFC 3550 §5.1, §5.3.1).
fn rtp_header_len(packet: &[u8]) -> Result<usize, SrtpError> {
    let first = *packet.first().ok_or(SrtpError::TooShort)?;
    if first >> 6 != 2 {
        return Err(SrtpError::Malformed);
    }
    let mut len = RTP_HEADER_LEN + 4 * usize::from(first & 0x0F);
    if first & 0x10 != 0 {
        let words = be16(packet, len + 2).ok_or(SrtpError::Malformed)?;
        len += 4 + 4 * usize::from(words);
    }
    if len > packet.len() {
        return Err(SrtpError::Malformed);
    }
    Ok(len)
}

/// What is known of an SSRC.
struct Source<W> {
    ssrc: u32,
    window: W,
    /// Its last packet's number among those of the session.
    heard: u64,
}

/// State per SSRC, bounded. The source used last is found at once; a session
/// has few, so a scan finds the others.
struct Sources<A: Array> {
    entries: SmallVec<A>,
    last: usize,
    packets: u64,
}

impl<A: Array> fmt::Debug for Sources<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sources", self.entries.len())
    }
}

impl<A: Array> Default for Sources<A> {
    fn default() -> Self {
        Self {
            entries: SmallVec::new(),
            last: 0,
            packets: 0,
        }
    }
}

impl<W: Default, A: Array<Item = Source<W>>> Sources<A> {
    fn find(&mut self, ssrc: u32) -> Option<usize> {
        if self.entries.get(self.last).is_none_or(|e| e.ssrc != ssrc) {
            self.last = self.entries.iter().position(|e| e.ssrc == ssrc)?;
        }
        Some(self.last)
    }

    fn get(&mut self, ssrc: u32) -> Option<&W> {
        let at = self.find(ssrc)?;
        self.entries.get(at).map(|e| &e.window)
    }

    /// The window of a source of which an authentic packet has come.
    fn heard(&mut self, ssrc: u32) -> &mut W {
        let at = self.find(ssrc).unwrap_or_else(|| self.begin(ssrc));
        self.packets += 1;
        let source = &mut self.entries[at];
        source.heard = self.packets;
        &mut source.window
    }

    fn begin(&mut self, ssrc: u32) -> usize {
        if self.entries.len() >= MAX_SOURCES {
            let oldest = self.entries.iter().enumerate().min_by_key(|(_, e)| e.heard);
            let oldest = oldest.map_or(0, |(at, _)| at);
            self.entries.remove(oldest);
        }
        self.entries.push(Source {
            ssrc,
            window: W::default(),
            heard: 0,
        });
        self.last = self.entries.len() - 1;
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_follows_the_sequence_number_over_wraps() {
        assert_eq!(estimate(None, 65_535), Ok(65_535));
        assert_eq!(estimate(Some(65_535), 0), Ok(65_536));
        assert_eq!(estimate(Some(65_536), 65_535), Ok(65_535));
        assert_eq!(estimate(Some(5), 65_530), Err(SrtpError::TooOld));
        assert_eq!(
            estimate(Some(3 * 65_536 + 40_000), 7_000),
            Ok(4 * 65_536 + 7_000)
        );
        assert_eq!(
            estimate(Some(3 * 65_536 + 40_000), 7_300),
            Ok(3 * 65_536 + 7_300)
        );
        assert_eq!(estimate(Some(100), 30_000), Ok(30_000));
    }

    #[test]
    fn header_lengths() {
        let mut packet = [0_u8; 64];
        assert_eq!(rtp_header_len(&packet), Err(SrtpError::Malformed));
        packet[0] = 0x80;
        assert_eq!(rtp_header_len(&packet), Ok(12));
        packet[0] = 0x83;
        assert_eq!(rtp_header_len(&packet), Ok(24));
        packet[0] = 0x93;
        packet[27] = 2;
        assert_eq!(rtp_header_len(&packet), Ok(36));
        packet[27] = 10;
        assert_eq!(rtp_header_len(&packet), Err(SrtpError::Malformed));
        assert_eq!(rtp_header_len(&packet[..26]), Err(SrtpError::Malformed));
        assert_eq!(rtp_header_len(&[]), Err(SrtpError::TooShort));
    }
}
