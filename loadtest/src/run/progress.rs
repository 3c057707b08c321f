//! The live view: one line that changes, and nothing at all outside a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::report::Sample;

pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(super) fn new(wanted: bool) -> Self {
        if !wanted || !std::io::stderr().is_terminal() {
            return Self {
                bar: ProgressBar::hidden(),
            };
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    pub(super) fn show(&self, doing: &str, wanted: u32, s: &Sample) {
        let mut text = format!(
            "{doing}: {}/{wanted} viewers, {:.0} packets/s, delay p50 {:.2} p99 {:.2} ms, loss {:.3} %, generator {:.2} cores",
            s.viewers,
            s.packets_per_second,
            s.delay_p50_ms,
            s.delay_p99_ms,
            s.loss_percent,
            s.generator_cores
        );
        if s.server_cores > 0.0 {
            text.push_str(&format!(", server {:.2} cores", s.server_cores));
        }
        self.bar.set_message(text);
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
