//! The few system calls the standard library has no name for: batched UDP with
//! kernel time-stamps and drop counts, epoll, and where threads run.
//!
//! All `unsafe` code of the load test is in this file.
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{SocketAddr, SocketAddrV4};
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Datagrams read by one call.
pub const RECV_BATCH: usize = 32;
/// Bytes of one receive buffer without GRO: an Ethernet frame and some.
const PLAIN_BUFFER: usize = 2048;
/// Bytes of one receive buffer with GRO: the largest aggregate.
const GRO_BUFFER: usize = 65_536;
const CONTROL: usize = 128;

fn check(rc: libc::c_int) -> io::Result<libc::c_int> {
    if rc < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(rc)
    }
}

fn set_option(fd: RawFd, level: i32, name: i32, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the pointer and length describe `value`, which outlives the call.
    let rc = unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    check(rc).map(drop)
}

/// Asks for what the measurements need on a UDP socket: kernel receive
/// time-stamps (nanoseconds, `CLOCK_REALTIME`), the count of datagrams dropped
/// for a full buffer and, if asked for, receive coalescing.
pub fn prepare_socket(socket: &impl AsRawFd, gro: bool) -> io::Result<()> {
    let fd = socket.as_raw_fd();
    set_option(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
    set_option(fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)?;
    if gro {
        set_option(fd, libc::SOL_UDP, libc::UDP_GRO, 1)?;
    }
    Ok(())
}

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

/// Which descriptors are ready, level-triggered, by token.
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    /// An empty set.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the descriptor is new and ours.
        let fd = unsafe { OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        Ok(Self {
            fd,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; 256],
        })
    }

    /// Watches `fd` for reading. Closing the descriptor ends it.
    pub fn add(&self, fd: &impl AsRawFd, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: token,
        };
        // SAFETY: `event` is live for the call.
        check(unsafe {
            libc::epoll_ctl(
                self.fd.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                fd.as_raw_fd(),
                &raw mut event,
            )
        })
        .map(drop)
    }

    /// Watches `fd` no more.
    pub fn forget(&self, fd: RawFd) {
        // SAFETY: no event is needed to remove a descriptor; one that is not in
        // the set gives an error that means the same.
        unsafe {
            libc::epoll_ctl(
                self.fd.as_raw_fd(),
                libc::EPOLL_CTL_DEL,
                fd,
                std::ptr::null_mut(),
            );
        }
    }

    /// Waits for readiness and puts the tokens into `ready`.
    pub fn wait(&mut self, timeout: Duration, ready: &mut Vec<u64>) -> io::Result<()> {
        ready.clear();
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs() as libc::time_t,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        // SAFETY: the list and the time-out are live for the call.
        let n = unsafe {
            libc::epoll_pwait2(
                self.fd.as_raw_fd(),
                self.events.as_mut_ptr(),
                self.events.len() as libc::c_int,
                &raw const timeout,
                std::ptr::null(),
            )
        };
        match check(n) {
            Ok(n) => {
                ready.extend(self.events[..n as usize].iter().map(|e| e.u64));
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(e) => Err(e),
        }
    }
}

/// Lets this process open as many sockets as the system allows, and returns that.
pub fn raise_open_files() -> io::Result<u64> {
    // SAFETY: `limit` is live for both calls.
    unsafe {
        let mut limit: libc::rlimit = zeroed();
        check(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit))?;
        limit.rlim_cur = limit.rlim_max;
        check(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit))?;
        Ok(limit.rlim_cur)
    }
}

/// Wakes this thread within a microsecond of its timers instead of the usual 50.
pub fn sharp_timers() {
    // SAFETY: no pointers are passed. Failing leaves the default, which is no harm.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1_000 as libc::c_ulong);
    }
}

/// Keeps the calling thread (and what it starts later) on these cores.
pub fn pin_to(cores: &[usize]) -> io::Result<()> {
    // SAFETY: the set is plain data, and CPU_SET stays inside it for these indices.
    unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        for &core in cores.iter().filter(|&&c| c < libc::CPU_SETSIZE as usize) {
            libc::CPU_SET(core, &mut set);
        }
        check(libc::sched_setaffinity(
            0,
            size_of::<libc::cpu_set_t>(),
            &raw const set,
        ))
        .map(drop)
    }
}

/// Makes a command start pinned to these cores, and die with this process.
pub fn pin_child(command: &mut std::process::Command, cores: Vec<usize>) {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec the closure makes only two system calls and
    // touches memory that was allocated before.
    unsafe {
        command.pre_exec(move || {
            check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
            if cores.is_empty() {
                Ok(())
            } else {
                pin_to(&cores)
            }
        });
    }
}

/// Asks a process to end.
pub fn terminate(pid: u32) {
    if let Ok(pid) = libc::pid_t::try_from(pid) {
        // SAFETY: no pointers are passed.
        unsafe {
            libc::kill(pid, libc::SIGTERM);
        }
    }
}

/// CPU time a process has used, ended threads included, in nanoseconds.
pub fn cpu_ns_of(pid: u32) -> io::Result<u64> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::NotFound)?;
    let mut id: libc::clockid_t = 0;
    // SAFETY: `id` is live for the call.
    match unsafe { libc::clock_getcpuclockid(pid, &raw mut id) } {
        0 => clock(id).ok_or_else(|| io::ErrorKind::NotFound.into()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Length of the ticks that /proc counts in, nanoseconds.
pub fn tick_ns() -> u64 {
    // SAFETY: no pointers are passed.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    1_000_000_000 / u64::try_from(per_second).unwrap_or(100).max(1)
}

/// CPU time this thread has used, in nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    clock(libc::CLOCK_THREAD_CPUTIME_ID).unwrap_or(0)
}

/// CPU time this process has used, in nanoseconds.
pub fn process_cpu_ns() -> u64 {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID).unwrap_or(0)
}

/// Nanoseconds since 1970, on the clock of the kernel's receive time-stamps.
pub fn realtime_ns() -> u64 {
    clock(libc::CLOCK_REALTIME).unwrap_or(0)
}

/// `None` for a clock that is not there, as that of a process that has ended.
fn clock(id: libc::clockid_t) -> Option<u64> {
    // SAFETY: all-zero is a valid time, and `t` is live for the call.
    let t = unsafe {
        let mut t: libc::timespec = zeroed();
        if libc::clock_gettime(id, &raw mut t) != 0 {
            return None;
        }
        t
    };
    Some(t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn batches_cross_loopback_with_kernel_times() {
        let rx = UdpSocket::bind("127.0.0.1:0").unwrap();
        prepare_socket(&rx, false).unwrap();
        let tx = UdpSocket::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(to) = rx.local_addr().unwrap() else {
            panic!("IPv4");
        };
        let before = realtime_ns();
        let mut batch = SendBatch::default();
        for i in 0..3u8 {
            let start = batch.buffer().len();
            batch.buffer().extend_from_slice(&[i; 100]);
            batch.commit(start, Some(to), None);
        }
        // Three datagrams of 100, 100 and 50 bytes that the kernel cuts.
        let start = batch.buffer().len();
        batch.buffer().extend_from_slice(&[9; 250]);
        batch.commit(start, Some(to), Some(100));
        assert_eq!(batch.send(tx.as_raw_fd()).unwrap(), 4);

        let mut recv = RecvBatch::new(false);
        assert_eq!(recv.recv(rx.as_raw_fd()).unwrap(), 6);
        for (i, (value, len)) in [(0, 100), (1, 100), (2, 100), (9, 100), (9, 100), (9, 50)]
            .into_iter()
            .enumerate()
        {
            let got = recv.get(i);
            assert_eq!(got.data, vec![value; len]);
            assert_eq!(got.from, Some(tx.local_addr().unwrap()));
            assert!(got.kernel_ns >= before && got.kernel_ns <= realtime_ns());
        }
        assert_eq!(recv.recv(rx.as_raw_fd()).unwrap(), 0);
    }

    #[test]
    fn a_full_socket_tells_its_drops() {
        let rx = socket2::SockRef::from(&UdpSocket::bind("127.0.0.1:0").unwrap())
            .try_clone()
            .unwrap();
        rx.set_recv_buffer_size(2048).unwrap();
        prepare_socket(&rx, false).unwrap();
        let tx = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = rx.local_addr().unwrap().as_socket().unwrap();
        for _ in 0..50 {
            tx.send_to(&[0; 1000], to).unwrap();
        }
        let mut recv = RecvBatch::new(false);
        let kept = recv.recv(rx.as_raw_fd()).unwrap();
        assert!(kept < 50);
        // The count travels with datagrams queued after the drops.
        tx.send_to(&[0; 10], to).unwrap();
        assert_eq!(recv.recv(rx.as_raw_fd()).unwrap(), 1);
        assert_eq!(recv.get(0).drops, Some(50 - kept as u32));
    }

    #[test]
    fn epoll_tells_the_token_of_a_readable_socket() {
        let rx = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut epoll = Epoll::new().unwrap();
        epoll.add(&rx, 77).unwrap();
        let mut ready = Vec::new();
        epoll.wait(Duration::from_millis(1), &mut ready).unwrap();
        assert_eq!(ready, Vec::<u64>::new());
        let tx = UdpSocket::bind("127.0.0.1:0").unwrap();
        tx.send_to(b"x", rx.local_addr().unwrap()).unwrap();
        epoll.wait(Duration::from_secs(5), &mut ready).unwrap();
        assert_eq!(ready, [77]);
    }
}
