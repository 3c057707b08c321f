//! Who is there, and what the threads have told so far.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use rand::RngExt;
use reqwest::Url;
use tokio::sync::{Semaphore, mpsc};

use super::join::{self, Joined, Wanted};
use super::progress::Progress;
use super::{Plan, RunError, abuse, program::program};
use crate::engine::link::LinkSpec;
use crate::engine::publisher::{self, NewPublisher};
use crate::engine::receiver;
use crate::engine::viewer::{Behaviour, NewViewer};
use crate::engine::{Event, Mailbox, Shared, Streams, mailbox};
use crate::measure::window::Window;
use crate::report::Sample;
use crate::scenario::types::{ApiKind, Scenario, Shape};
use crate::server::{self, Stretch, Usage};
use crate::signal::client::{HttpError, Signalling};
use crate::signal::janus::Janus;
use crate::signal::offer::Sending;
use crate::signal::{Api, Resource};
use crate::sys;

/// How often the run looks after timers of its own.
const TICK: Duration = Duration::from_millis(20);
/// Server addresses that garbage is sent to.
const MOST_ADDRESSES: usize = 64;
/// Points of the plots.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Session {
    wanted: Wanted,
    resource: Option<Resource>,
    connected: bool,
    decoded: bool,
    /// Which receiving thread, for a viewer.
    thread: usize,
}

pub(super) struct State<'a> {
    pub(super) plan: &'a Plan,
    pub(super) shared: Shared,
    pub(super) publisher: Mailbox<publisher::Command>,
    pub(super) receivers: Vec<Mailbox<receiver::Command>>,
    pub(super) http_errors: BTreeMap<String, u64>,
    pub(super) idle: Option<Usage>,
    pub(super) series: Vec<Sample>,
    pub(super) progress: Progress,
    /// Foreign and stolen cores in the worst second of this measurement.
    pub(super) worst_second: f64,
    /// Viewers that should be there now.
    pub(super) wanted: u32,
    scenario: Arc<Scenario>,
    api: Api,
    local_ip: IpAddr,
    events: mpsc::UnboundedReceiver<Event>,
    joins: mpsc::UnboundedReceiver<Joined>,
    join_sender: mpsc::UnboundedSender<Joined>,
    permits: Arc<Semaphore>,
    sessions: HashMap<u64, Session>,
    /// What misbehaving clients met with, by kind.
    pub(super) abuse: BTreeMap<String, u64>,
    /// Where the server takes media.
    media: Vec<SocketAddr>,
    /// Viewers by link (good, bad), of which every K-th is fully checked, and by
    /// whether they are.
    by_link: [u64; 2],
    by_check: [u64; 2],
    /// Sound packets of a publisher a second.
    audio_per_second: f64,
    errors: mpsc::UnboundedReceiver<HttpError>,
    error_sender: mpsc::UnboundedSender<HttpError>,
    /// Viewers that failed or ended: they are missing, and not waited for.
    gone: u32,
    pending: HashMap<u64, Instant>,
    next_id: u64,
    next_viewer: u64,
    phases: BTreeMap<u32, Window>,
    threads: usize,
    stopped: usize,
    started: Instant,
    since_sample: (Instant, Window, u64, Option<Usage>),
    doing: &'static str,
    /// When the measurement began, and how long it is.
    phase_end: Option<(Instant, Duration)>,
    last_why: String,
}

impl<'a> State<'a> {
    pub(super) fn start(plan: &'a Plan) -> Result<Self, RunError> {
        let s = &plan.scenario;
        let target = plan.target.trim_end_matches('/').to_owned() + "/";
        let bad = || RunError::Target(plan.target.clone());
        let url = Url::parse(&target).map_err(|_| bad())?;
        let host = url.host_str().ok_or_else(bad)?;
        let port = url.port_or_known_default().ok_or_else(bad)?;
        // A URL writes IPv6 in brackets.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let server: SocketAddr = (host, port).to_socket_addrs()?.next().ok_or_else(bad)?;
        let (token, trust) = (plan.token.clone(), &plan.trust);
        let api = match s.http.api {
            ApiKind::Whip => Signalling::new(url, token, trust).map(Api::Whip),
            ApiKind::Janus => Janus::new(url, token, trust).map(Api::Janus),
        };
        let api = api.map_err(|e| RunError::Http(e.to_string()))?;
        crate::wire::transport::local_fingerprint()?;
        let (event_sender, events) = mpsc::unbounded_channel();
        let shared = Shared {
            phase: Arc::new(AtomicU32::new(0)),
            events: event_sender,
            streams: Arc::new(Streams::default()),
        };
        let (publisher, inbox) = mailbox()?;
        let program = Arc::new(program(s)?);
        let audio_per_second = 1.0 / program.audio_interval.as_secs_f64();
        let thread = publisher::Thread::new(program, shared.clone(), inbox)?;
        spawn("lt-publish", move || thread.run())?;
        if s.media.silent {
            publisher.send(publisher::Command::Mute);
        }
        let mut receivers = Vec::new();
        for i in 0..s.generator.receive_threads {
            let (mail, inbox) = mailbox()?;
            let thread = receiver::Thread::new(shared.clone(), inbox, s.generator.gro)?;
            spawn(&format!("lt-receive-{i}"), move || thread.run())?;
            receivers.push(mail);
        }
        let (join_sender, joins) = mpsc::unbounded_channel();
        let (error_sender, errors) = mpsc::unbounded_channel();
        let now = Instant::now();
        Ok(Self {
            threads: receivers.len() + 1,
            plan,
            shared,
            publisher,
            receivers,
            http_errors: BTreeMap::new(),
            idle: None,
            series: Vec::new(),
            progress: Progress::new(plan.progress),
            worst_second: 0.0,
            phase_end: None,
            wanted: 0,
            scenario: Arc::new(s.clone()),
            api,
            local_ip: join::local_ip(server)?,
            events,
            joins,
            join_sender,
            permits: Arc::new(Semaphore::new(s.http.concurrency)),
            sessions: HashMap::new(),
            abuse: BTreeMap::new(),
            media: Vec::new(),
            by_link: [0; 2],
            by_check: [0; 2],
            audio_per_second,
            errors,
            error_sender,
            gone: 0,
            pending: HashMap::new(),
            next_id: 0,
            next_viewer: 0,
            phases: BTreeMap::new(),
            stopped: 0,
            started: now,
            since_sample: (now, Window::default(), sys::process_cpu_ns(), None),
            doing: "publishing",
            last_why: "no answer".to_owned(),
        })
    }

    /// Viewers that have decoded something and are still there; those that are
    /// connected, when there is nothing to decode.
    pub(super) fn decoded(&self) -> u64 {
        let silent = self.scenario.media.silent;
        let ready = |s: &Session| s.decoded || silent && s.connected;
        let there = |s: &&Session| s.wanted.sending.is_none() && ready(s);
        self.sessions.values().filter(there).count() as u64
    }

    /// Publishers that are connected.
    pub(super) fn publishing(&self) -> u64 {
        let there = |s: &&Session| s.wanted.sending.is_some() && s.connected;
        self.sessions.values().filter(there).count() as u64
    }

    /// Bursts that one publisher should send in so many seconds.
    pub(super) fn planned_sends(&self, seconds: f64) -> f64 {
        let m = &self.scenario.media;
        if m.silent {
            return 0.0;
        }
        let video = if m.video {
            m.fps * f64::from(m.layers)
        } else {
            0.0
        };
        let audio = if m.audio { self.audio_per_second } else { 0.0 };
        (video + audio) * seconds
    }

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
    pub(super) async fn join_publishers(&mut self) -> Result<(), RunError> {
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
    pub(super) async fn join_viewers(&mut self, size: u32) {
        self.doing = "joining";
        self.phase_end = None;
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
        }
        while self.wanted > size {
            self.leave();
            self.wanted -= 1;
        }
        self.await_joins().await;
    }

    /// Waits until each viewer is there or has failed.
    pub(super) async fn await_joins(&mut self) {
        let end = Instant::now() + self.join_timeout();
        while self.decoded() + u64::from(self.gone) < u64::from(self.wanted) && Instant::now() < end
        {
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
    pub(super) async fn churn(&mut self, time: Duration) {
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

    /// Lets time pass while events are taken.
    pub(super) async fn pass(&mut self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        loop {
            tokio::select! {
                biased;
                Some(event) = self.events.recv() => self.event(event),
                Some(joined) = self.joins.recv() => self.joined(joined),
                Some(error) = self.errors.recv() => {
                    let kind = format!("DELETE: {error}");
                    *self.http_errors.entry(kind).or_default() += 1;
                }
                () = tokio::time::sleep_until(end) => break,
            }
        }
        if self.since_sample.0.elapsed() >= SAMPLE_INTERVAL {
            self.sample();
        }
    }

    fn joined(&mut self, joined: Joined) {
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
        let mut thread = 0;
        if let Some(sending) = &wanted.sending {
            let sending = sending.clone();
            self.publisher
                .send(publisher::Command::Add(Box::new(NewPublisher {
                    seed,
                    sending,
                })));
        } else {
            let behaviour;
            (behaviour, thread) = self.behaviour();
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
            thread,
        };
        self.sessions.insert(id, session);
    }

    /// How the next viewer behaves, and which thread has it. Each kind is spread
    /// evenly over the others, and over the threads.
    fn behaviour(&mut self) -> (Behaviour, usize) {
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
        };
        self.by_link[usize::from(bad_link)] += 1;
        self.by_check[usize::from(full_check)] += 1;
        (behaviour, thread)
    }

    /// Viewers so far that check everything.
    pub(super) fn fully_checking(&self) -> u64 {
        self.by_check[1]
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Connected(id) => {
                if let Some(s) = self.sessions.get_mut(&id) {
                    s.connected = true;
                }
            }
            Event::Decoded(id) => {
                if let Some(s) = self.sessions.get_mut(&id) {
                    s.decoded = true;
                }
            }
            Event::Ended(id, why) => {
                self.last_why = why;
                if let Some(s) = self.sessions.remove(&id) {
                    self.gone += u32::from(s.wanted.sending.is_none());
                }
            }
            Event::Window { phase, window } => {
                self.since_sample.1.add(&window);
                self.phases.entry(phase).or_default().add(&window);
            }
            Event::Stopped => self.stopped += 1,
        }
    }

    fn sample(&mut self) {
        let now = Instant::now();
        let seconds = (now - self.since_sample.0).as_secs_f64();
        let cpu = sys::process_cpu_ns();
        let usage = self.plan.pid.and_then(|pid| server::usage(pid).ok());
        let stretch = Stretch {
            seconds,
            packets: self.since_sample.1.received_packets,
            sessions: 0,
            generator_ns: cpu - self.since_sample.2,
        };
        let earlier = self.since_sample.3.as_ref().or(self.idle.as_ref());
        let server = match (earlier, &usage) {
            (Some(before), Some(after)) => server::difference(before, before, after, stretch),
            _ => server::ServerReport::default(),
        };
        if self.doing == "measuring" {
            let taken = server.foreign_cores + server.stolen_cores;
            self.worst_second = self.worst_second.max(taken);
        }
        let w = &self.since_sample.1;
        let (expected, lost) = (w.expected_packets as i64, w.lost_packets as i64);
        let sample = Sample {
            at: (now - self.started).as_secs_f64(),
            viewers: self.decoded(),
            packets_per_second: w.received_packets as f64 / seconds,
            delay_p50_ms: w.delay.quantile_ms(0.5).unwrap_or(0.0),
            delay_p99_ms: w.delay.quantile_ms(0.99).unwrap_or(0.0),
            loss_percent: if expected > 0 {
                lost.max(0) as f64 * 100.0 / expected as f64
            } else {
                0.0
            },
            server_cores: server.cpu_cores,
            server_us_per_packet: server.cpu_us_per_forwarded_packet,
            server_rss_bytes: server.rss_bytes,
            foreign_cores: server.foreign_cores + server.stolen_cores,
            bits_per_second: w.received_bytes as f64 * 8.0 / seconds,
            generator_cores: (cpu - self.since_sample.2) as f64 / 1e9 / seconds,
        };
        let share = match self.phase_end {
            Some((start, time)) => start.elapsed().as_secs_f64() / time.as_secs_f64(),
            None => sample.viewers as f64 / f64::from(self.scenario.viewers().max(1)),
        };
        self.progress.show(self.doing, share, self.wanted, &sample);
        self.series.push(sample);
        self.since_sample.1.clear();
        self.since_sample.0 = now;
        self.since_sample.2 = cpu;
        self.since_sample.3 = usage;
    }

    /// The window of one phase.
    pub(super) fn take_phase(&mut self, phase: u32) -> Window {
        self.phases.remove(&phase).unwrap_or_default()
    }

    /// The windows of this phase and all before.
    pub(super) fn take_up_to(&mut self, phase: u32) -> Window {
        let later = self.phases.split_off(&(phase + 1));
        let earlier = std::mem::replace(&mut self.phases, later);
        let mut out = Window::default();
        for window in earlier.values() {
            out.add(window);
        }
        out
    }

    /// DELETEs all sessions.
    pub(super) async fn delete_all(&mut self, patience: Duration) {
        let mut tasks = tokio::task::JoinSet::new();
        for (_, session) in self.sessions.drain() {
            if let Some(resource) = session.resource {
                let (api, permits) = (self.api.clone(), Arc::clone(&self.permits));
                tasks.spawn(async move {
                    let Ok(_permit) = permits.acquire_owned().await else {
                        return Ok(());
                    };
                    api.end(resource).await
                });
            }
        }
        // What can't be deleted in time, the server's own time-outs must end.
        let _ = tokio::time::timeout(patience, async {
            while tasks.join_next().await.is_some() {}
        })
        .await;
    }

    /// Waits for the threads' last words.
    pub(super) async fn wait_for_threads(&mut self, patience: Duration) {
        let end = Instant::now() + patience;
        while self.stopped < self.threads && Instant::now() < end {
            self.pass(TICK).await;
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map(drop)
}
