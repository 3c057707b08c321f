//! The keyframe that a slot was sent last: what it makes useless, and with which layers it goes where the path is
//! congested.

use std::time::{Duration, Instant};

use super::Slot;
use crate::codec::Cell;
use crate::room::{Encoding, Track};

/// On a congested path, a keyframe of several spatial layers goes with as many of them as are through
/// within this. The picture stands meanwhile.
const WITHIN: Duration = Duration::from_millis(500);

/// See the module's description.
#[derive(Debug, Clone, Copy)]
pub struct SentKeyframe {
    /// Its first packet's number on the viewer's line.
    pub number: u64,
    /// Its timestamp on the publisher's line.
    pub timestamp: u32,
    /// When the newest packet of it was sent.
    pub at: Instant,
}

impl Slot {
    /// The packet with this number (its low bits) is of the time before the newest keyframe: no decoder
    /// that got that one needs it.
    pub fn is_superseded(&self, sequence: u16) -> bool {
        let since = |k: SentKeyframe| (k.number as u16).wrapping_sub(sequence) as i16;
        self.keyframe.is_some_and(|keyframe| since(keyframe) > 0)
    }

    /// A keyframe is being sent, or was within `time`: a receiver that asks for one has not seen it yet.
    pub fn is_sent_keyframe(&self, now: Instant, time: Duration) -> bool {
        self.keyframe.is_some_and(|keyframe| {
            let under_way = self.behind.is_some_and(|b| b.is_within(keyframe.timestamp));
            under_way || now.saturating_duration_since(keyframe.at) < time
        })
    }

    /// A packet of the backlog was sent, which is of the picture with this timestamp.
    pub(in crate::viewer) fn note_keyframe(&mut self, timestamp: u32, now: Instant) {
        if let Some(keyframe) = &mut self.keyframe
            && keyframe.timestamp == timestamp
        {
            keyframe.at = now;
        }
    }

    /// The layers that a keyframe goes with in place of `wanted`, where that would take too long. They
    /// are what the slot has from then on, as if it had lost the others.
    pub(super) fn fit_keyframe(
        &mut self,
        track: &Track,
        encoding: u8,
        wanted: Cell,
        now: Instant,
    ) -> Cell {
        let Some(room) = self.room else {
            return wanted;
        };
        let Some(source) = track.encodings.get(usize::from(encoding)) else {
            return wanted;
        };
        let Some(spatial) = lower_layer(source, wanted, room) else {
            return wanted;
        };
        let bits = room.saturating_mul(8);
        let rungs = track.ladder.rungs().iter();
        let mut rungs = rungs.filter(|r| r.encoding == encoding && r.spatial <= spatial);
        let lowest = rungs.next();
        let best = rungs.rfind(|r| r.bitrate.0 <= bits).or(lowest);
        let Some(rung) = best else {
            return wanted;
        };
        self.chosen = Some(*rung);
        self.steady.hold(now);
        rung.cell
    }
}

/// The highest spatial layer up to which the keyframe is through in time, where that is below `wanted`.
fn lower_layer(source: &Encoding, wanted: Cell, room: u64) -> Option<u8> {
    let top = match wanted {
        Cell::ALL if source.grid.is_layered() => source.grid.top().spatial(),
        Cell::ALL => 0,
        cell => cell.spatial(),
    };
    let most = room * WITHIN.as_millis() as u64 / 1000;
    let in_time = |spatial: &u8| source.keyframe_bytes(*spatial) <= most;
    let highest = (0..=top).rev().find(in_time).unwrap_or(0);
    (highest < top).then_some(highest)
}
