//! Rooms and who is in them: a plain table without clocks, queues or locks.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::error::ControlError;
use super::messages::{SessionRole, ViewTarget};
use super::open::Join;
use super::session::Session;
use crate::units::{ParticipantId, RoomId, WorkerId};
use room::{Participant, Publisher, Room, worker_of};

mod room;
mod space;
#[cfg(test)]
mod tests;

/// Limits and habits of rooms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomSettings {
    /// Rooms in total, empty ones that are still remembered included.
    pub max_rooms: usize,
    /// Participants of one room that publish; as many more may be awaited by viewers.
    pub max_participants: usize,
    /// Viewers of one room.
    pub max_viewers: usize,
    /// How long a room or participant that nobody uses keeps its number.
    pub empty_timeout: Duration,
    /// Viewers may come before the publisher.
    pub wait_for_publisher: bool,
    /// Anybody makes a room by coming first; otherwise only who may create rooms.
    pub auto_create: bool,
}

impl Default for RoomSettings {
    fn default() -> Self {
        Self {
            max_rooms: 5000,
            max_participants: 200,
            max_viewers: usize::MAX,
            empty_timeout: Duration::from_secs(60),
            wait_for_publisher: true,
            auto_create: true,
        }
    }
}

/// What a newcomer wants in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want<'a> {
    /// Publish as this identity.
    Publish(&'a str),
    /// Watch the room.
    ViewRoom,
    /// Watch this identity.
    ViewParticipant(&'a str),
}

impl<'a> Want<'a> {
    /// What a request to join wants.
    pub fn of(join: &'a Join) -> Self {
        match join {
            Join::Publish(identity) => Self::Publish(identity),
            Join::View(None) => Self::ViewRoom,
            Join::View(Some(identity)) => Self::ViewParticipant(identity),
        }
    }
}

/// A place in a room, held for a session that is about to open.
#[derive(Debug, Clone)]
pub struct Seat {
    /// The room.
    pub room: RoomId,
    /// Its name.
    pub room_name: Arc<str>,
    /// Who publishes, or who is watched.
    pub identity: Option<Arc<str>>,
    /// What the session will do.
    pub role: SessionRole,
}

/// A seat and what is to be known to fill it.
#[derive(Debug)]
pub(crate) struct Joined {
    pub seat: Seat,
    /// The worker that it must be on: a publisher that takes over stays with its viewers.
    pub pinned: Option<WorkerId>,
    /// The worker that it should be on.
    pub home: Option<WorkerId>,
    /// Whom a viewer will see, when somebody publishes.
    pub publisher: Option<Arc<Session>>,
}

/// Who publishes in a room, for the API.
#[derive(Debug, Clone)]
pub(crate) struct RoomRow {
    pub id: RoomId,
    pub name: Arc<str>,
    pub viewers: usize,
    /// Publishing participants in order of arrival.
    pub publishers: Vec<(Arc<str>, Arc<Session>)>,
}

/// All rooms.
#[derive(Debug)]
pub(crate) struct Rooms {
    settings: RoomSettings,
    rooms: HashMap<RoomId, Room>,
    names: HashMap<Arc<str>, RoomId>,
    /// When to look whether a room, or someone in it, can be forgotten.
    due: VecDeque<(Instant, RoomId)>,
    next_room: u64,
    next_participant: u64,
    next_order: u64,
}

impl Rooms {
    pub fn new(settings: RoomSettings) -> Self {
        Self {
            settings,
            rooms: HashMap::new(),
            names: HashMap::new(),
            due: VecDeque::new(),
            next_room: 1,
            next_participant: 1,
            next_order: 1,
        }
    }

    /// Holds a place for a newcomer, who must then be confirmed or released.
    /// `may_create`: the newcomer has the right to make rooms. A failure changes nothing.
    pub fn join(
        &mut self,
        name: &str,
        want: Want<'_>,
        may_create: bool,
        now: Instant,
    ) -> Result<Joined, ControlError> {
        let publisher = self.publisher_of(name, &want);
        if !matches!(want, Want::Publish(_))
            && publisher.is_none()
            && !self.settings.wait_for_publisher
        {
            return Err(ControlError::NoPublisher);
        }
        let may_create = may_create || self.settings.auto_create;
        let id = self.room_for(name, &want, may_create, now)?;
        let next_participant = &mut self.next_participant;
        let Some(room) = self.rooms.get_mut(&id) else {
            return Err(ControlError::Setup);
        };
        let mut seated = |identity: &str| {
            let (identity, participant) = match room.participants.get_key_value(identity) {
                Some((identity, participant)) => (identity.clone(), participant.id),
                None => {
                    let identity: Arc<str> = identity.into();
                    let id = ParticipantId(*next_participant);
                    *next_participant += 1;
                    let participant = Participant {
                        id,
                        publisher: None,
                        watchers: 0,
                        pending: 0,
                        idle_since: None,
                    };
                    room.participants.insert(identity.clone(), participant);
                    (identity, id)
                }
            };
            (Some(identity), participant)
        };
        let (identity, role) = match want {
            Want::Publish(identity) => {
                let (identity, participant) = seated(identity);
                (identity, SessionRole::Publisher(participant))
            }
            Want::ViewParticipant(identity) => {
                let (identity, participant) = seated(identity);
                (
                    identity,
                    SessionRole::Viewer(ViewTarget::Participant(participant)),
                )
            }
            Want::ViewRoom => (None, SessionRole::Viewer(ViewTarget::Room)),
        };
        room.pending += 1;
        if let SessionRole::Viewer(_) = role {
            room.pending_viewers += 1;
        }
        room.idle_since = None;
        let mut pinned = None;
        if let Some(participant) = identity
            .as_ref()
            .and_then(|identity| room.participants.get_mut(identity))
        {
            participant.idle_since = None;
            match role {
                SessionRole::Publisher(_) => {
                    participant.pending += 1;
                    pinned = participant
                        .publisher
                        .as_ref()
                        .and_then(|p| worker_of(&p.session));
                }
                SessionRole::Viewer(_) => participant.watchers += 1,
            }
        }
        let home = publisher
            .as_ref()
            .and_then(worker_of)
            .or_else(|| room.home());
        Ok(Joined {
            seat: Seat {
                room: id,
                room_name: room.name.clone(),
                identity,
                role,
            },
            pinned,
            home,
            publisher,
        })
    }

    /// Whom a viewer with this wish would see now.
    fn publisher_of(&self, name: &str, want: &Want<'_>) -> Option<Arc<Session>> {
        let room = self.rooms.get(self.names.get(name)?)?;
        match want {
            Want::Publish(_) => None,
            Want::ViewRoom => room.eldest().cloned(),
            Want::ViewParticipant(identity) => room
                .participants
                .get(*identity)
                .and_then(|p| p.publisher.as_ref())
                .map(|p| p.session.clone()),
        }
    }

    /// Who publishes what a viewer asked to watch.
    pub fn watched(&self, session: &Session) -> Option<Arc<Session>> {
        let want = match &session.identity {
            Some(identity) => Want::ViewParticipant(identity),
            None => Want::ViewRoom,
        };
        self.publisher_of(&session.room_name, &want)
    }

    /// Who would be seen by whoever joins so.
    pub fn published(&self, room: &str, join: &Join) -> Option<Arc<Session>> {
        self.publisher_of(room, &Want::of(join))
    }

    /// The session is open on its worker. Returns the publisher that it takes over.
    pub fn confirm(&mut self, seat: &Seat, session: &Arc<Session>) -> Option<Arc<Session>> {
        let order = self.next_order;
        self.next_order += 1;
        let room = self.rooms.get_mut(&seat.room)?;
        room.pending = room.pending.saturating_sub(1);
        if let Some(worker) = worker_of(session) {
            room.add_member(worker);
        }
        if let SessionRole::Viewer(_) = seat.role {
            room.pending_viewers = room.pending_viewers.saturating_sub(1);
            room.viewers.send_modify(|n| *n += 1);
            return None;
        }
        let participant = room.participants.get_mut(seat.identity.as_ref()?)?;
        participant.pending = participant.pending.saturating_sub(1);
        // Who takes over keeps the place in the order: the room's viewers must not jump to somebody else.
        let order = participant.publisher.as_ref().map_or(order, |p| p.order);
        let old = participant.publisher.replace(Publisher {
            session: session.clone(),
            order,
        });
        let old = old.map(|p| p.session);
        if let Some(worker) = old.as_ref().and_then(worker_of) {
            room.remove_member(worker);
        }
        old
    }

    /// The session did not open.
    pub fn release(&mut self, seat: &Seat, now: Instant) {
        let Some(room) = self.rooms.get_mut(&seat.room) else {
            return;
        };
        room.pending = room.pending.saturating_sub(1);
        if let SessionRole::Viewer(_) = seat.role {
            room.pending_viewers = room.pending_viewers.saturating_sub(1);
        }
        if let Some(participant) = seat
            .identity
            .as_ref()
            .and_then(|identity| room.participants.get_mut(identity))
        {
            match seat.role {
                SessionRole::Publisher(_) => {
                    participant.pending = participant.pending.saturating_sub(1);
                }
                SessionRole::Viewer(_) => {
                    participant.watchers = participant.watchers.saturating_sub(1);
                }
            }
        }
        self.note_vacancy(seat.room, seat.identity.as_ref(), now);
    }

    /// An open session has ended. To be called once a session; one that was
    /// taken over has left its place already, and changes nothing.
    pub fn leave(&mut self, session: &Arc<Session>, now: Instant) {
        let Some(room) = self.rooms.get_mut(&session.room) else {
            return;
        };
        let participant = session
            .identity
            .as_ref()
            .and_then(|identity| room.participants.get_mut(identity));
        match session.role {
            SessionRole::Publisher(_) => {
                let Some(participant) = participant else {
                    return;
                };
                if !participant
                    .publisher
                    .as_ref()
                    .is_some_and(|p| Arc::ptr_eq(&p.session, session))
                {
                    return;
                }
                participant.publisher = None;
            }
            SessionRole::Viewer(_) => {
                if let Some(participant) = participant {
                    participant.watchers = participant.watchers.saturating_sub(1);
                }
                room.viewers.send_modify(|n| *n = n.saturating_sub(1));
            }
        }
        if let Some(worker) = worker_of(session) {
            room.remove_member(worker);
        }
        self.note_vacancy(session.room, session.identity.as_ref(), now);
    }

    fn note_vacancy(&mut self, id: RoomId, identity: Option<&Arc<str>>, now: Instant) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        let mut vacancy = false;
        if let Some(participant) = identity.and_then(|identity| room.participants.get_mut(identity))
            && participant.vacant()
        {
            participant.idle_since = Some(now);
            vacancy = true;
        }
        if room.vacant() {
            room.idle_since = Some(now);
            vacancy = true;
        }
        if vacancy {
            self.due.push_back((now + self.settings.empty_timeout, id));
        }
    }

    /// Forgets what has been empty for long enough.
    pub fn sweep(&mut self, now: Instant) {
        let timeout = self.settings.empty_timeout;
        let over = |since: Option<Instant>| since.is_some_and(|since| now >= since + timeout);
        while let Some((due, id)) = self.due.front().copied()
            && due <= now
        {
            self.due.pop_front();
            let Some(room) = self.rooms.get_mut(&id) else {
                continue;
            };
            room.participants
                .retain(|_, p| !(p.vacant() && over(p.idle_since)));
            if room.vacant() && over(room.idle_since) {
                let name = room.name.clone();
                self.rooms.remove(&id);
                self.names.remove(&name);
            }
        }
    }

    /// How many watch the room, and its changes.
    pub fn viewers(&self, room: RoomId) -> Option<watch::Receiver<usize>> {
        Some(self.rooms.get(&room)?.viewers.subscribe())
    }

    /// The name of a participant of a room.
    pub fn identity(&self, room: RoomId, id: ParticipantId) -> Option<Arc<str>> {
        let participants = &self.rooms.get(&room)?.participants;
        let found = participants.iter().find(|(_, p)| p.id == id)?;
        Some(found.0.clone())
    }

    /// Rooms with somebody in them, by name; the `only` one that is asked for, or all.
    pub fn rows(&self, only: Option<&str>) -> Vec<RoomRow> {
        let mut rows: Vec<RoomRow> = self
            .rooms
            .iter()
            .filter(|(_, room)| only.is_none_or(|name| *room.name == *name))
            .filter(|(_, room)| !room.members.is_empty())
            .map(|(id, room)| {
                let mut publishers: Vec<_> = room
                    .participants
                    .iter()
                    .filter_map(|(identity, p)| {
                        let publisher = p.publisher.as_ref()?;
                        Some((publisher.order, identity.clone(), publisher.session.clone()))
                    })
                    .collect();
                publishers.sort_by_key(|(order, ..)| *order);
                RoomRow {
                    id: *id,
                    name: room.name.clone(),
                    viewers: *room.viewers.borrow(),
                    publishers: publishers
                        .into_iter()
                        .map(|(_, identity, session)| (identity, session))
                        .collect(),
                }
            })
            .collect();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        rows
    }

    /// Rooms that are remembered, empty ones included.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.rooms.len()
    }
}
