//! The worker's core: all sessions and tracks of one worker, without clock,
//! socket or thread. Datagrams, commands and other workers' messages go in by
//! [`Core::handle`]; [`Core::turn`] fans out and lets time pass; what comes out
//! lies in [`Outputs`].

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use slab::Slab;

use super::backlog::Starving;
use super::clock::WallClock;
use super::mesh::MeshMessage;
use super::session::Session;
use super::sessions::SessionTable;
use super::timers::Timers;
use crate::control::messages::{CloseReason, Command, Event, Totals};
use crate::net::path::{Datagram, Path};
use crate::net::stun_limit::StunLimiter;
use crate::net::{AddressTable, SendArena};
use crate::peer::crypto::Crypto;
use crate::peer::egress::Outlet;
use crate::peer::ingress::Routed;
use crate::room::{Room, Subscriber, Track, TrackKey};
use crate::telemetry::DropReason;
use crate::units::{RoomId, SessionKey, WorkerId};

/// Bytes of the send arena: about one GSO batch of 2 Mb/s video frames for a
/// hundred viewers, and small enough to stay in the second-level cache.
const ARENA_BYTES: usize = 1 << 20;

/// Runs in the arena; a run is at least one datagram.
const ARENA_RUNS: usize = 1024;

/// The arena is flushed when less than this is left: one frame's packets to
/// one viewer fit.
pub(super) const ARENA_RESERVE: usize = 160 * 1024;

/// Tracks measure themselves this often.
const ROLL: Duration = Duration::from_secs(1);

/// What a core is told when it is made.
#[derive(Debug, Clone)]
pub struct CoreConfig {
    /// Its number.
    pub id: WorkerId,
    /// How many workers there are.
    pub workers: u8,
    /// Sessions it may hold.
    pub max_sessions: u32,
    /// A silent peer is given up after this (RFC 7675 §5.1 says 30 s).
    pub consent_timeout: Duration,
    /// A session that is not connected after this is given up.
    pub connect_timeout: Duration,
    /// Seed of its random numbers: from the system's generator, except in tests.
    pub seed: [u8; 32],
    /// Ties the monotonic to the wall clock.
    pub clock: WallClock,
}

/// What goes into a core.
#[derive(Debug)]
pub enum Input<'a> {
    /// From the network.
    Datagram(Datagram<'a>),
    /// A TCP connection is gone.
    TcpClosed {
        /// The peer's address.
        remote: std::net::SocketAddr,
    },
    /// From the control plane.
    Command(Command),
    /// From another worker.
    Mesh {
        /// The worker.
        from: WorkerId,
        /// What it says.
        message: MeshMessage,
    },
}

/// What comes out of a core, for its caller to take away after each turn.
#[derive(Debug)]
pub struct Outputs {
    /// Datagrams to send.
    pub arena: SendArena,
    /// To the control plane.
    pub events: Vec<Event>,
    /// To other workers.
    pub mesh: Vec<(WorkerId, MeshMessage)>,
}

impl Outputs {
    /// The way out for one viewer's packets of this turn; what is there leaves
    /// first when the room might not do.
    #[inline]
    pub(super) fn outlet<'a>(
        &'a mut self,
        now: Instant,
        clock: &'a WallClock,
        path: Path,
        flush: &mut dyn Flush,
    ) -> Outlet<'a> {
        self.make_room(flush);
        Outlet {
            now,
            clock,
            arena: &mut self.arena,
            path,
        }
    }

    /// What is there leaves, unless there is room for all that one session may have to say.
    #[inline(always)]
    pub(super) fn make_room(&mut self, flush: &mut dyn Flush) {
        if self.arena.room() < ARENA_RESERVE {
            flush.flush(&mut self.arena);
        }
    }
}

/// What a core holds, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Sessions.
    pub sessions: usize,
    /// Rooms with somebody in them, here or elsewhere.
    pub rooms: usize,
    /// Tracks that are published or waited for.
    pub tracks: usize,
    /// Validated remote addresses.
    pub addresses: usize,
    /// Armed timers.
    pub timers: usize,
}

/// Takes the arena's datagrams away when it fills up in the middle of a turn.
pub trait Flush {
    /// Sends or stores all datagrams and clears the arena.
    fn flush(&mut self, arena: &mut SendArena);
}

impl<F: FnMut(&mut SendArena)> Flush for F {
    fn flush(&mut self, arena: &mut SendArena) {
        self(arena);
    }
}

/// See the module's description.
#[derive(Debug)]
pub struct Core {
    pub(super) config: CoreConfig,
    /// The time of the input or turn in hand.
    pub(super) now: Instant,
    pub(super) crypto: Crypto,
    pub(super) rng: StdRng,
    pub(super) sessions: SessionTable<Session>,
    pub(super) addresses: AddressTable,
    pub(super) timers: Timers,
    pub(super) rooms: HashMap<RoomId, Room>,
    pub(super) tracks: Slab<Track>,
    pub(super) track_index: HashMap<TrackKey, u32>,
    /// Tracks with packets to fan out.
    pub(super) busy: Vec<u32>,
    /// Tracks whose best encoding or publisher changed.
    pub(super) reaim: Vec<u32>,
    /// Tracks with a keyframe wanted.
    pub(super) hungry: Vec<u32>,
    /// Viewers' slots that need a keyframe.
    pub(super) starving: Vec<Starving>,
    /// Viewers with something to send from rings now.
    pub(super) behind: Vec<u32>,
    pub(super) next_keyframe_poll: Option<Instant>,
    pub(super) next_roll: Option<Instant>,
    pub(super) generation: u32,
    /// Counts publishers over all tracks: see [`Track::epoch`].
    pub(super) epoch: u32,
    /// Rooms in which somebody is heard.
    pub(super) lively: Vec<RoomId>,
    pub(super) next_speaker_tick: Option<Instant>,
    /// Slots that have begun to send a voice in this turn.
    pub(super) look_back: Vec<Subscriber>,
    /// The newest subscription at another worker.
    pub(super) subscription: u32,
    pub(super) plain_stun: StunLimiter,
    /// Viewers whose feedback was announced last, the newest first.
    pub(super) coming: [Option<u32>; 3],
    /// Packets of the datagram in hand.
    pub(super) routed: Vec<Routed>,
    /// Slots whose timers ran out.
    pub(super) due: Vec<u32>,
    pub(super) scratch: Box<[u8; 2048]>,
    /// What happened, as absolute totals.
    pub totals: Totals,
    /// What comes out.
    pub outputs: Outputs,
}

impl Core {
    /// A core without sessions.
    pub fn new(config: CoreConfig, crypto: Crypto) -> Self {
        Self {
            now: config.clock.start(),
            rng: StdRng::from_seed(config.seed),
            sessions: SessionTable::new(config.id, config.max_sessions),
            addresses: AddressTable::with_capacity(1024),
            timers: Timers::new(config.clock.start()),
            rooms: HashMap::new(),
            tracks: Slab::new(),
            track_index: HashMap::new(),
            busy: Vec::new(),
            reaim: Vec::new(),
            hungry: Vec::new(),
            starving: Vec::new(),
            behind: Vec::new(),
            next_keyframe_poll: None,
            next_roll: None,
            generation: 0,
            epoch: 0,
            lively: Vec::new(),
            next_speaker_tick: None,
            look_back: Vec::new(),
            subscription: 0,
            plain_stun: StunLimiter::new(config.clock.start()),
            coming: [None; 3],
            routed: Vec::new(),
            due: Vec::new(),
            scratch: Box::new([0; 2048]),
            totals: Totals::default(),
            outputs: Outputs {
                arena: SendArena::new(ARENA_BYTES, ARENA_RUNS),
                events: Vec::new(),
                mesh: Vec::new(),
            },
            crypto,
            config,
        }
    }

    /// Takes one input in. [`turn`](Self::turn) must follow before time passes;
    /// several inputs before it are better than one.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        self.now = now;
        match input {
            Input::Datagram(datagram) => self.datagram(now, datagram),
            Input::TcpClosed { remote } => self.tcp_closed(remote),
            Input::Command(command) => self.command(now, command),
            Input::Mesh { from, message } => self.mesh(now, from, message),
        }
    }

    /// Fans out what arrived, runs due timers, and leaves the rest in
    /// [`outputs`](Self::outputs).
    pub fn turn(&mut self, now: Instant, flush: &mut dyn Flush) {
        self.now = now;
        self.aim_viewers();
        self.fan_out(now, flush);
        self.run_timers(now, flush);
        self.tick_speakers(now);
        self.look_back(now, flush);
        self.aim_viewers();
        if self.next_roll.is_none_or(|at| at <= now) {
            self.next_roll = Some(now + ROLL);
            self.roll(now);
            self.aim_viewers();
        }
        self.feed_starving(now);
        self.send_backlogs(now, flush);
        self.poll_keyframes(now, flush);
        self.send_rest(flush);
    }

    fn send_rest(&mut self, flush: &mut dyn Flush) {
        if !self.outputs.arena.is_empty() {
            flush.flush(&mut self.outputs.arena);
        }
    }

    /// When [`turn`](Self::turn) wants to be called at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        let roll = self.next_roll.filter(|_| !self.tracks.is_empty());
        [
            self.timers.next_deadline(),
            self.next_keyframe_poll,
            self.next_speaker_tick,
            roll,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// How many sessions, rooms, tracks and addresses are held: all zero when
    /// everybody has gone.
    pub fn held(&self) -> Held {
        Held {
            sessions: self.sessions.len(),
            rooms: self.rooms.len(),
            tracks: self.tracks.len(),
            addresses: self.addresses.len(),
            timers: self.timers.len(),
        }
    }

    /// Runs `work` for one session; should it panic, only that session ends.
    pub(super) fn guarded(
        &mut self,
        now: Instant,
        slot: u32,
        work: impl FnOnce(&mut Self) -> Result<(), CloseReason>,
    ) {
        let outcome = catch_unwind(AssertUnwindSafe(|| work(self)));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => self.close(now, slot, reason, true),
            Err(_) => self.failed(now, slot),
        }
    }

    /// Closes a session whose work has panicked.
    pub(super) fn failed(&mut self, now: Instant, slot: u32) {
        tracing::error!(slot, "a session failed internally and is closed");
        self.routed.clear();
        self.close(now, slot, CloseReason::Internal, false);
    }

    pub(super) fn event(&mut self, event: Event) {
        self.outputs.events.push(event);
    }

    pub(super) fn drop_for(&mut self, reason: DropReason) {
        self.totals.drops.add(reason);
    }

    /// Makes sure that the session's timer runs at `at` or earlier.
    pub(super) fn wake_at(&mut self, key: SessionKey, at: Instant) {
        let Some(session) = self.sessions.get_mut(key.slot) else {
            return;
        };
        if session.scheduled.is_none_or(|scheduled| at < scheduled) {
            session.scheduled = Some(at);
            self.timers.schedule(key.slot, key.generation, at);
        }
    }
}

#[cfg(test)]
#[path = "core_tests.rs"]
pub(super) mod tests;
