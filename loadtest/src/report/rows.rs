//! How figures are written, for tables of all kinds.

use super::Figures;
use crate::server::ServerReport;

/// A figure's name and how it is written; `None` when it was not measured.
pub(super) type Row = (&'static str, fn(&Figures) -> Option<String>);

fn of(f: &Figures, text: fn(&ServerReport) -> String) -> Option<String> {
    f.server.as_ref().map(text)
}

fn timed(p: &super::figures::Percentiles, value: f64, digits: usize) -> Option<String> {
    (p.count > 0).then(|| format!("{value:.digits$}"))
}

/// The most important figures.
pub(super) const TILES: &[Row] = &[
    ("viewers", |f| {
        Some(format!("{} of {}", f.connected, f.viewers))
    }),
    ("packets/s received", |f| {
        Some(format!("{:.0}", f.received_packets_per_second))
    }),
    ("loss", |f| Some(format!("{:.4} %", f.loss_percent))),
    ("delay p50", |f| {
        timed(&f.delay_ms, f.delay_ms.p50, 2).map(|t| t + " ms")
    }),
    ("delay p99", |f| {
        timed(&f.delay_ms, f.delay_ms.p99, 2).map(|t| t + " ms")
    }),
    ("join p95", |f| {
        timed(&f.join_ms, f.join_ms.p95, 0).map(|t| t + " ms")
    }),
    ("freezes", |f| Some(f.freezes.to_string())),
    ("CPU per packet", |f| {
        of(f, |s| format!("{:.2} µs", s.cpu_us_per_forwarded_packet))
    }),
    ("server", |f| of(f, |s| format!("{:.2} cores", s.cpu_cores))),
    ("memory per session", |f| {
        of(f, |s| format!("{:.0} kB", s.rss_bytes_per_session / 1e3))
    }),
];

/// All figures, by what they are about.
pub(super) const GROUPS: &[(&str, &[Row])] = &[
    ("Load", LOAD),
    ("Delivery", DELIVERY),
    ("Delay and joins", TIMES),
    ("Picture and sound", MEDIA),
    ("Server", SERVER),
    ("Generator", GENERATOR),
];

const LOAD: &[Row] = &[
    ("Viewers connected", |f| {
        Some(format!("{} of {}", f.connected, f.viewers))
    }),
    ("Publishers", |f| {
        Some(format!("{} of {}", f.publishers, f.publishers_expected))
    }),
    ("Packets/s received", |f| {
        Some(format!("{:.0}", f.received_packets_per_second))
    }),
    ("Mbit/s received", |f| {
        Some(format!("{:.1}", f.received_bits_per_second / 1e6))
    }),
    ("HTTP errors", |f| {
        Some(f.http_errors.values().sum::<u64>().to_string())
    }),
    ("Sessions that ended", |f| {
        Some(f.ended_sessions.to_string())
    }),
];

const DELIVERY: &[Row] = &[
    ("Loss, %", |f| Some(format!("{:.4}", f.loss_percent))),
    ("Sounds, pictures that came", |f| {
        let t = &f.tracks;
        Some(format!(
            "{} of {}, {} of {}",
            t.audio_delivered, t.audio_expected, t.video_delivered, t.video_expected
        ))
    }),
    ("Worst track's loss, %", |f| {
        Some(format!("{:.4}", f.tracks.worst_loss_percent))
    }),
    ("Lost of expected", |f| {
        Some(format!("{} of {}", f.lost_packets, f.expected_packets))
    }),
    ("Not authentic or malformed", |f| {
        Some(f.bad_packets.to_string())
    }),
    ("Duplicates", |f| Some(f.duplicates.to_string())),
    ("Reordered", |f| Some(f.reordered.to_string())),
    ("NACK, PLI sent", |f| {
        Some(format!("{}, {}", f.nacks, f.plis))
    }),
    ("Retransmitted, of use", |f| {
        Some(format!("{}, {}", f.retransmissions, f.recovered))
    }),
    ("Keyframe requests to publishers", |f| {
        Some(f.keyframe_requests.to_string())
    }),
];

const TIMES: &[Row] = &[
    ("Delay p50, ms", |f| timed(&f.delay_ms, f.delay_ms.p50, 3)),
    ("Delay p99, ms", |f| timed(&f.delay_ms, f.delay_ms.p99, 3)),
    ("Delay p99.9, ms", |f| {
        timed(&f.delay_ms, f.delay_ms.p999, 3)
    }),
    ("Delay max, ms", |f| timed(&f.delay_ms, f.delay_ms.max, 3)),
    ("Jitter p95, ms", |f| {
        timed(&f.jitter_ms, f.jitter_ms.p95, 3)
    }),
    ("Join p50, ms", |f| timed(&f.join_ms, f.join_ms.p50, 1)),
    ("Join p95, ms", |f| timed(&f.join_ms, f.join_ms.p95, 1)),
    ("Join max, ms", |f| timed(&f.join_ms, f.join_ms.max, 1)),
    ("All tracks p95, ms", |f| {
        timed(&f.all_tracks_ms, f.all_tracks_ms.p95, 1)
    }),
    ("Connect p95, ms", |f| {
        timed(&f.connect_ms, f.connect_ms.p95, 1)
    }),
];

const MEDIA: &[Row] = &[
    ("Freezes", |f| Some(f.freezes.to_string())),
    ("Longest gap, ms", |f| {
        Some(format!("{:.0}", f.longest_gap_ms))
    }),
    ("Sound to picture p95, ms", |f| {
        timed(&f.av_offset_ms, f.av_offset_ms.p95, 2)
    }),
    ("Layer switches", |f| Some(f.layer_switches.to_string())),
];

const SERVER: &[Row] = &[
    ("Cores", |f| of(f, |s| format!("{:.3}", s.cpu_cores))),
    ("CPU µs per forwarded packet", |f| {
        of(f, |s| format!("{:.3}", s.cpu_us_per_forwarded_packet))
    }),
    ("CPU µs per join", |f| {
        let us = f.server.as_ref()?.cpu_us_per_join;
        (us > 0.0).then(|| format!("{us:.0}"))
    }),
    ("The same with who waited meanwhile", |f| {
        let us = f.server.as_ref()?.cpu_us_per_join_and_wait;
        (us > 0.0).then(|| format!("{us:.0}"))
    }),
    ("Memory, MB", |f| {
        of(f, |s| format!("{:.1}", s.rss_bytes as f64 / 1e6))
    }),
    ("Memory per session, kB", |f| {
        of(f, |s| format!("{:.1}", s.rss_bytes_per_session / 1e3))
    }),
    ("Context switches/s, own wish", |f| {
        of(f, |s| format!("{:.0}", s.voluntary_switches_per_second))
    }),
    ("Context switches/s, taken off", |f| {
        of(f, |s| format!("{:.0}", s.involuntary_switches_per_second))
    }),
    ("Waited for a core, ms/s", |f| {
        of(f, |s| format!("{:.1}", s.waited_ms_per_second))
    }),
    ("Others on its cores, cores", |f| {
        of(f, |s| format!("{:.3}", s.foreign_cores + s.stolen_cores))
    }),
];

const GENERATOR: &[Row] = &[
    ("Cores", |f| Some(format!("{:.3}", f.generator.cpu_cores))),
    ("Late sends", |f| {
        Some(format!(
            "{} of {}",
            f.generator.late_sends, f.generator.sends
        ))
    }),
    ("Socket drops", |f| {
        Some(f.generator.socket_drops.to_string())
    }),
    ("Checked in full, %", |f| {
        Some(format!("{:.1}", f.generator.checked_percent))
    }),
];
