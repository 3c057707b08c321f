//! A report as lines of text.

use std::fmt::Write as _;

use super::Report;

/// The figures that matter, a line each.
pub fn summary(r: &Report) -> String {
    let mut s = String::new();
    let f = &r.figures;
    let _ = writeln!(s, "{}: {} ({})", r.scenario, r.verdict, r.reason);
    let _ = writeln!(s, "  {}; {}", r.machine.text(), r.placement.text());
    let _ = writeln!(
        s,
        "  viewers {}/{}, {:.0} packets/s, {:.1} Mbit/s, loss {:.4} % ({} of {}), duplicates {}, reordered {}",
        f.connected,
        f.viewers,
        f.received_packets_per_second,
        f.received_bits_per_second / 1e6,
        f.loss_percent,
        f.lost_packets,
        f.expected_packets,
        f.duplicates,
        f.reordered
    );
    let _ = writeln!(
        s,
        "  delay ms p50 {:.3} p99 {:.3} p99.9 {:.3} max {:.3}; join ms p50 {:.1} p95 {:.1} max {:.1}; freezes {} (longest gap {:.0} ms)",
        f.delay_ms.p50,
        f.delay_ms.p99,
        f.delay_ms.p999,
        f.delay_ms.max,
        f.join_ms.p50,
        f.join_ms.p95,
        f.join_ms.max,
        f.freezes,
        f.longest_gap_ms
    );
    let t = &f.tracks;
    let _ = writeln!(
        s,
        "  tracks: sounds {} of {}, pictures {} of {}; all of a viewer's within ms p50 {:.1} p95 {:.1}; worst track lost {:.4} %",
        t.audio_delivered,
        t.audio_expected,
        t.video_delivered,
        t.video_expected,
        f.all_tracks_ms.p50,
        f.all_tracks_ms.p95,
        t.worst_loss_percent
    );
    if let Some(server) = &f.server {
        let _ = writeln!(
            s,
            "  server {:.3} cores, {:.3} us CPU per forwarded packet, {:.1} MB, {:.1} kB per session; waited {:.1} ms/s, others took {:.3} cores",
            server.cpu_cores,
            server.cpu_us_per_forwarded_packet,
            server.rss_bytes as f64 / 1e6,
            server.rss_bytes_per_session / 1e3,
            server.waited_ms_per_second,
            server.foreign_cores + server.stolen_cores
        );
        if server.cpu_us_per_join_and_wait > 0.0 {
            let _ = writeln!(
                s,
                "  {:.0} us CPU per join, {:.0} with what waiting sessions used meanwhile",
                server.cpu_us_per_join, server.cpu_us_per_join_and_wait
            );
        }
        let busiest = server.threads.iter().take(4);
        let busiest: Vec<String> = busiest
            .map(|t| match t.count {
                0 | 1 => format!("{} {:.3}", t.name, t.cpu_cores),
                n => format!("{n} x {} {:.3}", t.name, t.cpu_cores),
            })
            .collect();
        if !busiest.is_empty() {
            let _ = writeln!(s, "  threads {} cores", busiest.join(", "));
        }
    }
    if let Some(floor) = &r.floor {
        let _ = writeln!(
            s,
            "  floor {:.3} us CPU per packet (copy, seal and batched send alone)",
            floor.cpu_us_per_packet
        );
    }
    let g = &f.generator;
    let _ = writeln!(
        s,
        "  generator {:.3} cores (receiving {:.3}, publishing {:.3}), late sends {} of {}, socket drops {}, checked {:.1} % (all of it by {} viewers)",
        g.cpu_cores,
        g.receive_cores,
        g.publish_cores,
        g.late_sends,
        g.sends,
        g.socket_drops,
        g.checked_percent,
        g.fully_checking
    );
    let _ = writeln!(
        s,
        "  nacks {} plis {} feedback {}, retransmissions {} ({} filled gaps), layer switches {}; at publishers nacks {} resends {} keyframe requests {}",
        f.nacks,
        f.plis,
        f.feedbacks,
        f.retransmissions,
        f.recovered,
        f.layer_switches,
        f.publisher_nacks,
        f.publisher_resends,
        f.keyframe_requests
    );
    if g.simulated_losses + g.simulated_reorders + g.link_freezes + g.publisher_drops > 0 {
        let _ = writeln!(
            s,
            "  on purpose: lost {}, put out of order {}, freezes behind bad links {}, left out by publishers {}",
            g.simulated_losses, g.simulated_reorders, g.link_freezes, g.publisher_drops
        );
    }
    for (kind, count) in &f.abuse {
        let _ = writeln!(s, "  abuse {kind}: {count}");
    }
    for (kind, count) in &f.http_errors {
        let _ = writeln!(s, "  http {kind}: {count}");
    }
    s
}
