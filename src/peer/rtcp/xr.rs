//! Extended reports: a receiver's clock and the sender's answer to it, which give the
//! round trip where who receives sends no media (RFC 3611 §4.4, §4.5).

use super::{NtpTime, Raw, RtcpError, be16, be32};

/// Receiver reference time report block.
pub(super) const RRTR: u8 = 4;
/// Delay since last receiver report block.
pub(super) const DLRR: u8 = 5;

/// Bytes of a DLRR sub-block.
const SUB_BLOCK_LEN: usize = 12;

/// An extended report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Xr<'a> {
    /// Who reports.
    pub ssrc: u32,
    blocks: &'a [u8],
}

/// A block of an extended report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XrBlock<'a> {
    /// The receiver's clock when it sent this.
    Rrtr(NtpTime),
    /// Answers to such clocks, one a receiver.
    Dlrr(DlrrList<'a>),
    /// A block of another type.
    Other(u8),
}

/// How long ago a receiver's reference time came (RFC 3611 §4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dlrr {
    /// The receiver.
    pub ssrc: u32,
    /// Middle 32 bits of its reference time.
    pub lrr: u32,
    /// Time since that came, in 1/65536 s.
    pub dlrr: u32,
}

/// The sub-blocks of a DLRR block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DlrrList<'a>(&'a [u8]);

impl<'a> DlrrList<'a> {
    /// Its sub-blocks.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Dlrr> + Clone + 'a {
        self.0.as_chunks::<SUB_BLOCK_LEN>().0.iter().map(|b| {
            let word = |at: usize| u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
            Dlrr {
                ssrc: word(0),
                lrr: word(4),
                dlrr: word(8),
            }
        })
    }
}

impl<'a> Xr<'a> {
    pub(super) fn parse(raw: Raw<'a>) -> Result<Self, RtcpError> {
        let xr = Self {
            ssrc: be32(raw.body, 0).ok_or(raw.malformed())?,
            blocks: raw.body.get(4..).unwrap_or_default(),
        };
        // Walked once here, so that the iterator meets no malformed block.
        let mut rest = xr.blocks;
        while !rest.is_empty() {
            rest = split(rest).ok_or(raw.malformed())?.1;
        }
        Ok(xr)
    }

    /// Its blocks.
    pub fn blocks(&self) -> impl Iterator<Item = XrBlock<'a>> + Clone + 'a {
        let mut rest = self.blocks;
        std::iter::from_fn(move || {
            let (block, after) = split(rest)?;
            rest = after;
            Some(block)
        })
    }
}

/// Splits the first block off; `None` when it is malformed or nothing is left.
fn split(bytes: &[u8]) -> Option<(XrBlock<'_>, &[u8])> {
    let len = 4 + 4 * usize::from(be16(bytes, 2)?);
    let (block, rest) = bytes.split_at_checked(len)?;
    let content = block.get(4..)?;
    let block = match *block.first()? {
        RRTR => {
            let [seconds, fraction] = [be32(content, 0)?, be32(content, 4)?];
            XrBlock::Rrtr(NtpTime(u64::from(seconds) << 32 | u64::from(fraction)))
        }
        DLRR if content.len() % SUB_BLOCK_LEN == 0 => XrBlock::Dlrr(DlrrList(content)),
        DLRR => return None,
        other => XrBlock::Other(other),
    };
    Some((block, rest))
}
