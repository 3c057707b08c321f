//! `a=candidate` lines (RFC 8839 §5.1): which of the peer's can be used, and
//! how ours are written.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use super::types::{AnswerContext, RemoteCandidate};

/// The most candidates taken from one offer or fragment. A host with many
/// interfaces offers some twenty; more would only cost checks.
pub(super) const MAX_REMOTE: usize = 32;
/// The most candidates written into an answer, so that its length is bounded.
pub(super) const MAX_LOCAL: usize = 16;

/// Reads the value of one `a=candidate`. `Ok(None)` is a candidate that is
/// right but of no use here: TCP, RTCP's component, a name instead of an
/// address (`.local`), an address that can't be sent to.
///
/// Component 0, which some clients write, is taken for 1. The component of a
/// bundled session is always 1 since RTCP is multiplexed (RFC 8834 §4.5).
pub(super) fn read(value: &str) -> Result<Option<RemoteCandidate>, &'static str> {
    let mut fields = value.split_ascii_whitespace();
    let mut next = |missing| fields.next().ok_or(missing);
    let foundation = next("the foundation is missing")?;
    let component: u32 = next("the component is missing")?
        .parse()
        .map_err(|_| "the component is not a number")?;
    let transport = next("the transport is missing")?;
    let priority: u64 = next("the priority is missing")?
        .parse()
        .map_err(|_| "the priority is not a number")?;
    let address = next("the address is missing")?;
    let port: u16 = next("the port is missing")?
        .parse()
        .map_err(|_| "the port is not a number from 0 to 65535")?;
    if !next("typ is missing")?.eq_ignore_ascii_case("typ") {
        return Err("typ is missing");
    }
    let kind = next("the type is missing")?.to_ascii_lowercase();

    if component > 1 || !transport.eq_ignore_ascii_case("udp") {
        return Ok(None);
    }
    if !matches!(kind.as_str(), "host" | "srflx" | "prflx" | "relay") {
        return Ok(None);
    }
    let Ok(ip) = address.parse::<IpAddr>() else {
        return Ok(None);
    };
    if port == 0 || !is_sendable(ip) {
        return Ok(None);
    }

    // 1 to 2^31 - 1 (RFC 8445 §5.1.2); out of range means last.
    let priority = u32::try_from(priority)
        .ok()
        .filter(|p| (1..=0x7fff_ffff).contains(p))
        .unwrap_or(1);
    let foundation: String = foundation.chars().take(32).collect();
    let mut line = format!("candidate:{foundation} 1 udp {priority} {ip} {port} typ {kind}");

    // Of the rest only the related address matters, which the grammar asks for
    // with every type but host.
    let rest: Vec<&str> = fields.collect();
    let related = |name: &str| {
        let at = rest.iter().position(|f| f.eq_ignore_ascii_case(name))?;
        rest.get(at + 1).copied()
    };
    if kind != "host"
        && let Some(address) = related("raddr").and_then(|a| a.parse::<IpAddr>().ok())
        && let Some(port) = related("rport").and_then(|p| p.parse::<u16>().ok())
    {
        let _ = write!(line, " raddr {address} rport {port}");
    }
    Ok(Some(RemoteCandidate {
        address: SocketAddr::new(ip, port),
        line,
    }))
}

/// Whether a datagram can go to this address at all. A link-local IPv6
/// address needs a zone, which SDP can't carry.
fn is_sendable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast()),
        IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local()),
    }
}

/// Adds `candidate` unless its address is there or the list is full.
pub(super) fn add(list: &mut Vec<RemoteCandidate>, candidate: RemoteCandidate) {
    if list.len() < MAX_REMOTE && !list.iter().any(|c| c.address == candidate.address) {
        list.push(candidate);
    }
}

/// Writes all our candidates and `a=end-of-candidates`: the list is complete,
/// since the server never trickles.
pub(super) fn write_local(out: &mut String, context: &AnswerContext) {
    let udp = context.udp_candidates.iter().map(|a| (a, false));
    let tcp = context.tcp_candidates.iter().map(|a| (a, true));
    for (index, (address, is_tcp)) in udp.chain(tcp).take(MAX_LOCAL).enumerate() {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        // One foundation for each pair of base address and protocol (RFC 8445 §5.1.1.3);
        // each address is there once, so the index will do. "udp" and "tcp" are in
        // lower case since FFmpeg compares case.
        let (transport, priority, tail) = if is_tcp {
            ("tcp", tcp_priority(index), " tcptype passive")
        } else {
            ("udp", udp_priority(index), "")
        };
        let _ = write!(
            out,
            "a=candidate:{} 1 {transport} {priority} {} {} typ host{tail}\r\n",
            index + 1,
            address.ip(),
            address.port(),
        );
    }
    out.push_str("a=end-of-candidates\r\n");
}

/// Type preference 126 of a host candidate (RFC 8445 §5.1.2.1); earlier in the
/// list is preferred.
fn udp_priority(index: u32) -> u32 {
    (126 << 24) | (65_535_u32.saturating_sub(index) << 8) | 255
}

/// A lower type preference than any UDP candidate, and the direction preference
/// 4 of a passive host candidate (RFC 6544 §4.2).
fn tcp_priority(index: u32) -> u32 {
    let local = (4 << 13) | 8_191_u32.saturating_sub(index);
    (90 << 24) | (local << 8) | 255
}
