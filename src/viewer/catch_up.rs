//! A viewer that is *behind*: it is sent packets from its track's ring, from a
//! cursor on, until it has reached the live edge. A joiner is behind by what
//! came since the newest keyframe, a viewer whose [`Pacer`] ran dry by what did
//! not fit.
//!
//! [`plan`] decides (a pure function) how a slot gets the keyframe that it
//! needs; [`Slot::advance`] sends one packet of the backlog.

use std::time::{Duration, Instant};

use super::pace::Pacer;
use super::slot::{Forwarded, Slot};
use crate::peer::egress::{Egress, Outlet, SendError};
use crate::room::keyframe_request::Reaction;
use crate::room::ring::Segment;
use crate::room::{Packet, Track};

/// A backlog that is through within this is always better than a new keyframe,
/// which takes a round trip to the publisher and costs every viewer.
const SHORT: Duration = Duration::from_millis(150);

/// A joiner waits no longer than this for the live edge, unless the publisher's
/// next keyframe is further off still.
const LONG: Duration = Duration::from_secs(4);

/// A switch whose backlog takes longer is better made by a new keyframe.
const SWITCH: Duration = Duration::from_millis(300);

/// A switch by the live keyframe leads back by as much, as encoders and paths delay the pictures of
/// one moment differently.
const BACK: Duration = Duration::from_millis(70);

/// Who asks again so soon has seen nothing of what it was given: Firefox loses what comes in the
/// first moments of a connection.
const UNSEEN: Duration = Duration::from_secs(1);

/// Software decoders do at least this many pictures a second.
const DECODED_PER_SECOND: u32 = 250;

/// A hole in the ring that is older than this will not be filled any more: the
/// publisher was asked and did not repair it.
const HOPELESS: Duration = Duration::from_millis(1_200);

/// A viewer that is behind by more than this goes on with a newer keyframe
/// when there is one.
const LEAP: Duration = Duration::from_millis(300);

/// Who is behind by more than this, on a path that takes less than what flows, gets a new keyframe to
/// leap to: what is shown would not be live.
const LONGEST_LAG: Duration = Duration::from_secs(2);

/// How far a backlog is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Up to what arrives now.
    Edge,
    /// Only its keyframe: a picture to look at until the next one comes.
    Keyframe,
}

/// Where the slot's line begins a segment for the backlog.
#[derive(Debug, Clone, Copy)]
pub struct Restart {
    /// Arrival and timestamp of the newest packet.
    pub edge: (Instant, u32),
    /// How long sending the backlog will take.
    pub lasting: Duration,
}

/// A cached keyframe that a slot was given.
#[derive(Debug, Clone, Copy)]
pub struct Fed {
    /// When.
    pub at: Instant,
    /// The keyframe's number.
    pub first: u64,
    /// How often before.
    pub again: u32,
}

/// A slot's backlog.
#[derive(Debug, Clone, Copy)]
pub struct Behind {
    /// The encoding.
    pub encoding: u8,
    /// The next packet to send.
    pub cursor: u64,
    /// Since when it is behind.
    pub since: Instant,
    /// The backlog begins with this packet, on a new segment of the line.
    pub restart: Option<Restart>,
    /// It began with a keyframe of the past, not with a pacer that ran dry.
    pub replay: bool,
    /// Its first picture is not through: that goes before what other slots are behind with.
    pub opening: bool,
    reach: Reach,
    /// Timestamp of the picture that was sent last.
    timestamp: Option<u32>,
}

impl Behind {
    /// A pacer ran dry ahead of packet `cursor`.
    pub fn dry(encoding: u8, cursor: u64, now: Instant) -> Self {
        Self {
            encoding,
            cursor,
            since: now,
            restart: None,
            replay: false,
            opening: false,
            reach: Reach::Edge,
            timestamp: None,
        }
    }

    /// The backlog is a segment of the ring.
    pub fn replay(encoding: u8, segment: &Segment, replay: Replay, now: Instant) -> Self {
        Self {
            encoding,
            cursor: segment.first,
            since: now,
            restart: Some(Restart {
                edge: segment.edge,
                lasting: replay.lasting,
            }),
            replay: true,
            opening: true,
            reach: replay.reach,
            timestamp: None,
        }
    }

    /// It takes so long until the backlog is through, since others are before it.
    pub fn lasts(&mut self, time: Duration) {
        if let Some(restart) = self.restart.as_mut().filter(|_| self.reach == Reach::Edge) {
            restart.lasting = restart.lasting.max(with_margin(time));
        }
    }

    /// The restart, when `packet` is the one that it waits for.
    #[inline]
    pub fn take_restart(&mut self, encoding: u8, packet: &Packet) -> Option<Restart> {
        let first = self.encoding == encoding && self.timestamp == Some(packet.timestamp);
        first.then(|| self.restart.take())?
    }

    /// The picture with this timestamp is being sent.
    pub fn is_within(&self, timestamp: u32) -> bool {
        self.timestamp == Some(timestamp)
    }

    /// Whether the fan-out leaves `seq` to the backlog.
    #[inline]
    pub fn covers(&self, encoding: u8, seq: u64) -> bool {
        self.encoding == encoding && seq >= self.cursor
    }
}

/// How a backlog is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    /// How long it will take.
    pub lasting: Duration,
    /// How far it goes.
    pub reach: Reach,
}

/// How a slot gets its keyframe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// From the ring.
    pub replay: Option<Replay>,
    /// From the publisher.
    pub ask: bool,
}

/// Why a slot needs a keyframe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing flows.
    Join,
    /// Something else flows meanwhile.
    Switch,
    /// What flows is more than the path carries, and a lower encoding is to take its place.
    Rescue,
    /// The viewer asked: it can't decode what flows.
    Recover,
}

/// What a plan is made from.
#[derive(Debug)]
pub struct Circumstances<'a> {
    /// Why.
    pub need: Need,
    /// The ring's segment.
    pub segment: Option<Segment>,
    /// Pictures in it, about.
    pub pictures: u32,
    /// What the viewer's path carries.
    pub pacer: &'a Pacer,
    /// The encoding's rate in bytes per second.
    pub live: u64,
    /// What the publisher does when asked.
    pub reaction: Reaction,
    /// The segment begins before what was shown already.
    pub past: bool,
    /// When its next keyframe comes by itself, when that is known.
    pub next: Option<Duration>,
}

/// Decides how a slot gets its keyframe.
pub fn plan(c: &Circumstances<'_>) -> Plan {
    let ask = Plan {
        replay: None,
        ask: true,
    };
    let Some(segment) = &c.segment else {
        return ask;
    };
    let sent_in = c.pacer.time_for(segment.bytes as u64, c.live);
    let decoded_in = Duration::from_secs(1) * c.pictures / DECODED_PER_SECOND;
    let lasting = sent_in.map(|sent| sent.max(decoded_in));
    let replay = |lasting: Duration, ask: bool| Plan {
        replay: Some(Replay {
            lasting: with_margin(lasting),
            reach: Reach::Edge,
        }),
        ask,
    };
    let reacts = c.reaction != Reaction::Ignores;
    // Nobody is shown again what he has seen. Only where nothing comes for the asking, a picture that
    // stands for long would be worse.
    if c.past && (reacts || c.need == Need::Switch) {
        return ask;
    }
    let need = match c.need {
        Need::Rescue => Need::Join, // what flows is not worth its wait
        need => need,
    };
    match (need, lasting) {
        (_, Some(lasting)) if lasting <= SHORT => replay(lasting, false),
        (Need::Join, Some(lasting)) if reacts => replay(lasting, true),
        (Need::Join, Some(lasting)) if lasting <= LONG => replay(lasting, false),
        // Slower than the next keyframe: that one is taken, and until then the
        // picture stands.
        (Need::Join, lasting) => match (lasting, c.next) {
            (Some(lasting), Some(next)) if lasting < next => replay(lasting, false),
            _ => Plan {
                replay: Some(Replay {
                    lasting: Duration::ZERO,
                    reach: Reach::Keyframe,
                }),
                ask: true,
            },
        },
        (Need::Switch, Some(lasting)) if lasting <= SWITCH => replay(lasting, false),
        (Need::Switch, _) => ask,
        (Need::Recover, _) if c.reaction == Reaction::Reacts => ask,
        (Need::Recover, Some(lasting)) if reacts => replay(lasting, true),
        (Need::Recover, Some(lasting)) if c.next.is_none_or(|next| next > lasting) => {
            replay(lasting, false)
        }
        _ => ask,
    }
}

/// A little longer than needed: pictures that come ahead of their time wait, late ones make
/// the receiver's buffer grow.
fn with_margin(lasting: Duration) -> Duration {
    lasting * 5 / 4 + Duration::from_millis(40)
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A packet was sent: its size on the wire.
    Sent(usize),
    /// A packet was not for this viewer, or is missing.
    Passed,
    /// The slot is live again.
    Live,
    /// The backlog has ended without reaching the edge: a keyframe is needed.
    Ended,
    /// The viewer has no payload type for it.
    NoFormat,
    /// A packet could not be sent.
    Failed(SendError),
}

impl Slot {
    /// The viewer was sent pictures that are newer than the first one of `segment`, which is of the
    /// track's encoding `wanted`, and will have seen them.
    pub fn has_seen(&self, track: &Track, wanted: u8, segment: &Segment, now: Instant) -> bool {
        let Some((shown, end)) = self.shown(track) else {
            return false;
        };
        if shown == wanted {
            let since = |fed: Fed| now.saturating_duration_since(fed.at);
            let fed = self.fed.filter(|fed| fed.first == segment.first);
            return segment.first < end && fed.is_none_or(|fed| since(fed) >= UNSEEN);
        }
        let encoding = |at: u8| track.encodings.get(usize::from(at));
        let Some((from, to)) = encoding(shown).zip(encoding(wanted)) else {
            return false;
        };
        let Some(newest) = end.checked_sub(1).and_then(|seq| from.ring.get(seq)) else {
            let edge = from.ring.edge();
            return edge.is_some_and(|(arrival, _)| segment.arrival + BACK < arrival);
        };
        // Where sender reports tie both to one clock, by the time at which they were taken.
        match from.clock.zip(to.clock) {
            Some((from, to)) => {
                let rate = newest.codec.clock_rate();
                to.taken(segment.timestamp, rate) + BACK < from.taken(newest.timestamp, rate)
            }
            None => segment.arrival + BACK < newest.arrival,
        }
    }

    /// Sends the next packet of the backlog.
    pub fn advance(&mut self, out: &mut Outlet<'_>, egress: &mut Egress, track: &Track) -> Step {
        let Some(mut behind) = self.behind else {
            return Step::Live;
        };
        #[cfg(test)]
        super::slot::doom::strike(self.ssrcs.ssrc, super::slot::doom::Doing::Advance);
        let Some(encoding) = track.encodings.get(usize::from(behind.encoding)) else {
            self.behind = None;
            return Step::Ended;
        };
        let ring = &encoding.ring;
        let found = ring.get(behind.cursor);
        // Between two pictures, so that none is cut.
        let new_picture = found.is_none_or(|p| behind.timestamp != Some(p.timestamp));
        if new_picture && let Some(leap) = leap(&behind, ring.segment(), out.now) {
            self.behind = Some(leap);
            return Step::Passed;
        }
        let Some(packet) = found else {
            return self.miss(behind, track, out.now);
        };
        if new_picture && behind.timestamp.is_some() {
            if behind.reach == Reach::Keyframe {
                self.behind = None;
                return Step::Ended;
            }
            if std::mem::take(&mut behind.opening) {
                self.behind = Some(behind);
                return Step::Passed; // what follows has its turn
            }
        }
        let before = behind;
        behind.timestamp = Some(packet.timestamp);
        behind.cursor += 1;
        self.behind = Some(behind);
        match self.forward(out, egress, track, behind.encoding, packet) {
            Forwarded::Sent(size) => {
                self.note_keyframe(packet.timestamp, out.now);
                Step::Sent(size)
            }
            Forwarded::Ahead(done) => {
                self.behind = Some(before); // the packet itself is next
                done.map_or_else(Step::Failed, Step::Sent)
            }
            Forwarded::NotSelected => {
                // Something else was chosen meanwhile.
                self.behind = None;
                Step::Live
            }
            Forwarded::Broken => {
                self.behind = None;
                Step::Ended
            }
            Forwarded::Late | Forwarded::Cut | Forwarded::Held | Forwarded::Overtaken => {
                Step::Passed
            }
            Forwarded::NoFormat => Step::NoFormat,
            Forwarded::Failed(error) => Step::Failed(error),
        }
    }

    /// What it is sent next came long ago, and no newer keyframe to go on with has come since.
    pub fn lags(&self, track: &Track, now: Instant) -> bool {
        let Some(behind) = self.behind.filter(|b| !b.replay) else {
            return false;
        };
        let Some(encoding) = track.encodings.get(usize::from(behind.encoding)) else {
            return false;
        };
        let newer = |segment: Segment| segment.first > behind.cursor;
        let late = |packet: &Packet| now.saturating_duration_since(packet.arrival) > LONGEST_LAG;
        encoding.ring.get(behind.cursor).is_some_and(late)
            && !encoding.ring.segment().is_some_and(newer)
    }

    /// There is no packet at the cursor.
    fn miss(&mut self, mut behind: Behind, track: &Track, now: Instant) -> Step {
        let ring = &track.encodings[usize::from(behind.encoding)].ring;
        let Some(end) = ring.end().filter(|end| *end > behind.cursor) else {
            self.behind = None;
            return match behind.reach {
                Reach::Edge => Step::Live,
                Reach::Keyframe => Step::Ended,
            };
        };
        let next = ring.from(behind.cursor).next();
        let is_hopeless = |p: &Packet| now.saturating_duration_since(p.arrival) > HOPELESS;
        if behind.replay && next.is_some_and(is_hopeless) {
            // What follows can't be decoded without it.
            self.behind = None;
            return Step::Ended;
        }
        behind.cursor = next.map_or(end, |p| p.seq);
        self.behind = Some(behind);
        Step::Passed
    }
}

/// Where a backlog goes on when a newer keyframe came meanwhile.
fn leap(behind: &Behind, segment: Option<Segment>, now: Instant) -> Option<Behind> {
    let segment = segment.filter(|s| s.first > behind.cursor)?;
    let lag = now.saturating_duration_since(behind.since);
    if !behind.replay && lag < LEAP {
        return None;
    }
    let lasting = match behind.restart {
        Some(restart) => restart.lasting,
        None => Duration::from_millis(40),
    };
    Some(Behind {
        cursor: segment.first,
        restart: Some(Restart {
            edge: segment.edge,
            lasting,
        }),
        reach: Reach::Edge,
        timestamp: None,
        ..*behind
    })
}

#[cfg(test)]
#[path = "catch_up_tests.rs"]
mod tests;
