//! What is wrong with a configuration, told so that it can be put right.

use std::fmt;
use std::path::PathBuf;

/// Where a configuration value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file, with the line when it is known.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// Counted from 1.
        line: Option<usize>,
    },
    /// An environment variable.
    Env(String),
    /// A command-line flag, with its dashes.
    Flag(String),
    /// Nobody gave it.
    Default,
}

/// A configuration that can't be used. It displays as one line or a few with
/// the origin, the key, the given value (never a secret) and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where the value came from.
    pub origin: Origin,
    /// The key, such as `udp.port`; none when the file could not be read at all.
    pub key: Option<String>,
    /// The given value as TOML; none when it is secret or there is none.
    pub given: Option<String>,
    /// What is wrong, and what is allowed.
    pub message: String,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::File { path, line } => {
                write!(f, "{}", path.display())?;
                if let Some(line) = line {
                    write!(f, ":{line}")?;
                }
                f.write_str(": ")?;
            }
            Origin::Env(name) => write!(f, "environment variable {name}: ")?,
            Origin::Flag(name) => write!(f, "{name}: ")?,
            Origin::Default => {}
        }
        match (&self.key, &self.given) {
            (Some(key), Some(given)) => write!(f, "{key} = {given}: ")?,
            (Some(key), None) => write!(f, "{key}: ")?,
            (None, _) => {}
        }
        f.write_str(&self.message)
    }
}

/// ` Did you mean a, b or c?` for the candidates nearest to `given`; nothing when none is near.
pub(super) fn did_you_mean<'a>(given: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    let last = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    let mut near: Vec<(f64, &str)> = candidates
        .map(|candidate| {
            let whole = strsim::jaro_winkler(given, candidate);
            // `listen` alone, or in the wrong section, is near to `http.listen`.
            let tail = 0.95 * strsim::jaro_winkler(&last(given), &last(candidate));
            (whole.max(tail), candidate)
        })
        .filter(|(score, _)| *score >= 0.85)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let names: Vec<&str> = near.iter().take(3).map(|(_, name)| *name).collect();
    match names.split_last() {
        None => String::new(),
        Some((only, [])) => format!(". Did you mean {only}?"),
        Some((last, others)) => format!(". Did you mean {} or {last}?", others.join(", ")),
    }
}
