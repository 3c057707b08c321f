//! What Prometheus reads. Every label has a fixed set of values: never a room,
//! a session, a participant or an address.

use std::sync::Arc;
use std::time::Duration;

use metrics::{SetRecorderError, Unit, with_local_recorder};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use crate::control::messages::WorkerSnapshot;
use crate::units::{MediaKind, WorkerId};

/// A metric: its name and what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// As Prometheus shows it.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

macro_rules! metrics_list {
    ($($constant:ident $kind:ident $name:literal $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Metric = Metric { name: $name, help: $help, kind: Kind::$kind };
        )*

        /// Every metric, in the order of this file.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics_list! {
    BUILD Gauge "weir_build_info" "Always 1; the label says the version.";
    READY Gauge "weir_ready" "1 while new sessions are accepted, 0 before and while stopping.";
    DATAGRAMS Counter "weir_datagrams_total" "Datagrams by worker and direction (in, out).";
    BYTES Counter "weir_bytes_total" "Bytes of datagrams by worker and direction (in, out).";
    RTP Counter "weir_rtp_packets_total" "RTP packets by worker and direction: accepted from publishers (in), sent to viewers without repairs (out).";
    PADDING Counter "weir_padding_packets_total" "Packets sent to viewers only to probe their paths, by worker.";
    ESTIMATES Gauge "weir_viewer_estimates" "Connected viewers by what their paths carry: below so many Mb/s, or no limit known.";
    REPAIRS Counter "weir_repairs_total" "Packets that were sent again to viewers, by worker.";
    NACKS Counter "weir_nacked_packets_total" "Packets asked for again by worker and direction: by viewers (in), from publishers (out).";
    KEYFRAME_REQUESTS Counter "weir_keyframe_requests_total" "Keyframe requests by worker and direction: of viewers (in), to publishers (out).";
    DROPS Counter "weir_drops_total" "What was given up, by worker and typed reason.";
    CPU Counter "weir_worker_cpu_nanoseconds_total" "Processor time of a worker's thread.";
    CLOSED Counter "weir_sessions_closed_total" "Sessions that ended, by worker and reason.";
    SESSIONS Gauge "weir_sessions" "Open sessions by worker, kind (publisher, viewer) and connected (true, false).";
    TRACKS Gauge "weir_tracks" "Tracks that receive media, by worker and kind (audio, video).";
    HTTP_REQUESTS Counter "weir_http_requests_total" "HTTP requests by route, method and status.";
    HTTP_REFUSED Counter "weir_http_connections_refused_total" "HTTP connections that were not taken, by the limit that was reached (total, address).";
    HTTP_SECONDS Histogram "weir_http_request_seconds" "Time until an HTTP response was ready, by route.";
}

/// Classes that viewers are counted in by their estimate: bits per second that
/// it lies below, and the label.
const ESTIMATE_CLASSES: [(u64, &str); 6] = [
    (300_000, "0.3"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
    (u64::MAX, "inf"),
    (u64::MAX, "unknown"),
];

/// The server's metrics.
pub struct Metrics {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
}

impl Metrics {
    /// Metrics at zero.
    ///
    /// # Errors
    /// None in practice: the histogram's buckets are a constant.
    pub fn new() -> Result<Self, BuildError> {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(
                Matcher::Full(HTTP_SECONDS.name.to_owned()),
                &[
                    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
                ],
            )?
            .build_recorder();
        let recorder = Arc::new(recorder);
        let handle = recorder.handle();
        with_local_recorder(&recorder, || {
            for metric in ALL {
                let (name, help) = (metric.name, metric.help);
                match metric.kind {
                    Kind::Counter => metrics::describe_counter!(name, Unit::Count, help),
                    Kind::Gauge => metrics::describe_gauge!(name, Unit::Count, help),
                    Kind::Histogram => metrics::describe_histogram!(name, Unit::Seconds, help),
                }
            }
            metrics::gauge!(BUILD.name, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
            metrics::gauge!(READY.name).set(0.0);
        });
        Ok(Self { recorder, handle })
    }

    /// Tells whether new sessions are accepted.
    pub fn set_ready(&self, ready: bool) {
        with_local_recorder(&self.recorder, || {
            metrics::gauge!(READY.name).set(if ready { 1.0 } else { 0.0 });
        });
    }

    /// Makes the process' `metrics` macros count here, as the HTTP layer's do.
    ///
    /// # Errors
    /// When the process has a recorder already.
    pub fn install(&self) -> Result<(), SetRecorderError<Arc<PrometheusRecorder>>> {
        metrics::set_global_recorder(Arc::clone(&self.recorder))
    }

    /// Takes over a worker's newest totals.
    pub fn worker(&self, worker: WorkerId, snapshot: &WorkerSnapshot) {
        let worker = worker.0.to_string();
        let totals = &snapshot.totals;
        with_local_recorder(&self.recorder, || {
            for (metric, incoming, outgoing) in [
                (DATAGRAMS, totals.datagrams_in, totals.datagrams_out),
                (BYTES, totals.bytes_in, totals.bytes_out),
                (RTP, totals.rtp_in, totals.rtp_out),
                (NACKS, totals.nacks_in, totals.nacks_out),
                (
                    KEYFRAME_REQUESTS,
                    totals.keyframe_requests_in,
                    totals.keyframe_requests_out,
                ),
            ] {
                for (direction, count) in [("in", incoming), ("out", outgoing)] {
                    metrics::counter!(
                        metric.name,
                        "worker" => worker.clone(),
                        "direction" => direction,
                    )
                    .absolute(count);
                }
            }
            metrics::counter!(REPAIRS.name, "worker" => worker.clone())
                .absolute(totals.repairs_out);
            metrics::counter!(PADDING.name, "worker" => worker.clone())
                .absolute(totals.padding_out);
            let drops = totals.drops.iter().map(|row| (DROPS, row));
            let closed = totals.closed.iter().map(|row| (CLOSED, row));
            for (metric, (reason, count)) in drops.chain(closed) {
                metrics::counter!(metric.name, "worker" => worker.clone(), "reason" => reason)
                    .absolute(count);
            }
            metrics::counter!(CPU.name, "worker" => worker.clone()).absolute(totals.cpu_nanos);
            sessions(&worker, snapshot);
        });
    }

    /// Folds what histograms have gathered into their buckets, again and again: they keep every
    /// value until then, and nobody may ever read the metrics. Never comes back.
    pub async fn keep_up(&self, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            self.handle.run_upkeep();
        }
    }

    /// All of it in Prometheus' text format (`text/plain; version=0.0.4`).
    pub fn render(&self) -> String {
        self.handle.render()
    }
}

/// Sets the gauges of one worker on the recorder of the moment.
fn sessions(worker: &str, snapshot: &WorkerSnapshot) {
    let publishers: Vec<bool> = snapshot.publishers.iter().map(|p| p.connected).collect();
    let viewers: Vec<bool> = snapshot.viewers.iter().map(|v| v.connected).collect();
    for (kind, rows) in [("publisher", publishers), ("viewer", viewers)] {
        for (label, connected) in [("false", false), ("true", true)] {
            metrics::gauge!(
                SESSIONS.name,
                "worker" => worker.to_owned(),
                "kind" => kind,
                "connected" => label,
            )
            .set(gauge_value(
                rows.iter().filter(|row| **row == connected).count(),
            ));
        }
    }
    let connected = snapshot.viewers.iter().filter(|v| v.connected);
    let mut estimates = [0; ESTIMATE_CLASSES.len()];
    for viewer in connected {
        let class = viewer.estimate.map_or(ESTIMATE_CLASSES.len() - 1, |rate| {
            let below = |(most, _): &&(u64, &str)| rate.0 < *most;
            ESTIMATE_CLASSES.iter().take_while(|c| !below(c)).count()
        });
        estimates[class] += 1;
    }
    for ((_, below), count) in ESTIMATE_CLASSES.iter().zip(estimates) {
        metrics::gauge!(ESTIMATES.name, "worker" => worker.to_owned(), "below" => *below)
            .set(gauge_value(count));
    }
    for kind in [MediaKind::Audio, MediaKind::Video] {
        let tracks = snapshot
            .publishers
            .iter()
            .flat_map(|row| &row.tracks)
            .filter(|track| track.kind == kind && track.receiving)
            .count();
        metrics::gauge!(TRACKS.name, "worker" => worker.to_owned(), "kind" => kind.as_str())
            .set(gauge_value(tracks));
    }
}

fn gauge_value(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::messages::{CloseCounters, CloseReason, Totals, ViewerSnapshot};
    use crate::telemetry::{DropCounters, DropReason};
    use crate::units::{Bitrate, RoomId, SessionKey};

    fn snapshot(rtp_out: u64) -> WorkerSnapshot {
        let mut drops = DropCounters::default();
        drops.add_many(DropReason::KernelFull, 7);
        let mut closed = CloseCounters::default();
        (0..3).for_each(|_| closed.add(CloseReason::Deleted));
        WorkerSnapshot {
            totals: Totals {
                rtp_out,
                cpu_nanos: 1_500,
                drops,
                closed,
                ..Totals::default()
            },
            publishers: Vec::new(),
            viewers: vec![ViewerSnapshot {
                key: SessionKey {
                    worker: WorkerId(2),
                    slot: 0,
                    generation: 0,
                },
                room: RoomId(1),
                watching: None,
                connected: true,
                bitrate: Bitrate(0),
                loss: 0.0,
                rtt: None,
                packets: 0,
                estimate: None,
                slots: Vec::new(),
            }],
        }
    }

    #[track_caller]
    fn has(text: &str, line: &str) {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }

    #[test]
    fn worker_totals_are_rendered_as_absolute_counts() {
        let metrics = Metrics::new().expect("metrics");
        metrics.worker(WorkerId(2), &snapshot(10));
        metrics.worker(WorkerId(2), &snapshot(25));
        let text = metrics.render();
        has(
            &text,
            "weir_rtp_packets_total{worker=\"2\",direction=\"out\"} 25",
        );
        has(
            &text,
            "weir_rtp_packets_total{worker=\"2\",direction=\"in\"} 0",
        );
        has(
            &text,
            "weir_drops_total{worker=\"2\",reason=\"kernel_full\"} 7",
        );
        has(
            &text,
            "weir_drops_total{worker=\"2\",reason=\"oversize\"} 0",
        );
        has(
            &text,
            "weir_sessions_closed_total{worker=\"2\",reason=\"deleted\"} 3",
        );
        has(
            &text,
            "weir_worker_cpu_nanoseconds_total{worker=\"2\"} 1500",
        );
        has(
            &text,
            "weir_sessions{worker=\"2\",kind=\"viewer\",connected=\"true\"} 1",
        );
        has(&text, "weir_tracks{worker=\"2\",kind=\"video\"} 0");
    }

    #[test]
    fn request_times_go_into_buckets() {
        let metrics = Metrics::new().expect("metrics");
        with_local_recorder(&metrics.recorder, || {
            for seconds in [0.003, 0.003, 0.3] {
                metrics::histogram!(HTTP_SECONDS.name, "route" => "/whip/{room}").record(seconds);
            }
        });
        let text = metrics.render();
        for (bucket, count) in [("0.0025", 0), ("0.005", 2), ("0.5", 3), ("+Inf", 3)] {
            has(
                &text,
                &format!(
                    "weir_http_request_seconds_bucket{{route=\"/whip/{{room}}\",le=\"{bucket}\"}} {count}"
                ),
            );
        }
    }

    #[test]
    fn readiness_and_version_are_told_from_the_start() {
        let metrics = Metrics::new().expect("metrics");
        has(&metrics.render(), "weir_ready 0");
        metrics.set_ready(true);
        let text = metrics.render();
        has(&text, "weir_ready 1");
        assert!(text.contains("weir_build_info{version=\""), "{text}");
        assert!(text.contains("# HELP weir_ready 1 while"), "{text}");
    }

    #[test]
    fn two_servers_of_one_process_count_apart() {
        let one = Metrics::new().expect("metrics");
        let two = Metrics::new().expect("metrics");
        one.set_ready(true);
        has(&one.render(), "weir_ready 1");
        has(&two.render(), "weir_ready 0");
    }

    #[test]
    fn names_are_distinct_and_follow_prometheus_rules() {
        for (index, metric) in ALL.iter().enumerate() {
            assert!(ALL[..index].iter().all(|other| other.name != metric.name));
            assert_eq!(
                metric.kind == Kind::Counter,
                metric.name.ends_with("_total"),
                "{}",
                metric.name
            );
            assert!(metric.help.ends_with('.'));
        }
    }
}
