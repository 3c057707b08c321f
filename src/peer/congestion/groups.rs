//! Packets sent together, and how the time between two such groups changed on
//! the way (draft-ietf-rmcat-gcc-02 §5.2).

use super::Micros;

/// Packets sent within this time are one group (§5.2).
const BURST: Micros = 5_000;

/// An arrival that lies this far off the line of the last is another clock's.
const CLOCK_JUMP: Micros = 3_000_000;

/// How two groups' distances differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delta {
    /// When the later group was sent.
    pub sent: Micros,
    /// When it arrived, on the receiver's clock.
    pub arrival: Micros,
    /// Time between the groups when sent.
    pub send_delta: Micros,
    /// Time between the groups when received.
    pub arrival_delta: Micros,
}

impl Delta {
    /// By how much the way of the later group took longer.
    pub fn variation(&self) -> Micros {
        self.arrival_delta - self.send_delta
    }
}

#[derive(Debug, Clone, Copy)]
struct Group {
    sent: Micros,
    arrival: Micros,
}

/// See the module's description.
///
/// A group stands for its first packet: an SFU forwards frames in bursts, and
/// how long a burst's tail takes tells of its size, not of a queue.
#[derive(Debug, Default)]
pub struct Groups {
    last: Option<Group>,
}

impl Groups {
    /// Takes a packet that arrived, in the order of sending.
    pub fn add(&mut self, sent: Micros, arrival: Micros) -> Option<Delta> {
        let group = Group { sent, arrival };
        let Some(last) = self.last else {
            self.last = Some(group);
            return None;
        };
        let send_delta = sent - last.sent;
        if send_delta <= BURST {
            return None; // the same group, or overtaken
        }
        self.last = Some(group);
        let arrival_delta = arrival - last.arrival;
        if (arrival_delta - send_delta).abs() > CLOCK_JUMP {
            return None;
        }
        Some(Delta {
            sent,
            arrival,
            send_delta,
            arrival_delta,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_one_group_and_stands_for_its_first_packet() {
        let mut groups = Groups::default();
        let mut deltas = Vec::new();
        // Three frames of four packets; each packet takes 2 ms on the line.
        for frame in 0..3 {
            for index in 0..4 {
                let sent = frame * 33_000;
                deltas.extend(groups.add(sent, 50_000 + sent + 2000 * (index + 1)));
            }
        }
        assert_eq!(deltas.len(), 2);
        for delta in deltas {
            assert_eq!(delta.variation(), 0);
            assert_eq!(delta.send_delta, 33_000);
        }
    }

    #[test]
    fn a_growing_queue_shows() {
        let mut groups = Groups::default();
        let table = [
            (0, 0, None),
            (10, 15, Some(5)),
            (20, 35, Some(10)),
            (30, 40, Some(-5)),
        ];
        for (sent, arrival, variation) in table {
            let delta = groups.add(sent * 1000, arrival * 1000);
            assert_eq!(
                delta.map(|d| d.variation()),
                variation.map(|v: i64| v * 1000)
            );
        }
    }

    #[test]
    fn overtaken_packets_and_clock_jumps_give_nothing() {
        let mut groups = Groups::default();
        groups.add(100_000, 100_000);
        assert_eq!(groups.add(50_000, 110_000), None);
        assert_eq!(groups.add(120_000, 9_000_000), None);
        assert_eq!(groups.add(130_000, 9_010_000).unwrap().variation(), 0);
    }
}
