//! The sending side of a viewer: one packet at a time, its header written
//! straight into the send arena, the payload sealed behind it.

use std::time::Instant;

use super::congestion::Micros;
use super::congestion::sent::SentLog;
use super::crypto::Keying;
use super::header::{MAX_HEADER, OutgoingHeader, OutgoingIds, PassedExtensions, write};
use super::srtp::{SrtpError, SrtpReceiver, SrtpSender};
use crate::net::arena::SendArena;
use crate::net::path::Path;
use crate::telemetry::DropReason;
use crate::worker::clock::WallClock;

/// Room for a sealed packet's trailer: the longest tag, and the SRTCP index.
const TRAILER: usize = 24;

/// Where packets go in this turn of the loop.
#[derive(Debug)]
pub struct Outlet<'a> {
    /// The turn's time.
    pub now: Instant,
    /// The worker's clock.
    pub clock: &'a WallClock,
    /// Takes the datagrams.
    pub arena: &'a mut SendArena,
    /// The viewer's nominated path.
    pub path: Path,
}

/// Why a packet was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// The arena is full.
    Full,
    /// It could not be sealed (keys exhausted, or it does not fit).
    Seal,
}

impl From<SendError> for DropReason {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Full => Self::EgressFull,
            SendError::Seal => Self::Oversize,
        }
    }
}

/// How a payload is changed on its way.
pub trait Patch {
    /// Changes the copied payload in place; its length stays.
    fn apply(&self, payload: &mut [u8]);

    /// False when [`apply`](Self::apply) changes nothing, so that no copy is needed.
    fn changes(&self) -> bool {
        true
    }
}

/// The payload goes out as it came.
#[derive(Debug, Clone, Copy)]
pub struct Unchanged;

impl Patch for Unchanged {
    #[inline]
    fn apply(&self, _: &mut [u8]) {}

    #[inline]
    fn changes(&self) -> bool {
        false
    }
}

/// See the module's description.
#[derive(Debug)]
pub struct Egress {
    sender: SrtpSender,
    receiver: SrtpReceiver,
    transport_sequence: u16,
    /// What went out under which transport-wide sequence number.
    pub log: SentLog,
    stamp: Option<Stamp>,
}

/// The newest turn's time, in the forms that its packets need.
#[derive(Debug, Clone, Copy)]
struct Stamp {
    now: Instant,
    send_time: u32,
    micros: Micros,
}

impl Egress {
    /// The sending side with a session's keys.
    pub fn new(keying: &Keying) -> Result<Self, SrtpError> {
        Ok(Self {
            sender: SrtpSender::new(keying)?,
            receiver: SrtpReceiver::new(keying)?,
            transport_sequence: 0,
            log: SentLog::default(),
            stamp: None,
        })
    }

    /// The next transport-wide sequence number; each packet sent takes one.
    #[inline]
    pub fn next_transport_sequence(&mut self) -> u16 {
        let next = self.transport_sequence;
        self.transport_sequence = next.wrapping_add(1);
        next
    }

    /// The `abs-send-time` of this turn.
    #[inline]
    pub fn abs_send_time(&mut self, out: &Outlet<'_>) -> u32 {
        self.stamp(out).send_time
    }

    #[inline]
    fn stamp(&mut self, out: &Outlet<'_>) -> Stamp {
        match self.stamp {
            Some(stamp) if stamp.now == out.now => stamp,
            _ => *self.stamp.insert(Stamp {
                now: out.now,
                send_time: out.clock.abs_send_time(out.now),
                micros: out.clock.micros(out.now),
            }),
        }
    }

    /// Sends one packet and returns its size on the wire.
    ///
    /// `prefix` goes ahead of the payload (the original sequence number of an
    /// RTX packet, RFC 4588 §4); `roc` is the upper part of the extended
    /// sequence number.
    #[inline]
    #[allow(clippy::too_many_arguments)] // the parts of one packet
    pub fn send(
        &mut self,
        out: &mut Outlet<'_>,
        header: &OutgoingHeader<'_>,
        ids: &OutgoingIds,
        passed: &PassedExtensions,
        prefix: &[u8],
        payload: &[u8],
        patch: &impl Patch,
        roc: u32,
    ) -> Result<usize, SendError> {
        let room = MAX_HEADER + prefix.len() + payload.len() + TRAILER;
        let buffer = out.arena.reserve(out.path, room).ok_or(SendError::Full)?;
        let header_len = write(buffer, header, ids, passed).ok_or(SendError::Seal)?;
        let sealed = if prefix.is_empty() && !patch.changes() {
            self.sender
                .protect_rtp_from(buffer, header_len, payload, roc)
        } else {
            let body = header_len + prefix.len();
            let end = body + payload.len();
            buffer[header_len..body].copy_from_slice(prefix);
            buffer[body..end].copy_from_slice(payload);
            patch.apply(&mut buffer[body..end]);
            self.sender.protect_rtp(buffer, header_len, end, roc)
        };
        let total = sealed.map_err(|_| SendError::Seal)?;
        out.arena.commit(total);
        match header.transport_sequence {
            Some(sequence) => {
                let now = self.stamp(out).micros;
                self.log.record(now, sequence, total);
            }
            None => self.log.record_unnumbered(total),
        }
        Ok(total)
    }

    /// Seals and sends the RTCP packet that `compose` writes; it returns the
    /// packet's length.
    pub fn send_rtcp(
        &mut self,
        out: &mut Outlet<'_>,
        compose: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Result<(), SendError> {
        const ROOM: usize = 1200;
        let buffer = out.arena.reserve(out.path, ROOM).ok_or(SendError::Full)?;
        let length = compose(&mut buffer[..ROOM - TRAILER]).ok_or(SendError::Seal)?;
        let total = self
            .sender
            .protect_rtcp(buffer, length)
            .map_err(|_| SendError::Seal)?;
        out.arena.commit(total);
        Ok(())
    }

    /// Opens a received SRTCP packet in place.
    pub fn open_rtcp<'a>(&mut self, datagram: &'a mut [u8]) -> Result<&'a [u8], SrtpError> {
        let length = self.receiver.unprotect_rtcp(datagram)?;
        datagram.get(..length).ok_or(SrtpError::TooShort)
    }
}

#[cfg(test)]
#[path = "egress_tests.rs"]
mod tests;
