//! Sender and receiver reports, and goodbye.

use super::{NtpTime, Raw, RtcpError, be32, words};

/// Bytes of a report block.
pub(super) const BLOCK_LEN: usize = 24;

/// Report blocks one packet can count.
pub const MAX_REPORT_BLOCKS: usize = 31;

/// Bytes of a sender report's sender information, its SSRC not counted.
const SENDER_INFO_LEN: usize = 20;

/// What a receiver says about one source (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlock {
    /// The source.
    pub ssrc: u32,
    /// Lost share since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the start; negative when duplicates outnumber losses.
    /// 24 bits on the wire: values beyond are clamped when written.
    pub cumulative_lost: i32,
    /// Highest sequence number received; cycles in the upper half.
    pub ext_max_seq: u32,
    /// Interarrival jitter in RTP time-stamp units.
    pub jitter: u32,
    /// Middle 32 bits of the last sender report's NTP time, 0 before one came.
    pub lsr: u32,
    /// Time since that report came, in 1/65536 s.
    pub dlsr: u32,
}

impl ReportBlock {
    fn read(bytes: &[u8; BLOCK_LEN]) -> Self {
        let word = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        // The lower 24 bits are signed: shift them up, then down again.
        let cumulative_lost = ((word(4) << 8) as i32) >> 8;
        Self {
            ssrc: word(0),
            fraction_lost: bytes[4],
            cumulative_lost,
            ext_max_seq: word(8),
            jitter: word(12),
            lsr: word(16),
            dlsr: word(20),
        }
    }

    pub(super) fn words(&self) -> [u32; 6] {
        let lost = self.cumulative_lost.clamp(-(1 << 23), (1 << 23) - 1) as u32 & 0xFF_FFFF;
        [
            self.ssrc,
            u32::from(self.fraction_lost) << 24 | lost,
            self.ext_max_seq,
            self.jitter,
            self.lsr,
            self.dlsr,
        ]
    }
}

/// A sender's own part of its report (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SenderInfo {
    /// When the report was sent, or what wall clock `rtp` stands for.
    pub ntp: NtpTime,
    /// The same instant in RTP time-stamp units.
    pub rtp: u32,
    /// Packets sent since the start.
    pub packets: u32,
    /// Payload bytes sent since the start.
    pub octets: u32,
}

/// A sender report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderReport<'a> {
    /// The sender.
    pub ssrc: u32,
    /// Its clock and counts.
    pub info: SenderInfo,
    blocks: &'a [u8],
}

impl<'a> SenderReport<'a> {
    pub(super) fn parse(raw: Raw<'a>) -> Result<Self, RtcpError> {
        let info = || {
            Some(SenderInfo {
                ntp: NtpTime(u64::from(be32(raw.body, 4)?) << 32 | u64::from(be32(raw.body, 8)?)),
                rtp: be32(raw.body, 12)?,
                packets: be32(raw.body, 16)?,
                octets: be32(raw.body, 20)?,
            })
        };
        let malformed = raw.malformed();
        Ok(Self {
            ssrc: be32(raw.body, 0).ok_or(malformed)?,
            info: info().ok_or(malformed)?,
            blocks: blocks(raw, 4 + SENDER_INFO_LEN)?,
        })
    }

    /// What it received itself.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = ReportBlock> + Clone + 'a {
        read_blocks(self.blocks)
    }
}

/// A receiver report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiverReport<'a> {
    /// The receiver.
    pub ssrc: u32,
    blocks: &'a [u8],
}

impl<'a> ReceiverReport<'a> {
    pub(super) fn parse(raw: Raw<'a>) -> Result<Self, RtcpError> {
        Ok(Self {
            ssrc: be32(raw.body, 0).ok_or(raw.malformed())?,
            blocks: blocks(raw, 4)?,
        })
    }

    /// What it received.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = ReportBlock> + Clone + 'a {
        read_blocks(self.blocks)
    }
}

/// The counted blocks from `at`; what follows them is a profile's extension.
fn blocks(raw: Raw<'_>, at: usize) -> Result<&[u8], RtcpError> {
    raw.body
        .get(at..at + BLOCK_LEN * usize::from(raw.count))
        .ok_or(raw.malformed())
}

fn read_blocks(bytes: &[u8]) -> impl ExactSizeIterator<Item = ReportBlock> + Clone + '_ {
    bytes
        .as_chunks::<BLOCK_LEN>()
        .0
        .iter()
        .map(ReportBlock::read)
}

/// A goodbye.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bye<'a> {
    ssrcs: &'a [u8],
}

impl<'a> Bye<'a> {
    pub(super) fn parse(raw: Raw<'a>) -> Result<Self, RtcpError> {
        let ssrcs = raw.body.get(..4 * usize::from(raw.count));
        Ok(Self {
            ssrcs: ssrcs.ok_or(raw.malformed())?,
        })
    }

    /// The sources that leave.
    pub fn ssrcs(&self) -> impl ExactSizeIterator<Item = u32> + Clone + 'a {
        words(self.ssrcs)
    }
}
