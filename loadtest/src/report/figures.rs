//! The figures of a report. Their names are an interface: scripts read them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::measure::window::{Durations, Window};
use crate::server::ServerReport;

/// The machine of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// Model of the processor.
    pub cpu: String,
    /// Its cores.
    pub cores: usize,
    /// Release of the kernel.
    pub kernel: String,
}

impl Machine {
    /// This one.
    pub fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let about = read("/proc/cpuinfo");
        let cpu = about.lines().find_map(|l| {
            let (_, model) = l.strip_prefix("model name")?.split_once(':')?;
            Some(model.trim().to_owned())
        });
        Self {
            cpu: cpu.unwrap_or_default(),
            // Not those of this process, which may be pinned to some.
            cores: about.lines().filter(|l| l.starts_with("processor")).count(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }

    /// In a sentence.
    pub fn text(&self) -> String {
        let Self { cpu, cores, kernel } = self;
        format!("{cpu}, {cores} cores, Linux {kernel}")
    }
}

/// Percentiles of a duration in milliseconds; 0 when nothing was measured
/// (`count` says so).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Percentiles {
    /// Median.
    pub p50: f64,
    /// 95 %.
    pub p95: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
    /// Largest.
    pub max: f64,
    /// How many values.
    pub count: u64,
}

impl From<&Durations> for Percentiles {
    fn from(d: &Durations) -> Self {
        let at = |share| d.quantile_ms(share).unwrap_or(0.0);
        Self {
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max: d.max_ms().unwrap_or(0.0),
            count: d.count(),
        }
    }
}

/// What the generator itself did and failed to do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GeneratorReport {
    /// Cores kept busy by the whole process.
    pub cpu_cores: f64,
    /// Cores kept busy by the threads that receive.
    pub receive_cores: f64,
    /// Cores kept busy by the thread that publishes.
    pub publish_cores: f64,
    /// Bursts that left 5 ms or more after their time.
    pub late_sends: u64,
    /// Bursts in all.
    pub sends: u64,
    /// Datagrams the kernel refused.
    pub send_failures: u64,
    /// Datagrams that full sockets of ours dropped; never charged to the server.
    pub socket_drops: u64,
    /// Freezes of our own making; never charged to the server.
    pub freezes: u64,
    /// Packets our simulated links lost; never charged to the server.
    pub simulated_losses: u64,
    /// Packets they put out of order.
    pub simulated_reorders: u64,
    /// Freezes of viewers behind them.
    pub link_freezes: u64,
    /// Packets that publishers left out on purpose.
    pub publisher_drops: u64,
    /// Viewers that check everything they get.
    pub fully_checking: u64,
    /// Sent packets, in percent of those that should have been.
    pub offered_percent: f64,
    /// Packets whose contents were checked, in percent of the received ones.
    pub checked_percent: f64,
}

/// The figures of a stretch of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// Measured seconds.
    pub seconds: f64,
    /// Viewers that were to be there.
    pub viewers: u64,
    /// Viewers that were connected and had decoded something before measuring began, and were
    /// there at its end.
    pub connected: u64,
    /// Publishers that are sending.
    pub publishers: u64,
    /// Publishers that should be.
    pub publishers_expected: u64,
    /// What viewers were to get, and got.
    pub tracks: TrackReport,
    /// RTP packets that publishers sent.
    pub sent_packets: u64,
    /// RTP packets that viewers received.
    pub received_packets: u64,
    /// Of those, packets of publishers, each once: neither padding nor repeats, nor what is not
    /// authentic. CPU time is told for each of these.
    pub forwarded_packets: u64,
    /// Received packets a second.
    pub received_packets_per_second: f64,
    /// Bits a second that viewers received, RTP headers and tags included.
    pub received_bits_per_second: f64,
    /// Packets that should have come.
    pub expected_packets: u64,
    /// Those that did not, nor were repaired.
    pub lost_packets: u64,
    /// The same in percent.
    pub loss_percent: f64,
    /// Packets that came more than once.
    pub duplicates: u64,
    /// Packets that came after newer ones.
    pub reordered: u64,
    /// From the publisher's send to the kernel's receive; `count` is the packets that those that
    /// were looked into stand for.
    pub delay_ms: Percentiles,
    /// From POST to the first complete keyframe, of those that joined since the
    /// step before.
    pub join_ms: Percentiles,
    /// From POST to the first of the last of a viewer's tracks.
    pub all_tracks_ms: Percentiles,
    /// From POST to keys.
    pub connect_ms: Percentiles,
    /// From POST to the first packet.
    pub first_packet_ms: Percentiles,
    /// Interarrival jitter.
    pub jitter_ms: Percentiles,
    /// How far apart a player would show sound and picture of one moment.
    pub av_offset_ms: Percentiles,
    /// Decodable frames.
    pub frames: u64,
    /// Gaps between decodable frames beyond the limit.
    pub freezes: u64,
    /// The longest gap.
    pub longest_gap_ms: f64,
    /// Changes of the encoding.
    pub layer_switches: u64,
    /// NACK messages of viewers.
    pub nacks: u64,
    /// Keyframe requests of viewers.
    pub plis: u64,
    /// Retransmissions received.
    pub retransmissions: u64,
    /// Gaps they filled.
    pub recovered: u64,
    /// Keyframe requests that reached publishers.
    pub keyframe_requests: u64,
    /// NACK messages that reached publishers.
    pub publisher_nacks: u64,
    /// Packets that publishers sent again.
    pub publisher_resends: u64,
    /// Transport-wide feedback messages of viewers.
    pub feedbacks: u64,
    /// Those that reached publishers.
    pub publisher_feedbacks: u64,
    /// Packets of padding only, which servers probe with.
    pub padding_packets: u64,
    /// Packets that were not authentic or not well-formed.
    pub bad_packets: u64,
    /// Sessions that ended before they should.
    pub ended_sessions: u64,
    /// Requests that failed, by kind.
    pub http_errors: BTreeMap<String, u64>,
    /// What misbehaving clients met with, by kind: all of it what a server may do.
    pub abuse: BTreeMap<String, u64>,
    /// The server, when it runs here.
    pub server: Option<ServerReport>,
    /// The generator.
    pub generator: GeneratorReport,
}

/// Tracks: a participant's sound or picture for one viewer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrackReport {
    /// Sounds that viewers were to get.
    pub audio_expected: u64,
    /// Those that came.
    pub audio_delivered: u64,
    /// Pictures that viewers were to get.
    pub video_expected: u64,
    /// Those that came and could be decoded.
    pub video_delivered: u64,
    /// Loss of the track that lost most since it came first, percent.
    pub worst_loss_percent: f64,
}

impl TrackReport {
    /// Those that came, in percent; all when none were to.
    pub fn delivered_percent(&self) -> f64 {
        match self.audio_expected + self.video_expected {
            0 => 100.0,
            expected => percent(self.audio_delivered + self.video_delivered, expected),
        }
    }
}

/// What a [`Figures`] needs besides the window.
#[derive(Debug, Clone, Default)]
pub struct Around {
    /// Measured seconds.
    pub seconds: f64,
    /// Viewers that were to be there.
    pub viewers: u64,
    /// Viewers that have decoded something.
    pub connected: u64,
    /// Publishers that send.
    pub publishers: u64,
    /// Publishers that should.
    pub publishers_expected: u64,
    /// Bursts that should have been sent in the time.
    pub planned_sends: f64,
    /// CPU time of the whole generator, nanoseconds.
    pub cpu_ns: u64,
    /// Failed requests.
    pub http_errors: BTreeMap<String, u64>,
    /// What misbehaving clients met with.
    pub abuse: BTreeMap<String, u64>,
    /// Viewers that check everything.
    pub fully_checking: u64,
    /// What viewers were to get, and got.
    pub tracks: TrackReport,
}

fn percent(part: u64, of: u64) -> f64 {
    if of == 0 {
        0.0
    } else {
        part as f64 * 100.0 / of as f64
    }
}

/// Sums that were taken back below 0 in this stretch are none.
fn settled(value: u64) -> u64 {
    (value as i64).max(0) as u64
}

impl Figures {
    /// Figures of a measured window; `joins` holds what happened since the step before.
    pub fn new(w: &Window, joins: &Window, around: Around, server: Option<ServerReport>) -> Self {
        let seconds = around.seconds.max(1e-9);
        let cores = |ns: u64| ns as f64 / 1e9 / seconds;
        let (expected, lost) = (settled(w.expected_packets), settled(w.lost_packets));
        Self {
            seconds: around.seconds,
            viewers: around.viewers,
            connected: around.connected,
            publishers: around.publishers,
            publishers_expected: around.publishers_expected,
            tracks: TrackReport {
                worst_loss_percent: w.worst_track_ppm as f64 / 1e4,
                ..around.tracks
            },
            sent_packets: w.sent_packets,
            received_packets: w.received_packets,
            forwarded_packets: settled(w.forwarded_packets),
            received_packets_per_second: w.received_packets as f64 / seconds,
            received_bits_per_second: w.received_bytes as f64 * 8.0 / seconds,
            expected_packets: expected,
            lost_packets: lost,
            loss_percent: percent(lost, expected),
            duplicates: w.duplicates,
            reordered: w.reordered,
            delay_ms: (&w.delay).into(),
            join_ms: (&joins.join).into(),
            all_tracks_ms: (&joins.all_tracks).into(),
            connect_ms: (&joins.connect).into(),
            first_packet_ms: (&joins.first_packet).into(),
            jitter_ms: (&w.jitter).into(),
            av_offset_ms: (&w.av_offset).into(),
            frames: w.frames,
            freezes: w.freezes,
            longest_gap_ms: w.longest_gap_ns as f64 / 1e6,
            layer_switches: w.layer_switches,
            nacks: w.nacks,
            plis: w.plis,
            retransmissions: w.retransmissions,
            recovered: w.recovered,
            keyframe_requests: w.keyframe_requests,
            publisher_nacks: w.publisher_nacks,
            publisher_resends: w.publisher_resends,
            feedbacks: w.feedbacks,
            publisher_feedbacks: w.publisher_feedbacks,
            padding_packets: w.padding,
            bad_packets: w.not_authentic + w.malformed,
            ended_sessions: w.ended + joins.ended,
            http_errors: around.http_errors,
            abuse: around.abuse,
            server,
            generator: GeneratorReport {
                cpu_cores: cores(around.cpu_ns),
                receive_cores: cores(w.receive_cpu_ns),
                publish_cores: cores(w.publish_cpu_ns),
                late_sends: w.late_sends,
                sends: w.sends,
                send_failures: w.send_failures,
                socket_drops: w.socket_drops,
                freezes: w.own_freezes,
                simulated_losses: w.simulated_losses,
                simulated_reorders: w.simulated_reorders,
                link_freezes: w.link_freezes,
                publisher_drops: w.publisher_drops,
                fully_checking: around.fully_checking,
                offered_percent: if around.planned_sends > 0.0 {
                    w.sends as f64 * 100.0 / around.planned_sends
                } else {
                    100.0
                },
                checked_percent: percent(w.opened, w.received_packets),
            },
        }
    }
}

/// One step of a ramp.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Step {
    /// The first limit that this step broke, as `name: measured, allowed`.
    pub limit_broken: Option<String>,
    /// Why its figures say nothing about the server, if so.
    pub inconclusive: Option<String>,
    /// All limits that it broke.
    pub limits_broken: Vec<String>,
    /// What other load took from the server, if that was much.
    pub disturbed: Option<String>,
    /// The figures.
    #[serde(flatten)]
    pub figures: Figures,
}

/// A point of the plots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// Seconds since the run began.
    pub at: f64,
    /// Viewers that have decoded something.
    pub viewers: u64,
    /// RTP packets a second received.
    pub packets_per_second: f64,
    /// Bits a second received.
    pub bits_per_second: f64,
    /// Median delay in this stretch.
    pub delay_p50_ms: f64,
    /// 99th percentile of the delay in this stretch.
    pub delay_p99_ms: f64,
    /// Packets lost in this stretch, in percent.
    pub loss_percent: f64,
    /// Cores the server kept busy, when it runs here.
    pub server_cores: f64,
    /// CPU microseconds of it for each forwarded packet.
    pub server_us_per_packet: f64,
    /// Its resident memory.
    pub server_rss_bytes: u64,
    /// Cores of the server that others had.
    pub foreign_cores: f64,
    /// Cores the generator kept busy.
    pub generator_cores: f64,
}

/// A whole run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// `pass`, `fail` or `inconclusive`.
    pub verdict: String,
    /// The first limit that broke, and at how many viewers.
    pub limit_broken: Option<String>,
    /// Why the verdict is what it is, in a sentence.
    pub reason: String,
    /// The largest number of viewers at which all limits held.
    pub highest_load_held: Option<u64>,
    /// The scenario's name.
    pub scenario: String,
    /// The server.
    pub target: String,
    /// When the run began, seconds since 1970.
    pub started_at: u64,
    /// Where it ran.
    pub machine: Machine,
    /// Which cores server and generator had.
    pub placement: crate::server::Placement,
    /// The floor, when it was measured in the same run.
    pub floor: Option<crate::peers::floor::Floor>,
    /// All steps together.
    #[serde(flatten)]
    pub figures: Figures,
    /// Each step.
    pub steps: Vec<Step>,
    /// Over time.
    pub series: Vec<Sample>,
    /// The scenario as it was run.
    pub settings: crate::scenario::types::Scenario,
}
