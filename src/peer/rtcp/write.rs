//! Writing RTCP packets into a caller's buffer.

use super::feedback::REMB;
use super::report::MAX_REPORT_BLOCKS;
use super::twcc_write::{self, Arrival};
use super::xr;
use super::{
    FirEntry, HEADER_LEN, NtpTime, ReportBlock, RtcpError, SenderInfo, feedback_type, packet_type,
};

/// The largest mantissa of a REMB bitrate.
const REMB_MANTISSA_MAX: u64 = 0x3_FFFF;

/// Writes packets one after another into a buffer, which makes a compound.
///
/// Each method writes one whole packet, or fails and leaves what was written
/// before as it was. Whether a compound starts with a report (RFC 3550 §6.1) or
/// is reduced-size (RFC 5506) is the caller's choice.
#[derive(Debug)]
pub struct RtcpWriter<'a> {
    buf: &'a mut [u8],
    len: usize,
}

impl<'a> RtcpWriter<'a> {
    /// A writer at the start of `buf`. Leave room behind the packets for SRTCP.
    pub fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, len: 0 }
    }

    /// Bytes written.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A sender report with report blocks, [`MAX_REPORT_BLOCKS`] at most.
    pub fn sender_report(
        &mut self,
        ssrc: u32,
        info: &SenderInfo,
        blocks: &[ReportBlock],
    ) -> Result<(), RtcpError> {
        let count = block_count(blocks)?;
        self.packet(packet_type::SR, count, |body| {
            body.word(ssrc)?;
            body.long(info.ntp)?;
            body.words(&[info.rtp, info.packets, info.octets])?;
            blocks.iter().try_for_each(|b| body.words(&b.words()))
        })
    }

    /// A receiver report with report blocks, [`MAX_REPORT_BLOCKS`] at most.
    pub fn receiver_report(&mut self, ssrc: u32, blocks: &[ReportBlock]) -> Result<(), RtcpError> {
        let count = block_count(blocks)?;
        self.packet(packet_type::RR, count, |body| {
            body.word(ssrc)?;
            blocks.iter().try_for_each(|b| body.words(&b.words()))
        })
    }

    /// A source description with the CNAME of one source (RFC 3550 §6.5.1),
    /// which goes with every compound report; 255 bytes at most.
    pub fn sdes_cname(&mut self, ssrc: u32, cname: &str) -> Result<(), RtcpError> {
        const CNAME: u8 = 1;
        let len = u8::try_from(cname.len()).map_err(|_| RtcpError::TooMuch)?;
        self.packet(packet_type::SDES, 1, |body| {
            body.word(ssrc)?;
            body.bytes(&[CNAME, len])?;
            body.bytes(cname.as_bytes())?;
            // One null octet at least ends the list, more fill the word.
            body.bytes(&[0])?;
            body.fill_word()
        })
    }

    /// A goodbye of up to 31 sources.
    pub fn bye(&mut self, ssrcs: &[u32]) -> Result<(), RtcpError> {
        let count = u8::try_from(ssrcs.len())
            .ok()
            .filter(|count| *count < 32)
            .ok_or(RtcpError::TooMuch)?;
        self.packet(packet_type::BYE, count, |body| body.words(ssrcs))
    }

    /// A generic NACK. `missing` rises (by serial order); numbers within 16 of
    /// each other share an entry. Nothing is written when there are none.
    pub fn nack(
        &mut self,
        sender_ssrc: u32,
        media_ssrc: u32,
        missing: impl IntoIterator<Item = u16>,
    ) -> Result<(), RtcpError> {
        let mut missing = missing.into_iter();
        let Some(first) = missing.next() else {
            return Ok(());
        };
        self.packet(packet_type::RTPFB, feedback_type::NACK, |body| {
            body.words(&[sender_ssrc, media_ssrc])?;
            let (mut pid, mut blp) = (first, 0_u16);
            for seq in missing {
                match seq.wrapping_sub(pid) {
                    0 => {}
                    offset @ 1..=16 => blp |= 1 << (offset - 1),
                    _ => {
                        body.word(u32::from(pid) << 16 | u32::from(blp))?;
                        (pid, blp) = (seq, 0);
                    }
                }
            }
            body.word(u32::from(pid) << 16 | u32::from(blp))
        })
    }

    /// A picture loss indication.
    pub fn pli(&mut self, sender_ssrc: u32, media_ssrc: u32) -> Result<(), RtcpError> {
        self.packet(packet_type::PSFB, feedback_type::PLI, |body| {
            body.words(&[sender_ssrc, media_ssrc])
        })
    }

    /// A full intra request. Nothing is written when there are no entries.
    pub fn fir(&mut self, sender_ssrc: u32, entries: &[FirEntry]) -> Result<(), RtcpError> {
        if entries.is_empty() {
            return Ok(());
        }
        self.packet(packet_type::PSFB, feedback_type::FIR, |body| {
            // The media SSRC is in the entries (RFC 5104 §4.3.1.2).
            body.words(&[sender_ssrc, 0])?;
            entries
                .iter()
                .try_for_each(|e| body.words(&[e.ssrc, u32::from(e.seq) << 24]))
        })
    }

    /// A maximum bitrate in bits per second for up to 255 streams. The wire has
    /// 18 significant bits; what is below them is cut off.
    pub fn remb(&mut self, sender_ssrc: u32, bitrate: u64, ssrcs: &[u32]) -> Result<(), RtcpError> {
        let count = u8::try_from(ssrcs.len()).map_err(|_| RtcpError::TooMuch)?;
        let mut mantissa = bitrate;
        let mut exponent = 0;
        while mantissa > REMB_MANTISSA_MAX {
            mantissa >>= 1;
            exponent += 1;
        }
        self.packet(packet_type::PSFB, feedback_type::APPLICATION, |body| {
            body.words(&[sender_ssrc, 0])?;
            body.bytes(REMB)?;
            body.word(u32::from(count) << 24 | exponent << 18 | mantissa as u32)?;
            body.words(ssrcs)
        })
    }

    /// Transport-wide feedback on as many of `arrivals` as one packet can tell;
    /// returns how many those are. Call again with the rest and the next
    /// `feedback_count`. Nothing is written when there are none.
    ///
    /// `arrivals` rise in sequence number; what is missing between two of them
    /// is reported as lost, and what is missing ahead of them from `base` on.
    pub fn twcc(
        &mut self,
        sender_ssrc: u32,
        media_ssrc: u32,
        feedback_count: u8,
        base: u64,
        arrivals: &[Arrival],
    ) -> Result<usize, RtcpError> {
        if arrivals.is_empty() {
            return Ok(0);
        }
        let mut told = 0;
        self.packet(packet_type::RTPFB, feedback_type::TWCC, |body| {
            body.words(&[sender_ssrc, media_ssrc])?;
            let written = twcc_write::write(body.room(), feedback_count, base, arrivals)?;
            told = written.arrivals;
            body.advance(written.bytes);
            body.pad()
        })?;
        Ok(told)
    }

    /// An extended report with our reference time, for peers that answer with
    /// [`Dlrr`](super::Dlrr) (RFC 3611 §4.4).
    pub fn xr_rrtr(&mut self, ssrc: u32, now: NtpTime) -> Result<(), RtcpError> {
        self.packet(packet_type::XR, 0, |body| {
            body.word(ssrc)?;
            body.word(u32::from(xr::RRTR) << 24 | 2)?;
            body.long(now)
        })
    }

    /// Writes header and body; on failure the length stays.
    fn packet(
        &mut self,
        packet_type: u8,
        count: u8,
        write: impl FnOnce(&mut Body<'_>) -> Result<(), RtcpError>,
    ) -> Result<(), RtcpError> {
        let packet = self.buf.get_mut(self.len..).ok_or(RtcpError::NoRoom)?;
        let (header, buf) = packet
            .split_first_chunk_mut::<HEADER_LEN>()
            .ok_or(RtcpError::NoRoom)?;
        let mut body = Body {
            buf,
            len: 0,
            padded: false,
        };
        write(&mut body)?;
        // Every body written here is whole words.
        let words = u16::try_from(body.len / 4).map_err(|_| RtcpError::TooMuch)?;
        let [high, low] = words.to_be_bytes();
        let padding = u8::from(body.padded) << 5;
        let len = body.len;
        *header = [2 << 6 | padding | count, packet_type, high, low];
        self.len += HEADER_LEN + len;
        Ok(())
    }
}

fn block_count(blocks: &[ReportBlock]) -> Result<u8, RtcpError> {
    if blocks.len() > MAX_REPORT_BLOCKS {
        return Err(RtcpError::TooMuch);
    }
    Ok(blocks.len() as u8)
}

/// The body of the packet being written.
struct Body<'a> {
    buf: &'a mut [u8],
    len: usize,
    padded: bool,
}

impl Body<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), RtcpError> {
        let room = self
            .buf
            .get_mut(self.len..self.len + bytes.len())
            .ok_or(RtcpError::NoRoom)?;
        room.copy_from_slice(bytes);
        self.len += bytes.len();
        Ok(())
    }

    fn word(&mut self, word: u32) -> Result<(), RtcpError> {
        self.bytes(&word.to_be_bytes())
    }

    fn words(&mut self, words: &[u32]) -> Result<(), RtcpError> {
        words.iter().try_for_each(|word| self.word(*word))
    }

    fn long(&mut self, time: NtpTime) -> Result<(), RtcpError> {
        self.bytes(&time.0.to_be_bytes())
    }

    /// Null octets up to the next word.
    fn fill_word(&mut self) -> Result<(), RtcpError> {
        let zeros = [0; 3];
        self.bytes(&zeros[..self.len.wrapping_neg() % 4])
    }

    /// Padding up to the next word, its last octet counting it (RFC 3550 §6.4.1).
    fn pad(&mut self) -> Result<(), RtcpError> {
        let count = self.len.wrapping_neg() % 4;
        if count > 0 {
            self.fill_word()?;
            self.buf[self.len - 1] = count as u8;
            self.padded = true;
        }
        Ok(())
    }

    /// What is free.
    fn room(&mut self) -> &mut [u8] {
        self.buf.get_mut(self.len..).unwrap_or_default()
    }

    /// Takes what was written into [`Self::room`].
    fn advance(&mut self, bytes: usize) {
        self.len += bytes;
    }
}
