//! The way out: an arena's runs as messages, many a system call, and what to do when the
//! kernel refuses some.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use socket2::Socket;

use super::UdpPort;
use crate::net::arena::SendArena;
use crate::net::path::{Path, Proto};
use crate::net::source;
use crate::net::sys::{self, BATCH, Control};

/// How long one call of [`UdpPort::send`] may wait in all for a full kernel buffer: short
/// beside a frame interval, long enough for a network card to send some hundred packets.
const FULL_WAITS: u32 = 2;
const FULL_WAIT: Duration = Duration::from_millis(1);

/// Datagrams up to this size pass nearly every link unfragmented (1280 less IPv6 and UDP
/// headers): if runs of such are refused, the size is not why.
const ALWAYS_FITS: usize = 1280 - 40 - 8;

/// Runs that may be refused before any was taken; then the socket sends without GSO. Where one
/// was taken, a refusal tells of one path only, such as one with a small MTU.
pub(super) const REFUSALS: u32 = 16;

/// What became of the datagrams of one [`UdpPort::send`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SendReport {
    /// Datagrams that the kernel took.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Datagrams dropped because the kernel was full.
    pub dropped_full: u64,
    /// Datagrams that the kernel refused: no route, too long, forbidden, a source address that is not local.
    pub errors: u64,
    /// System calls made.
    pub syscalls: u64,
}

impl std::ops::AddAssign for SendReport {
    fn add_assign(&mut self, other: Self) {
        self.datagrams += other.datagrams;
        self.bytes += other.bytes;
        self.dropped_full += other.dropped_full;
        self.errors += other.errors;
        self.syscalls += other.syscalls;
    }
}

/// One message for the kernel: one datagram, or several of equal size, in up to two pieces.
#[derive(Debug, Clone, Copy)]
struct Message<'a> {
    path: Path,
    bytes: &'a [u8],
    /// What follows them in the same message; only the last datagram of all may be shorter.
    tail: &'a [u8],
    segment: usize,
}

impl Message<'_> {
    fn len(&self) -> usize {
        self.bytes.len() + self.tail.len()
    }

    fn count(&self) -> u64 {
        self.len().div_ceil(self.segment.max(1)) as u64
    }
}

impl UdpPort {
    /// Sends all runs of the arena that this socket [carries](Self::carries), without
    /// queueing anything: what the kernel does not take is dropped and told.
    pub fn send(&mut self, arena: &SendArena) -> SendReport {
        let mut pairs = std::mem::take(&mut self.pairs);
        if self.gso {
            pairs.search(arena);
        } else {
            pairs.clear();
        }
        let mut sending = Sending {
            port: self,
            report: SendReport::default(),
            waits: FULL_WAITS,
            full: false,
        };
        let nothing = Message {
            path: Path {
                proto: Proto::Udp,
                local: sending.port.bound,
                remote: sending.port.bound,
            },
            bytes: &[],
            tail: &[],
            segment: 0,
        };
        let mut messages = [nothing; BATCH];
        let mut waiting = 0;
        for (number, run) in arena.runs().enumerate() {
            let Some(tail) = pairs.tail(number, arena) else {
                continue;
            };
            if !sending.port.carries(&run.path) {
                continue;
            }
            if let Some(place) = messages.get_mut(waiting) {
                *place = Message {
                    path: run.path,
                    bytes: run.bytes,
                    tail,
                    segment: run.segment,
                };
                waiting += 1;
            }
            if waiting == BATCH {
                sending.flush(&messages);
                waiting = 0;
            }
        }
        sending.flush(messages.get(..waiting).unwrap_or_default());
        let report = sending.report;
        self.pairs = pairs;
        report
    }

    /// The socket to send with: both have the same address. While media flows nobody waits for the patient
    /// one in an `epoll` set, so that the kernel has no waiter to tell of each message that has left.
    fn way_out(&self) -> &Socket {
        self.patient.as_ref().unwrap_or(&self.socket)
    }

    /// A run was refused whose datagrams were taken one by one.
    pub(super) fn refused(&mut self) {
        self.refusals += 1;
        self.gso &= self.gso_works || self.refusals < REFUSALS;
    }
}

/// One call of [`UdpPort::send`].
struct Sending<'p> {
    port: &'p mut UdpPort,
    report: SendReport,
    waits: u32,
    /// The kernel stayed full: the rest is dropped.
    full: bool,
}

impl Sending<'_> {
    fn flush(&mut self, mut rest: &[Message<'_>]) {
        while let Some(&first) = rest.first() {
            if self.full {
                self.report.dropped_full += rest.iter().map(Message::count).sum::<u64>();
                return;
            }
            if !self.port.gso && first.count() > 1 {
                self.flush_plain(first);
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            match self.call(rest) {
                Ok(taken) => {
                    // The kernel takes at least one or tells an error; to be sure, never loop.
                    let (sent, left) = rest.split_at(taken.clamp(1, rest.len()));
                    for message in sent {
                        self.port.gso_works |= message.count() > 1;
                        self.report.datagrams += message.count();
                        self.report.bytes += message.len() as u64;
                    }
                    rest = left;
                }
                Err(error) => {
                    if self.failed(first, &error) {
                        rest = rest.get(1..).unwrap_or_default();
                    }
                }
            }
        }
    }

    /// Each datagram of a run as a message of its own.
    fn flush_plain(&mut self, run: Message<'_>) {
        let mut messages = [run; BATCH];
        let mut waiting = 0;
        let size = run.segment.max(1);
        for bytes in run.bytes.chunks(size).chain(run.tail.chunks(size)) {
            if let Some(place) = messages.get_mut(waiting) {
                place.bytes = bytes;
                place.tail = &[];
                place.segment = bytes.len();
                waiting += 1;
            }
            if waiting == BATCH {
                self.flush(&messages);
                waiting = 0;
            }
        }
        self.flush(messages.get(..waiting).unwrap_or_default());
    }

    /// One system call for up to [`BATCH`] messages; without GSO only the single datagrams
    /// before the first run.
    fn call(&mut self, messages: &[Message<'_>]) -> io::Result<usize> {
        let port = &mut *self.port;
        let wildcard = port.bound.ip().is_unspecified();
        let sole = port.sole.get();
        let mut count = 0;
        for ((message, name), control) in
            messages.iter().zip(&mut port.names).zip(&mut port.controls)
        {
            let segmented = message.count() > 1;
            if segmented && !port.gso {
                break;
            }
            name.set(message.path.remote, port.v6);
            control.clear();
            if segmented {
                // A run is at most 65,000 bytes long, so is its segment.
                control.push(
                    libc::SOL_UDP,
                    libc::UDP_SEGMENT,
                    &(message.segment as u16).to_ne_bytes(),
                );
            }
            let Path { local, remote, .. } = message.path;
            if wildcard && !source::is_chosen(sole, local.ip(), remote.ip()) {
                push_source(control, local, port.v6);
            }
            count += 1;
        }
        self.report.syscalls += 1;
        sys::send_many(
            port.way_out().as_fd(),
            messages.iter().map(|message| [message.bytes, message.tail]),
            port.names.get(..count).unwrap_or_default(),
            port.controls.get(..count).unwrap_or_default(),
        )
    }

    /// The kernel refused this message; true when it is dealt with, false to try again.
    fn failed(&mut self, message: Message<'_>, error: &io::Error) -> bool {
        match error.raw_os_error() {
            Some(libc::EAGAIN) if self.waits > 0 => {
                self.waits -= 1;
                sys::wait_writable(self.port.way_out().as_raw_fd(), FULL_WAIT);
                return false;
            }
            Some(libc::EAGAIN) => {
                // The loop counts this message with the rest.
                self.full = true;
                return false;
            }
            // The queue of one network card is full; others may not be.
            Some(libc::ENOBUFS) => self.report.dropped_full += message.count(),
            Some(code @ (libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::EOPNOTSUPP))
                if message.count() > 1 =>
            {
                // GSO itself (EIO: no checksum offload; EINVAL: no GSO), datagrams
                // beyond the path's MTU, or a bad address: single datagrams tell.
                let before = self.report.datagrams;
                self.flush_plain(message);
                let worked = self.report.datagrams > before;
                if worked && (code == libc::EIO || message.segment <= ALWAYS_FITS) {
                    self.port.refused();
                }
            }
            _ => self.report.errors += message.count(),
        }
        true
    }
}

/// The source address of a message, for a wildcard socket.
fn push_source(control: &mut Control, local: SocketAddr, v6: bool) {
    if local.ip().is_unspecified() {
        return;
    }
    match local {
        // An IPv6 socket takes the IPv4 form as well, with IPv4-mapped addresses. Alone in a message it is so short (32 of 36
        // bytes) that the kernel reads it to its stack instead of allocated memory.
        SocketAddr::V4(local) => {
            // struct in_pktinfo: interface (any), source, (not used).
            let mut info = [0; 12];
            info[4..8].copy_from_slice(&local.ip().octets());
            control.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        }
        SocketAddr::V6(local) if v6 => {
            // struct in6_pktinfo: source, interface (any).
            let mut info = [0; 20];
            info[..16].copy_from_slice(&local.ip().octets());
            info[16..].copy_from_slice(&local.scope_id().to_ne_bytes());
            control.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        }
        SocketAddr::V6(_) => {}
    }
}
