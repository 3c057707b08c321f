//! RTCP: reading what peers send and writing what we send, without allocating.
//!
//! [`packets`] walks a compound or reduced-size packet (RFC 3550 §6.1, RFC 5506)
//! after SRTCP is off, [`RtcpWriter`] puts one together.

mod feedback;
mod ntp;
mod report;
mod twcc;
mod twcc_write;
mod write;
mod xr;

#[cfg(test)]
mod cross_tests;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod tests;

pub use feedback::{Fir, FirEntry, Nack, Pli, Remb};
pub use ntp::{NtpTime, round_trip};
pub use report::{Bye, MAX_REPORT_BLOCKS, ReceiverReport, ReportBlock, SenderInfo, SenderReport};
pub use twcc::{Twcc, TwccStatuses};
pub use twcc_write::Arrival;
pub use write::RtcpWriter;
pub use xr::{Dlrr, DlrrList, Xr, XrBlock};

/// RTCP packet types (RFC 3550 §12.1, RFC 4585 §6.1, RFC 3611 §2).
mod packet_type {
    pub(super) const SR: u8 = 200;
    pub(super) const RR: u8 = 201;
    pub(super) const SDES: u8 = 202;
    pub(super) const BYE: u8 = 203;
    pub(super) const RTPFB: u8 = 205;
    pub(super) const PSFB: u8 = 206;
    pub(super) const XR: u8 = 207;
}

/// Feedback message types: the header's count field of RTPFB and PSFB.
mod feedback_type {
    /// Generic NACK (RFC 4585 §6.2.1).
    pub(super) const NACK: u8 = 1;
    /// Transport-wide congestion control feedback.
    pub(super) const TWCC: u8 = 15;
    /// Picture loss indication (RFC 4585 §6.3.1).
    pub(super) const PLI: u8 = 1;
    /// Full intra request (RFC 5104 §4.3.1).
    pub(super) const FIR: u8 = 4;
    /// Application layer feedback, REMB among them (RFC 4585 §6.4).
    pub(super) const APPLICATION: u8 = 15;
}

/// Bytes of a packet's header, its first SSRC not counted.
const HEADER_LEN: usize = 4;

/// What is wrong with an RTCP packet, or with writing one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RtcpError {
    /// The packet ends within a header or before its stated length.
    #[error("RTCP packet cut short")]
    Truncated,
    /// Its version is not 2.
    #[error("not RTCP version 2")]
    Version,
    /// Its padding is said to be nothing, or longer than the packet. (It need
    /// not be whole words: transport-wide feedback is padded by bytes.)
    #[error("bad RTCP padding")]
    Padding,
    /// A packet of this type is shorter than what it says it holds, or
    /// contradicts itself.
    #[error("malformed RTCP packet of type {0}")]
    Malformed(u8),
    /// The buffer is too small for the packet to be written.
    #[error("no room for the RTCP packet")]
    NoRoom,
    /// More entries than the packet can count, or a text too long.
    #[error("too much for one RTCP packet")]
    TooMuch,
}

/// One packet of a compound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Sender report (RFC 3550 §6.4.1).
    SenderReport(SenderReport<'a>),
    /// Receiver report (RFC 3550 §6.4.2).
    ReceiverReport(ReceiverReport<'a>),
    /// Goodbye (RFC 3550 §6.6).
    Bye(Bye<'a>),
    /// Generic NACK (RFC 4585 §6.2.1).
    Nack(Nack<'a>),
    /// Picture loss indication (RFC 4585 §6.3.1).
    Pli(Pli),
    /// Full intra request (RFC 5104 §4.3.1).
    Fir(Fir<'a>),
    /// Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb-03).
    Remb(Remb<'a>),
    /// Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01).
    Twcc(Twcc<'a>),
    /// Extended report (RFC 3611).
    Xr(Xr<'a>),
    /// Anything else: SDES, APP, other feedback. Its length was checked, its
    /// content was not.
    Other {
        /// The packet type.
        packet_type: u8,
        /// The count or feedback type field of its header.
        count: u8,
    },
}

/// Walks the packets in `buf`.
///
/// A packet whose content is malformed gives an error and the walk goes on
/// after it; one whose header or length is wrong ends the walk.
pub fn packets(buf: &[u8]) -> Packets<'_> {
    Packets { rest: buf }
}

/// The iterator of [`packets`].
#[derive(Debug, Clone)]
pub struct Packets<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match split(self.rest) {
            Ok((raw, rest)) => {
                self.rest = rest;
                Some(parse(raw))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

/// A packet's header fields and its body without padding.
#[derive(Clone, Copy)]
struct Raw<'a> {
    packet_type: u8,
    count: u8,
    body: &'a [u8],
}

impl Raw<'_> {
    fn malformed(self) -> RtcpError {
        RtcpError::Malformed(self.packet_type)
    }
}

/// Splits the first packet off (RFC 3550 §6.4.1: length in words less one).
fn split(buf: &[u8]) -> Result<(Raw<'_>, &[u8]), RtcpError> {
    let (header, _) = buf
        .split_first_chunk::<HEADER_LEN>()
        .ok_or(RtcpError::Truncated)?;
    if header[0] >> 6 != 2 {
        return Err(RtcpError::Version);
    }
    let len = 4 * (1 + usize::from(u16::from_be_bytes([header[2], header[3]])));
    let (packet, rest) = buf.split_at_checked(len).ok_or(RtcpError::Truncated)?;
    let mut body = packet.get(HEADER_LEN..).ok_or(RtcpError::Truncated)?;
    if header[0] & 0x20 != 0 {
        let padding = usize::from(*body.last().ok_or(RtcpError::Padding)?);
        if padding == 0 || padding > body.len() {
            return Err(RtcpError::Padding);
        }
        body = &body[..body.len() - padding];
    }
    let raw = Raw {
        packet_type: header[1],
        count: header[0] & 0x1F,
        body,
    };
    Ok((raw, rest))
}

fn parse(raw: Raw<'_>) -> Result<Packet<'_>, RtcpError> {
    match (raw.packet_type, raw.count) {
        (packet_type::SR, _) => SenderReport::parse(raw).map(Packet::SenderReport),
        (packet_type::RR, _) => ReceiverReport::parse(raw).map(Packet::ReceiverReport),
        (packet_type::BYE, _) => Bye::parse(raw).map(Packet::Bye),
        (packet_type::XR, _) => Xr::parse(raw).map(Packet::Xr),
        (packet_type::RTPFB, feedback_type::NACK) => Nack::parse(raw).map(Packet::Nack),
        (packet_type::RTPFB, feedback_type::TWCC) => Twcc::parse(raw).map(Packet::Twcc),
        (packet_type::PSFB, feedback_type::PLI) => Pli::parse(raw).map(Packet::Pli),
        (packet_type::PSFB, feedback_type::FIR) => Fir::parse(raw).map(Packet::Fir),
        (packet_type::PSFB, feedback_type::APPLICATION) if Remb::is(raw) => {
            Remb::parse(raw).map(Packet::Remb)
        }
        (packet_type, count) => Ok(Packet::Other { packet_type, count }),
    }
}

/// The big-endian word at byte `at`.
#[inline]
fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*word))
}

/// The big-endian half word at byte `at`.
#[inline]
fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let word = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*word))
}

/// The words of a slice whose length was checked; a rest shorter than a word is
/// left out.
fn words(bytes: &[u8]) -> impl ExactSizeIterator<Item = u32> + Clone + '_ {
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|word| u32::from_be_bytes(*word))
}
