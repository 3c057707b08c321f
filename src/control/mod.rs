//! The control plane: sessions, placement, rooms, commands and events (the slow path).
//!
//! [`Control`] is the only thing that talks to workers. A request goes out as
//! a [`Command`] on a worker's bounded queue; the worker's
//! [`Event`](messages::Event)s come back through one pump task, which also
//! registers and removes sessions, so that what a worker says about a session is
//! always seen in the worker's own order.

pub mod announce;
mod counter;
mod error;
pub mod events;
mod id;
mod layers;
pub mod limits;
mod link;
pub mod messages;
mod open;
mod overview;
mod pending;
mod placement;
mod pump;
mod rooms;
mod session;
mod shutdown;
mod snapshots;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use tokio::sync::{Notify, oneshot};

pub use error::ControlError;
pub use id::{EntityTag, LOG_CHARS, NoRandomness, SessionId};
pub use layers::{LayerView, LayersView, QualityView, SlotView, ViewerReport};
pub use link::{CommandSink, QueueFull, WorkerLink};
use messages::{CloseReason, Command, Refusal};
pub use open::{Join, OpenRequest, Opened};
pub use overview::{Overview, ParticipantView, RoomView, Scope};
use pending::{Pending, Waiting};
pub use placement::{Load, PlacementSettings, place};
use rooms::Rooms;
pub use rooms::{RoomSettings, Seat};
pub use session::{Activity, IceGeneration, KindCodecs, Session, SessionCodecs, Slots};
pub use snapshots::SnapshotSet;
use snapshots::Snapshots;

use crate::config::{Config, Limit};
use crate::peer::negotiate::{AnswerContext, IceCredentials};
use crate::units::{RequestId, RoomId, SessionKey, WorkerId};

/// How long a worker may take to answer by default. It answers within a turn of its
/// loop (milliseconds); a client waits 5 s (FFmpeg) to 8 s (OBS) for its answer.
const REPLY_TIMEOUT: Duration = Duration::from_secs(3);

/// How long an ended session still answers DELETE with 200, because the DTLS
/// `close_notify` of a client overtakes its DELETE.
pub const CLOSED_MEMORY: Duration = Duration::from_secs(30);

/// Ended sessions that are remembered at most; about 200 bytes each.
const MAX_CLOSED: usize = 65_536;

/// Habits and limits of the control plane.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlSettings {
    /// Sessions at a time.
    pub max_sessions: usize,
    /// How long a worker may take to answer before it counts as overloaded.
    pub reply_timeout: Duration,
    /// Rooms.
    pub rooms: RoomSettings,
    /// Placement.
    pub placement: PlacementSettings,
}

impl ControlSettings {
    /// The settings of a configuration.
    pub fn from_config(config: &Config) -> Self {
        let bound = |limit: Limit| limit.get().map_or(usize::MAX, |limit| limit as usize);
        Self {
            max_sessions: bound(config.limits.sessions),
            rooms: RoomSettings {
                max_rooms: bound(config.limits.rooms),
                max_participants: bound(config.limits.participants_per_room),
                max_viewers: bound(config.limits.viewers_per_room),
                empty_timeout: config.rooms.empty_timeout,
                wait_for_publisher: config.whep.wait_for_publisher,
                auto_create: config.rooms.auto_create,
            },
            ..Self::default()
        }
    }
}

impl Default for ControlSettings {
    fn default() -> Self {
        Self {
            max_sessions: 10_000,
            reply_timeout: REPLY_TIMEOUT,
            rooms: RoomSettings::default(),
            placement: PlacementSettings::default(),
        }
    }
}

/// The control plane's handle; clones share one state.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

struct Inner {
    settings: ControlSettings,
    workers: Vec<Worker>,
    /// Every session that is open or was lately.
    sessions: DashMap<SessionId, Arc<Session>>,
    /// Open sessions by the workers' names for them.
    by_key: DashMap<SessionKey, Arc<Session>>,
    /// Sessions that are open or about to.
    admitted: AtomicUsize,
    rooms: Mutex<Rooms>,
    pending: Pending,
    /// Ended sessions with the time to forget them.
    closed: Mutex<VecDeque<(Instant, SessionId)>>,
    snapshots: Snapshots,
    stopping: AtomicBool,
    /// Told whenever a session has ended.
    ended: Notify,
}

struct Worker {
    link: WorkerLink,
    /// Sessions there, those about to open included.
    sessions: AtomicUsize,
}

impl Control {
    /// A control plane over running workers; [`Control::run`] must be running for it to work.
    pub fn new(workers: Vec<WorkerLink>, settings: ControlSettings) -> Self {
        let count = workers.len();
        Self(Arc::new(Inner {
            workers: workers
                .into_iter()
                .map(|link| Worker {
                    link,
                    sessions: AtomicUsize::new(0),
                })
                .collect(),
            sessions: DashMap::new(),
            by_key: DashMap::new(),
            admitted: AtomicUsize::new(0),
            rooms: Mutex::new(Rooms::new(settings.rooms.clone())),
            pending: Pending::default(),
            closed: Mutex::new(VecDeque::new()),
            snapshots: Snapshots::new(count),
            stopping: AtomicBool::new(false),
            ended: Notify::new(),
            settings,
        }))
    }

    /// The session of that public id, open or lately ended.
    pub fn session(&self, id: &SessionId) -> Option<Arc<Session>> {
        self.0.sessions.get(id).map(|entry| entry.value().clone())
    }

    /// Open sessions.
    pub fn session_count(&self) -> usize {
        self.0.by_key.len()
    }

    /// Workers, those that hang included.
    pub fn worker_count(&self) -> usize {
        self.0.workers.len()
    }

    /// What the SDP of a session's worker says: fingerprint and candidates.
    pub fn context(&self, session: &Session) -> Result<Arc<AnswerContext>, ControlError> {
        let key = session.key().ok_or(ControlError::UnknownSession)?;
        let worker = self.0.worker(key.worker);
        let worker = worker.ok_or(ControlError::UnknownSession)?;
        Ok(worker.link.context.clone())
    }

    /// True until [`Control::shutdown`] begins.
    pub fn accepting(&self) -> bool {
        !self.0.stopping.load(Ordering::Acquire)
    }

    /// Restarts ICE. On failure the session goes on as it was. One at a time: the caller holds
    /// `Session::restarting` since it found that a restart is meant.
    ///
    /// Returns the server's new credentials and the new entity tag.
    pub async fn restart_ice(
        &self,
        session: &Arc<Session>,
        remote: IceCredentials,
    ) -> Result<(IceCredentials, EntityTag), ControlError> {
        let key = open_key(session)?;
        let tag = EntityTag::random()?;
        let (tell, mut told) = oneshot::channel();
        let waiting = Waiting::Restart {
            session: session.clone(),
            remote: remote.clone(),
            tag: tag.clone(),
            tell,
        };
        let request = self
            .0
            .pending
            .insert(waiting)
            .ok_or(ControlError::Overloaded("too many requests are under way"))?;
        let command = Command::RestartIce {
            request,
            key,
            ice: remote,
        };
        if let Err(full) = self.send(key.worker, command) {
            self.0.pending.take(request);
            return Err(full);
        }
        match self.0.reply(request, &mut told).await? {
            Ok(local) => Ok((local, tag)),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Ends a session. Its room forgets it at once; the worker tells when the
    /// peer connection is down. Ending an ended session is no error.
    pub fn close(&self, session: &Arc<Session>, reason: CloseReason) {
        self.0.retire(session, reason);
        if let Some(key) = session.key()
            && self.0.by_key.contains_key(&key)
        {
            self.close_on_worker(key, reason);
        }
    }

    /// Tells a worker to end a session, and tells it again while its queue is
    /// full: a lost command would leave the peer connected.
    fn close_on_worker(&self, key: SessionKey, reason: CloseReason) {
        if self
            .send(key.worker, Command::Close { key, reason })
            .is_ok()
        {
            return;
        }
        let control = self.clone();
        tokio::spawn(async move {
            while control.0.by_key.contains_key(&key) {
                tokio::time::sleep(Duration::from_millis(20)).await;
                if control
                    .send(key.worker, Command::Close { key, reason })
                    .is_ok()
                {
                    return;
                }
            }
        });
    }

    /// Makes an event stream of a viewer and returns its name.
    pub fn subscribe(
        &self,
        session: &Session,
        events: events::EventSet,
    ) -> Result<Arc<str>, events::SubscribeError> {
        events::subscribe(session, events)
    }

    /// The event stream of that name.
    pub fn event_source(&self, session: &Session, id: &str) -> Option<events::EventSource> {
        let (events, ended) = events::find(session, id)?;
        Some(events::EventSource {
            events,
            activity: session.activity(),
            viewers: self.0.rooms().viewers(session.room)?,
            layers: session.layers(),
            slots: session.slots(),
            ended,
        })
    }

    /// The sections of a room's viewer, each with the identity that it shows.
    pub fn named_slots(&self, room: RoomId, slots: &Slots) -> BTreeMap<String, Option<String>> {
        let rooms = self.0.rooms();
        let name =
            |participant: &Option<_>| Some(rooms.identity(room, (*participant)?)?.to_string());
        let named = slots.iter().map(|(mid, p)| (mid.to_string(), name(p)));
        named.collect()
    }

    /// Whether what a viewer asked to watch is published now.
    pub fn watches_somebody(&self, session: &Session) -> bool {
        self.0.rooms().watched(session).is_some()
    }

    /// Ends an event stream; false when there is none of that name.
    pub fn unsubscribe(&self, session: &Session, id: &str) -> bool {
        events::unsubscribe(session, id)
    }

    /// Sends a command that is answered by done or refused, and waits for it.
    async fn ask(
        &self,
        key: SessionKey,
        command: impl FnOnce(RequestId) -> Command,
    ) -> Result<(), ControlError> {
        let (tell, mut told) = oneshot::channel();
        let request = self
            .0
            .pending
            .insert(Waiting::Done { tell })
            .ok_or(ControlError::Overloaded("too many requests are under way"))?;
        if let Err(full) = self.send(key.worker, command(request)) {
            self.0.pending.take(request);
            return Err(full);
        }
        Ok(self.0.reply(request, &mut told).await??)
    }

    fn send(&self, worker: WorkerId, command: Command) -> Result<(), ControlError> {
        self.0
            .worker(worker)
            .ok_or(ControlError::UnknownSession)?
            .link
            .sink
            .send(command)
            .map_err(|QueueFull| ControlError::Overloaded("a worker's command queue is full"))
    }
}

impl Inner {
    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn worker(&self, id: WorkerId) -> Option<&Worker> {
        self.workers.iter().find(|w| w.link.id == id)
    }

    /// Waits for a reply and gives the request up when none comes in time.
    async fn reply<T>(
        &self,
        request: RequestId,
        told: &mut oneshot::Receiver<T>,
    ) -> Result<T, ControlError> {
        let late = ControlError::Overloaded("a worker did not answer in time");
        match tokio::time::timeout(self.settings.reply_timeout, &mut *told).await {
            Ok(told) => told.map_err(|_| late),
            // Who takes the entry out decides: if it is gone, the reply is being delivered.
            Err(_) if self.pending.take(request).is_some() => Err(late),
            Err(_) => told.await.map_err(|_| late),
        }
    }

    /// Takes a session out of its room and remembers its id for late DELETEs.
    /// Does nothing the second time.
    fn retire(&self, session: &Arc<Session>, reason: CloseReason) {
        if !session.set_closed(reason) {
            return;
        }
        let now = Instant::now();
        self.rooms().leave(session, now);
        self.admitted.fetch_sub(1, Ordering::AcqRel);
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if closed.len() == MAX_CLOSED
            && let Some((_, oldest)) = closed.pop_front()
        {
            self.sessions.remove(&oldest);
        }
        closed.push_back((now + CLOSED_MEMORY, session.id().clone()));
    }

    /// Forgets what is due: ended sessions, empty rooms.
    fn sweep(&self, now: Instant) {
        self.rooms().sweep(now);
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((due, id)) = closed.front()
            && *due <= now
        {
            self.sessions.remove(id);
            closed.pop_front();
        }
    }
}

/// The worker's name for an open session.
fn open_key(session: &Session) -> Result<SessionKey, ControlError> {
    match (session.closed(), session.key()) {
        (None, Some(key)) => Ok(key),
        _ => Err(ControlError::UnknownSession),
    }
}

impl From<Refusal> for ControlError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Full => Self::Overloaded("a worker's session table is full"),
            Refusal::UnknownSession => Self::UnknownSession,
            Refusal::Setup => Self::Setup,
            Refusal::UnknownLayer => Self::UnknownLayer,
            Refusal::UnknownMedia => Self::UnknownMedia,
        }
    }
}
