//! A worker's UDP socket: batches in with `recvmmsg` and GRO, runs out with `sendmmsg` and GSO.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use socket2::Socket;

use super::arena::SendArena;
use super::batch::RecvBatch;
use super::lanes::{self, Lanes};
use super::pairs::Pairs;
use super::path::{Path, Proto};
use super::sys::{self, BATCH, Control, RawAddress};

/// How long one call of [`UdpPort::send`] may wait in all for a full kernel buffer: short
/// beside a frame interval, long enough for a network card to send some hundred packets.
const FULL_WAITS: u32 = 2;
const FULL_WAIT: Duration = Duration::from_millis(1);

/// Datagrams up to this size pass nearly every link unfragmented (1280 less IPv6 and UDP
/// headers): if runs of such are refused, the size is not why.
const ALWAYS_FITS: usize = 1280 - 40 - 8;

/// Runs that may be refused before any was taken; then the socket sends without GSO. Where one
/// was taken, a refusal tells of one path only, such as one with a small MTU.
const REFUSALS: u32 = 16;

/// Why a media socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another socket has the port.
    #[error("{proto} {address} is in use by another process")]
    Busy {
        /// "UDP" or "TCP".
        proto: &'static str,
        /// The address asked for.
        address: SocketAddr,
    },
    /// No interface of this machine has the address.
    #[error("no network interface of this machine has the address of {proto} {address}")]
    NotLocal {
        /// "UDP" or "TCP".
        proto: &'static str,
        /// The address asked for.
        address: SocketAddr,
    },
    /// The process may not bind the port.
    #[error("binding {proto} {address} is not permitted")]
    Denied {
        /// "UDP" or "TCP".
        proto: &'static str,
        /// The address asked for.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("binding {proto} {address}: {source}")]
    Other {
        /// "UDP" or "TCP".
        proto: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

impl BindError {
    pub(super) fn new(proto: &'static str, address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::Busy { proto, address },
            io::ErrorKind::AddrNotAvailable => Self::NotLocal { proto, address },
            io::ErrorKind::PermissionDenied => Self::Denied { proto, address },
            _ => Self::Other {
                proto,
                address,
                source,
            },
        }
    }

    /// The machine has no IPv6, so the address can't even be tried.
    pub fn is_family_missing(&self) -> bool {
        match self {
            Self::Other { source, .. } => source.raw_os_error() == Some(libc::EAFNOSUPPORT),
            Self::NotLocal { address, .. } => address.is_ipv6() && address.ip().is_unspecified(),
            _ => false,
        }
    }
}

/// How to open a socket.
#[derive(Debug, Clone, Copy)]
pub struct UdpOptions {
    /// Bytes of kernel receive buffer; the kernel may allow less (`net.core.rmem_max`).
    pub receive_buffer: usize,
    /// Bytes of kernel send buffer; the kernel may allow less (`net.core.wmem_max`).
    pub send_buffer: usize,
    /// An IPv6 wildcard socket takes IPv6 only, not IPv4 too.
    pub only_v6: bool,
    /// What may wait comes in by a socket of its own, which [`UdpPort::receive_patient`] reads,
    /// where the kernel can sort: connectivity checks, receivers' reports and feedback for estimates.
    pub lanes: bool,
}

impl Default for UdpOptions {
    fn default() -> Self {
        Self {
            receive_buffer: 4 << 20,
            send_buffer: 4 << 20,
            only_v6: false,
            lanes: false,
        }
    }
}

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

/// A bound UDP socket and the memory for its outgoing messages.
#[derive(Debug)]
pub struct UdpPort {
    socket: Socket,
    /// See [`lanes`].
    patient: Option<Socket>,
    bound: SocketAddr,
    v6: bool,
    only_v6: bool,
    gro: bool,
    gso: bool,
    /// A run was taken.
    gso_works: bool,
    /// Runs that were refused before.
    refusals: u32,
    pairs: Pairs,
    names: Box<[RawAddress]>,
    controls: Box<[Control]>,
}

impl UdpPort {
    /// Binds `address`; port 0 takes a free one. An IPv6 wildcard address takes IPv4 too unless
    /// `options` say otherwise.
    pub fn bind(address: SocketAddr, options: UdpOptions) -> Result<Self, BindError> {
        Self::open(address, options).map_err(|source| BindError::new("UDP", address, source))
    }

    fn open(address: SocketAddr, options: UdpOptions) -> io::Result<Self> {
        let Lanes {
            prompt: socket,
            patient,
            gro,
        } = lanes::open(address, options)?;
        let fd = socket.as_fd();
        let gso = sys::set_option(fd, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok();
        let bound = socket
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::Error::other("a bound socket has an address"))?;
        Ok(Self {
            socket,
            patient,
            bound,
            v6: address.is_ipv6(),
            only_v6: lanes::is_only_v6(address, options),
            gro,
            gso,
            gso_works: false,
            refusals: 0,
            pairs: Pairs::default(),
            names: vec![RawAddress::default(); BATCH].into_boxed_slice(),
            controls: vec![Control::default(); BATCH].into_boxed_slice(),
        })
    }

    /// The address it is bound to, with the real port.
    pub fn local(&self) -> SocketAddr {
        self.bound
    }

    /// Bytes of receive buffer that the kernel granted (it doubles what is asked for, for its
    /// own bookkeeping).
    pub fn receive_buffer(&self) -> usize {
        self.socket.recv_buffer_size().unwrap_or(0)
    }

    /// Bytes of send buffer that the kernel granted, doubled too.
    pub fn send_buffer(&self) -> usize {
        self.socket.send_buffer_size().unwrap_or(0)
    }

    /// The kernel merges incoming datagrams.
    pub fn has_gro(&self) -> bool {
        self.gro
    }

    /// The kernel splits outgoing runs, as far as is known.
    pub fn has_gso(&self) -> bool {
        self.gso
    }

    /// Goes on without GSO, as after the kernel refused it.
    pub fn disable_gso(&mut self) {
        self.gso = false;
    }

    /// A run was refused whose datagrams were taken one by one.
    fn refused(&mut self) {
        self.refusals += 1;
        self.gso &= self.gso_works || self.refusals < REFUSALS;
    }

    /// The socket, to wait for.
    pub fn raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Whether this socket can send on `path`.
    pub fn carries(&self, path: &Path) -> bool {
        let family = match path.remote {
            SocketAddr::V4(_) => !self.v6 || !self.only_v6,
            SocketAddr::V6(_) => self.v6,
        };
        let (bound, local) = (self.bound.ip(), path.local.ip());
        path.proto == Proto::Udp
            && family
            && (bound.is_unspecified() || local.is_unspecified() || bound == local)
    }

    /// Reads once, without waiting. How many datagrams; zero when none waits.
    pub fn receive(&mut self, batch: &mut RecvBatch) -> io::Result<usize> {
        batch.fill(self.socket.as_fd(), self.bound)
    }

    /// The socket of what may wait, where there is one.
    pub fn patient_fd(&self) -> Option<RawFd> {
        self.patient.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Reads what may wait, like [`receive`](Self::receive).
    pub fn receive_patient(&mut self, batch: &mut RecvBatch) -> io::Result<usize> {
        match &self.patient {
            Some(socket) => batch.fill(socket.as_fd(), self.bound),
            None => {
                batch.clear();
                Ok(0)
            }
        }
    }

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
}

impl AsFd for UdpPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
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
            if wildcard {
                push_source(control, message.path.local, port.v6);
            }
            count += 1;
        }
        self.report.syscalls += 1;
        sys::send_many(
            port.socket.as_fd(),
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
                sys::wait_writable(self.port.raw_fd(), FULL_WAIT);
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
    match (local, v6) {
        (SocketAddr::V4(local), false) => {
            // struct in_pktinfo: interface (any), source, (not used).
            let mut info = [0; 12];
            info[4..8].copy_from_slice(&local.ip().octets());
            control.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        }
        (local, true) => {
            // struct in6_pktinfo: source, interface (any).
            let (ip, scope) = match local {
                SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0),
                SocketAddr::V6(v6) => (*v6.ip(), v6.scope_id()),
            };
            let mut info = [0; 20];
            info[..16].copy_from_slice(&ip.octets());
            info[16..].copy_from_slice(&scope.to_ne_bytes());
            control.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        }
        (SocketAddr::V6(_), false) => {}
    }
}

#[cfg(test)]
#[path = "udp_tests.rs"]
mod tests;
