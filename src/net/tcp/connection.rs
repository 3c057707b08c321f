//! One connection: frames out of its bytes, and frames that wait for the kernel to take them.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use super::TcpLimits;
use crate::net::classify::{Class, classify};
use crate::net::path::{Datagram, Proto};
use crate::telemetry::DropReason;

/// The longest frame that is taken. Everything in WebRTC fits a UDP datagram of an
/// ordinary link; a longer length is another protocol or an attack.
const MAX_FRAME: usize = 2048;

/// Bytes kept for a connection that does not take them: half a second at 4 Mbit/s. What
/// comes later than that is useless to a live viewer.
pub(super) const MAX_WRITE: usize = 256 * 1024;

/// Bytes read in one go; shared by all connections.
const READ: usize = 64 * 1024;

/// Bytes that [`Connection::read`] needs: one read behind the beginning of a frame.
pub(super) const BUFFER: usize = READ + MAX_FRAME + 2;

/// A connection of one client.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// The beginning of a frame whose end has not come.
    partial: Vec<u8>,
    /// Frames that the kernel has not taken; the first `written` bytes are gone.
    pub(super) waiting: Vec<u8>,
    written: usize,
    opened: Instant,
    /// A STUN message came.
    proven: bool,
    last_frame: Instant,
    /// When the kernel last took something, or nothing waited.
    last_progress: Instant,
}

impl Connection {
    /// A connection on which nothing has come yet.
    pub(super) fn new(
        stream: TcpStream,
        local: SocketAddr,
        remote: SocketAddr,
        now: Instant,
    ) -> Self {
        Self {
            stream,
            local,
            remote,
            partial: Vec::new(),
            waiting: Vec::new(),
            written: 0,
            opened: now,
            proven: false,
            last_frame: now,
            last_progress: now,
        }
    }

    /// Reads once and hands out whole frames. True when more may wait; an error closes the
    /// connection, for a reason to count or because the peer left.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        now: Instant,
        frame: &mut impl FnMut(Datagram<'_>),
    ) -> Result<bool, Option<DropReason>> {
        let kept = self.partial.len();
        let room = buffer.get_mut(kept..kept + READ).ok_or(None)?;
        let read = match self.stream.read(room) {
            Ok(0) => return Err(None),
            Ok(read) => read,
            Err(error) => {
                return match error.kind() {
                    io::ErrorKind::WouldBlock => Ok(false),
                    io::ErrorKind::Interrupted => Ok(true),
                    _ => Err(None),
                };
            }
        };
        if let Some(start) = buffer.get_mut(..kept) {
            start.copy_from_slice(&self.partial);
        }
        let mut rest = buffer.get(..kept + read).unwrap_or_default();
        while let Some(length) = rest.first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length));
            if length > MAX_FRAME {
                return Err(Some(DropReason::TcpFraming));
            }
            let Some(bytes) = rest.get(2..2 + length) else {
                break;
            };
            rest = rest.get(2 + length..).unwrap_or_default();
            if length == 0 {
                // RFC 4571 §2 allows empty frames; they carry nothing.
                continue;
            }
            if !self.proven {
                // The first word on a connection is a connectivity check (RFC 6544 §7.1).
                if classify(bytes) != Ok(Class::Stun) {
                    return Err(Some(DropReason::UnknownSource));
                }
                self.proven = true;
            }
            self.last_frame = now;
            frame(Datagram {
                proto: Proto::Tcp,
                local: self.local,
                remote: self.remote,
                waited: Duration::ZERO,
                bytes,
            });
        }
        self.partial.clear();
        self.partial.extend_from_slice(rest);
        // Also after a short read: the end of the stream may wait behind it, untold.
        Ok(true)
    }

    /// Appends a frame, if the connection keeps up.
    pub(super) fn queue(&mut self, bytes: &[u8], now: Instant) -> bool {
        let Ok(length) = u16::try_from(bytes.len()) else {
            return false;
        };
        if self.waiting.is_empty() {
            self.last_progress = now;
        }
        if self.waiting.len() - self.written + 2 + bytes.len() > MAX_WRITE {
            return false;
        }
        self.waiting.extend_from_slice(&length.to_be_bytes());
        self.waiting.extend_from_slice(bytes);
        true
    }

    /// Gives the kernel what waits, as far as it takes it.
    pub(super) fn write(&mut self, now: Instant) -> io::Result<()> {
        while let Some(rest) = self.waiting.get(self.written..).filter(|r| !r.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.written += count;
                    self.last_progress = now;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Keeps the memory within twice the limit.
                    if self.written > MAX_WRITE / 2 {
                        self.waiting.drain(..self.written);
                        self.written = 0;
                    }
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.waiting.clear();
        self.written = 0;
        Ok(())
    }

    /// One of the limits on its time is over. `is_known` tells whether a session is to be reached by it.
    pub(super) fn is_late(&self, now: Instant, limits: &TcpLimits, is_known: bool) -> bool {
        let young = now.saturating_duration_since(self.opened) < limits.first_check;
        let silent = now.saturating_duration_since(self.last_frame);
        let stuck = now.saturating_duration_since(self.last_progress);
        silent >= limits.idle
            || (!is_known && !young)
            || (!self.waiting.is_empty() && stuck >= limits.stuck)
    }
}
