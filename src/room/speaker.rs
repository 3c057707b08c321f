//! Who speaks in a room: the active speaker, who is to be heard, and who was
//! seen to speak lately. Pure and deterministic; fed with [`Voice`]s.
//!
//! The active speaker stays until somebody else clearly speaks. How clearly
//! depends on what goes on: in a pause a new voice takes over at once; over
//! somebody who talks it must be much louder for a while; and of two who talk
//! at the same time the first one stays until it has been silent for long.

use std::time::{Duration, Instant};

use super::voice::{Phase, Voice};
use crate::units::ParticipantId;

/// The active speaker's silence after which a voice that began in it takes over.
const TURN: Duration = Duration::from_millis(200);

/// The active speaker's silence after which somebody takes over who talked
/// while it talked: pauses between words and sentences are mostly shorter.
const DOUBLE_TALK: Duration = Duration::from_millis(700);

/// Voices that were open together for this long did talk at the same time: one
/// of two that take turns stays open for a [`GAP`](super::voice::GAP) too.
const OVERLAP: Duration = Duration::from_millis(250);

/// Having talked at the same time counts for this long.
const OVERLAP_MEMORY: Duration = Duration::from_millis(1_000);

/// A voice that is this much louder than the active speaker's, dB, ...
const DOMINANT: f32 = 8.0;

/// ... for this long, takes over.
const DOMINANT_FOR: Duration = Duration::from_millis(1_500);

/// But not sooner after a change than this.
const SETTLED: Duration = Duration::from_secs(2);

/// Voices are louder than others by whole steps of this many dB, ...
const STEP: f32 = 9.0;

/// ... and leave their step when they are this far from its middle.
const STEP_HOLD: f32 = 6.5;

#[derive(Debug)]
struct Entry {
    participant: ParticipantId,
    voice: Voice,
    /// Counted in [`STEP`]s.
    step: i32,
    /// When it last talked over the active speaker.
    overlapped: Option<Instant>,
    /// Since when it is much louder than the active speaker.
    louder: Option<Instant>,
}

impl Entry {
    fn follow_loudness(&mut self, anew: bool) {
        let middle = self.step as f32 * STEP;
        if anew || (self.voice.loudness - middle).abs() > STEP_HOLD {
            self.step = (self.voice.loudness / STEP).round() as i32;
        }
    }
}

/// See the module's description.
#[derive(Debug, Default)]
pub struct Speakers {
    /// By participant.
    entries: Vec<Entry>,
    active: Option<ParticipantId>,
    changed: Option<Instant>,
    /// The active speaker is known from former times only.
    adopted: bool,
    /// Whose spurt lasts, who is to be heard first ahead.
    open: Vec<ParticipantId>,
    /// Who has talked, the active speaker first, then the most recent.
    recent: Vec<ParticipantId>,
}

impl Speakers {
    fn at(&self, participant: ParticipantId) -> Result<usize, usize> {
        self.entries
            .binary_search_by_key(&participant, |e| e.participant)
    }

    fn entry(&self, participant: ParticipantId) -> Option<&Entry> {
        self.at(participant)
            .ok()
            .and_then(|at| self.entries.get(at))
    }

    /// News of a voice.
    pub fn hear(&mut self, participant: ParticipantId, voice: Voice) {
        let at = match self.at(participant) {
            Ok(at) => at,
            Err(at) => {
                let entry = Entry {
                    participant,
                    voice: voice.closed(),
                    step: 0,
                    overlapped: None,
                    louder: None,
                };
                self.entries.insert(at, entry);
                if voice.talked.is_some() {
                    self.recent.push(participant);
                }
                at
            }
        };
        let Some(entry) = self.entries.get_mut(at) else {
            return;
        };
        let (was_open, was_talking) = (
            entry.voice.is_open(),
            entry.voice.phase == Phase::Talking && entry.voice.begun == voice.begun,
        );
        let begins = !was_open || entry.voice.begun != voice.begun;
        entry.voice = voice;
        if voice.is_open() {
            entry.follow_loudness(begins);
            if !was_open {
                self.open.push(participant);
            }
        } else {
            entry.louder = None;
            self.open.retain(|p| *p != participant);
        }
        if voice.phase == Phase::Talking && !was_talking {
            // Behind the active speaker, whose place nobody takes by talking alone.
            let first = usize::from(self.active.is_some() && self.active != Some(participant));
            self.promote(participant, first);
        }
    }

    /// Its publisher has gone or was replaced: whatever it says is over.
    pub fn silence(&mut self, participant: ParticipantId) {
        if let Some(voice) = self.entry(participant).map(|e| e.voice.closed()) {
            self.hear(participant, voice);
        }
    }

    /// It has left the room.
    pub fn forget(&mut self, participant: ParticipantId) {
        if let Ok(at) = self.at(participant) {
            self.entries.remove(at);
        }
        self.open.retain(|p| *p != participant);
        self.recent.retain(|p| *p != participant);
        if self.active == Some(participant) {
            self.active = None;
            self.changed = None;
        }
    }

    fn promote(&mut self, participant: ParticipantId, to: usize) {
        self.recent.retain(|p| *p != participant);
        let to = to.min(self.recent.len());
        self.recent.insert(to, participant);
    }

    /// Lets time pass. To be called after news, and every few dozen
    /// milliseconds while somebody [is heard](Self::is_lively).
    pub fn evaluate(&mut self, now: Instant) {
        let current = self.active.and_then(|p| self.entry(p)).map(|e| e.voice);
        if let Some(next) = self.next_speaker(now, current) {
            self.adopted = false;
            self.activate(now, next);
        } else if self.active.is_none() || self.adopted {
            self.adopt(now);
        }
        self.order_open();
    }

    fn activate(&mut self, now: Instant, participant: ParticipantId) {
        self.active = Some(participant);
        self.changed = Some(now);
        self.promote(participant, 0);
        for at in 0..self.open.len() {
            if let Ok(at) = self.at(self.open[at])
                && let Some(entry) = self.entries.get_mut(at)
            {
                entry.louder = None;
            }
        }
    }

    /// The one that takes over from the active speaker, whose voice is
    /// `current`. Looks at those who are heard only.
    fn next_speaker(&mut self, now: Instant, current: Option<Voice>) -> Option<ParticipantId> {
        let settled = self
            .changed
            .is_none_or(|at| now.saturating_duration_since(at) >= SETTLED);
        let mut next: Option<(f32, ParticipantId)> = None;
        for index in 0..self.open.len() {
            let participant = self.open[index];
            if self.active == Some(participant) {
                continue;
            }
            let Ok(at) = self.at(participant) else {
                continue;
            };
            let Some(entry) = self.entries.get_mut(at) else {
                continue;
            };
            let takes_over = match current {
                None => true,
                Some(active) => {
                    let together = now.saturating_duration_since(entry.voice.begun);
                    if active.is_open() && together >= OVERLAP {
                        entry.overlapped = Some(now);
                    }
                    let recently = |at: Instant| {
                        active.last.saturating_duration_since(at) < OVERLAP_MEMORY
                            && now.saturating_duration_since(at) < OVERLAP_MEMORY + DOUBLE_TALK
                    };
                    let silence = active.silence(now);
                    let turn = match entry.overlapped {
                        Some(at) if recently(at) => DOUBLE_TALK,
                        _ => TURN,
                    };
                    let louder =
                        active.is_open() && entry.voice.loudness >= active.loudness + DOMINANT;
                    entry.louder = match (louder, entry.louder) {
                        (true, since) => since.or(Some(now)),
                        (false, _) => None,
                    };
                    let dominates = settled
                        && entry
                            .louder
                            .is_some_and(|at| now.saturating_duration_since(at) >= DOMINANT_FOR);
                    dominates || silence >= turn
                }
            };
            if takes_over
                && entry.voice.phase == Phase::Talking
                && next.is_none_or(|(loudest, _)| entry.voice.loudness > loudest)
            {
                next = Some((entry.voice.loudness, participant));
            }
        }
        next.map(|(_, participant)| participant)
    }

    /// Nobody was heard to take the floor here: it is with whoever had it last.
    fn adopt(&mut self, now: Instant) {
        let last = self
            .entries
            .iter()
            .filter_map(|e| Some((e.voice.talked?, e.participant)))
            .max();
        if let Some((_, participant)) = last
            && self.active != Some(participant)
        {
            self.adopted = true;
            self.activate(now, participant);
        }
    }

    fn order_open(&mut self) {
        let mut open = std::mem::take(&mut self.open);
        for participant in &open {
            if let Ok(at) = self.at(*participant)
                && let Some(entry) = self.entries.get_mut(at)
            {
                entry.follow_loudness(false);
            }
        }
        open.sort_by_key(|participant| {
            let entry = self.entry(*participant);
            (
                self.active != Some(*participant),
                std::cmp::Reverse(entry.map_or(i32::MIN, |e| e.step)),
                entry.map(|e| e.voice.begun),
                *participant,
            )
        });
        self.open = open;
    }

    /// Somebody is heard now, so time matters.
    pub fn is_lively(&self) -> bool {
        !self.open.is_empty()
    }

    /// The active speaker: who spoke last, when nobody speaks.
    pub fn active(&self) -> Option<ParticipantId> {
        self.active
    }

    /// Who is to be seen: the active speaker, then who talked most recently.
    pub fn seen(&self) -> impl Iterator<Item = ParticipantId> {
        self.recent.iter().copied()
    }

    /// Who is to be heard: the active speaker while it speaks, other voices
    /// from the loudest, then who talked most recently.
    pub fn heard(&self) -> impl Iterator<Item = ParticipantId> {
        let silent = self.recent.iter().filter(|p| !self.open.contains(p));
        self.open.iter().chain(silent).copied()
    }
}

#[cfg(test)]
#[path = "speaker_tests.rs"]
mod tests;
