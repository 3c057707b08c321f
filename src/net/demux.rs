//! From a remote address to the session that authenticated it.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;

use super::path::{Proto, unmapped};

/// Addresses kept for one session. A peer validates a few candidate pairs at most;
/// the newest ones are those in use.
pub const ADDRESSES_PER_SLOT: usize = 8;

/// A remote address in the form that is hashed: 128 bits of IP (IPv4 mapped into
/// IPv6), then the port and the transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    high: u64,
    low: u64,
    port: u32,
}

impl Key {
    fn new(proto: Proto, remote: SocketAddr) -> Self {
        let (ip, scope) = match unmapped(remote) {
            SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0),
            // Link-local addresses are only unique with their interface.
            SocketAddr::V6(v6) => (*v6.ip(), v6.scope_id()),
        };
        let bits = ip.to_bits();
        Self {
            // fe80::/64 leaves bits 0 to 31 of the upper half free for the interface.
            high: (bits >> 64) as u64 ^ u64::from(scope),
            low: bits as u64,
            port: u32::from(remote.port()) | (u32::from(proto == Proto::Tcp) << 16),
        }
    }
}

impl std::hash::Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.high);
        state.write_u64(self.low);
        state.write_u32(self.port);
    }
}

/// Folded multiplication with random seeds: a few cycles per word, and nobody
/// outside can choose addresses that collide.
#[derive(Debug, Clone)]
pub(super) struct FoldState {
    start: u64,
    multiplier: u64,
}

impl FoldState {
    pub(super) fn new() -> Self {
        let random = RandomState::new();
        Self {
            start: random.hash_one(1u8),
            multiplier: random.hash_one(2u8) | 1,
        }
    }
}

impl BuildHasher for FoldState {
    type Hasher = FoldHasher;

    fn build_hasher(&self) -> FoldHasher {
        FoldHasher {
            state: self.start,
            multiplier: self.multiplier,
        }
    }
}

#[derive(Debug)]
pub(super) struct FoldHasher {
    state: u64,
    multiplier: u64,
}

impl Hasher for FoldHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        // The odd constant (2^64 / golden ratio) keeps the state from sticking at zero.
        let mixed = self.state ^ value ^ 0x9e37_79b9_7f4a_7c15;
        let product = u128::from(mixed) * u128::from(self.multiplier);
        self.state = (product as u64 ^ (product >> 64) as u64).rotate_left(23);
    }

    fn finish(&self) -> u64 {
        let product = u128::from(self.state) * u128::from(self.multiplier);
        product as u64 ^ (product >> 64) as u64
    }
}

/// The addresses of one slot, oldest first.
#[derive(Debug, Clone, Copy, Default)]
struct SlotKeys {
    keys: [Option<Key>; ADDRESSES_PER_SLOT],
    len: usize,
}

impl SlotKeys {
    fn remove(&mut self, key: Key) {
        if let Some(at) = self.keys.iter().position(|k| *k == Some(key)) {
            self.keys[at..].rotate_left(1);
            self.keys[ADDRESSES_PER_SLOT - 1] = None;
            self.len -= 1;
        }
    }

    /// Adds the newest; gives back the oldest when there is no room for both.
    fn push(&mut self, key: Key) -> Option<Key> {
        let evicted = if self.len == ADDRESSES_PER_SLOT {
            let oldest = self.keys[0].take();
            self.keys.rotate_left(1);
            self.len -= 1;
            oldest
        } else {
            None
        };
        self.keys[self.len] = Some(key);
        self.len += 1;
        evicted
    }
}

/// Which slot a remote address belongs to.
///
/// Addresses are entered only after a STUN message from them was authenticated,
/// so strangers can neither fill the table nor take an address over.
#[derive(Debug)]
pub struct AddressTable {
    slots: HashMap<Key, u32, FoldState>,
    keys: Vec<SlotKeys>,
}

impl Default for AddressTable {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl AddressTable {
    /// A table that does not allocate before `slots` slots have more than two addresses each.
    pub fn with_capacity(slots: usize) -> Self {
        Self {
            slots: HashMap::with_capacity_and_hasher(slots.saturating_mul(2), FoldState::new()),
            keys: vec![SlotKeys::default(); slots],
        }
    }

    /// The slot whose peer authenticated itself from this address.
    pub fn get(&self, proto: Proto, remote: SocketAddr) -> Option<u32> {
        self.slots.get(&Key::new(proto, remote)).copied()
    }

    /// Enters an authenticated address as the slot's newest. It leaves the slot that had it;
    /// beyond [`ADDRESSES_PER_SLOT`] the slot's oldest address goes.
    pub fn insert(&mut self, proto: Proto, remote: SocketAddr, slot: u32) {
        let key = Key::new(proto, remote);
        let index = slot as usize;
        if index >= self.keys.len() {
            self.keys.resize(index + 1, SlotKeys::default());
        }
        let before = self.slots.insert(key, slot);
        if before == Some(slot) && self.keys[index].keys[self.keys[index].len - 1] == Some(key) {
            return;
        }
        if let Some(keys) = before.and_then(|slot| self.keys.get_mut(slot as usize)) {
            keys.remove(key);
        }
        if let Some(evicted) = self.keys[index].push(key) {
            self.slots.remove(&evicted);
        }
    }

    /// Forgets one address, such as that of a closed TCP connection.
    pub fn remove(&mut self, proto: Proto, remote: SocketAddr) -> Option<u32> {
        let key = Key::new(proto, remote);
        let slot = self.slots.remove(&key)?;
        if let Some(keys) = self.keys.get_mut(slot as usize) {
            keys.remove(key);
        }
        Some(slot)
    }

    /// Forgets all addresses of a slot.
    pub fn remove_slot(&mut self, slot: u32) {
        if let Some(keys) = self.keys.get_mut(slot as usize) {
            for key in std::mem::take(keys).keys.into_iter().flatten() {
                self.slots.remove(&key);
            }
        }
    }

    /// How many addresses are known.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// No address is known.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u16) -> SocketAddr {
        ([10, 0, (n >> 8) as u8, n as u8], 4000 + n).into()
    }

    #[test]
    fn an_address_leads_to_its_slot_only_over_its_transport() {
        let mut table = AddressTable::default();
        table.insert(Proto::Udp, address(1), 5);
        assert_eq!(table.get(Proto::Udp, address(1)), Some(5));
        assert_eq!(table.get(Proto::Tcp, address(1)), None);
        assert_eq!(table.get(Proto::Udp, address(2)), None);
        let mapped = SocketAddr::new(
            std::net::Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().into(),
            address(1).port(),
        );
        assert_eq!(table.get(Proto::Udp, mapped), Some(5));
    }

    #[test]
    fn a_slot_keeps_its_newest_addresses() {
        let mut table = AddressTable::with_capacity(4);
        for n in 0..10 {
            table.insert(Proto::Udp, address(n), 3);
            // Traffic that goes on from the first address keeps it new.
            table.insert(Proto::Udp, address(0), 3);
        }
        assert_eq!(table.len(), ADDRESSES_PER_SLOT);
        assert_eq!(table.get(Proto::Udp, address(0)), Some(3));
        assert_eq!(table.get(Proto::Udp, address(1)), None);
        assert_eq!(table.get(Proto::Udp, address(2)), None);
        for n in 3..10 {
            assert_eq!(table.get(Proto::Udp, address(n)), Some(3), "{n}");
        }
        table.remove_slot(3);
        assert!(table.is_empty());
    }

    #[test]
    fn an_address_moves_to_the_slot_that_authenticated_it_last() {
        let mut table = AddressTable::default();
        table.insert(Proto::Udp, address(1), 0);
        table.insert(Proto::Udp, address(1), 9);
        assert_eq!(table.get(Proto::Udp, address(1)), Some(9));
        table.remove_slot(0);
        assert_eq!(table.get(Proto::Udp, address(1)), Some(9));
        assert_eq!(table.remove(Proto::Udp, address(1)), Some(9));
        assert_eq!(table.remove(Proto::Udp, address(1)), None);
        table.remove_slot(9);
        table.remove_slot(1_000_000);
        assert!(table.is_empty());
    }

    #[test]
    fn random_operations_agree_with_a_plain_model() {
        use rand::{RngExt, SeedableRng};
        let mut rng = rand::rngs::StdRng::seed_from_u64(7);
        let mut table = AddressTable::with_capacity(2);
        let mut model: Vec<(SocketAddr, u32)> = Vec::new();
        for _ in 0..20_000 {
            let (remote, slot) = (address(rng.random_range(0..60)), rng.random_range(0..6));
            match rng.random_range(0..20) {
                0 => {
                    table.remove_slot(slot);
                    model.retain(|(_, s)| *s != slot);
                }
                1 => {
                    table.remove(Proto::Udp, remote);
                    model.retain(|(a, _)| *a != remote);
                }
                _ => {
                    table.insert(Proto::Udp, remote, slot);
                    model.retain(|(a, _)| *a != remote);
                    model.push((remote, slot));
                    if model.iter().filter(|(_, s)| *s == slot).count() > ADDRESSES_PER_SLOT {
                        let oldest = model.iter().position(|(_, s)| *s == slot).expect("some");
                        model.remove(oldest);
                    }
                }
            }
            assert_eq!(table.len(), model.len());
            assert_eq!(
                table.get(Proto::Udp, remote),
                model.iter().find(|(a, _)| *a == remote).map(|(_, s)| *s)
            );
        }
    }

    #[test]
    fn neighbouring_addresses_spread() {
        let state = FoldState::new();
        let mut buckets = [0u32; 256];
        for n in 0..25_600u32 {
            let remote = SocketAddr::from(([192, 168, 1, 1], (n % 65_536) as u16));
            buckets[(state.hash_one(Key::new(Proto::Udp, remote)) & 255) as usize] += 1;
        }
        let fullest = buckets.iter().max().copied().unwrap_or(0);
        assert!(fullest < 200, "100 expected in each, {fullest} in one");
    }
}
