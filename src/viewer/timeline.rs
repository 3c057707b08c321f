//! From a source's RTP timestamps to a viewer's.
//!
//! Live packets are moved by a constant. The backlog of a viewer that catches
//! up is squeezed in between: its timestamps run as fast as it is sent, until
//! they meet the live ones. A decoder then plays the backlog as it comes and
//! is in sync with sound from the meeting on, since sender reports always tell
//! the live mapping. Both are pure functions of the input, so that a repair
//! gets the timestamp that the packet had; whoever follows the live line for good keeps the
//! former mapping for what came before.

use std::time::Duration;

/// A ramp is left this much media time behind its begin: far from it its arithmetic would wrap.
const FORGOTTEN: i32 = 120 * 90_000;

/// Bits behind the point of [`Ramp::speed`].
const FRACTION: u32 = 24;

/// The squeezed part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ramp {
    /// The input timestamp that it begins with.
    from: u32,
    /// Where that one goes.
    to: u32,
    /// Output ticks for an input tick, below one.
    speed: u32,
}

/// See the module's description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeline {
    base: u32,
    ramp: Option<Ramp>,
}

impl Timeline {
    /// Everything is moved by `base`.
    pub fn live(base: u32) -> Self {
        Self { base, ramp: None }
    }

    /// The backlog from `from` on begins at `to` and meets the live line,
    /// moved by `base`, after `lasting` ticks of output.
    pub fn catching_up(base: u32, from: u32, to: u32, lasting: u32) -> Self {
        // How far the live line lies below the ramp at its begin.
        let lag = to.wrapping_sub(from.wrapping_add(base));
        if lag == 0 || lag > i32::MAX as u32 {
            return Self::live(base);
        }
        let lasting = u64::from(lasting.max(1));
        let speed = (lasting << FRACTION) / (u64::from(lag) + lasting);
        let ramp = Ramp {
            from,
            to,
            // Never zero: pictures must not share a timestamp.
            speed: u32::try_from(speed).unwrap_or(u32::MAX).max(1 << 15),
        };
        Self {
            base,
            ramp: Some(ramp),
        }
    }

    /// What live timestamps are moved by.
    pub fn base(&self) -> u32 {
        self.base
    }

    /// The outgoing timestamp of an incoming one.
    #[inline]
    pub fn map(&self, timestamp: u32) -> u32 {
        let live = timestamp.wrapping_add(self.base);
        match self.ramp {
            None => live,
            Some(ramp) => ramp.map(timestamp, live),
        }
    }

    /// A backlog is or was sent by it.
    pub fn is_ramp(&self) -> bool {
        self.ramp.is_some()
    }

    /// A ramp lies far behind `sent`, an outgoing timestamp, which is on the live line.
    pub fn is_over(&self, sent: u32) -> bool {
        let timestamp = sent.wrapping_sub(self.base);
        self.ramp.is_some_and(|ramp| {
            let since = timestamp.wrapping_sub(ramp.from) as i32;
            since > FORGOTTEN && ramp.map(timestamp, sent) == sent
        })
    }
}

impl Ramp {
    fn map(&self, timestamp: u32, live: u32) -> u32 {
        let since = i64::from(timestamp.wrapping_sub(self.from) as i32);
        let fast = self
            .to
            .wrapping_add(((since * i64::from(self.speed)) >> FRACTION) as u32);
        // The ramp lies above the live line up to where they meet.
        if (fast.wrapping_sub(live) as i32) > 0 {
            fast
        } else {
            live
        }
    }
}

/// RTP ticks of a time, modulo 2^32 as timestamps are.
pub fn ticks(time: Duration, clock_rate: u32) -> u32 {
    (time.as_micros() * u128::from(clock_rate) / 1_000_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u32 = 90_000;
    const FRAME: u32 = 3_000;

    #[test]
    fn a_backlog_is_squeezed_until_it_meets_the_live_line() {
        // 5 s behind, to be played within half a second; all around the wrap.
        let from = u32::MAX - SECOND;
        let base = 1_000;
        let to = from.wrapping_add(5 * SECOND).wrapping_add(base);
        let line = Timeline::catching_up(base, from, to, SECOND / 2);
        assert_eq!(line.map(from), to);
        let mut last = line.map(from);
        let mut met = None;
        for frame in 1..300u32 {
            let input = from.wrapping_add(frame * FRAME);
            let out = line.map(input);
            let step = out.wrapping_sub(last);
            assert!((100..=FRAME).contains(&step), "{step} at {frame}");
            last = out;
            if out == input.wrapping_add(base) {
                met.get_or_insert(frame);
            } else {
                assert_eq!(met, None, "once met they stay together");
            }
        }
        // 5 s of backlog and the half second in which it was played.
        assert_eq!(met, Some(165));
    }

    #[test]
    fn pictures_out_of_order_keep_their_order() {
        let line = Timeline::catching_up(0, 0, 10 * SECOND, SECOND);
        let times = [0, 3, 1, 2, 6, 4, 5].map(|n: u32| line.map(n * FRAME));
        let mut sorted = times;
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2, 3, 4, 5, 6].map(|n| line.map(n * FRAME)));
        assert!(times[1] > times[2] && times[2] > times[0]);
    }

    #[test]
    fn nothing_to_catch_up_with_is_the_live_line() {
        assert_eq!(Timeline::catching_up(7, 100, 107, 500), Timeline::live(7));
        // The live line ahead of the ramp's begin makes no sense either.
        assert_eq!(Timeline::catching_up(7, 100, 90, 500), Timeline::live(7));
    }

    #[test]
    fn a_ramp_is_over_far_behind_where_it_met_the_live_line() {
        let line = Timeline::catching_up(0, 0, SECOND, SECOND);
        assert!(!line.is_over(60 * SECOND) && line.is_over(121 * SECOND));
        let line = Timeline::catching_up(0, 0, 200 * SECOND, SECOND);
        assert!(!line.is_over(200 * SECOND) && line.is_over(202 * SECOND));
        assert!(!Timeline::live(7).is_over(200 * SECOND));
    }
}
