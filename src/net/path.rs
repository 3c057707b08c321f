//! Where a datagram comes from and goes to.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The transport under a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Proto {
    /// UDP.
    Udp,
    /// TCP with RFC 4571 framing; the server is always the passive side (RFC 6544 §4.5).
    Tcp,
}

impl From<Proto> for str0m::net::Protocol {
    fn from(proto: Proto) -> Self {
        match proto {
            Proto::Udp => Self::Udp,
            Proto::Tcp => Self::Tcp,
        }
    }
}

/// A way out of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    /// Over UDP, or over an accepted TCP connection.
    pub proto: Proto,
    /// The source address: an address of this machine as datagrams arrive on it.
    /// An unspecified IP lets the kernel choose. (An announced address that a NAT
    /// in front of this machine owns is no local address: sending from it fails.)
    pub local: SocketAddr,
    /// The destination.
    pub remote: SocketAddr,
}

/// A datagram, or a frame from a TCP connection, as it arrived.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// Over what it came.
    pub proto: Proto,
    /// The address of this machine that it was sent to, also on a wildcard socket.
    pub local: SocketAddr,
    /// Who sent it; not to be believed before it is authenticated.
    pub remote: SocketAddr,
    /// How long it has waited to be read since the kernel received it; zero where that is not known.
    pub waited: Duration,
    /// What was sent.
    pub bytes: &'a [u8],
}

/// Turns an IPv4 address mapped into IPv6 (RFC 4291 §2.5.5.2), as dual-stack
/// sockets show it, into the IPv4 address that candidates and tables use.
pub fn unmapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(ip) => SocketAddr::new(IpAddr::V4(ip), v6.port()),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mapped_addresses_are_changed() {
        let cases = [
            ("[::ffff:10.0.0.1]:7", "10.0.0.1:7"),
            ("10.0.0.1:7", "10.0.0.1:7"),
            ("[2001:db8::1]:7", "[2001:db8::1]:7"),
            ("[::10.0.0.1]:7", "[::10.0.0.1]:7"),
        ];
        for (given, wanted) in cases {
            let given: SocketAddr = given.parse().expect("address");
            assert_eq!(unmapped(given), wanted.parse().expect("address"));
        }
    }
}
