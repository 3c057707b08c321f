//! Who is there, and what the threads have told so far.

mod joining;
mod ramp;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use reqwest::Url;
use tokio::sync::{Semaphore, mpsc};

use super::join::{self, Joined, Wanted};
use super::progress::Progress;
use super::{Plan, RunError, program::program};
use crate::engine::publisher;
use crate::engine::receiver;
use crate::engine::{Event, Mailbox, Shared, Streams, mailbox};
use crate::measure::window::Window;
use crate::report::Sample;
use crate::report::figures::TrackReport;
use crate::scenario::types::{ApiKind, Scenario, Tracks};
use crate::server::{self, Stretch, Usage};
use crate::signal::client::{HttpError, Signalling};
use crate::signal::janus::Janus;
use crate::signal::negotiated::Medium;
use crate::signal::{Api, Resource};
use crate::sys;
use ramp::Ramp;

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
    /// Participants whose sounds and pictures have come.
    tracks: Tracks,
    /// It stops reading once it has decoded something.
    deaf: bool,
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
    /// What the last ramp cost the server, where that is known.
    pub(super) ramp: Option<Ramp>,
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
    /// The threads are told to stop.
    pub(super) stopping: bool,
    /// A thread that ended before.
    broken_down: Option<String>,
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
        spawn("lt-publish", &shared, move || thread.run())?;
        if s.media.silent {
            publisher.send(publisher::Command::Mute);
        }
        let rest = Duration::from_micros(s.generator.rest_us);
        let mut receivers = Vec::new();
        for i in 0..s.generator.receive_threads {
            let (mail, inbox) = mailbox()?;
            let thread = receiver::Thread::new(shared.clone(), inbox, s.generator.gro, rest)?;
            let name = format!("lt-receive-{i}");
            spawn(&name, &shared, move || thread.run())?;
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
            ramp: None,
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
            stopping: false,
            broken_down: None,
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

    /// Viewers that have all they wait for: of a room, a picture and a sound of everyone.
    pub(super) fn ready(&self) -> u64 {
        if !self.scenario.watches_rooms() {
            return self.decoded();
        }
        let each = self.scenario.tracks_of_each();
        let all = |s: &Session| s.tracks.audio >= each.audio && s.tracks.video >= each.video;
        let silent = self.scenario.media.silent;
        let there = |s: &Session| if silent { s.connected } else { s.decoded };
        let ready = |s: &&Session| s.wanted.sending.is_none() && there(s) && (s.deaf || all(s));
        self.sessions.values().filter(ready).count() as u64
    }

    /// Tracks that should have come to viewers, and those that have.
    pub(super) fn tracks(&self) -> TrackReport {
        let each = self.scenario.tracks_of_each();
        let mut out = TrackReport {
            audio_expected: u64::from(each.audio) * u64::from(self.wanted),
            video_expected: u64::from(each.video) * u64::from(self.wanted),
            ..TrackReport::default()
        };
        for s in self
            .sessions
            .values()
            .filter(|s| s.wanted.sending.is_none())
        {
            // Who reads no more can't tell.
            let got = if s.deaf && s.decoded { each } else { s.tracks };
            out.audio_delivered += u64::from(got.audio.min(each.audio));
            out.video_delivered += u64::from(got.video.min(each.video));
        }
        out
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
            Event::Track(id, medium) => {
                if let Some(s) = self.sessions.get_mut(&id) {
                    match medium {
                        Medium::Audio => s.tracks.audio += 1,
                        Medium::Video => s.tracks.video += 1,
                    }
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
            Event::Stopped(thread) => {
                self.stopped += 1;
                if !self.stopping {
                    self.broken_down.get_or_insert(thread);
                }
            }
        }
    }

    fn sample(&mut self) {
        let now = Instant::now();
        let seconds = (now - self.since_sample.0).as_secs_f64();
        let cpu = sys::process_cpu_ns();
        let usage = self.plan.pid.and_then(|pid| server::usage(pid).ok());
        let stretch = Stretch {
            seconds,
            packets: (self.since_sample.1.forwarded_packets as i64).max(0) as u64,
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

    /// Why nothing that was measured counts, if a thread of ours has ended.
    pub(super) fn broken_down(&self) -> Option<String> {
        let thread = self.broken_down.as_ref()?;
        Some(format!("the generator's thread {thread} broke down"))
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

/// Tells of the end of a thread, however it comes.
struct Last(tokio::sync::mpsc::UnboundedSender<Event>, String);

impl Drop for Last {
    fn drop(&mut self) {
        let _ = self.0.send(Event::Stopped(std::mem::take(&mut self.1)));
    }
}

fn spawn(name: &str, shared: &Shared, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let last = Last(shared.events.clone(), name.to_owned());
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let _last = last;
            run();
        })
        .map(drop)
}
