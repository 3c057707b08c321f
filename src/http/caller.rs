//! Where a request comes from, also behind a proxy.

use std::net::{IpAddr, SocketAddr};

use axum::http::{Extensions, HeaderMap};

use crate::config::Network;

/// The peer of the TCP connection, put into each request by the server.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// The client's address: the connection's peer, or, when that is a trusted
/// proxy, the nearest address in `X-Forwarded-For` that is not one.
pub fn client(extensions: &Extensions, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let peer = extensions
        .get::<Peer>()
        .map_or(IpAddr::from([0, 0, 0, 0]), |peer| {
            peer.0.ip().to_canonical()
        });
    let is_trusted = |ip: IpAddr| trusted.iter().any(|network| network.contains(ip));
    if !is_trusted(peer) {
        return peer;
    }
    let mut client = peer;
    // Each proxy appends whom it heard from, so the list is read from its end;
    // what stands before an untrusted address is that address's own claim.
    let fields = headers.get_all("x-forwarded-for").iter().rev();
    let hops = fields
        .filter_map(|field| field.to_str().ok())
        .flat_map(|field| field.rsplit(','));
    for hop in hops {
        let Some(ip) = address(hop.trim()) else { break };
        client = ip;
        if !is_trusted(ip) {
            break;
        }
    }
    client
}

/// An address with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()))
        .ok()
        .map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn from(peer: &str, forwarded: &'static str) -> String {
        let mut extensions = Extensions::new();
        extensions.insert(Peer(SocketAddr::new(peer.parse().unwrap(), 1)));
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static(forwarded));
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        client(&extensions, &headers, &trusted).to_string()
    }

    #[test]
    fn a_stranger_can_not_claim_an_address() {
        assert_eq!(from("192.0.2.1", "198.51.100.7"), "192.0.2.1");
    }

    #[test]
    fn a_proxy_is_believed_up_to_the_first_stranger() {
        assert_eq!(from("10.0.0.1", "198.51.100.7"), "198.51.100.7");
        assert_eq!(
            from("10.0.0.1", "1.1.1.1, 198.51.100.7, 10.0.0.2"),
            "198.51.100.7"
        );
        assert_eq!(from("10.0.0.1", "[2001:db8::1]:99"), "2001:db8::1");
        assert_eq!(from("::ffff:10.0.0.1", "198.51.100.7:80"), "198.51.100.7");
        assert_eq!(from("10.0.0.1", "garbage"), "10.0.0.1");
    }
}
