//! The newest packets of one encoding, for repairs to every viewer.

use super::packet::Packet;

/// A fixed number of packets by sequence number; a newer one takes the place
/// of the one a whole ring older.
#[derive(Debug)]
pub struct PacketRing {
    slots: Vec<Option<Packet>>,
    highest: Option<u64>,
}

impl PacketRing {
    /// A ring of `capacity` packets.
    pub fn new(capacity: usize) -> Self {
        Self {
            slots: vec![None; capacity.max(1)],
            highest: None,
        }
    }

    fn index(&self, seq: u64) -> usize {
        (seq % self.slots.len() as u64) as usize
    }

    /// Keeps `packet` unless it is older than the whole ring.
    pub fn insert(&mut self, packet: Packet) {
        let highest = self.highest.map_or(packet.seq, |h| h.max(packet.seq));
        self.highest = Some(highest);
        if highest - packet.seq >= self.slots.len() as u64 {
            return;
        }
        let at = self.index(packet.seq);
        self.slots[at] = Some(packet);
    }

    /// The packet with extended sequence number `seq`, while it is kept.
    pub fn get(&self, seq: u64) -> Option<&Packet> {
        self.slots[self.index(seq)]
            .as_ref()
            .filter(|p| p.seq == seq)
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.slots.fill(None);
        self.highest = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::testing::packet;

    #[test]
    fn newest_packets_are_found_and_older_ones_give_way() {
        let mut ring = PacketRing::new(8);
        for seq in 100..120 {
            ring.insert(packet(seq, 0));
        }
        assert!(ring.get(111).is_none());
        for seq in 112..120 {
            assert_eq!(ring.get(seq).map(|p| p.seq), Some(seq));
        }
        assert!(ring.get(120).is_none());
    }

    #[test]
    fn a_late_packet_fills_its_hole_and_a_very_late_one_is_ignored() {
        let mut ring = PacketRing::new(8);
        ring.insert(packet(10, 0));
        ring.insert(packet(12, 0));
        ring.insert(packet(11, 0));
        assert!(ring.get(11).is_some());
        ring.insert(packet(2, 0));
        assert!(ring.get(2).is_none());
        assert!(ring.get(10).is_some());
    }
}
