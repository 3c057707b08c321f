//! The datagrams on their way between a session and OpenSSL.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

/// The header of a DTLS 1.2 record (RFC 6347 §4.1).
const HEADER: usize = 13;

/// The least that AES-GCM makes of a record: its explicit nonce and its tag
/// (RFC 5288 §3).
const SEALED: usize = 8 + 16;

/// See the module's description.
#[derive(Default)]
pub(super) struct Wire {
    /// The datagram that arrived and, until OpenSSL has read it, `unread`.
    pub(super) incoming: Vec<u8>,
    unread: bool,
    pub(super) outgoing: VecDeque<Vec<u8>>,
}

impl Wire {
    /// A datagram that OpenSSL has not read is lost, as with a full socket.
    pub(super) fn arrive(&mut self, datagram: &[u8]) {
        if !plausible(datagram) {
            return;
        }
        self.incoming.clear();
        self.incoming.extend_from_slice(datagram);
        self.unread = true;
    }
}

/// Whether every record is whole and, when sealed, long enough to be. RFC 6347
/// §4.1.2.7 has others dropped in silence, while OpenSSL ends the session over a
/// sealed record that is too short, which anybody could forge.
fn plausible(mut datagram: &[u8]) -> bool {
    while let Some((header, rest)) = datagram.split_at_checked(HEADER) {
        let sealed = header[3..5] != [0, 0];
        let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
        if sealed && length < SEALED || length > rest.len() {
            return false;
        }
        datagram = &rest[length..];
    }
    datagram.is_empty()
}

impl Read for Wire {
    /// One datagram a call; what does not fit is cut off.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if !std::mem::take(&mut self.unread) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut datagram = self.incoming.as_slice();
        datagram.read(buf)
    }
}

impl Write for Wire {
    /// One datagram a call.
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.outgoing.push_back(buf.to_vec());
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
