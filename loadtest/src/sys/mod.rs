//! The few system calls the standard library has no name for: batched UDP with
//! kernel time-stamps and drop counts, epoll, and where threads run.
//!
//! All `unsafe` code of the load test is in this folder.
#![allow(unsafe_code)]

mod batch;
mod look;

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

pub use batch::{RECV_BATCH, Received, RecvBatch, SendBatch};
pub use look::Looked;

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

/// Which descriptors are ready, level-triggered, by token.
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    /// Tokens that one wait tells at most.
    pub const MOST: usize = 256;

    /// An empty set.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the descriptor is new and ours.
        let fd = unsafe { OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        Ok(Self {
            fd,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; Self::MOST],
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
    signal(pid, libc::SIGTERM);
}

/// Ends a process.
pub fn kill(pid: u32) {
    signal(pid, libc::SIGKILL);
}

fn signal(pid: u32, signal: libc::c_int) {
    if let Ok(pid) = libc::pid_t::try_from(pid) {
        // SAFETY: no pointers are passed.
        unsafe {
            libc::kill(pid, signal);
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
    use std::net::{SocketAddr, UdpSocket};

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
