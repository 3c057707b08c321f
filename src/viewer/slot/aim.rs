//! What a slot is aimed at: the choices it has, the one made for it, and what
//! that takes.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use super::{Layers, Selection, Slot, Starved};
use crate::codec::{Cell, Codec};
use crate::control::messages::{LayerWish, SlotSnapshot};
use crate::room::{Rung, Track};
use crate::units::{Bitrate, MediaKind};
use crate::viewer::allocate::{Request, Step, steps};
use crate::viewer::formats::match_formats;
use crate::viewer::line::SourceId;
use crate::viewer::select::Awaited;

/// Encoders that have switching points make one within this time; else a keyframe is asked for.
const SWITCH_POINT_WITHIN: Duration = Duration::from_secs(1);

impl Slot {
    /// Takes note of the track's publisher, and asks for what the slot can use of it.
    pub fn request(&mut self, track: &Track, now: Instant) -> Request {
        #[cfg(test)]
        super::doom::strike(self.ssrcs.ssrc, super::doom::Doing::Aim);
        if self.formats_epoch != Some(track.epoch) {
            self.formats_epoch = Some(track.epoch);
            // Packets have gone with their publisher.
            self.behind = None;
            self.fed = None;
            self.formats = match_formats(&track.formats, &self.codecs);
            self.chosen = None;
        }
        let rungs = track.ladder.rungs();
        let steps = match self.kind {
            MediaKind::Audio => rungs
                .iter()
                .take(1)
                .map(|r| Step {
                    rung: 0,
                    cost: r.bitrate,
                })
                .collect(),
            MediaKind::Video => {
                let wish = self.wish_for(track);
                let rid = wish.rid.as_deref().and_then(|rid| track.by_rid(rid));
                steps(rungs, &wish, rid, self.chosen.as_ref())
            }
        };
        let is_chosen = |r: &Rung| {
            self.chosen
                .is_some_and(|c| (c.encoding, c.cell) == (r.encoding, r.cell))
        };
        let current = steps
            .iter()
            .position(|s| rungs.get(usize::from(s.rung)).is_some_and(is_chosen));
        Request {
            kind: self.kind,
            priority: self.priority,
            current,
            paused: self.paused,
            may_gain: self.steady.may_gain(now),
            steps,
        }
    }

    /// Carries a choice of `request` out. Returns the encoding that a keyframe is needed of, and
    /// whether another choice than before was made.
    pub fn aim(
        &mut self,
        track: &Track,
        request: &Request,
        choice: Option<usize>,
        now: Instant,
    ) -> (Option<u8>, bool) {
        let rung = choice
            .and_then(|i| request.steps.get(i))
            .and_then(|s| track.ladder.rungs().get(usize::from(s.rung)));
        let before = (self.chosen.map(|c| (c.encoding, c.cell)), self.paused);
        match (request.current, choice) {
            (Some(had), Some(has)) if has > had => self.steady.gained(now),
            (Some(had), Some(has)) if has < had => self.steady.lost(now),
            (Some(_), None) => self.steady.lost(now),
            (None, Some(_)) if self.paused => self.steady.gained(now),
            _ => {}
        }
        self.paused = rung.is_none() && !request.steps.is_empty();
        let Some(&rung) = rung else {
            if self.paused || track.encodings.is_empty() {
                self.selection.stop();
                self.fed = None; // nobody can tell now what it was of use for
            }
            if track.encodings.is_empty() {
                self.behind = None; // the packets have gone with their publisher
            }
            self.chosen = None;
            return (None, before != (None, self.paused));
        };
        let worse = matches!((request.current, choice), (Some(had), Some(has)) if has < had);
        self.chosen = Some(rung);
        let cell = self.usable(track, rung.encoding, rung.cell);
        if cell != Cell::ALL {
            self.line.expect_cuts();
        }
        let target = SourceId::of(track, rung.encoding);
        self.selection.aim(target, true);
        match self.selection.current() {
            Some(current) if current == target => self.layers.aim(cell),
            // Until the lower encoding's keyframe comes, the higher one's base layer has to do.
            Some(_) if worse => {
                self.line.expect_cuts();
                let flows = self.layers.current();
                self.layers.aim(Cell::new(flows.spatial(), 0));
            }
            Some(_) => {}
            None => self.layers = Layers::of(cell),
        }
        self.entering = cell;
        let changed = before != (Some((rung.encoding, rung.cell)), false);
        (self.needs_keyframe(track, now), changed)
    }

    /// The viewer can use one spatial layer only. AV1 tells frames of several apart by dependency
    /// descriptors (AV1 RTP, A.1); without them libwebrtc takes all for the same layer, and can't
    /// put a picture of two together.
    fn needs_one_layer(&self, track: &Track) -> bool {
        track.codec() == Some(Codec::Av1) && !self.ids.has_dependency()
    }

    /// The wish, as far as this viewer can use what it would get of the track.
    fn wish_for(&self, track: &Track) -> Cow<'_, LayerWish> {
        if !self.needs_one_layer(track) {
            return Cow::Borrowed(&self.wish);
        }
        Cow::Owned(LayerWish {
            spatial: self.wish.spatial.map(|_| 0),
            max_spatial: Some(0),
            ..self.wish.clone()
        })
    }

    /// The layers of `cell` that the viewer can use, where those that there are are known.
    pub(super) fn usable(&self, track: &Track, encoding: u8, cell: Cell) -> Cell {
        let Some(encoding) = track.encodings.get(usize::from(encoding)) else {
            return cell;
        };
        let known = encoding.grid.known;
        let lowest = |c: &Cell| c.spatial() == 0;
        let has_more = Cell::each().any(|c| known & c.bit() != 0 && !lowest(&c));
        if !has_more || !self.needs_one_layer(track) {
            return cell;
        }
        Cell::each()
            .filter(|c| known & c.bit() != 0 && lowest(c))
            .rfind(|c| cell == Cell::ALL || c.temporal() <= cell.temporal())
            .unwrap_or(Cell::new(0, 0))
    }

    /// With which of a track's choices the slot is to begin, when it moves on to that track
    /// from another one and `budget` is there for it.
    pub fn entry(&self, track: &Track, budget: Option<Bitrate>) -> Option<Rung> {
        let rungs = track.ladder.rungs();
        let wish = self.wish_for(track);
        let rid = wish.rid.as_deref().and_then(|rid| track.by_rid(rid));
        let steps = steps(rungs, &wish, rid, None);
        let fits = |step: &&Step| budget.is_none_or(|budget| step.cost <= budget);
        let step = steps.iter().rev().find(fits).or(steps.first())?;
        rungs.get(usize::from(step.rung)).copied()
    }

    /// The number that follows the newest packet of `source` that was sent.
    pub fn sent_of(&self, source: SourceId) -> Option<u64> {
        self.line.sent_of(source)
    }

    /// The slot is to begin with a voice of which the viewer has everything
    /// below this number: it came before, in this slot or in another one.
    pub fn begin_behind(&mut self, known: Option<(SourceId, u64)>) {
        self.known = known;
    }

    /// Leaves its track for another one, to begin with `rung` at its next entry frame.
    pub fn enter(&mut self, track: &Track, rung: Rung) {
        self.stop();
        self.formats_epoch = Some(track.epoch);
        self.formats = match_formats(&track.formats, &self.codecs);
        let target = SourceId::of(track, rung.encoding);
        self.selection.aim(target, false);
        self.entering = rung.cell;
    }

    /// Whether pictures come of `track` and none is one that it can begin with.
    pub fn starved(&self, track: &Track, now: Instant) -> Option<Starved> {
        let Selection::Waiting { target } = self.selection else {
            return None;
        };
        if self.kind == MediaKind::Audio || target.epoch != track.epoch || track.restoring {
            return None;
        }
        let encoding = track.encodings.get(usize::from(target.encoding))?;
        encoding.stats.is_active(now).then(|| Starved {
            since: self.starved_since.unwrap_or(now),
            expected: encoding.keyframe_due(now),
        })
    }

    fn needs_keyframe(&mut self, track: &Track, now: Instant) -> Option<u8> {
        if self.kind == MediaKind::Audio {
            return None;
        }
        if let Some(source) = self.selection.awaited() {
            return Some(source.encoding);
        }
        let current = self.selection.current()?;
        let encoding = track.encodings.get(usize::from(current.encoding))?;
        match self.layers.awaited(&encoding.grid) {
            Awaited::Nothing => {
                self.waiting_since = None;
                None
            }
            Awaited::Keyframe => Some(current.encoding),
            Awaited::SwitchPoint => {
                let since = *self.waiting_since.get_or_insert(now);
                let long = now.saturating_duration_since(since) >= SWITCH_POINT_WITHIN;
                long.then_some(current.encoding)
            }
        }
    }

    /// Takes note of what there is to choose from. True when that changed.
    pub fn saw(&mut self, track: &Track) -> bool {
        let seen = Some((track.epoch, track.ladder.changes()));
        self.kind == MediaKind::Video && std::mem::replace(&mut self.seen, seen) != seen
    }

    /// The encodings that it gets or waits for.
    pub fn interest(&self) -> [Option<u8>; 2] {
        let current = self.selection.current().map(|s| s.encoding);
        let awaited = self.selection.awaited().map(|s| s.encoding);
        [current, awaited.filter(|a| Some(*a) != current)]
    }

    /// Counts it among the viewers of the encodings that it gets or waits for,
    /// and no longer among those of former ones.
    pub fn count_in(&mut self, track: &mut Track) {
        let interest = self.interest();
        if self.counted == (track.epoch, interest) {
            return;
        }
        self.count_out(track);
        for encoding in interest.into_iter().flatten() {
            if let Some(encoding) = track.encodings.get_mut(usize::from(encoding)) {
                encoding.viewers += 1;
            }
        }
        self.counted = (track.epoch, interest);
    }

    /// Takes it out of the count of its track's viewers.
    pub fn count_out(&mut self, track: &mut Track) {
        let (epoch, counted) = std::mem::take(&mut self.counted);
        if epoch != track.epoch {
            return; // those encodings are gone
        }
        for encoding in counted.into_iter().flatten() {
            if let Some(encoding) = track.encodings.get_mut(usize::from(encoding)) {
                encoding.viewers = encoding.viewers.saturating_sub(1);
            }
        }
    }

    /// The row the API shows; `track` is the slot's track.
    pub fn snapshot(&self, track: Option<&Track>) -> SlotSnapshot {
        let current = self.selection.current();
        let flows = current.and_then(|s| track?.encodings.get(usize::from(s.encoding)));
        let cell = flows.map(|_| self.layers.current());
        let is_flowing = |r: &&Rung| {
            current.is_some_and(|s| s.encoding == r.encoding)
                && cell.is_some_and(|c| {
                    r.cell == c || (c.spatial(), c.temporal()) == (r.spatial, r.temporal)
                })
        };
        let rung = track.and_then(|t| t.ladder.rungs().iter().rev().find(is_flowing));
        let layers = match (rung, cell) {
            (Some(rung), _) => Some((rung.spatial, rung.temporal)),
            (None, Some(Cell::ALL)) => Some((0, 0)),
            (None, cell) => cell.map(|c| (c.spatial(), c.temporal())),
        };
        SlotSnapshot {
            mid: self.mid.clone(),
            kind: self.kind,
            participant: track.map(|t| t.key.participant),
            rid: flows.and_then(|e| e.rid.clone()),
            spatial: layers.map(|l| l.0),
            temporal: layers.map(|l| l.1),
            target_bitrate: self.target_bitrate(track),
            size: rung.and_then(|r| r.size).or(flows.and_then(|e| e.size)),
            wish: self.wish.clone(),
        }
    }

    fn target_bitrate(&self, track: Option<&Track>) -> Option<Bitrate> {
        let chosen = self.chosen?;
        let same = |r: &&Rung| (r.encoding, r.cell) == (chosen.encoding, chosen.cell);
        let rung = track?.ladder.rungs().iter().find(same);
        Some(rung.unwrap_or(&chosen).bitrate)
    }
}
