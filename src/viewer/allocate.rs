//! Which layers a viewer's slots get: a pure function of what its path carries,
//! what it wants, and what the layers measure.
//!
//! Audio goes first, then video by priority. Every video slot keeps at least its lowest layer; what is left raises
//! slots of one priority in turns. Taking a layer needs more room than keeping it,
//! so that a rate that wavers about a layer's moves nobody.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::control::messages::LayerWish;
use crate::room::Rung;
use crate::units::{Bitrate, MediaKind};

/// A layer is taken when its rate and this share of it fit, in percent: rates of layers waver by
/// about as much, and the estimate must not be used up at once.
const TO_GAIN: u64 = 115;

/// A layer is kept while this share of its rate fits, in percent.
const TO_KEEP: u64 = 95;

/// With less than this for video, no picture is of use: what gets through is
/// better spent on sound.
const FLOOR: u64 = 30_000;

/// Nor with less than this share of the lowest layer, in percent: the rest of
/// it would fill the path's queue, and sound would wait there.
const FLOOR_SHARE: u64 = 25;

/// With less than this share of the lowest layers left over, in percent, the path is tight: what
/// waits for it must not leave faster than the path takes it.
const SPARE: u64 = 25;

/// Video comes back with this much.
const FLOOR_TO_RETURN: u64 = 60_000;

/// And this share of the lowest layer, in percent.
const SHARE_TO_RETURN: u64 = 70;

/// One choice of a slot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Index into the track's ladder.
    pub rung: u8,
    /// What it takes; zero while it is not measured.
    pub cost: Bitrate,
}

/// What a slot can get, lowest first.
pub type Steps = SmallVec<[Step; 12]>;

/// What a slot asks for.
#[derive(Debug, Clone)]
pub struct Request {
    /// Audio or video.
    pub kind: MediaKind,
    /// Higher ones are raised first.
    pub priority: u8,
    /// Its choices, lowest first, each dearer than the one before.
    pub steps: Steps,
    /// What it has, as an index into `steps`; `None` when it has nothing yet.
    pub current: Option<usize>,
    /// It was paused for want of bandwidth.
    pub paused: bool,
    /// It may get more than it has.
    pub may_gain: bool,
}

/// What each slot gets.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// For each request, an index into its steps; `None` for nothing.
    pub choices: SmallVec<[Option<usize>; 4]>,
    /// The estimate at which the next layer of use would be taken.
    pub probe_target: Option<Bitrate>,
    /// The path takes hardly more than the lowest layers, or less.
    pub tight: bool,
}

/// The choices of a ladder that a wish leaves, lowest first: without those that
/// cost more than a better one, and without those that take from what the wish fixes.
/// `current` stays whatever it costs.
pub fn steps(rungs: &[Rung], wish: &LayerWish, rid: Option<u8>, current: Option<&Rung>) -> Steps {
    let fits = |r: &&Rung| {
        let spatial = wish.spatial.or(wish.max_spatial);
        let temporal = wish.temporal.or(wish.max_temporal);
        spatial.is_none_or(|most| r.spatial <= most)
            && temporal.is_none_or(|most| r.temporal <= most)
    };
    let of_rid = |r: &&Rung| rid.is_none_or(|rid| r.encoding == rid);
    // A wish for what is dead is not met by black pictures.
    let is_there = rid.is_some_and(|rid| rungs.iter().any(|r| r.encoding == rid));
    let mut left: SmallVec<[(u8, &Rung); 48]> = (0u8..)
        .zip(rungs)
        .filter(|(_, r)| fits(r) && (!is_there || of_rid(r)))
        .collect();
    if left.is_empty() {
        left = (0u8..).zip(rungs).take(1).collect();
    }
    if let Some(shown) = wish.max_size {
        let needed = smallest_that_fills(left.iter().map(|(_, r)| *r), shown);
        if let Some(most) = needed {
            left.retain(|(_, r)| pixels(r.size).is_none_or(|p| p <= most));
        }
    }
    if wish.spatial.is_some() {
        let most = left.iter().map(|(_, r)| r.spatial).max();
        left.retain(|(_, r)| Some(r.spatial) == most);
    }
    if wish.temporal.is_some() {
        let most = left.iter().map(|(_, r)| r.temporal).max();
        left.retain(|(_, r)| Some(r.temporal) == most);
    }
    let mut steps = Steps::new();
    for (at, (rung, r)) in left.iter().enumerate() {
        let is_current = current.is_some_and(|c| (c.encoding, c.cell) == (r.encoding, r.cell));
        let better = left.get(at + 1..).unwrap_or_default();
        let useless = better
            .iter()
            .any(|(_, b)| b.bitrate.0 > 0 && b.bitrate <= r.bitrate);
        if !useless || is_current {
            steps.push(Step {
                rung: *rung,
                cost: r.bitrate,
            });
        }
    }
    steps
}

fn pixels(size: Option<(u16, u16)>) -> Option<u32> {
    size.map(|(w, h)| u32::from(w) * u32::from(h))
}

/// The pixels of the smallest picture that need not be enlarged to fill the box
/// as far as its shape allows; `None` when all are smaller.
fn smallest_that_fills<'r>(
    rungs: impl Iterator<Item = &'r Rung>,
    shown: (u16, u16),
) -> Option<u32> {
    rungs
        .filter_map(|r| r.size)
        .filter(|(w, h)| *w >= shown.0 || *h >= shown.1)
        .filter_map(|size| pixels(Some(size)))
        .min()
}

/// Shares what the path carries among the slots. `None` is no limit.
pub fn allocate<'r>(
    estimate: Option<Bitrate>,
    requests: impl IntoIterator<Item = &'r Request>,
) -> Plan {
    let requests: SmallVec<[&Request; 4]> = requests.into_iter().collect();
    let mut plan = Plan {
        choices: requests.iter().map(|_| None).collect(),
        probe_target: None,
        tight: false,
    };
    let limit = estimate.map_or(i64::MAX, |e| i64::try_from(e.0).unwrap_or(i64::MAX));
    let mut left = limit;
    for (request, choice) in requests.iter().copied().zip(&mut plan.choices) {
        if request.kind == MediaKind::Audio {
            *choice = request.steps.len().checked_sub(1);
            left -= cost(request, *choice);
        }
    }
    let mut video: SmallVec<[usize; 4]> = (0..requests.len())
        .filter(|i| requests[*i].kind == MediaKind::Video && !requests[*i].steps.is_empty())
        .collect();
    video.sort_by_key(|i| std::cmp::Reverse(requests[*i].priority));
    let for_video = left;
    for &at in &video {
        let request = requests[at];
        let lowest = cost(request, Some(0));
        let (least, share) = if request.paused {
            (FLOOR_TO_RETURN, SHARE_TO_RETURN)
        } else {
            (FLOOR, FLOOR_SHARE)
        };
        let floor = (least as i64).max(lowest.saturating_mul(share as i64) / 100);
        let too_early = request.paused && !request.may_gain;
        if lowest > left && (left < floor || too_early) {
            continue; // paused
        }
        plan.choices[at] = Some(0);
        left -= lowest;
    }
    plan.tight = left < (for_video - left) * SPARE as i64 / 100;
    let mut class = &video[..];
    while let Some(&first) = class.first() {
        let priority = requests[first].priority;
        let end = class.partition_point(|i| requests[*i].priority == priority);
        let (same, rest) = class.split_at(end);
        class = rest;
        while same.iter().fold(false, |raised, &at| {
            let choice = &mut plan.choices[at];
            raise(requests[at], choice, &mut left, estimate.is_some()) || raised
        }) {}
    }
    if estimate.is_some() {
        let used = limit - left;
        plan.probe_target = video.iter().find_map(|&at| {
            let (request, choice) = (requests[at], plan.choices[at]);
            let next = match choice {
                Some(choice) => choice + 1,
                None => 0,
            };
            let step = request.steps.get(next)?;
            let more = to_gain(step.cost) - cost(request, choice);
            Some(Bitrate(u64::try_from(used + more).unwrap_or(0)))
        });
    }
    plan
}

fn cost(request: &Request, choice: Option<usize>) -> i64 {
    let step = choice.and_then(|i| request.steps.get(i));
    step.map_or(0, |s| i64::try_from(s.cost.0).unwrap_or(i64::MAX / 4))
}

fn to_gain(cost: Bitrate) -> i64 {
    i64::try_from(cost.0.saturating_mul(TO_GAIN) / 100).unwrap_or(i64::MAX / 4)
}

/// Gives a slot its next step if that fits.
fn raise(request: &Request, choice: &mut Option<usize>, left: &mut i64, limited: bool) -> bool {
    let Some(now) = *choice else { return false };
    let has = request.current;
    for next in now + 1..request.steps.len() {
        let is_gain = has.is_none_or(|has| next > has);
        if is_gain && has.is_some() && limited && !request.may_gain {
            return false;
        }
        let step = cost(request, Some(next));
        let unknown = step == 0 && limited && is_gain;
        let needed = if is_gain {
            to_gain(request.steps[next].cost)
        } else {
            step * TO_KEEP as i64 / 100
        };
        let paid = cost(request, *choice);
        if unknown || needed - paid > *left {
            continue;
        }
        *left -= step - paid;
        *choice = Some(next);
        return true;
    }
    false
}

/// How long a slot that lost a layer waits before it takes one again: longer each
/// time a layer that was just taken is lost.
#[derive(Debug, Clone, Copy)]
pub struct Steadiness {
    hold: Duration,
    until: Option<Instant>,
    gained: Option<Instant>,
}

/// The first wait.
const FIRST_HOLD: Duration = Duration::from_secs(3);
/// After a layer was lost soon after it was taken.
const FAILED_HOLD: Duration = Duration::from_secs(10);
const LONGEST_HOLD: Duration = Duration::from_secs(40);
/// A layer lost within this time was taken too early.
const TRIAL: Duration = Duration::from_secs(15);
/// Two layers are taken no closer than this.
const BETWEEN_GAINS: Duration = Duration::from_secs(1);

impl Default for Steadiness {
    fn default() -> Self {
        Self {
            hold: FIRST_HOLD,
            until: None,
            gained: None,
        }
    }
}

impl Steadiness {
    /// A layer may be taken.
    pub fn may_gain(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
            && self
                .gained
                .is_none_or(|at| now.saturating_duration_since(at) >= BETWEEN_GAINS)
    }

    /// A better layer was taken.
    pub fn gained(&mut self, now: Instant) {
        self.gained = Some(now);
    }

    /// A layer was left out that the path may well carry: it is tried again after a moment.
    pub fn hold(&mut self, now: Instant) {
        self.until = self.until.max(Some(now + FIRST_HOLD));
    }

    /// A layer was lost for want of bandwidth.
    pub fn lost(&mut self, now: Instant) {
        let on_trial = self
            .gained
            .is_some_and(|at| now.saturating_duration_since(at) < TRIAL);
        self.hold = if on_trial {
            (self.hold * 2).clamp(FAILED_HOLD, LONGEST_HOLD)
        } else {
            FIRST_HOLD
        };
        self.until = Some(now + self.hold);
    }
}

#[cfg(test)]
#[path = "allocate_tests.rs"]
mod tests;
