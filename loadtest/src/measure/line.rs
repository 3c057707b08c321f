//! The sequence numbers of one received stream: what came, twice, late or never.

/// How many sequence numbers back a packet is still told apart. Retransmissions
/// come within a second, which at 500 packets a second is half of it.
pub const WINDOW: i64 = 1024;

const RECEIVED: u8 = 1;
const MARKER: u8 = 2;
const SIMULATED_LOSS: u8 = 4;

/// How a packet stands to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Newer than all before; `skipped` numbers before it are missing so far.
    New {
        /// Numbers that were passed over.
        skipped: u64,
    },
    /// It fills a gap.
    Late,
    /// It had come before.
    Duplicate,
    /// Too far back, or from before the first.
    Old,
}

/// The line. Numbers are extended beyond 16 bits: the first packet keeps its own.
#[derive(Debug)]
pub struct Line {
    slots: Box<[u8]>,
    first: Option<i64>,
    highest: i64,
    unique: u64,
    simulated: u64,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            slots: vec![0; WINDOW as usize].into_boxed_slice(),
            first: None,
            highest: -1,
            unique: 0,
            simulated: 0,
        }
    }
}

impl Line {
    /// The extended number of `sequence`, nearest to the highest so far
    /// (RFC 3550 appendix A.1). Negative for one from before the first wrap.
    pub fn extend(&self, sequence: u16) -> i64 {
        if self.first.is_none() {
            return i64::from(sequence);
        }
        let delta = sequence.wrapping_sub(self.highest as u16) as i16;
        self.highest + i64::from(delta)
    }

    /// Highest number so far.
    pub fn highest(&self) -> i64 {
        self.highest
    }

    /// The first number, once there is one.
    pub fn first(&self) -> Option<i64> {
        self.first
    }

    /// Distinct packets received.
    pub fn unique(&self) -> u64 {
        self.unique
    }

    /// Packets dropped on purpose by our own link that were not repaired.
    pub fn simulated(&self) -> u64 {
        self.simulated
    }

    fn slot(&mut self, number: i64) -> &mut u8 {
        &mut self.slots[number.rem_euclid(WINDOW) as usize]
    }

    /// True when `number` is inside the window and was received.
    pub fn has(&self, number: i64) -> bool {
        self.flags(number) & RECEIVED != 0
    }

    /// True when `number` was received and ends a frame.
    pub fn ends_frame(&self, number: i64) -> bool {
        self.flags(number) & (RECEIVED | MARKER) == RECEIVED | MARKER
    }

    fn flags(&self, number: i64) -> u8 {
        if number > self.highest || number <= self.highest - WINDOW || number < 0 {
            return 0;
        }
        self.slots[number.rem_euclid(WINDOW) as usize]
    }

    /// Moves the line up to `number` if that is new; tells what it is.
    fn reach(&mut self, number: i64) -> Arrival {
        let Some(first) = self.first else {
            self.first = Some(number);
            self.highest = number;
            self.slots.fill(0);
            return Arrival::New { skipped: 0 };
        };
        if number > self.highest {
            let skipped = number - self.highest - 1;
            if skipped >= WINDOW {
                self.slots.fill(0);
            } else {
                for n in self.highest + 1..=number {
                    *self.slot(n) = 0;
                }
            }
            self.highest = number;
            return Arrival::New {
                skipped: skipped as u64,
            };
        }
        if number < first || number <= self.highest - WINDOW {
            return Arrival::Old;
        }
        if *self.slot(number) & RECEIVED != 0 {
            Arrival::Duplicate
        } else {
            Arrival::Late
        }
    }

    /// Takes a received packet.
    pub fn push(&mut self, number: i64, marker: bool) -> Arrival {
        let arrival = self.reach(number);
        if let Arrival::New { .. } | Arrival::Late = arrival {
            self.unique += 1;
            if *self.slot(number) & SIMULATED_LOSS != 0 {
                self.simulated -= 1;
            }
            *self.slot(number) = RECEIVED | if marker { MARKER } else { 0 };
        }
        arrival
    }

    /// Notes a packet that came but that our own simulated link loses.
    pub fn lose(&mut self, number: i64) -> Arrival {
        let arrival = self.reach(number);
        if let Arrival::New { .. } | Arrival::Late = arrival {
            let slot = self.slot(number);
            if *slot & SIMULATED_LOSS == 0 {
                *slot |= SIMULATED_LOSS;
                self.simulated += 1;
            }
        }
        arrival
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(line: &mut Line, sequence: u16) -> Arrival {
        let n = line.extend(sequence);
        line.push(n, false)
    }

    #[test]
    fn tells_new_late_twice_and_old() {
        let mut line = Line::default();
        assert_eq!(push(&mut line, 65_530), Arrival::New { skipped: 0 });
        assert_eq!(push(&mut line, 65_531), Arrival::New { skipped: 0 });
        assert_eq!(push(&mut line, 2), Arrival::New { skipped: 6 });
        assert_eq!(line.highest(), 65_538);
        assert_eq!(push(&mut line, 65_535), Arrival::Late);
        assert_eq!(push(&mut line, 65_535), Arrival::Duplicate);
        assert_eq!(push(&mut line, 2), Arrival::Duplicate);
        assert_eq!(push(&mut line, 65_529), Arrival::Old);
        assert_eq!(line.unique(), 4);
        assert!(line.has(65_535) && !line.has(65_536));
    }

    #[test]
    fn a_jump_beyond_the_window_forgets_what_was() {
        let mut line = Line::default();
        push(&mut line, 10);
        assert_eq!(push(&mut line, 3010), Arrival::New { skipped: 2999 });
        assert_eq!(push(&mut line, 10), Arrival::Old);
        assert_eq!(push(&mut line, 3009), Arrival::Late);
        assert_eq!(push(&mut line, 2500), Arrival::Late);
    }

    #[test]
    fn our_own_losses_are_kept_apart_until_repaired() {
        let mut line = Line::default();
        push(&mut line, 1);
        assert_eq!(line.lose(2), Arrival::New { skipped: 0 });
        assert_eq!((line.unique(), line.simulated()), (1, 1));
        assert_eq!(push(&mut line, 2), Arrival::Late);
        assert_eq!((line.unique(), line.simulated()), (2, 0));
    }

    #[test]
    fn packets_before_the_first_wrap_are_old() {
        let mut line = Line::default();
        push(&mut line, 3);
        assert_eq!(push(&mut line, 65_530), Arrival::Old);
    }
}
