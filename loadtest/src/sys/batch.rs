//! Batched UDP: `recvmmsg` with kernel time-stamps and drop counts, `sendmmsg` with segmentation.
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{SocketAddr, SocketAddrV4};
use std::ops::Range;
use std::os::fd::RawFd;

use super::check;

/// Datagrams read by one call.
pub const RECV_BATCH: usize = 32;
/// Bytes of one receive buffer without GRO: an Ethernet frame and some.
const PLAIN_BUFFER: usize = 2048;
/// Bytes of one receive buffer with GRO: the largest aggregate.
const GRO_BUFFER: usize = 65_536;
const CONTROL: usize = 128;

/// A datagram of a [`RecvBatch`].
pub struct Received<'a> {
    /// The datagram, or several of `segment` bytes each (the last may be
    /// shorter) when receive coalescing is on.
    pub data: &'a mut [u8],
    /// Where it came from; `None` for a family other than IPv4 and IPv6.
    pub from: Option<SocketAddr>,
    /// When the kernel took it, nanoseconds of `CLOCK_REALTIME`; 0 if it did not say.
    pub kernel_ns: u64,
    /// Datagrams this socket has dropped for want of room so far, when not 0.
    pub drops: Option<u32>,
    /// Size of one datagram when several were coalesced.
    pub segment: Option<usize>,
}

/// Buffers for `recvmmsg`, shared by all sockets of a thread.
pub struct RecvBatch {
    buffers: Box<[u8]>,
    buffer_len: usize,
    control: Box<[[u64; CONTROL / 8]]>,
    names: Box<[libc::sockaddr_storage]>,
    _vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

// SAFETY: the raw pointers inside point into boxes that this value owns and
// never reallocates.
unsafe impl Send for RecvBatch {}

impl RecvBatch {
    /// Buffers for [`RECV_BATCH`] datagrams.
    pub fn new(gro: bool) -> Self {
        let buffer_len = if gro { GRO_BUFFER } else { PLAIN_BUFFER };
        let mut buffers = vec![0u8; buffer_len * RECV_BATCH].into_boxed_slice();
        let mut control = vec![[0u64; CONTROL / 8]; RECV_BATCH].into_boxed_slice();
        // SAFETY: all-zero is a valid value of these plain C structures.
        let (mut names, mut vectors, mut headers) = unsafe {
            (
                vec![zeroed::<libc::sockaddr_storage>(); RECV_BATCH].into_boxed_slice(),
                vec![zeroed::<libc::iovec>(); RECV_BATCH].into_boxed_slice(),
                vec![zeroed::<libc::mmsghdr>(); RECV_BATCH].into_boxed_slice(),
            )
        };
        for i in 0..RECV_BATCH {
            vectors[i].iov_base = buffers[i * buffer_len..].as_mut_ptr().cast();
            vectors[i].iov_len = buffer_len;
            let header = &mut headers[i].msg_hdr;
            header.msg_iov = &raw mut vectors[i];
            header.msg_iovlen = 1;
            header.msg_control = control[i].as_mut_ptr().cast();
            header.msg_name = (&raw mut names[i]).cast();
        }
        Self {
            buffers,
            buffer_len,
            control,
            names,
            _vectors: vectors,
            headers,
        }
    }

    /// Reads what waits on `fd`, at most [`RECV_BATCH`] datagrams. 0 when
    /// nothing waits.
    pub fn recv(&mut self, fd: RawFd) -> io::Result<usize> {
        for (header, control) in self.headers.iter_mut().zip(&self.control) {
            header.msg_hdr.msg_controllen = size_of_val(control) as _;
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as _;
            header.msg_hdr.msg_flags = 0;
        }
        // SAFETY: every header points to buffers of the stated length, owned by
        // `self`.
        let n = unsafe {
            libc::recvmmsg(
                fd,
                self.headers.as_mut_ptr(),
                RECV_BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        match check(n) {
            Ok(n) => Ok(n as usize),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(e) => Err(e),
        }
    }

    /// Datagram `i` of the last read.
    pub fn get(&mut self, i: usize) -> Received<'_> {
        let header = &self.headers[i];
        let len = (header.msg_len as usize).min(self.buffer_len);
        let (mut kernel_ns, mut drops, mut segment) = (0, None, None);
        // SAFETY: the kernel filled in `msg_controllen` bytes of control
        // messages in a buffer that `self` owns; the CMSG functions stay inside
        // it, and the data of each kind has the type read here (copied unaligned).
        unsafe {
            let mut message = libc::CMSG_FIRSTHDR(&header.msg_hdr);
            while !message.is_null() {
                let data = libc::CMSG_DATA(message);
                match ((*message).cmsg_level, (*message).cmsg_type) {
                    (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                        let t = std::ptr::read_unaligned(data.cast::<libc::timespec>());
                        kernel_ns = t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64;
                    }
                    (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                        drops = Some(std::ptr::read_unaligned(data.cast::<u32>()));
                    }
                    (libc::SOL_UDP, libc::UDP_GRO) => {
                        let size = std::ptr::read_unaligned(data.cast::<libc::c_int>());
                        segment = usize::try_from(size).ok().filter(|&s| s > 0 && s < len);
                    }
                    _ => {}
                }
                message = libc::CMSG_NXTHDR(&header.msg_hdr, message);
            }
        }
        let from = address(&self.names[i]);
        let start = i * self.buffer_len;
        Received {
            data: &mut self.buffers[start..start + len],
            from,
            kernel_ns,
            drops,
            segment,
        }
    }
}

fn address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which structure the kernel wrote, and
            // `sockaddr_storage` is large and aligned enough for it.
            let v4 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in>() };
            let ip = u32::from_be(v4.sin_addr.s_addr);
            Some(SocketAddr::from((
                std::net::Ipv4Addr::from(ip),
                u16::from_be(v4.sin_port),
            )))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in6>() };
            Some(SocketAddr::from((
                v6.sin6_addr.s6_addr,
                u16::from_be(v6.sin6_port),
            )))
        }
        _ => None,
    }
}

/// Datagrams to send with one `sendmmsg`.
#[derive(Default)]
pub struct SendBatch {
    data: Vec<u8>,
    entries: Vec<Entry>,
}

struct Entry {
    range: Range<usize>,
    to: Option<SocketAddrV4>,
    segment: Option<u16>,
}

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct SegmentControl([u8; 24]);

impl SendBatch {
    /// Forgets everything; keeps the memory.
    pub fn clear(&mut self) {
        self.data.clear();
        self.entries.clear();
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Entries that wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The bytes, to append to before [`SendBatch::commit`].
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.data
    }

    /// Makes everything appended from `start` on one entry: a datagram, or
    /// several of `segment` bytes each for the kernel to cut (UDP GSO). `to` is
    /// `None` on a connected socket.
    pub fn commit(&mut self, start: usize, to: Option<SocketAddrV4>, segment: Option<u16>) {
        self.entries.push(Entry {
            range: start..self.data.len(),
            to,
            segment,
        });
    }

    /// Sends all entries and returns how many the kernel took. Datagrams it has
    /// no room for are not retried.
    pub fn send(&mut self, fd: RawFd) -> io::Result<usize> {
        const CHUNK: usize = 64;
        let mut total = 0;
        for chunk in self.entries.chunks(CHUNK) {
            // SAFETY: all-zero is a valid value of these plain C structures.
            let (mut names, mut vectors, mut headers) = unsafe {
                (
                    [zeroed::<libc::sockaddr_in>(); CHUNK],
                    [zeroed::<libc::iovec>(); CHUNK],
                    [zeroed::<libc::mmsghdr>(); CHUNK],
                )
            };
            let mut controls = [SegmentControl([0; 24]); CHUNK];
            for (i, entry) in chunk.iter().enumerate() {
                let bytes = &self.data[entry.range.clone()];
                vectors[i].iov_base = bytes.as_ptr().cast_mut().cast();
                vectors[i].iov_len = bytes.len();
                let header = &mut headers[i].msg_hdr;
                header.msg_iov = &raw mut vectors[i];
                header.msg_iovlen = 1;
                if let Some(to) = entry.to {
                    names[i].sin_family = libc::AF_INET as libc::sa_family_t;
                    names[i].sin_port = to.port().to_be();
                    names[i].sin_addr.s_addr = u32::from(*to.ip()).to_be();
                    header.msg_name = (&raw mut names[i]).cast();
                    header.msg_namelen = size_of::<libc::sockaddr_in>() as _;
                }
                if let Some(segment) = entry.segment {
                    // SAFETY: the control buffer is 8-aligned and holds
                    // CMSG_SPACE(2) = 24 bytes, which is what is written.
                    unsafe {
                        header.msg_control = controls[i].0.as_mut_ptr().cast();
                        header.msg_controllen = libc::CMSG_SPACE(2) as _;
                        let message = libc::CMSG_FIRSTHDR(header);
                        (*message).cmsg_level = libc::SOL_UDP;
                        (*message).cmsg_type = libc::UDP_SEGMENT;
                        (*message).cmsg_len = libc::CMSG_LEN(2) as _;
                        std::ptr::write_unaligned(libc::CMSG_DATA(message).cast(), segment);
                    }
                }
            }
            // SAFETY: the first `chunk.len()` headers point to live buffers; the
            // kernel only reads them.
            let n = unsafe {
                libc::sendmmsg(
                    fd,
                    headers.as_mut_ptr(),
                    chunk.len() as libc::c_uint,
                    libc::MSG_DONTWAIT,
                )
            };
            match check(n) {
                Ok(n) => {
                    total += n as usize;
                    if (n as usize) < chunk.len() {
                        return Ok(total);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(total),
                Err(e) => return Err(e),
            }
        }
        Ok(total)
    }
}
