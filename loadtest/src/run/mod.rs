//! A run: bring everyone up step by step, measure, judge, and take all down.

mod abuse;
mod join;
mod program;
mod progress;
mod search;
mod state;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::engine::{publisher, receiver};
use crate::measure::window::Window;
use crate::report::figures::{Around, Machine};
use crate::report::{Figures, Report, Step};
use crate::scenario::types::{Scenario, Shape};
use crate::server::{self, Placement, ServerReport, Stretch, Usage};
use crate::signal::client::Trust;
use crate::verdict::{self, Verdict};
use crate::{media::MediaError, sys};
use state::State;

pub use search::search;

/// After the publishers have stopped, what is on its way may still come.
const DRAIN: Duration = Duration::from_millis(700);
/// How long the end of sessions may take.
const GOODBYE: Duration = Duration::from_secs(10);

/// Why a run could not be made at all. Trouble with the server is no such
/// reason: that is a figure.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The target is no URL this tool can use.
    #[error("bad target {0}: an http:// or https:// URL is needed")]
    Target(String),
    /// A socket or thread could not be made.
    #[error("the generator could not start: {0}")]
    Io(#[from] std::io::Error),
    /// The media can't be sent.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The system allows fewer sockets than the scenario takes.
    #[error(
        "{needed} sockets are needed, but the limit of open files is {limit}: raise it \
         (ulimit -n) or run fewer viewers"
    )]
    OpenFiles {
        /// One for each session, and some.
        needed: u64,
        /// The hard limit.
        limit: u64,
    },
    /// HTTP could not be set up.
    #[error("the HTTP client could not start: {0}")]
    Http(String),
    /// DTLS could not be set up.
    #[error("DTLS could not start: {0}")]
    Dtls(#[from] crate::wire::transport::Failure),
    /// No publisher could be connected, so there was nothing to view.
    #[error("no publisher could be connected: {0}")]
    NoPublisher(String),
    /// The server to watch is not there.
    #[error("can't watch process {pid}: {source}")]
    Pid {
        /// The process.
        pid: u32,
        /// Why.
        source: std::io::Error,
    },
}

/// What to run, against what.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The scenario.
    pub scenario: Scenario,
    /// Base URL of the server.
    pub target: String,
    /// Process of the server, when it runs here.
    pub pid: Option<u32>,
    /// Bearer token for every request; `{room}` and `{publisher}` in it stand for
    /// names.
    pub token: Option<String>,
    /// How far `https` targets are trusted.
    pub trust: Trust,
    /// Where server and generator run, for the report.
    pub placement: Placement,
    /// Show progress on the terminal.
    pub progress: bool,
}

impl Plan {
    /// A scenario against a server, with nothing special.
    pub fn new(scenario: Scenario, target: impl Into<String>) -> Self {
        Self {
            scenario,
            target: target.into(),
            pid: None,
            token: None,
            trust: Trust::default(),
            placement: Placement::default(),
            progress: false,
        }
    }
}

/// Descriptors that a scenario takes: a socket for each session, HTTP connections,
/// and what the process needs anyway.
fn sockets(scenario: &Scenario) -> u64 {
    let viewers = scenario.step_sizes().into_iter().max().unwrap_or(0);
    let publishers = scenario.publishers();
    let abuse = scenario.abuse.slow_requests + scenario.abuse.half_bodies;
    u64::from(viewers)
        + u64::from(publishers)
        + u64::from(abuse)
        + 2 * scenario.http.concurrency as u64
        + 64
}

/// Runs a plan on the current tokio runtime.
pub async fn run(plan: &Plan) -> Result<Report, RunError> {
    let (needed, limit) = (sockets(&plan.scenario), sys::raise_open_files()?);
    if needed > limit {
        return Err(RunError::OpenFiles { needed, limit });
    }
    let started_at = sys::realtime_ns() / 1_000_000_000;
    let idle = match plan.pid {
        Some(pid) => Some(server::usage(pid).map_err(|source| RunError::Pid { pid, source })?),
        None => None,
    };
    let mut state = State::start(plan)?;
    state.idle = idle;
    state.join_publishers().await?;
    let mut steps: Vec<Step> = Vec::new();
    let mut total = (Window::default(), Window::default());
    let mut whole = Whole::default();
    let sizes = plan.scenario.step_sizes();
    let last = sizes.len();
    for (i, size) in sizes.into_iter().enumerate() {
        state.join_viewers(size).await;
        let (step, window, joins, around) = state.measure(i + 1 == last).await;
        let stop = step.limit_broken.is_some() || step.inconclusive.is_some();
        total.0.add(&window);
        total.1.add(&joins);
        whole.add(&around, &step.figures);
        steps.push(step);
        if stop && plan.scenario.ramp.stop_at_limit && plan.scenario.ramp.shape == Shape::Steps {
            break;
        }
    }
    state.finish().await;
    let (verdict, reason, limit_broken, highest) = verdict::judge(&steps);
    let figures = whole.figures(&total, &steps);
    Ok(Report {
        verdict: verdict.name().to_owned(),
        limit_broken,
        reason,
        highest_load_held: highest,
        scenario: plan.scenario.name.clone(),
        target: plan.target.clone(),
        started_at,
        machine: Machine::here(),
        placement: plan.placement.clone(),
        floor: None,
        figures,
        steps,
        series: std::mem::take(&mut state.series),
        settings: plan.scenario.clone(),
    })
}

/// True when a report's verdict lets a script go on.
pub fn passed(report: &Report) -> bool {
    report.verdict == Verdict::Pass.name()
}

/// Sums over all steps.
#[derive(Default)]
struct Whole {
    around: Around,
    server: Vec<(f64, ServerReport)>,
}

impl Whole {
    fn add(&mut self, around: &Around, figures: &Figures) {
        let w = &mut self.around;
        w.seconds += around.seconds;
        w.planned_sends += around.planned_sends;
        w.cpu_ns += around.cpu_ns;
        w.viewers = around.viewers;
        w.connected = around.connected;
        w.publishers = around.publishers;
        w.publishers_expected = around.publishers_expected;
        w.http_errors.clone_from(&around.http_errors);
        w.abuse.clone_from(&around.abuse);
        w.fully_checking = around.fully_checking;
        w.tracks = around.tracks;
        if let Some(server) = &figures.server {
            self.server.push((around.seconds, server.clone()));
        }
    }

    fn figures(self, total: &(Window, Window), steps: &[Step]) -> Figures {
        // The server's rates are averaged by time; its memory is the last one.
        let seconds: f64 = self.server.iter().map(|(s, _)| s).sum();
        let mean = |value: fn(&ServerReport) -> f64| {
            let sum: f64 = self.server.iter().map(|(s, r)| s * value(r)).sum();
            sum / seconds.max(1e-9)
        };
        let server = self.server.last().map(|(_, last)| {
            let packets: u64 = steps.iter().map(|s| s.figures.forwarded_packets).sum();
            let cores = mean(|r| r.cpu_cores);
            let worst = |w: f64, (_, r): &(f64, ServerReport)| w.max(r.foreign_cores_worst_second);
            ServerReport {
                cpu_cores: cores,
                cpu_us_per_forwarded_packet: if packets == 0 {
                    0.0
                } else {
                    cores * seconds * 1e6 / packets as f64
                },
                waited_ms_per_second: mean(|r| r.waited_ms_per_second),
                foreign_cores: mean(|r| r.foreign_cores),
                stolen_cores: mean(|r| r.stolen_cores),
                foreign_cores_worst_second: self.server.iter().fold(0.0, worst),
                ..last.clone()
            }
        });
        Figures::new(&total.0, &total.1, self.around, server)
    }
}

impl State<'_> {
    /// Waits, measures for the scenario's time and judges.
    async fn measure(&mut self, last: bool) -> (Step, Window, Window, Around) {
        let s = &self.plan.scenario;
        self.pass(Duration::from_secs_f64(s.settle_seconds)).await;
        // Readings stand just behind the changes of phase at both ends, so that CPU
        // time and packets are of the same stretch.
        let joins_phase = self.next_phase();
        let (before, cpu, start) = (self.usage(), sys::process_cpu_ns(), Instant::now());
        self.worst_second = 0.0;
        let sent_from = self.publishing();
        // Who comes later joins while CPU time is measured.
        let there = self.decoded();
        self.churn(Duration::from_secs_f64(s.seconds)).await;
        let phase = self.next_phase();
        let after = self.usage();
        let seconds = start.elapsed().as_secs_f64();
        let cpu_ns = sys::process_cpu_ns() - cpu;
        // Who came last may still be on the way; nobody else is waited for again, since what
        // is sent meanwhile counts as expected.
        if s.churn.viewers_per_second > 0.0 {
            self.await_joins().await;
        }
        let (viewers, tracks) = (self.wanted, self.tracks());
        let mut connected = self.decoded();
        if s.churn.viewers_per_second <= 0.0 {
            connected = connected.min(there);
        }
        // Of those that leave and come back, some are always away.
        let publishers = self.publishing();
        let publishers_expected = match s.churn.publishers_per_second > 0.0 {
            true => publishers,
            false => u64::from(s.publishers()),
        };
        if last {
            self.settle_accounts().await;
        }
        // Windows of the phase are on their way for a moment.
        self.pass(Duration::from_millis(100)).await;
        let mut window = self.take_phase(phase);
        let mut joins = self.take_up_to(joins_phase);
        joins.add_joins(&window);
        if last {
            let end = self.take_phase(phase + 1);
            joins.add_joins(&end);
            window.worst_track_ppm = window.worst_track_ppm.max(end.worst_track_ppm);
            window.expected_packets = window.expected_packets.wrapping_add(end.expected_packets);
            window.lost_packets = window.lost_packets.wrapping_add(end.lost_packets);
            window.freezes += end.freezes;
            window.link_freezes += end.link_freezes;
            window.longest_gap_ns = window.longest_gap_ns.max(end.longest_gap_ns);
        }
        let around = Around {
            seconds,
            viewers: u64::from(viewers),
            connected,
            publishers,
            publishers_expected,
            planned_sends: self.planned_sends(seconds) * sent_from.min(self.publishing()) as f64,
            cpu_ns,
            http_errors: self.http_errors.clone(),
            abuse: self.abuse.clone(),
            fully_checking: self.fully_checking(),
            tracks,
        };
        let stretch = Stretch {
            seconds,
            packets: (window.forwarded_packets as i64).max(0) as u64,
            sessions: self.decoded() + self.publishing(),
            generator_ns: cpu_ns,
        };
        let server = self.server_report(before.as_ref(), after.as_ref(), stretch);
        let figures = Figures::new(&window, &joins, around.clone(), server);
        let limits = verdict::broken(&figures, &self.plan.scenario.limits);
        let disturbed = verdict::disturbed(&figures);
        let threads = self.plan.scenario.generator.receive_threads;
        let step = Step {
            inconclusive: self
                .broken_down()
                .or_else(|| {
                    verdict::bottleneck(&figures, threads)
                        .filter(|_| !self.plan.scenario.media.silent)
                })
                .or_else(|| verdict::excused(&limits, disturbed.as_deref())),
            limit_broken: limits.first().map(ToString::to_string),
            limits_broken: limits.iter().map(ToString::to_string).collect(),
            disturbed,
            figures,
        };
        (step, window, joins, around)
    }

    fn usage(&self) -> Option<Usage> {
        self.plan.pid.and_then(|pid| server::usage(pid).ok())
    }

    fn server_report(
        &self,
        before: Option<&Usage>,
        after: Option<&Usage>,
        stretch: Stretch,
    ) -> Option<ServerReport> {
        let mut report = server::difference(self.idle.as_ref()?, before?, after?, stretch);
        report.foreign_cores_worst_second = self.worst_second;
        if let Some(ramp) = &self.ramp {
            (report.cpu_us_per_join, report.cpu_us_per_join_and_wait) =
                ramp.us_per_join(report.cpu_cores, stretch.sessions);
        }
        Some(report)
    }

    /// Stops the publishers, waits for what is on its way and lets the receivers
    /// count what never came.
    async fn settle_accounts(&mut self) {
        self.publisher.send(publisher::Command::Mute);
        let stopped = sys::realtime_ns();
        self.pass(DRAIN).await;
        for receiver in &self.receivers {
            receiver.send(receiver::Command::Complete(stopped));
        }
    }

    /// Takes everything down.
    async fn finish(&mut self) {
        self.stopping = true;
        self.publisher.send(publisher::Command::Stop);
        for receiver in &self.receivers {
            receiver.send(receiver::Command::Stop);
        }
        self.delete_all(GOODBYE).await;
        self.wait_for_threads(GOODBYE).await;
        self.progress.finish();
    }

    fn next_phase(&self) -> u32 {
        let before = self.shared.phase.fetch_add(1, Ordering::AcqRel);
        self.publisher.send(publisher::Command::Phase);
        for receiver in &self.receivers {
            receiver.send(receiver::Command::Phase);
        }
        before
    }
}
