//! Log lines on standard error, for people or for machines.
//!
//! Spans carry `session` (the short id that is also in the API) and `room`.
//! Secrets never go into a log: no tokens, stream keys, ICE passwords, and no SDP.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{Log, LogFormat};

/// Levels of libraries whose details help nobody who runs the server, and
/// which would log what must not be logged (the engine's SDP, for one).
const QUIET: [&str; 4] = ["str0m=warn", "dimpl=warn", "hyper=warn", "hyper_util=warn"];

/// Sends log lines to standard error from now on, for the whole process.
///
/// # Errors
/// When the process logs already.
pub fn init(log: &Log) -> Result<(), TryInitError> {
    let registry = tracing_subscriber::registry().with(filter(&log.level));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => registry
            .with(lines.with_ansi(std::io::stderr().is_terminal()))
            .try_init(),
        LogFormat::Json => registry
            .with(lines.json().flatten_event(true).with_current_span(true))
            .try_init(),
    }
}

/// The configured level, which the configuration has checked, below which the
/// libraries stay quiet unless they are named in it.
fn filter(level: &str) -> EnvFilter {
    let quiet = QUIET.iter().filter(|directive| {
        let library = directive.split('=').next().unwrap_or_default();
        !level.split(',').any(|given| {
            given
                .strip_prefix(library)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['=', ':', '[']))
        })
    });
    let directives: Vec<&str> = quiet.copied().chain([level]).collect();
    EnvFilter::try_new(directives.join(",")).unwrap_or_else(|_| EnvFilter::new("info"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("lock").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, write: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::registry().with(filter(level)).with(
            tracing_subscriber::fmt::layer()
                .json()
                .flatten_event(true)
                .with_writer(move || writer.clone()),
        );
        tracing::subscriber::with_default(subscriber, write);
        let bytes = lines.0.lock().expect("lock").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn json_lines_carry_fields_and_spans() {
        let text = logged("info", || {
            let span = tracing::info_span!("session", session = "abc", room = "studio");
            span.in_scope(|| tracing::info!(reason = "deleted", "closed"));
        });
        let line: serde_json::Value = serde_json::from_str(text.trim()).expect("one JSON line");
        assert_eq!(line["message"], "closed");
        assert_eq!(line["reason"], "deleted");
        assert_eq!(line["span"]["session"], "abc");
        assert_eq!(line["span"]["room"], "studio");
    }

    #[test]
    fn the_engine_stays_quiet_unless_it_is_named() {
        let write = || {
            tracing::debug!(target: "str0m::sdp", "a=ice-pwd:...");
            tracing::debug!(target: "weir::http", "ours");
        };
        let text = logged("debug", write);
        assert!(text.contains("ours") && !text.contains("ice-pwd"), "{text}");
        assert!(logged("info,str0m=debug", write).contains("ice-pwd"));
        assert_eq!(logged("warn", write), "");
    }
}
