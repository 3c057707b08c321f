//! The replay window (RFC 3711 §3.3.2), as a ring of bitmap words (RFC 6479).

use super::SrtpError;

/// Which of the last indices were seen; covers `(WORDS - 1) * 64` of them.
#[derive(Debug, Clone)]
pub(crate) struct ReplayWindow<const WORDS: usize> {
    /// The highest index accepted, `None` before the first.
    highest: Option<u64>,
    seen: [u64; WORDS],
}

impl<const WORDS: usize> Default for ReplayWindow<WORDS> {
    fn default() -> Self {
        Self {
            highest: None,
            seen: [0; WORDS],
        }
    }
}

impl<const WORDS: usize> ReplayWindow<WORDS> {
    /// How many indices it covers, the highest included. One word less than it
    /// holds, since the newest word fills up bit by bit.
    pub(crate) const SPAN: u64 = (WORDS as u64 - 1) * 64;

    /// Whether a packet with this index may be looked at.
    pub(crate) fn check(&self, index: u64) -> Result<(), SrtpError> {
        let Some(highest) = self.highest else {
            return Ok(());
        };
        if index > highest {
            return Ok(());
        }
        if highest - index >= Self::SPAN {
            return Err(SrtpError::TooOld);
        }
        let (word, bit) = Self::place(index);
        if self.seen[word] & bit != 0 {
            return Err(SrtpError::Replayed);
        }
        Ok(())
    }

    /// Records an index whose packet was authentic and passed [`Self::check`].
    pub(crate) fn accept(&mut self, index: u64) {
        match self.highest {
            Some(highest) if index <= highest => {}
            Some(highest) => {
                // Words between the old and the new highest hold stale bits.
                let newer = (index / 64 - highest / 64).min(WORDS as u64);
                for step in 0..newer {
                    self.seen[((index / 64 - step) % WORDS as u64) as usize] = 0;
                }
                self.highest = Some(index);
            }
            None => self.highest = Some(index),
        }
        let (word, bit) = Self::place(index);
        self.seen[word] |= bit;
    }

    /// The highest index accepted.
    pub(crate) fn highest(&self) -> Option<u64> {
        self.highest
    }

    fn place(index: u64) -> (usize, u64) {
        (
            ((index / 64) % WORDS as u64) as usize,
            1_u64 << (index % 64),
        )
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Against the plain definition: a set of all that was ever accepted.
    #[test]
    fn agrees_with_a_set() {
        for seed in 0..50 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut window = ReplayWindow::<3>::default();
            let mut accepted = std::collections::HashSet::new();
            let mut highest: Option<u64> = None;
            let mut at: u64 = rng.random_range(0..5000);
            for _ in 0..3000 {
                at += match rng.random_range(0..20) {
                    0 => rng.random_range(0..400),
                    1 => 64,
                    _ => 1,
                };
                let index = at.saturating_sub(rng.random_range(0..180));
                let expected = match highest {
                    Some(h) if index <= h && h - index >= 128 => Err(SrtpError::TooOld),
                    _ if accepted.contains(&index) => Err(SrtpError::Replayed),
                    _ => Ok(()),
                };
                assert_eq!(window.check(index), expected, "seed {seed} index {index}");
                if expected.is_ok() {
                    window.accept(index);
                    accepted.insert(index);
                    highest = highest.max(Some(index));
                    assert_eq!(window.check(index), Err(SrtpError::Replayed));
                }
            }
        }
    }

    #[test]
    fn a_long_jump_forgets_everything() {
        let mut window = ReplayWindow::<3>::default();
        for index in 0..192 {
            window.accept(index);
        }
        window.accept(10_000);
        for index in 10_000 - 127..10_000 {
            assert_eq!(window.check(index), Ok(()), "{index}");
        }
        assert_eq!(window.check(10_000 - 128), Err(SrtpError::TooOld));
    }
}
