//! The live view: some lines that change, and nothing at all outside a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::report::Sample;

/// Seconds that the small curve of the packet rate shows.
const CURVE: usize = 40;
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Steps of the bar.
const FULL: u64 = 1000;

pub(super) struct Progress {
    all: MultiProgress,
    bar: ProgressBar,
    traffic: ProgressBar,
    cores: ProgressBar,
    curve: ProgressBar,
    rates: Vec<f64>,
}

impl Progress {
    pub(super) fn new(wanted: bool) -> Self {
        let all = MultiProgress::new();
        let shown = wanted && std::io::stderr().is_terminal();
        let line = |template: &str| {
            if !shown {
                return ProgressBar::hidden();
            }
            let bar = all.add(ProgressBar::new(FULL));
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("━━╌"));
            }
            bar
        };
        let bar = line("{spinner} {elapsed_precise} {prefix:9} {bar:30} {msg}");
        let (traffic, cores, curve) = (line("  {msg}"), line("  {msg}"), line("  {msg}"));
        if shown {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self {
            all,
            bar,
            traffic,
            cores,
            curve,
            rates: Vec::new(),
        }
    }

    /// Shows what is done now, how much of it (0 to 1), and the last second.
    pub(super) fn show(&mut self, doing: &'static str, share: f64, wanted: u32, s: &Sample) {
        if self.bar.is_hidden() {
            return;
        }
        self.bar.set_prefix(doing);
        self.bar
            .set_position((share.clamp(0.0, 1.0) * FULL as f64) as u64);
        self.bar
            .set_message(format!("{} of {wanted} viewers", s.viewers));
        self.traffic.set_message(format!(
            "{:.0} packets/s  {:.1} Mbit/s  delay p50 {:.2} p99 {:.2} ms  loss {:.3} %",
            s.packets_per_second,
            s.bits_per_second / 1e6,
            s.delay_p50_ms,
            s.delay_p99_ms,
            s.loss_percent,
        ));
        let mut cores = format!("generator {:.2} cores", s.generator_cores);
        if s.server_rss_bytes > 0 {
            cores.push_str(&format!(
                "  server {:.2} cores, {:.2} us/packet, {:.0} MB  others {:.2} cores",
                s.server_cores,
                s.server_us_per_packet,
                s.server_rss_bytes as f64 / 1e6,
                s.foreign_cores
            ));
        }
        self.cores.set_message(cores);
        self.rates.push(s.packets_per_second);
        self.curve
            .set_message(format!("packets/s {}", curve(&self.rates)));
    }

    pub(super) fn finish(&self) {
        for line in [&self.bar, &self.traffic, &self.cores, &self.curve] {
            line.finish_and_clear();
        }
        // A terminal that is gone needs no clearing.
        let _ = self.all.clear();
    }
}

/// The newest rates as a row of blocks, the largest of them full.
fn curve(rates: &[f64]) -> String {
    let shown = &rates[rates.len().saturating_sub(CURVE)..];
    let top = shown.iter().copied().fold(1.0, f64::max);
    shown
        .iter()
        .map(|r| {
            let level = (r / top * (LEVELS.len() - 1) as f64).round() as usize;
            LEVELS[level.min(LEVELS.len() - 1)]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_scales_to_its_top_and_forgets_the_old() {
        assert_eq!(curve(&[0.0, 50.0, 100.0]), "▁▅█");
        assert_eq!(curve(&[5.0; 100]).chars().count(), CURVE);
        assert_eq!(curve(&[]), "");
    }
}
