//! What a viewer asked to be sent again, waiting for its turn: behind sound and
//! fresh pictures, ahead of padding, within a share of what is sent anyway, and
//! nothing twice within a round trip.
//!
//! A request costs an entry in a queue of fixed size. The repairs themselves
//! leave at the pace of the viewer's [`Pacer`](super::pace::Pacer); while it is
//! behind with fresh packets, repairs get up to half of what leaves, since without
//! them what follows can't be decoded.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::units::Bitrate;

/// Repairs may use this share of the media's bytes: enough for 20 % loss, too
/// little to starve fresh media.
const SHARE_PERCENT: i64 = 25;

/// What may be saved up, as time at the estimate: more at once would fill the
/// path's queue for as long as fresh pictures can wait.
const BURST: Duration = Duration::from_millis(250);

/// It is at least ten packets, and at most a burst of loss on a 4 Mb/s stream.
const LEAST_BURST: i64 = 12 * 1024;
const MOST_BURST: i64 = 128 * 1024;

/// What a new viewer starts with.
const INITIAL: i64 = 32 * 1024;

/// Requests that wait at a time; whoever misses more needs a keyframe.
const QUEUE: usize = 128;

/// A repair that waited longer is asked for again, or of no use any more.
const LONGEST_WAIT: Duration = Duration::from_millis(400);

/// Repairs remembered so as not to be repeated too early: a table that a
/// number leads into.
const RECENT: usize = QUEUE;

/// The least time between two repairs of one packet.
const LEAST_GAP: Duration = Duration::from_millis(10);

/// The same where the round trip is not known.
const UNKNOWN_GAP: Duration = Duration::from_millis(40);

/// Why a repair is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The budget is used up.
    Budget,
    /// It is on its way already.
    Repeated,
}

/// A packet to be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Index of the slot.
    pub slot: u8,
    /// The low bits of its number.
    pub sequence: u16,
    /// It was sent again before, and that was lost too: two are safer than another round trip.
    pub again: bool,
    at: Instant,
}

/// A packet that was asked for of late.
#[derive(Debug, Clone, Copy)]
struct Recent {
    slot: u8,
    sequence: u16,
    /// When it was sent again; `None` while it waits.
    sent: Option<Instant>,
}

/// See the module's description.
#[derive(Debug)]
pub struct Repairs {
    /// Both are allocated with the first request: most viewers make none.
    queue: VecDeque<Asked>,
    recent: Vec<Option<Recent>>,
    /// Bytes; below zero after a packet larger than what was left.
    tokens: i64,
    /// Bytes that may leave ahead of fresh packets that wait.
    ahead: i64,
}

impl Default for Repairs {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            recent: Vec::new(),
            tokens: INITIAL,
            ahead: 0,
        }
    }
}

impl Repairs {
    /// Media of so many bytes went out: repairs earn their share.
    #[inline]
    pub fn earn(&mut self, bytes: usize) {
        self.tokens = (self.tokens + bytes as i64 * SHARE_PERCENT / 100).min(MOST_BURST);
    }

    /// Takes a request for a packet of a slot whose round trip is `rtt`.
    pub fn ask(
        &mut self,
        now: Instant,
        slot: u8,
        sequence: u16,
        rtt: Option<Duration>,
    ) -> Result<(), Denied> {
        if self.recent.is_empty() {
            self.recent.resize(RECENT, None);
            self.queue.reserve_exact(QUEUE);
        }
        // Receivers ask again after what they take for the round trip: a little less may be.
        let gap = rtt.map_or(UNKNOWN_GAP, |rtt| (rtt - rtt / 8).max(LEAST_GAP));
        let before = self
            .entry(slot, sequence)
            .filter(|recent| (recent.slot, recent.sequence) == (slot, sequence));
        let soon = |at| now.saturating_duration_since(at) < gap;
        if before.is_some_and(|recent| recent.sent.is_none_or(soon)) {
            return Err(Denied::Repeated);
        }
        if self.queue.len() >= QUEUE {
            return Err(Denied::Budget);
        }
        self.queue.push_back(Asked {
            slot,
            sequence,
            again: before.is_some(),
            at: now,
        });
        *self.entry(slot, sequence) = Some(Recent {
            slot,
            sequence,
            sent: None,
        });
        Ok(())
    }

    fn entry(&mut self, slot: u8, sequence: u16) -> &mut Option<Recent> {
        &mut self.recent[place(slot, sequence)]
    }

    /// Something waits.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Drops what `is_useless` says; returns how many those are.
    pub fn forget(&mut self, is_useless: impl Fn(&Asked) -> bool) -> u64 {
        let before = self.queue.len();
        let recent = &mut self.recent;
        self.queue.retain(|asked| {
            let useless = is_useless(asked);
            if useless {
                recent[place(asked.slot, asked.sequence)] = None; // it may be asked for again
            }
            !useless
        });
        (before - self.queue.len()) as u64
    }

    /// Gives up what has waited too long; returns how many those are, and calls `of` with the slot of each.
    pub fn expire(&mut self, now: Instant, mut of: impl FnMut(u8)) -> u64 {
        let mut expired = 0;
        while let Some(asked) = self.queue.front().copied()
            && now.saturating_duration_since(asked.at) > LONGEST_WAIT
        {
            self.queue.pop_front();
            *self.entry(asked.slot, asked.sequence) = None; // it may be asked for again
            of(asked.slot);
            expired += 1;
        }
        expired
    }

    /// The next one to send, when the budget has something left for it.
    /// `estimate` is what the path carries, `None` while no limit is known.
    pub fn next(&mut self, now: Instant, estimate: Option<Bitrate>) -> Option<Asked> {
        if let Some(Bitrate(estimate)) = estimate {
            let burst = estimate / 8 * BURST.as_millis() as u64 / 1000;
            let burst = i64::try_from(burst).unwrap_or(MOST_BURST);
            self.tokens = self.tokens.min(burst.clamp(LEAST_BURST, MOST_BURST));
        }
        if self.tokens <= 0 {
            return None;
        }
        let asked = self.queue.pop_front()?;
        *self.entry(asked.slot, asked.sequence) = Some(Recent {
            slot: asked.slot,
            sequence: asked.sequence,
            sent: Some(now),
        });
        Some(asked)
    }

    /// A repair of so many bytes went out.
    pub fn spend(&mut self, bytes: usize) {
        self.tokens -= bytes as i64;
        self.ahead -= bytes as i64;
    }

    /// The viewer is behind, and was sent so many bytes of its backlog.
    pub fn wait_behind(&mut self, bytes: usize) {
        self.ahead = (self.ahead + bytes as i64).min(LEAST_BURST);
    }

    /// The viewer is live: nothing waits ahead of repairs.
    pub fn wait_no_longer(&mut self) {
        self.ahead = 0;
    }

    /// A repair may leave although fresh packets wait.
    pub fn may_go_ahead(&self) -> bool {
        self.ahead > 0
    }
}

/// Numbers follow each other, so a slot's newest ones have an entry each.
fn place(slot: u8, sequence: u16) -> usize {
    usize::from(sequence).wrapping_add(usize::from(slot) * 41) % RECENT
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Option<Duration> = Some(Duration::from_millis(80));

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    /// What leaves at `now` when each packet has `bytes`.
    fn sent(repairs: &mut Repairs, now: Instant, estimate: Option<u64>, bytes: usize) -> Vec<u16> {
        let mut numbers = Vec::new();
        while let Some(asked) = repairs.next(now, estimate.map(Bitrate)) {
            repairs.spend(bytes);
            numbers.push(asked.sequence);
        }
        numbers
    }

    #[test]
    fn nothing_is_repaired_twice_within_a_round_trip() {
        let start = Instant::now();
        let mut repairs = Repairs::default();
        assert_eq!(repairs.ask(start, 1, 7, RTT), Ok(()));
        // Waiting, it is not taken once more, however long it waits.
        let again = repairs.ask(at(start, 300), 1, 7, RTT);
        assert_eq!(again, Err(Denied::Repeated));
        assert_eq!(repairs.ask(start, 2, 7, RTT), Ok(()), "another slot's");
        assert_eq!(sent(&mut repairs, at(start, 300), None, 1000), [7, 7]);
        let soon = repairs.ask(at(start, 369), 1, 7, RTT);
        assert_eq!(soon, Err(Denied::Repeated));
        // Receivers' round trips are not quite ours.
        assert_eq!(repairs.ask(at(start, 372), 1, 7, RTT), Ok(()));
        assert_eq!(repairs.ask(start, 1, 8, None), Ok(()));
        let again: Vec<bool> = repairs.queue.iter().map(|asked| asked.again).collect();
        assert_eq!(again, [true, false]);
        assert_eq!(sent(&mut repairs, at(start, 400), None, 1000), [7, 8]);
        let soon = repairs.ask(at(start, 439), 1, 8, None);
        assert_eq!(soon, Err(Denied::Repeated));
        assert_eq!(repairs.ask(at(start, 440), 1, 8, None), Ok(()));
    }

    #[test]
    fn repairs_never_exceed_their_share() {
        let now = Instant::now();
        let mut repairs = Repairs::default();
        let (mut media, mut repaired) = (0, 0);
        for sequence in 0..10_000u16 {
            repairs.earn(1000);
            media += 1000;
            let _ = repairs.ask(now, 0, sequence, None);
            repaired += sent(&mut repairs, now, None, 1000).len() as i64 * 1000;
        }
        let share = media * SHARE_PERCENT / 100;
        assert!(repaired <= share + INITIAL + 1000, "{repaired} of {share}");
        assert!(repaired >= share - 1000, "{repaired} of {share}");
    }

    #[test]
    fn a_burst_is_as_large_as_the_path_takes() {
        let now = Instant::now();
        for (estimate, packets) in [(None, 110), (Some(300_000), 11), (Some(1_600_000), 42)] {
            let mut repairs = Repairs::default();
            repairs.earn(1 << 20);
            for sequence in 0..200 {
                let _ = repairs.ask(now, 0, sequence, None);
            }
            let count = sent(&mut repairs, now, estimate, 1200).len();
            assert!(count.abs_diff(packets) <= 1, "{count}");
            assert!(estimate.is_none() || repairs.is_waiting());
        }
    }

    #[test]
    fn what_waits_too_long_is_given_up_and_may_be_asked_for_again() {
        let start = Instant::now();
        let mut repairs = Repairs::default();
        repairs.spend(INITIAL as usize);
        for sequence in 0..=QUEUE as u16 {
            let full = sequence == QUEUE as u16;
            let taken = repairs.ask(start, 0, sequence, None);
            assert_eq!(taken.is_err(), full);
        }
        assert_eq!(repairs.next(start, None), None, "nothing is left for it");
        assert_eq!(repairs.expire(at(start, 400), |_| {}), 0);
        let mut of = Vec::new();
        assert_eq!(
            repairs.expire(at(start, 401), |slot| of.push(slot)),
            QUEUE as u64
        );
        assert!(of.len() == QUEUE && of.iter().all(|slot| *slot == of[0]));
        assert!(!repairs.is_waiting());
        assert_eq!(repairs.ask(at(start, 402), 0, 5, None), Ok(()));
    }

    #[test]
    fn what_is_of_no_use_any_more_is_not_sent_and_may_be_asked_for_again() {
        let start = Instant::now();
        let mut repairs = Repairs::default();
        for sequence in 0..6 {
            assert_eq!(repairs.ask(start, 0, sequence, RTT), Ok(()));
        }
        assert_eq!(repairs.forget(|asked| asked.sequence < 4), 4);
        assert_eq!(repairs.ask(start, 0, 2, RTT), Ok(()));
        assert_eq!(sent(&mut repairs, start, None, 1000), [4, 5, 2]);
    }

    #[test]
    fn while_fresh_packets_wait_repairs_get_a_share() {
        let mut repairs = Repairs::default();
        assert!(!repairs.may_go_ahead());
        let (mut fresh, mut repaired) = (0, 0);
        for _ in 0..1000 {
            repairs.wait_behind(1200);
            fresh += 1200;
            while repairs.may_go_ahead() {
                repairs.spend(1200);
                repaired += 1200;
            }
        }
        assert_eq!(repaired, fresh);
        // In the long run the budget is what counts.
        assert_eq!(repairs.next(Instant::now(), None), None);
        repairs.wait_no_longer();
        assert!(!repairs.may_go_ahead());
    }
}
