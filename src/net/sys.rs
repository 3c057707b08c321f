//! The system calls behind [`udp`](super::udp) that no safe crate offers in the needed
//! form, as safe functions. All other code of the sockets is safe Rust.
#![allow(unsafe_code)]

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use super::path::unmapped;

/// Messages in one `recvmmsg` or `sendmmsg`.
pub const BATCH: usize = 64;

/// A `sockaddr_in` or `sockaddr_in6` as the kernel reads and writes it.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
pub struct RawAddress {
    bytes: [u8; 28],
    len: u32,
}

impl Default for RawAddress {
    fn default() -> Self {
        Self {
            bytes: [0; 28],
            len: 28,
        }
    }
}

impl RawAddress {
    /// Writes an address for a socket of the IPv6 or the IPv4 family; IPv4 addresses are
    /// mapped for the former. (An IPv6 address has no form for an IPv4 socket: the caller
    /// does not ask for one.)
    pub fn set(&mut self, address: SocketAddr, v6: bool) {
        let mapped = match address {
            SocketAddr::V4(v4) if !v6 => {
                self.bytes = [0; 28];
                self.bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                self.bytes[2..4].copy_from_slice(&v4.port().to_be_bytes());
                self.bytes[4..8].copy_from_slice(&v4.ip().octets());
                self.len = 16;
                return;
            }
            SocketAddr::V4(v4) => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0),
            SocketAddr::V6(v6) => v6,
        };
        self.bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
        self.bytes[2..4].copy_from_slice(&mapped.port().to_be_bytes());
        self.bytes[4..8].copy_from_slice(&mapped.flowinfo().to_be_bytes());
        self.bytes[8..24].copy_from_slice(&mapped.ip().octets());
        self.bytes[24..28].copy_from_slice(&mapped.scope_id().to_ne_bytes());
        self.len = 28;
    }

    /// The address that the kernel wrote, IPv4 unmapped.
    pub fn get(&self) -> Option<SocketAddr> {
        let b = &self.bytes;
        let port = u16::from_be_bytes([b[2], b[3]]);
        match i32::from(u16::from_ne_bytes([b[0], b[1]])) {
            libc::AF_INET => Some((Ipv4Addr::new(b[4], b[5], b[6], b[7]), port).into()),
            libc::AF_INET6 => {
                let ip = Ipv6Addr::from(*b[8..24].first_chunk::<16>()?);
                let scope = u32::from_ne_bytes(*b[24..28].first_chunk::<4>()?);
                Some(unmapped(SocketAddrV6::new(ip, port, 0, scope).into()))
            }
            _ => None,
        }
    }
}

/// Bytes of ancillary data for one message: in, at most a time-stamp (32), the GRO size
/// (24) and packet info for both families (32 + 40); out, less.
const CONTROL: usize = 160;

/// `struct cmsghdr` of the kernel: `size_t` length, `int` level, `int` type.
const CMSG_HEADER: usize = size_of::<usize>() + 8;

/// The ancillary data of one message.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
pub struct Control {
    bytes: [u8; CONTROL],
    len: usize,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            bytes: [0; CONTROL],
            len: 0,
        }
    }
}

impl Control {
    /// Takes all ancillary data out.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Appends one item; what doesn't fit is left out (all that are sent do).
    pub fn push(&mut self, level: i32, kind: i32, data: &[u8]) {
        let end = self.len + (CMSG_HEADER + data.len()).next_multiple_of(size_of::<usize>());
        let Some(room) = self.bytes.get_mut(self.len..end) else {
            return;
        };
        let word = size_of::<usize>();
        room[..word].copy_from_slice(&(CMSG_HEADER + data.len()).to_ne_bytes());
        room[word..word + 4].copy_from_slice(&level.to_ne_bytes());
        room[word + 4..CMSG_HEADER].copy_from_slice(&kind.to_ne_bytes());
        room[CMSG_HEADER..CMSG_HEADER + data.len()].copy_from_slice(data);
        self.len = end;
    }

    /// The items as (level, type, data).
    pub fn items(&self) -> impl Iterator<Item = (i32, i32, &[u8])> {
        let mut rest = self.bytes.get(..self.len).unwrap_or_default();
        std::iter::from_fn(move || {
            let word = size_of::<usize>();
            let len = usize::from_ne_bytes(*rest.first_chunk()?);
            let level = i32::from_ne_bytes(*rest.get(word..)?.first_chunk()?);
            let kind = i32::from_ne_bytes(*rest.get(word + 4..)?.first_chunk()?);
            let data = rest.get(CMSG_HEADER..len)?;
            rest = rest.get(len.next_multiple_of(word)..).unwrap_or_default();
            Some((level, kind, data))
        })
    }
}

/// What `recvmmsg` says about one message.
#[derive(Debug, Clone, Copy, Default)]
pub struct Received {
    /// Bytes written to the buffer.
    pub len: usize,
    /// It was longer than the buffer.
    pub truncated: bool,
}

const fn no_message() -> libc::mmsghdr {
    // SAFETY: all fields are integers or raw pointers, for which zero is a valid value.
    unsafe { std::mem::zeroed() }
}

/// Reads up to as many messages as the slices have room for, without waiting: message `n` goes to
/// `buffers[n * stride..][..size]`, `names[n]` and `controls[n]`, and is told in `received[n]`.
/// How many, or the error of the first.
pub fn receive_many(
    fd: BorrowedFd<'_>,
    buffers: &mut [u8],
    (stride, size): (usize, usize),
    names: &mut [RawAddress],
    controls: &mut [Control],
    received: &mut [Received],
) -> io::Result<usize> {
    let mut headers = [const { no_message() }; BATCH];
    let mut slices = [libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    }; BATCH];
    let mut count = 0;
    for ((((header, slice), buffer), name), control) in headers
        .iter_mut()
        .zip(&mut slices)
        .zip(buffers.chunks_mut(stride))
        .zip(names.iter_mut())
        .zip(controls.iter_mut())
        .take(received.len())
    {
        let Some(buffer) = buffer.get_mut(..size) else {
            break;
        };
        *slice = libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        };
        header.msg_hdr.msg_name = name.bytes.as_mut_ptr().cast();
        header.msg_hdr.msg_namelen = name.bytes.len() as u32;
        header.msg_hdr.msg_iov = slice;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_control = control.bytes.as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = CONTROL as _;
        count += 1;
    }
    let result = loop {
        // SAFETY: the first `count` headers point to names, one-element slice lists, buffers and
        // control areas that are exclusively borrowed here, with their true lengths.
        let result = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                headers.as_mut_ptr(),
                count as u32,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        if result >= 0 {
            break result as usize;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    };
    for (((header, control), name), told) in headers
        .iter()
        .zip(controls)
        .zip(names)
        .zip(received)
        .take(result)
    {
        // `size_t` with glibc, `socklen_t` with musl.
        #[allow(clippy::unnecessary_cast)]
        let written = header.msg_hdr.msg_controllen as usize;
        control.len = written.min(CONTROL);
        name.len = header.msg_hdr.msg_namelen;
        *told = Received {
            len: (header.msg_len as usize).min(size),
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        };
    }
    Ok(result)
}

/// Hands messages to the kernel without waiting: the pieces `bytes[n]`, as one, to `names[n]` with
/// `controls[n]`. How many it took, or the error of the first.
pub fn send_many<'a>(
    fd: BorrowedFd<'_>,
    bytes: impl Iterator<Item = [&'a [u8]; 2]>,
    names: &[RawAddress],
    controls: &[Control],
) -> io::Result<usize> {
    let mut headers = [const { no_message() }; BATCH];
    let mut slices = [[libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    }; 2]; BATCH];
    let mut count = 0;
    for ((((header, slices), bytes), name), control) in headers
        .iter_mut()
        .zip(&mut slices)
        .zip(bytes)
        .zip(names)
        .zip(controls)
    {
        *slices = bytes.map(|piece| libc::iovec {
            iov_base: piece.as_ptr().cast_mut().cast(),
            iov_len: piece.len(),
        });
        header.msg_hdr.msg_name = name.bytes.as_ptr().cast_mut().cast();
        header.msg_hdr.msg_namelen = name.len;
        header.msg_hdr.msg_iov = slices.as_mut_ptr();
        header.msg_hdr.msg_iovlen = 1 + usize::from(!bytes[1].is_empty());
        if control.len > 0 {
            header.msg_hdr.msg_control = control.bytes.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_controllen = control.len as _;
        }
        count += 1;
    }
    loop {
        // SAFETY: the first `count` headers point to names, lists of one or two slices, buffers and
        // control areas that outlive the call; the kernel only reads them.
        let result = unsafe {
            libc::sendmmsg(
                fd.as_raw_fd(),
                headers.as_mut_ptr(),
                count as u32,
                (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
            )
        };
        if result >= 0 {
            return Ok(result as usize);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// What a system call that returns zero or fails has told.
fn done(result: i32) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets a socket option that is an `int`.
pub fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the pointer and length describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<i32>() as u32,
        )
    };
    done(result)
}

/// Lets a filter choose which socket of the group that shares an address gets a datagram: it sees
/// the UDP payload and returns the socket's place in the group.
pub fn choose_socket(fd: BorrowedFd<'_>, filter: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the pointer and length describe `program`, which points to `len` instructions; the
    // kernel reads both, within the call only.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as u32,
        )
    };
    done(result)
}

/// Waits until the socket takes data or the time is over, rounded up to milliseconds.
pub fn wait_writable(fd: RawFd, timeout: Duration) -> bool {
    let mut poll = libc::pollfd {
        fd,
        events: libc::POLLOUT,
        revents: 0,
    };
    let millis = timeout.as_micros().div_ceil(1000).min(1000) as i32;
    // SAFETY: one valid `pollfd`, which outlives the call.
    unsafe { libc::poll(&raw mut poll, 1, millis) > 0 }
}

/// Lets the process's threads share `most` heaps of the C library, where it would make one for each.
/// False where the library is another or does not do so.
///
/// A thread's own heap grows by a system call for each page, and what one thread frees is of no use
/// to another. Call it before the first thread starts.
pub fn limit_heaps(most: u8) -> bool {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: it sets a number of the allocator, under the allocator's lock.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, i32::from(most.max(1))) == 1 }
    }
    #[cfg(not(target_env = "gnu"))]
    {
        let _ = most;
        false
    }
}

/// CPU time that the calling thread has used.
pub fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a valid `timespec` that outlives the call. It can't fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_form_of_the_kernel() {
        for (address, v6) in [
            ("192.0.2.1:5", false),
            ("192.0.2.1:5", true),
            ("[2001:db8::1]:65535", true),
            ("[fe80::1%3]:7", true),
        ] {
            let address: SocketAddr = address.parse().expect("address");
            let mut raw = RawAddress::default();
            raw.set(address, v6);
            assert_eq!(raw.get(), Some(address));
            assert_eq!(raw.len, if v6 { 28 } else { 16 });
        }
        assert_eq!(RawAddress::default().get(), None);
    }

    #[test]
    fn control_items_come_back_and_damage_ends_the_walk() {
        let mut control = Control::default();
        control.push(1, 2, &[9; 12]);
        control.push(3, 4, &[7, 8]);
        let items: Vec<_> = control.items().collect();
        assert_eq!(items, [(1, 2, &[9; 12][..]), (3, 4, &[7, 8][..])]);
        control.push(5, 6, &[0; CONTROL]);
        assert_eq!(control.items().count(), 2);
        control.bytes[0] = 3;
        assert_eq!(control.items().count(), 0);
        control.bytes[0] = 255;
        assert_eq!(control.items().count(), 0);
    }

    #[test]
    fn thread_time_grows_with_work() {
        let before = thread_cpu_time();
        let mut sum = 0u64;
        while thread_cpu_time() - before < Duration::from_millis(2) {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(sum > 0);
    }
}
