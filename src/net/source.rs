//! Which source address the kernel chooses by itself.
//!
//! A socket of all addresses says with every message which of them it comes from: the kernel
//! copies that in, allocates memory for it and looks the address up, some 2 % of what sending
//! costs. Where there is nothing to choose from, it need not be told.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The machine's only IPv4 address beside those of loopback, as far as there is exactly one.
///
/// Every clone tells what the last [`look`](Self::look) of any of them found.
#[derive(Debug, Clone, Default)]
pub struct SoleAddress(Arc<AtomicU32>);

impl SoleAddress {
    /// Looks at the machine's addresses, those of interfaces that are down included. An error, of the kernel's
    /// list, leaves it with none: then the kernel is told.
    pub fn look(&self) -> io::Result<()> {
        let found = if_addrs::get_if_addrs();
        let addresses = found.iter().flatten().map(if_addrs::Interface::ip);
        let sole = sole(addresses).unwrap_or(Ipv4Addr::UNSPECIFIED);
        // Nothing else hangs on it.
        self.0.store(sole.to_bits(), Ordering::Relaxed);
        found.map(drop)
    }

    /// What was found.
    pub fn get(&self) -> Option<Ipv4Addr> {
        let address = Ipv4Addr::from_bits(self.0.load(Ordering::Relaxed));
        (!address.is_unspecified()).then_some(address)
    }
}

fn sole(addresses: impl Iterator<Item = IpAddr>) -> Option<Ipv4Addr> {
    let mut found = addresses.filter_map(|address| match address {
        IpAddr::V4(ip) if !ip.is_loopback() => Some(ip),
        _ => None,
    });
    let first = found.next();
    first.filter(|first| found.all(|other| other == *first))
}

/// The kernel sends to `remote` from `local` without being told, where `sole` is the only
/// address it could choose. Of IPv6 addresses there are nearly always several.
pub(super) fn is_chosen(sole: Option<Ipv4Addr>, local: IpAddr, remote: IpAddr) -> bool {
    match (local, remote) {
        // What goes to any loopback address comes from the first one (Linux' local routing table).
        (IpAddr::V4(local), IpAddr::V4(remote)) if remote.is_loopback() => {
            local == Ipv4Addr::LOCALHOST
        }
        (IpAddr::V4(local), IpAddr::V4(_)) => sole == Some(local),
        (IpAddr::V6(local), IpAddr::V6(remote)) => local.is_loopback() && remote.is_loopback(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn one_address_is_the_sole_one_and_two_are_none() {
        let found = |texts: &[&str]| sole(texts.iter().map(|text| ip(text)));
        let one = Some(Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(found(&["127.0.0.1", "::1", "192.0.2.1", "fe80::1"]), one);
        assert_eq!(found(&["192.0.2.1", "192.0.2.1"]), one);
        assert_eq!(found(&["192.0.2.1", "127.0.0.1", "192.0.2.2"]), None);
        assert_eq!(found(&["192.0.2.1", "169.254.7.7"]), None);
        assert_eq!(found(&["127.0.0.1", "2001:db8::1"]), None);
    }

    #[test]
    fn only_what_the_kernel_would_choose_is_left_to_it() {
        let sole = Some(Ipv4Addr::new(192, 0, 2, 1));
        let chosen = |local, remote| is_chosen(sole, ip(local), ip(remote));
        assert!(chosen("192.0.2.1", "198.51.100.7"));
        assert!(chosen("192.0.2.1", "192.0.2.1"));
        assert!(chosen("127.0.0.1", "127.0.0.9"));
        assert!(chosen("::1", "::1"));
        assert!(!chosen("192.0.2.2", "198.51.100.7"));
        assert!(!chosen("127.0.0.3", "127.0.0.1"));
        assert!(!chosen("192.0.2.1", "127.0.0.1"));
        assert!(!chosen("2001:db8::1", "2001:db8::2"));
        assert!(!is_chosen(None, ip("192.0.2.1"), ip("198.51.100.7")));
        // "None" does not pass for the address that stands for it.
        assert!(!is_chosen(None, ip("0.0.0.0"), ip("198.51.100.7")));
    }

    #[test]
    fn a_look_finds_what_the_system_says() {
        let seen = SoleAddress::default();
        assert_eq!(seen.get(), None);
        seen.clone().look().expect("addresses");
        let all = if_addrs::get_if_addrs().expect("addresses");
        assert_eq!(seen.get(), sole(all.iter().map(if_addrs::Interface::ip)));
    }
}
