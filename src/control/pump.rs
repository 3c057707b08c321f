//! The event pump: what workers say, applied in their order.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::Control;
use super::messages::{CloseReason, Event, Refusal, Reply};
use super::pending::Waiting;
use super::rooms::Seat;
use super::session::{Activity, Session};
use crate::units::{RequestId, SessionKey, WorkerId};

/// How often empty rooms and ended sessions are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// How often loads are sampled for placement.
const LOAD_INTERVAL: Duration = Duration::from_secs(5);

impl Control {
    /// Applies the workers' events until their channel closes. One task runs
    /// this for as long as the server lives.
    pub async fn run(self, mut events: mpsc::Receiver<(WorkerId, Event)>) {
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        let mut load = tokio::time::interval(LOAD_INTERVAL);
        load.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some((worker, event)) => self.on_event(worker, event),
                    None => return,
                },
                _ = sweep.tick() => self.0.sweep(Instant::now()),
                _ = load.tick() => self.sample_loads(),
            }
        }
    }

    /// Refreshes the loads when there is a choice to make by them.
    fn sample_loads(&self) {
        if self.0.workers.len() > 1 && self.session_count() > 0 {
            let control = self.clone();
            // Not awaited here: the snapshots come through this very pump.
            tokio::spawn(async move {
                control.snapshots(LOAD_INTERVAL / 2).await;
            });
        }
    }

    pub(super) fn on_event(&self, worker: WorkerId, event: Event) {
        match event {
            Event::Reply { request, reply } => self.on_reply(worker, request, reply),
            Event::Connected { key } => {
                if let Some(session) = self.by_key(key) {
                    session.set_connected();
                    info!(session = %session.log_id(), room = %session.room_name, worker = worker.0, "connected");
                }
            }
            Event::Closed { key, reason } => self.on_closed(key, reason),
            Event::TrackCodec { key, kind, codec } => {
                if let Some(session) = self.by_key(key) {
                    session.set_actual_codec(kind, codec);
                    debug!(session = %session.log_id(), room = %session.room_name, %kind, %codec, "track");
                }
            }
            Event::ViewerActive { key } => {
                if let Some(session) = self.by_key(key) {
                    session.set_activity(Activity::Active);
                    session.layers_changed();
                    self.grant_early_wish(&session);
                }
            }
            Event::SlotsChanged { key, slots } => {
                if let Some(session) = self.by_key(key) {
                    session.set_slots(slots);
                }
            }
            Event::LayersChanged { key } => {
                if let Some(session) = self.by_key(key) {
                    session.layers_changed();
                }
            }
            Event::ViewerInactive { key, why } => {
                if let Some(session) = self.by_key(key) {
                    session.set_activity(Activity::Inactive(why));
                    session.layers_changed();
                    debug!(session = %session.log_id(), room = %session.room_name, ?why, "viewer inactive");
                }
            }
        }
    }

    fn by_key(&self, key: SessionKey) -> Option<Arc<Session>> {
        self.0.by_key.get(&key).map(|entry| entry.value().clone())
    }

    fn on_reply(&self, worker: WorkerId, request: RequestId, reply: Reply) {
        match (self.0.pending.take(request), reply) {
            (
                Some(Waiting::Open {
                    session,
                    seat,
                    tell,
                    ..
                }),
                Reply::Opened { key, local },
            ) => {
                let taken_over = self.register(&session, &seat, key);
                if tell.send(Ok(local)).is_err() {
                    // Its client has gone between the reply and now.
                    self.close(&session, CloseReason::Deleted);
                }
                if let Some(old) = taken_over {
                    info!(session = %old.log_id(), by = %session.log_id(), room = %session.room_name, "publisher taken over");
                    self.close(&old, CloseReason::TakenOver);
                }
            }
            (
                Some(Waiting::Open {
                    seat, worker, tell, ..
                }),
                reply,
            ) => {
                self.0.give_back(worker, &seat);
                refuse(tell, reply);
            }
            (
                Some(Waiting::Restart {
                    session,
                    remote,
                    tag,
                    tell,
                }),
                Reply::Restarted { ice },
            ) => {
                session.restarted(tag, remote);
                info!(session = %session.log_id(), room = %session.room_name, "ICE restarted");
                // Whether or not the client still waits, the new generation holds.
                let _ = tell.send(Ok(ice));
            }
            (Some(Waiting::Restart { tell, .. }), reply) => refuse(tell, reply),
            (Some(Waiting::Done { tell }), Reply::LayersChosen | Reply::Answered) => {
                let _ = tell.send(Ok(()));
            }
            (Some(Waiting::Done { tell }), reply) => refuse(tell, reply),
            (Some(Waiting::Snapshot { tell }), Reply::Snapshot(snapshot)) => {
                let _ = tell.send(snapshot);
            }
            (Some(Waiting::Snapshot { .. }), reply) => {
                warn!(worker = worker.0, ?reply, "unexpected reply to a snapshot");
            }
            // The request was given up: nobody will ever use that session.
            (None, Reply::Opened { key, .. }) => {
                warn!(worker = worker.0, session_key = %key, "a session opened too late");
                self.close_orphan(key);
            }
            (None, _) => debug!(worker = worker.0, "a reply came too late"),
        }
    }

    /// Enters an open session into the registry and its room. Returns the
    /// publisher that it takes over.
    fn register(
        &self,
        session: &Arc<Session>,
        seat: &Seat,
        key: SessionKey,
    ) -> Option<Arc<Session>> {
        session.set_key(key);
        self.0.by_key.insert(key, session.clone());
        self.0
            .sessions
            .insert(session.id().clone(), session.clone());
        let taken_over = self.0.rooms().confirm(seat, session);
        info!(
            session = %session.log_id(), room = %session.room_name,
            identity = session.identity.as_deref().unwrap_or(""),
            direction = ?session.direction(), worker = key.worker.0, client = %session.client, "session open"
        );
        taken_over
    }

    /// Ends a session that the registry does not know.
    fn close_orphan(&self, key: SessionKey) {
        let reason = CloseReason::Internal;
        // When the queue is full even now, the worker's own connect time-out ends the session.
        let _ = self.send(key.worker, super::messages::Command::Close { key, reason });
    }

    fn on_closed(&self, key: SessionKey, reason: CloseReason) {
        let Some((_, session)) = self.0.by_key.remove(&key) else {
            return;
        };
        if let Some(worker) = self.0.worker(key.worker) {
            worker.sessions.fetch_sub(1, Ordering::AcqRel);
        }
        self.0.retire(&session, reason);
        info!(
            session = %session.log_id(), room = %session.room_name, reason = reason.as_str(),
            seconds = session.created.elapsed().as_secs(), "session closed"
        );
        self.0.ended.notify_waiters();
    }
}

/// Passes a refusal on; any other reply is the worker's mistake and counts as one.
fn refuse<T>(tell: tokio::sync::oneshot::Sender<Result<T, Refusal>>, reply: Reply) {
    let refusal = match reply {
        Reply::Refused(refusal) => refusal,
        _ => Refusal::Setup,
    };
    let _ = tell.send(Err(refusal));
}
