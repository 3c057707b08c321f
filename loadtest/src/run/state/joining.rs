//! Who joins, leaves and comes again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::{MOST_ADDRESSES, Ramp, Session, State, TICK};
use crate::engine::link::LinkSpec;
use crate::engine::publisher::{self, NewPublisher};
use crate::engine::receiver;
use crate::engine::viewer::{Behaviour, NewViewer};
use crate::run::join::{self, Joined, Wanted};
use crate::run::{RunError, abuse};
use crate::scenario::types::{Shape, Tracks};
use crate::server;
use crate::signal::offer::Sending;

impl State<'_> {
    fn post(&mut self, room: u64, publisher: u64, sending: Option<Sending>) {
        let wanted = Wanted {
            id: self.next_id,
            room,
            publisher,
            sending,
            local_ip: self.local_ip,
        };
        self.next_id += 1;
        self.pending.insert(wanted.id, Instant::now());
        let (api, scenario) = (self.api.clone(), Arc::clone(&self.scenario));
        let (sender, permits) = (self.join_sender.clone(), Arc::clone(&self.permits));
        tokio::spawn(async move {
            // The semaphore is never closed.
            let Ok(_permit) = permits.acquire_owned().await else {
                return;
            };
            let _ = sender.send(join::join(api, &scenario, wanted).await);
        });
    }

    fn post_publisher(&mut self, room: u64, publisher: u64) {
        let mut rng = rand::rng();
        let rids: &[&str] = match self.scenario.media.layers {
            2 => &["h", "f"],
            3 => &["q", "h", "f"],
            _ => &[],
        };
        let sending = Sending {
            audio_ssrc: rng.random_range(1..u32::MAX / 2),
            video_ssrc: rng.random_range(u32::MAX / 2..u32::MAX - 8),
            rids: rids.iter().map(ToString::to_string).collect(),
        };
        self.post(room, publisher, Some(sending));
    }

    fn post_viewer(&mut self) {
        let load = &self.scenario.load;
        let publishers = u64::from(load.rooms * load.publishers);
        let at = self.next_viewer % publishers;
        self.next_viewer += 1;
        let rooms = u64::from(load.rooms);
        self.post(at % rooms, at / rooms, None);
    }

    /// Brings all publishers up.
    pub(in crate::run) async fn join_publishers(&mut self) -> Result<(), RunError> {
        let load = self.scenario.load.clone();
        for room in 0..load.rooms {
            for publisher in 0..load.publishers {
                self.post_publisher(room.into(), publisher.into());
            }
        }
        let all = u64::from(load.rooms * load.publishers);
        let end = Instant::now() + self.join_timeout();
        while self.publishing() < all && Instant::now() < end {
            self.pass(TICK).await;
            if self.pending.is_empty() && self.sessions.is_empty() {
                break;
            }
        }
        if self.publishing() == 0 {
            let why = self.http_errors.keys().next().cloned();
            return Err(RunError::NoPublisher(
                why.unwrap_or_else(|| self.last_why.clone()),
            ));
        }
        Ok(())
    }

    fn join_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.scenario.ramp.join_timeout_seconds)
    }

    /// Brings viewers up to this many, and waits until each is there or has failed.
    pub(in crate::run) async fn join_viewers(&mut self, size: u32) {
        self.doing = "joining";
        self.phase_end = None;
        let mut ramp = Ramp::begin(self.server_cpu(), self.decoded() + self.publishing());
        let rate = match self.scenario.ramp.shape {
            Shape::AtOnce => f64::INFINITY,
            Shape::Linear | Shape::Steps => self.scenario.ramp.joins_per_second,
        };
        let (start, from) = (Instant::now(), self.wanted);
        while self.wanted < size {
            let due = (start.elapsed().as_secs_f64() * rate + 1.0).min(f64::from(u32::MAX));
            while self.wanted < size && f64::from(self.wanted - from) < due {
                self.wanted += 1;
                self.post_viewer();
            }
            self.pass(TICK).await;
            ramp.there(self.decoded() + self.publishing());
        }
        while self.wanted > size {
            self.leave();
            self.wanted -= 1;
        }
        self.await_joins().await;
        let all = self.decoded() + self.publishing();
        // Where media flows, its cost would be in there.
        self.ramp = ramp
            .end(self.server_cpu(), all)
            .filter(|_| self.scenario.media.silent);
    }

    /// CPU nanoseconds that the server has used, when it runs here.
    fn server_cpu(&self) -> Option<u64> {
        server::cpu_ns(self.plan.pid?).ok()
    }

    /// Waits until each viewer is there or has failed.
    pub(in crate::run) async fn await_joins(&mut self) {
        let end = Instant::now() + self.join_timeout();
        while self.ready() + u64::from(self.gone) < u64::from(self.wanted) && Instant::now() < end {
            self.pass(TICK).await;
        }
    }

    /// Takes one viewer away, whichever comes first.
    fn leave(&mut self) {
        let viewer = self
            .sessions
            .iter()
            .find(|(_, s)| s.wanted.sending.is_none() && (s.decoded || s.connected))
            .map(|(id, _)| *id);
        if let Some(id) = viewer {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: u64) -> Option<Session> {
        let mut session = self.sessions.remove(&id)?;
        if session.wanted.sending.is_some() {
            self.publisher.send(publisher::Command::Remove(id));
        } else if let Some(receiver) = self.receivers.get(session.thread) {
            receiver.send(receiver::Command::Remove(id));
        }
        if let Some(resource) = session.resource.take() {
            let (api, errors) = (self.api.clone(), self.error_sender.clone());
            tokio::spawn(async move {
                if let Err(e) = api.end(resource).await {
                    let _ = errors.send(e);
                }
            });
        }
        Some(session)
    }

    /// Lets time pass while sessions come and go as the scenario says.
    pub(in crate::run) async fn churn(&mut self, time: Duration) {
        self.doing = "measuring";
        self.phase_end = Some((Instant::now(), time));
        let (churn, abuse) = (self.scenario.churn.clone(), self.scenario.abuse.clone());
        let abusers = abuse::start(
            &abuse,
            &self.plan.target,
            &self.api,
            &self.scenario,
            &self.media,
        );
        let start = Instant::now();
        let (mut viewers, mut publishers) = (0.0, 0.0);
        while start.elapsed() < time {
            let passed = start.elapsed().as_secs_f64();
            while viewers < (passed * churn.viewers_per_second).floor() {
                viewers += 1.0;
                self.leave();
                self.post_viewer();
            }
            while publishers < (passed * churn.publishers_per_second).floor() {
                publishers += 1.0;
                let publisher = self
                    .sessions
                    .iter()
                    .find(|(_, s)| s.wanted.sending.is_some() && s.connected)
                    .map(|(id, _)| *id);
                if let Some(session) = publisher.and_then(|id| self.remove(id)) {
                    self.post_publisher(session.wanted.room, session.wanted.publisher);
                }
            }
            let left = time.saturating_sub(start.elapsed());
            self.pass(left.min(TICK)).await;
        }
        let outcome = abusers.stop().await;
        for (kind, n) in outcome.done {
            *self.abuse.entry(kind).or_default() += n;
        }
        for (kind, n) in outcome.wrong {
            *self.http_errors.entry(kind).or_default() += n;
        }
    }

    pub(super) fn joined(&mut self, joined: Joined) {
        self.pending.remove(&joined.wanted.id);
        let wanted = joined.wanted;
        let (seed, resource) = match joined.result {
            Ok(made) => made,
            Err(e) => {
                *self.http_errors.entry(e.to_string()).or_default() += 1;
                self.gone += u32::from(wanted.sending.is_none());
                return;
            }
        };
        let id = wanted.id;
        for address in &seed.remote.candidates {
            if self.media.len() < MOST_ADDRESSES && !self.media.contains(address) {
                self.media.push(*address);
            }
        }
        let (mut thread, mut deaf) = (0, false);
        if let Some(sending) = &wanted.sending {
            let sending = sending.clone();
            self.publisher
                .send(publisher::Command::Add(Box::new(NewPublisher {
                    seed,
                    sending,
                    participant: self.participant(&wanted),
                })));
        } else {
            let behaviour;
            (behaviour, thread) = self.behaviour(&wanted);
            deaf = behaviour.stop_reading;
            self.receivers[thread].send(receiver::Command::Add(Box::new(NewViewer {
                seed,
                behaviour,
            })));
        }
        let session = Session {
            wanted,
            resource,
            connected: false,
            decoded: false,
            tracks: Tracks::default(),
            deaf,
            thread,
        };
        self.sessions.insert(id, session);
    }

    /// How the next viewer behaves, and which thread has it. Each kind is spread
    /// evenly over the others, and over the threads.
    fn behaviour(&mut self, wanted: &Wanted) -> (Behaviour, usize) {
        let (v, m) = (&self.scenario.viewer, &self.scenario.media);
        let last_of =
            |n: u64, every: u32| every > 0 && n % u64::from(every) == u64::from(every) - 1;
        let all = self.by_link[0] + self.by_link[1];
        let bad_link = last_of(all, v.bad_link_every);
        let full_check =
            self.by_link[usize::from(bad_link)].is_multiple_of(v.full_check_every.into());
        let stop_reading = last_of(all, v.stop_reading_every);
        let thread = self.by_check[usize::from(full_check)] as usize % self.receivers.len();
        let behaviour = Behaviour {
            full_check,
            nack: v.nack,
            video: m.video.then_some(m.codec),
            link: bad_link.then_some(LinkSpec {
                loss_percent: v.link_loss_percent,
                delay_ms: v.link_delay_ms,
                jitter_ms: v.link_jitter_ms,
                reorder_percent: v.link_reorder_percent,
                kbps: v.link_kbps,
                queue_ms: v.link_queue_ms,
            }),
            feedback: v.feedback,
            stop_reading,
            freeze_ns: (self.scenario.limits.freeze_ms * 1e6) as u64,
            tracks: self.scenario.tracks_of_each(),
            room: self.scenario.watches_rooms().then(|| {
                // Alone in its room it is shown itself.
                let alone = self.scenario.load.publishers == 1;
                let own = self.participant(wanted);
                if alone { u64::MAX } else { own }
            }),
        };
        self.by_link[usize::from(bad_link)] += 1;
        self.by_check[usize::from(full_check)] += 1;
        (behaviour, thread)
    }

    /// The number of a participant, of all rooms.
    fn participant(&self, wanted: &Wanted) -> u64 {
        wanted.room * u64::from(self.scenario.load.publishers) + wanted.publisher
    }

    /// Viewers so far that check everything.
    pub(in crate::run) fn fully_checking(&self) -> u64 {
        self.by_check[1]
    }
}
