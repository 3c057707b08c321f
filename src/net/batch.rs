//! Memory for one `recvmmsg`: what the kernel writes, and the datagrams in it.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::time::{Duration, SystemTime};

use super::path::{Datagram, Proto};
use super::sys::{self, BATCH, Control, RawAddress, Received};

/// What GRO merges at most into one message.
const MESSAGE: usize = 65_536;

/// Distance of the buffers. Not a power of two, so that the headers of all messages,
/// which are read first, don't compete for one set of the CPU's cache.
const STRIDE: usize = MESSAGE + 2048 + 64;

/// A datagram that seems to have waited for longer came before the wall clock was set.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A message after its ancillary data was read.
#[derive(Debug, Clone, Copy)]
struct Message {
    at: usize,
    len: usize,
    /// The size of every datagram in it but the last.
    segment: usize,
    local: SocketAddr,
    remote: SocketAddr,
    /// When the kernel received it, since the Unix epoch, where the kernel tells.
    kernel_time: Option<Duration>,
}

/// Buffers for the messages of one system call, allocated once (4.3 MiB of address space, of
/// which only what messages touch becomes memory).
pub struct RecvBatch {
    bytes: Box<[u8]>,
    names: Box<[RawAddress]>,
    controls: Box<[Control]>,
    received: Box<[Received]>,
    messages: Vec<Message>,
    /// When they were read, by the kernel's clock, where it tells its times.
    read: Duration,
    datagrams: usize,
    malformed: usize,
}

impl fmt::Debug for RecvBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvBatch")
            .field("datagrams", &self.datagrams)
            .finish_non_exhaustive()
    }
}

impl Default for RecvBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl RecvBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self {
            bytes: vec![0; STRIDE * BATCH].into_boxed_slice(),
            names: vec![RawAddress::default(); BATCH].into_boxed_slice(),
            controls: vec![Control::default(); BATCH].into_boxed_slice(),
            received: vec![Received::default(); BATCH].into_boxed_slice(),
            messages: Vec::with_capacity(BATCH),
            read: Duration::ZERO,
            datagrams: 0,
            malformed: 0,
        }
    }

    /// Reads what waits in a socket bound to `bound`, in place of what was in the batch.
    /// How many datagrams; zero when nothing waits.
    pub(super) fn fill(&mut self, fd: BorrowedFd<'_>, bound: SocketAddr) -> io::Result<usize> {
        self.clear();
        let count = match sys::receive_many(
            fd,
            &mut self.bytes,
            (STRIDE, MESSAGE),
            &mut self.names,
            &mut self.controls,
            &mut self.received,
        ) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        let told = self.names.iter().zip(&self.controls).zip(&self.received);
        for (n, ((name, control), received)) in told.take(count).enumerate() {
            let Some(remote) = name.get().filter(|_| !received.truncated) else {
                self.malformed += 1;
                continue;
            };
            if received.len == 0 {
                // An empty datagram means nothing to anybody.
                self.malformed += 1;
                continue;
            }
            let mut message = Message {
                at: n * STRIDE,
                len: received.len,
                segment: received.len,
                local: bound,
                remote,
                kernel_time: None,
            };
            for (level, kind, data) in control.items() {
                message.read_control(level, kind, data);
            }
            self.datagrams += message.len.div_ceil(message.segment);
            self.messages.push(message);
        }
        if self
            .messages
            .iter()
            .any(|message| message.kernel_time.is_some())
        {
            let read = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            self.read = read.unwrap_or_default();
        }
        Ok(self.datagrams)
    }

    /// Forgets all datagrams.
    pub fn clear(&mut self) {
        self.messages.clear();
        self.datagrams = 0;
        self.malformed = 0;
    }

    /// How many datagrams.
    pub fn len(&self) -> usize {
        self.datagrams
    }

    /// No datagrams.
    pub fn is_empty(&self) -> bool {
        self.datagrams == 0
    }

    /// Messages of the last read that held nothing usable: empty, longer than a datagram
    /// can be, or without a source.
    pub fn malformed(&self) -> usize {
        self.malformed
    }

    /// True when the system call filled the batch, so that more may wait.
    pub fn is_full(&self) -> bool {
        self.messages.len() + self.malformed >= BATCH
    }

    /// The datagrams in the order of their arrival.
    pub fn iter(&self) -> impl Iterator<Item = Datagram<'_>> {
        self.messages.iter().flat_map(|message| {
            let bytes = self.bytes.get(message.at..message.at + message.len);
            bytes
                .unwrap_or_default()
                .chunks(message.segment)
                .map(|bytes| Datagram {
                    proto: Proto::Udp,
                    local: message.local,
                    remote: message.remote,
                    waited: message.waited(self.read),
                    bytes,
                })
        })
    }
}

impl Message {
    fn waited(&self, read: Duration) -> Duration {
        self.kernel_time
            .and_then(|received| read.checked_sub(received))
            .filter(|waited| *waited <= LONGEST_WAIT)
            .unwrap_or_default()
    }

    fn read_control(&mut self, level: i32, kind: i32, data: &[u8]) {
        match (level, kind) {
            (libc::SOL_UDP, libc::UDP_GRO) => {
                // An `int` in ancillary data, whatever the width of the option.
                if let Some(size) = data.first_chunk::<4>()
                    && let Ok(size) = usize::try_from(i32::from_ne_bytes(*size))
                    && size > 0
                {
                    self.segment = size;
                }
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // struct in_pktinfo: interface, local address of the route, destination.
                if let Some(ip) = data.get(8..).and_then(|d| d.first_chunk::<4>()) {
                    self.local.set_ip(IpAddr::V4(Ipv4Addr::from(*ip)));
                }
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // struct in6_pktinfo: destination, interface.
                if let Some(ip) = data.first_chunk::<16>() {
                    self.local.set_ip(Ipv6Addr::from(*ip).to_canonical());
                }
            }
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                // struct timespec.
                let word = size_of::<libc::time_t>();
                let seconds = data.first_chunk().map(|b| libc::time_t::from_ne_bytes(*b));
                let nanos = data
                    .get(word..)
                    .and_then(|d| d.first_chunk())
                    .map(|b| libc::c_long::from_ne_bytes(*b));
                if let (Some(seconds), Some(nanos)) = (seconds, nanos)
                    && let (Ok(seconds), Ok(nanos)) = (u64::try_from(seconds), u32::try_from(nanos))
                    && nanos < 1_000_000_000
                {
                    self.kernel_time = Some(Duration::new(seconds, nanos));
                }
            }
            _ => {}
        }
    }
}
