//! The addresses that clients are told to send to.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::stun;

/// The first time that a lost request waits for its answer; then twice as long each time.
const FIRST_WAIT: Duration = Duration::from_millis(300);

/// The addresses of all interfaces that are up, IPv4 first, in the order of the interfaces.
/// Loopback addresses come last, and only `with_loopback`, for clients on this machine.
/// Link-local addresses are left out: they mean nothing without their interface.
pub fn local_addresses(with_loopback: bool) -> io::Result<Vec<IpAddr>> {
    let found = if_addrs::get_if_addrs()?
        .into_iter()
        .filter(|interface| interface.is_oper_up() || interface.is_loopback())
        .map(|interface| interface.ip());
    Ok(announceable(found, with_loopback))
}

/// Those of `found` that may be announced, in the order of [`local_addresses`].
fn announceable(found: impl Iterator<Item = IpAddr>, with_loopback: bool) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in found {
        let usable = match address {
            IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_link_local(),
            IpAddr::V6(ip) => {
                !ip.is_unspecified() && !ip.is_multicast() && !ip.is_unicast_link_local()
            }
        };
        if usable && (with_loopback || !address.is_loopback()) && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses.sort_by_key(|address| (address.is_loopback(), address.is_ipv6()));
    addresses
}

/// Asks a STUN server how this machine looks from outside (RFC 8489 §6.2.1). It blocks for
/// up to `timeout`, so it is only for the start.
///
/// The request leaves from a port of its own: the address tells about a NAT in front of the
/// machine, the port does not.
pub fn discover_public(server: SocketAddr, timeout: Duration) -> io::Result<SocketAddr> {
    let any: SocketAddr = if server.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    // Only the server's answers come through, and "port unreachable" ends the wait.
    socket.connect(server)?;
    let transaction: [u8; 12] = rand::random();
    let mut request = [0; 32];
    let length = stun::binding_request(transaction, &mut request)
        .ok_or_else(|| io::Error::other("a STUN request fits its buffer"))?;
    let end = Instant::now() + timeout;
    let mut wait = FIRST_WAIT;
    let mut response = [0; 1500];
    loop {
        socket.send(request.get(..length).unwrap_or_default())?;
        let until = (Instant::now() + wait).min(end);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(left))?;
            match socket.recv(&mut response) {
                Ok(length) => {
                    let bytes = response.get(..length).unwrap_or_default();
                    if let Some(mapped) = stun::mapped_address(bytes, transaction) {
                        return Ok(mapped);
                    }
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock
                            | io::ErrorKind::TimedOut
                            | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        if Instant::now() >= end {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("the STUN server {server} did not answer"),
            ));
        }
        wait *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::stun::StunView;

    #[test]
    fn ipv4_comes_first_and_loopback_last() {
        let found = [
            "127.0.0.1",
            "fe80::1",
            "2001:db8::1",
            "::1",
            "169.254.1.1",
            "10.0.0.2",
            "192.0.2.1",
            "10.0.0.2",
            "0.0.0.0",
        ];
        let found = || found.iter().map(|ip| ip.parse().expect("ip"));
        let texts = |ips: Vec<IpAddr>| ips.iter().map(IpAddr::to_string).collect::<Vec<_>>();
        assert_eq!(
            texts(announceable(found(), true)),
            ["10.0.0.2", "192.0.2.1", "2001:db8::1", "127.0.0.1", "::1"]
        );
        assert_eq!(
            texts(announceable(found(), false)),
            ["10.0.0.2", "192.0.2.1", "2001:db8::1"]
        );
    }

    #[test]
    fn this_machine_has_a_loopback_address() {
        let all = local_addresses(true).expect("interfaces");
        assert!(all.contains(&IpAddr::from([127, 0, 0, 1])), "{all:?}");
        let outer = local_addresses(false).expect("interfaces");
        assert!(outer.iter().all(|ip| !ip.is_loopback()));
    }

    #[test]
    fn a_public_address_is_found_though_the_first_request_is_lost() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let address = server.local_addr().expect("address");
        let outside = SocketAddr::from(([203, 0, 113, 7], 1234));
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 100];
            server.recv_from(&mut buffer).expect("first");
            let (length, from) = server.recv_from(&mut buffer).expect("second");
            server.send_to(b"nonsense", from).expect("send");
            let request = StunView::parse(&buffer[..length]).expect("parse");
            let mut out = [0; 84];
            let length = stun::binding_success(&request, outside, None, &mut out).expect("room");
            server.send_to(&out[..length], from).expect("send");
        });
        let found = discover_public(address, Duration::from_secs(5)).expect("answer");
        assert_eq!(found, outside);
        thread.join().expect("server");
    }

    #[test]
    fn a_silent_server_is_given_up() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let address = server.local_addr().expect("address");
        let start = Instant::now();
        let error = discover_public(address, Duration::from_millis(400)).expect_err("silence");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() < Duration::from_secs(3));
    }
}
