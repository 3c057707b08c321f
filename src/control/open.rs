//! Opening a session: a place in a room, a worker, an answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::oneshot;

use super::error::ControlError;
use super::id::{EntityTag, SessionId};
use super::limits::SessionGuard;
use super::messages::{CloseReason, Command, OpenSession, Refusal};
use super::pending::Waiting;
use super::placement::{Load, place};
use super::rooms::{Joined, Seat, Want};
use super::session::{Session, SessionCodecs};
use super::{Control, Inner};
use crate::peer::negotiate::{AnswerContext, LocalTransport, Negotiated};
use crate::units::{MediaKind, RequestId};

/// What the peer wants in the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Join {
    /// Publish as this identity.
    Publish(String),
    /// Watch the room, or this participant of it.
    View(Option<String>),
}

/// A session that somebody wants.
#[derive(Debug)]
pub struct OpenRequest {
    /// The room's name.
    pub room: String,
    /// What to do there.
    pub join: Join,
    /// Who asks, where the token tells: a viewer of a room is not shown itself.
    pub caller: Option<String>,
    /// The right to make the room when it does not exist.
    pub may_create: bool,
    /// What was agreed on.
    pub negotiated: Negotiated,
    /// The mids of the answer's BUNDLE group, for the fragment of an ICE restart.
    pub bundle: Vec<String>,
    /// Where the request came from.
    pub client: IpAddr,
    /// Counts the session of that address for as long as it lasts.
    pub guard: Option<SessionGuard>,
}

/// A session that is open on its worker.
#[derive(Debug)]
pub struct Opened {
    /// The session.
    pub session: Arc<Session>,
    /// Our half of the transport, for the answer.
    pub local: LocalTransport,
    /// The worker's candidates and fingerprint, for the answer.
    pub context: Arc<AnswerContext>,
}

type Reply = Result<LocalTransport, Refusal>;

/// Undoes a reservation, or what became of it, when the request fails or its client goes away.
struct Reservation<'a> {
    control: &'a Control,
    worker: usize,
    request: Option<RequestId>,
    /// What the request is about, and where its reply comes.
    waiting: Option<(Arc<Session>, oneshot::Receiver<Reply>)>,
    /// Taken out when the place is settled.
    seat: Option<Seat>,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let Some(seat) = self.seat.take() else {
            return;
        };
        let inner = &self.control.0;
        // Whoever takes the request out settles it: a reply that did has
        // registered the session or given the place back.
        if self
            .request
            .is_none_or(|request| inner.pending.take(request).is_some())
        {
            inner.give_back(self.worker, &seat);
        } else if let Some((session, mut told)) = self.waiting.take() {
            // A reply that comes from now on finds nobody, and the pump ends its session;
            // one that has come is heard of by nobody else.
            told.close();
            if let Ok(Ok(_)) = told.try_recv() {
                self.control.close(&session, CloseReason::Deleted);
            }
        }
    }
}

impl Inner {
    /// Gives a place back that no session took.
    pub(super) fn give_back(&self, worker: usize, seat: &Seat) {
        if let Some(worker) = self.workers.get(worker) {
            worker.sessions.fetch_sub(1, Ordering::AcqRel);
        }
        self.admitted.fetch_sub(1, Ordering::AcqRel);
        self.rooms().release(seat, Instant::now());
    }

    /// Counts a session in, unless there are too many.
    fn admit(&self) -> Result<(), ControlError> {
        let max = self.settings.max_sessions;
        self.admitted
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                (n < max).then_some(n + 1)
            })
            .map(|_| ())
            .map_err(|_| {
                ControlError::Limit(format!(
                    "there are {max} sessions, which is the limit (limits.sessions)"
                ))
            })
    }

    /// The worker for a newcomer, counted in.
    fn place(&self, joined: &Joined) -> usize {
        let index_of = |id| self.workers.iter().position(|w| w.link.id == id);
        let worker = joined.pinned.and_then(index_of).unwrap_or_else(|| {
            let loads: Vec<Load> = self
                .workers
                .iter()
                .enumerate()
                .map(|(index, worker)| Load {
                    sessions: worker.sessions.load(Ordering::Acquire),
                    cpu: self.snapshots.cpu(index),
                })
                .collect();
            place(
                &loads,
                joined.home.and_then(index_of),
                &self.settings.placement,
            )
        });
        if let Some(worker) = self.workers.get(worker) {
            worker.sessions.fetch_add(1, Ordering::AcqRel);
        }
        worker
    }
}

impl Control {
    /// Opens a session. A failure, or dropping the future, leaves nothing
    /// behind: no place in a room, and no publisher that was taken over.
    pub async fn open(&self, mut request: OpenRequest) -> Result<Opened, ControlError> {
        let inner = &*self.0;
        if !self.accepting() {
            return Err(ControlError::ShuttingDown);
        }
        let id = SessionId::random()?;
        let tag = EntityTag::random()?;
        inner.admit()?;
        let want = Want::of(&request.join);
        let joined = inner
            .rooms()
            .join(&request.room, want, request.may_create, Instant::now())
            .inspect_err(|_| {
                inner.admitted.fetch_sub(1, Ordering::AcqRel);
            })?;
        let worker = inner.place(&joined);
        let mut reservation = Reservation {
            control: self,
            worker,
            request: None,
            waiting: None,
            seat: Some(joined.seat.clone()),
        };
        if let Some(publisher) = &joined.publisher {
            check_codecs(&publisher.codecs(), &SessionCodecs::of(&request.negotiated))?;
        }
        let session = Arc::new(Session::new(id, tag, &joined.seat, &mut request));
        let link = &inner.workers.get(worker).ok_or(ControlError::Setup)?.link;
        let (tell, told) = oneshot::channel();
        let waiting = Waiting::Open {
            session: session.clone(),
            seat: joined.seat.clone(),
            worker,
            tell,
        };
        let number = inner
            .pending
            .insert(waiting)
            .ok_or(ControlError::Overloaded("too many requests are under way"))?;
        reservation.request = Some(number);
        let command = Command::Open(Box::new(OpenSession {
            request: number,
            room: joined.seat.room,
            role: joined.seat.role,
            identity: match request.join {
                Join::Publish(_) => joined.seat.identity.clone(),
                Join::View(_) => request.caller.map(Arc::from),
            },
            negotiated: request.negotiated,
            log_id: session.log_id().clone(),
        }));
        self.send(link.id, command)?;
        let (_, told) = reservation.waiting.insert((session.clone(), told));
        let local = match inner.reply(number, told).await {
            Ok(Ok(local)) => local,
            Ok(Err(refusal)) => {
                // The pump took the request, and gave the place back.
                reservation.seat = None;
                return Err(refusal.into());
            }
            Err(late) => {
                // The time-out took the request: the place is ours to give back.
                reservation.request = None;
                return Err(late);
            }
        };
        reservation.seat = None;
        Ok(Opened {
            session,
            local,
            context: link.context.clone(),
        })
    }
}

/// Refuses a viewer that can't be sent what the publisher sends.
///
/// Until media has arrived, a publisher may send anything that it negotiated.
/// A kind that only one of the two has is no mismatch.
pub(super) fn check_codecs(
    publisher: &SessionCodecs,
    viewer: &SessionCodecs,
) -> Result<(), ControlError> {
    for kind in [MediaKind::Video, MediaKind::Audio] {
        let publishes = publisher.kind(kind).possible();
        let offered = &viewer.kind(kind).negotiated;
        if !publishes.is_empty()
            && !offered.is_empty()
            && !publishes.iter().any(|codec| offered.contains(codec))
        {
            return Err(ControlError::CodecMismatch {
                kind,
                publishes: publishes.to_vec(),
                offered: offered.clone(),
            });
        }
    }
    Ok(())
}
