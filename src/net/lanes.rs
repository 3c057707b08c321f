//! The sockets of one UDP port: one for what is taken at once, one for what may wait a little.
//!
//! Media and handshakes go to the *prompt* socket, which wakes its worker. Connectivity checks,
//! reports and feedback come one by one, from every viewer, and far more often than frames; they go to the *patient*
//! socket, which is read some milliseconds later, many of them at a time. The kernel sorts: the sockets share their
//! address (`SO_REUSEPORT`), and a filter chooses one for each datagram by its first two bytes,
//! as [`classify`](super::classify) does. Both are read alike, so that a datagram on the
//! wrong one does no harm; where the kernel has no such filters, one socket takes all.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, Socket, Type};

use super::sys;
use super::udp::UdpOptions;

/// The sockets of a port.
pub(super) struct Lanes {
    pub(super) prompt: Socket,
    pub(super) patient: Option<Socket>,
    /// The kernel puts datagrams of one sender together.
    pub(super) gro: bool,
}

/// Opens the prompt socket, and the patient one where it is wanted and can be had.
pub(super) fn open(address: SocketAddr, options: UdpOptions) -> io::Result<Lanes> {
    let prompt = new(address, options)?;
    prompt.bind(&address.into())?;
    let gro = prepare(&prompt, address.is_ipv6(), options)?;
    let patient = match options.lanes {
        true => beside(&prompt, address, options).ok(),
        false => None,
    };
    Ok(Lanes {
        prompt,
        patient,
        gro,
    })
}

/// An IPv6 socket of this address takes no IPv4.
pub(super) fn is_only_v6(address: SocketAddr, options: UdpOptions) -> bool {
    address.is_ipv6() && (options.only_v6 || !address.ip().is_unspecified())
}

fn new(address: SocketAddr, options: UdpOptions) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM.nonblocking().cloexec(),
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(is_only_v6(address, options))?;
    }
    Ok(socket)
}

/// What a bound socket needs; tells whether it has GRO.
fn prepare(socket: &Socket, v6: bool, options: UdpOptions) -> io::Result<bool> {
    let fd = socket.as_fd();
    // With the right to, beyond the system's maximum; else up to it.
    let sizes = [
        (
            libc::SO_RCVBUFFORCE,
            libc::SO_RCVBUF,
            options.receive_buffer,
        ),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, options.send_buffer),
    ];
    for (force, plain, bytes) in sizes {
        let bytes = i32::try_from(bytes).unwrap_or(i32::MAX / 2);
        if sys::set_option(fd, libc::SOL_SOCKET, force, bytes).is_err() {
            sys::set_option(fd, libc::SOL_SOCKET, plain, bytes)?;
        }
    }
    if v6 {
        sys::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
    } else {
        sys::set_option(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
    }
    // These only make things better: kernels and sandboxes without them work too.
    let _ = sys::set_option(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1);
    Ok(sys::set_option(fd, libc::SOL_UDP, libc::UDP_GRO, 1).is_ok())
}

/// The patient socket at the address of the prompt one.
///
/// The first socket was bound alone, so that a port that another process has is told as ever;
/// only now it is opened to a second one, which the kernel allows to the same user alone.
fn beside(prompt: &Socket, address: SocketAddr, options: UdpOptions) -> io::Result<Socket> {
    let patient = new(address, options)?;
    let share = |socket: &Socket, on| {
        sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, on)
    };
    share(prompt, 1)?;
    let joined = share(&patient, 1)
        .and_then(|()| patient.bind(&prompt.local_addr()?))
        .and_then(|()| prepare(&patient, address.is_ipv6(), options))
        .and_then(|_| sys::choose_socket(prompt.as_fd(), &FILTER));
    match joined {
        Ok(()) => Ok(patient),
        Err(error) => {
            share(prompt, 0)?;
            Err(error)
        }
    }
}

const PROMPT: u32 = 0;
const PATIENT: u32 = 1;

/// Chooses [`PATIENT`] for STUN and RTCP (RFC 7983 §7, RFC 5761 §4), [`PROMPT`] for all else,
/// datagrams too short to tell included: a load beyond the end returns 0.
const FILTER: [libc::sock_filter; 9] = [
    byte(0),
    at_least(4, 0, 6),
    at_least(128, 0, 4),
    at_least(192, 3, 0),
    byte(1),
    at_least(192, 0, 1),
    at_least(224, 0, 1),
    choose(PROMPT),
    choose(PATIENT),
];

/// Loads a byte of the UDP payload.
const fn byte(at: u32) -> libc::sock_filter {
    instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, at, 0, 0)
}

/// Skips `yes` instructions when the byte is `least` or more, else `no`.
const fn at_least(least: u32, yes: u8, no: u8) -> libc::sock_filter {
    let code = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
    instruction(code, least, yes, no)
}

/// Ends with this socket of the group.
const fn choose(socket: u32) -> libc::sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, socket, 0, 0)
}

const fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    let code = code as u16; // all of them are below 256
    libc::sock_filter { code, jt, jf, k }
}
