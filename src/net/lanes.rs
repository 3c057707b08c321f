//! The sockets of one UDP port: one for what is taken at once, one for what may wait a little.
//!
//! Media, handshakes and requests for repairs and keyframes go to the *prompt* socket, which wakes its worker. Connectivity checks,
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
}

/// Opens the prompt socket, and the patient one where it is wanted and can be had.
pub(super) fn open(address: SocketAddr, options: UdpOptions) -> io::Result<Lanes> {
    let prompt = new(address, options)?;
    prompt.bind(&address.into())?;
    prepare(&prompt, address.is_ipv6(), options)?;
    let patient = match options.lanes {
        true => beside(&prompt, address, options).ok(),
        false => None,
    };
    Ok(Lanes { prompt, patient })
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

/// What a bound socket needs.
fn prepare(socket: &Socket, v6: bool, options: UdpOptions) -> io::Result<()> {
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
    // The kernel puts datagrams of one sender together; those and sandboxes without it work too.
    let _ = sys::set_option(fd, libc::SOL_UDP, libc::UDP_GRO, 1);
    Ok(())
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
        .and_then(|()| sys::choose_socket(prompt.as_fd(), &FILTER));
    match joined {
        Ok(()) => {
            // What is read late tells when it came, where the kernel does.
            let _ = sys::set_option(patient.as_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1);
            Ok(patient)
        }
        Err(error) => {
            share(prompt, 0)?;
            Err(error)
        }
    }
}

const PROMPT: u32 = 0;
const PATIENT: u32 = 1;

/// Chooses [`PATIENT`] for STUN and most RTCP (RFC 7983 §7, RFC 5761 §4), [`PROMPT`] for all else,
/// datagrams too short to tell included: a load beyond the end returns 0.
///
/// The first packet's header is in the clear (RFC 3711 §3.4). Of RTCP, [`PROMPT`] is what asks for something: feedback
/// about transport (205) and payload (206, RFC 4585 §6.1) but transport-wide feedback and REMB, which are both of
/// format 15. In a compound packet it follows a report, and waits with it; WebRTC's browsers send it
/// alone (RFC 5506). Sender reports (200) are [`PROMPT`] too: when they come says what their time-stamps mean.
const FILTER: [libc::sock_filter; 16] = [
    byte(0),
    at_least(4, 0, 12),
    at_least(128, 0, 12),
    at_least(192, 11, 0),
    byte(1),
    at_least(192, 0, 9),
    at_least(224, 8, 0),
    at_least(207, 6, 0),
    at_least(205, 2, 0),
    at_least(201, 4, 0),
    at_least(200, 4, 3),
    byte(0),
    low_bits(0x1f),
    equal(15, 0, 1),
    choose(PATIENT),
    choose(PROMPT),
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

/// Skips `yes` instructions when the byte is `value`, else `no`.
const fn equal(value: u32, yes: u8, no: u8) -> libc::sock_filter {
    let code = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    instruction(code, value, yes, no)
}

/// Keeps these bits of the byte.
const fn low_bits(mask: u32) -> libc::sock_filter {
    instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, mask, 0, 0)
}

/// Ends with this socket of the group.
const fn choose(socket: u32) -> libc::sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, socket, 0, 0)
}

const fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    let code = code as u16; // all of them are below 256
    libc::sock_filter { code, jt, jf, k }
}
