//! `a=candidate` lines (RFC 8839 §5.1): whether the peer's are well-formed, and
//! how ours are written.

use std::fmt::Write;
use std::net::SocketAddr;

/// The most candidates written into an answer, so that its length is bounded.
pub(super) const MAX_LOCAL: usize = 16;

/// Checks the value of one `a=candidate` of the peer's. No more is made of it: a lite agent
/// answers checks from wherever they come, and sends none (RFC 8445 §2.5).
pub(super) fn check(value: &str) -> Result<(), &'static str> {
    let mut fields = value.split_ascii_whitespace();
    let mut next = |missing| fields.next().ok_or(missing);
    next("the foundation is missing")?;
    let component = next("the component is missing")?;
    if component.parse::<u32>().is_err() {
        return Err("the component is not a number");
    }
    next("the transport is missing")?;
    let priority = next("the priority is missing")?;
    if priority.parse::<u64>().is_err() {
        return Err("the priority is not a number");
    }
    next("the address is missing")?;
    let port = next("the port is missing")?;
    if port.parse::<u16>().is_err() {
        return Err("the port is not a number from 0 to 65535");
    }
    if !next("typ is missing")?.eq_ignore_ascii_case("typ") {
        return Err("typ is missing");
    }
    next("the type is missing")?;
    Ok(())
}

/// Writes all our candidates and `a=end-of-candidates`: the list is complete,
/// since the server never trickles.
pub(super) fn write_local(out: &mut String, udp: &[SocketAddr], tcp: &[SocketAddr]) {
    let udp = udp.iter().map(|a| (a, false));
    let tcp = tcp.iter().map(|a| (a, true));
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
