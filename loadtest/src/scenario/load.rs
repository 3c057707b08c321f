//! Reading scenarios, and setting single keys from the command line.

use toml::{Table, Value};

use super::types::Scenario;

/// Why a scenario can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file could not be read.
    #[error("can't read {file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is no TOML, or has unknown keys or values of the wrong type. The text
    /// names the place and what would be allowed.
    #[error("{file}: {what}")]
    Form {
        /// The file.
        file: String,
        /// What is wrong.
        what: String,
    },
    /// A `key=value` from the command line.
    #[error("-o {option}: {what}")]
    Option {
        /// The option as given.
        option: String,
        /// What is wrong.
        what: String,
    },
}

/// The scenarios that come with the tool, by name.
pub fn shipped(name: &str) -> Option<&'static str> {
    Some(match name {
        "abuse" => include_str!("../../scenarios/abuse.toml"),
        "bad-links" => include_str!("../../scenarios/bad-links.toml"),
        "broadcast" => include_str!("../../scenarios/broadcast.toml"),
        "bursts" => include_str!("../../scenarios/bursts.toml"),
        "conference" => include_str!("../../scenarios/conference.toml"),
        "pairs" => include_str!("../../scenarios/pairs.toml"),
        "rooms" => include_str!("../../scenarios/rooms.toml"),
        "simulcast-throttled" => include_str!("../../scenarios/simulcast-throttled.toml"),
        "churn" => include_str!("../../scenarios/churn.toml"),
        "overload" => include_str!("../../scenarios/overload.toml"),
        "idle" => include_str!("../../scenarios/idle.toml"),
        _ => return None,
    })
}

/// Reads a scenario: a file, or the name of a shipped one. `options` are
/// `key=value` with dots between tables, applied in order.
pub fn load(file: &str, options: &[String]) -> Result<Scenario, ScenarioError> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(source) => match shipped(file) {
            Some(text) => text.to_owned(),
            None => {
                return Err(ScenarioError::Read {
                    file: file.to_owned(),
                    source,
                });
            }
        },
    };
    let form = |what: String| ScenarioError::Form {
        file: file.to_owned(),
        what,
    };
    // Once as text, so that errors show the line; once more with the options.
    toml::from_str::<Scenario>(&text).map_err(|e| form(e.to_string()))?;
    let mut table: Table = text
        .parse()
        .map_err(|e: toml::de::Error| form(e.to_string()))?;
    for option in options {
        set(&mut table, option)?;
    }
    let scenario: Scenario = Value::Table(table)
        .try_into()
        .map_err(|e: toml::de::Error| form(e.to_string()))?;
    match scenario.problem() {
        Some(what) => Err(form(what)),
        None => Ok(scenario),
    }
}

/// Sets one `key=value`. The value is TOML if it reads as such, else text.
pub fn set(table: &mut Table, option: &str) -> Result<(), ScenarioError> {
    let fail = |what: &str| ScenarioError::Option {
        option: option.to_owned(),
        what: what.to_owned(),
    };
    let (key, value) = option
        .split_once('=')
        .ok_or_else(|| fail("must be key=value"))?;
    let value = format!("v = {value}")
        .parse::<Table>()
        .ok()
        .and_then(|mut t| t.remove("v"))
        .unwrap_or_else(|| Value::String(value.to_owned()));
    let mut path: Vec<&str> = key.trim().split('.').collect();
    let last = path.pop().unwrap_or_default();
    let mut at = table;
    for name in path {
        at = at
            .entry(name)
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut()
            .ok_or_else(|| fail("is not below a table"))?;
    }
    at.insert(last.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::VideoCodec;

    #[test]
    fn every_shipped_scenario_loads() {
        for name in [
            "abuse",
            "bad-links",
            "broadcast",
            "bursts",
            "conference",
            "pairs",
            "rooms",
            "simulcast-throttled",
            "churn",
            "overload",
            "idle",
        ] {
            let scenario = load(name, &[]).unwrap();
            assert_eq!(scenario.name, name);
            assert!(scenario.limits.freeze_ms >= 200.0);
        }
    }

    #[test]
    fn options_reach_their_keys() {
        let options = ["load.viewers=7", "media.codec=vp8", "limits.freezes=3"];
        let s = load("broadcast", &options.map(str::to_owned)).unwrap();
        assert_eq!(s.load.viewers, 7);
        assert_eq!(s.media.codec, VideoCodec::Vp8);
        assert_eq!(s.limits.freezes, Some(3));
    }

    #[test]
    fn slots_are_for_the_others_of_the_room() {
        let tracks = |options: &[&str]| {
            let options: Vec<String> = options.iter().map(ToString::to_string).collect();
            let t = load("broadcast", &options).unwrap().tracks_of_each();
            (t.audio, t.video)
        };
        assert_eq!(tracks(&[]), (1, 1));
        assert_eq!(tracks(&["load.publishers=10"]), (1, 1));
        let slots = ["viewer.video-slots=9", "viewer.audio-slots=3"];
        let with = |more: &'static str| [slots[0], slots[1], more];
        assert_eq!(tracks(&with("load.publishers=10")), (3, 9));
        assert_eq!(tracks(&with("load.publishers=4")), (3, 3));
        assert_eq!(tracks(&with("load.publishers=1")), (1, 1));
        assert_eq!(tracks(&["media.audio=false"]), (0, 1));
        assert_eq!(tracks(&["media.silent=true"]), (0, 0));
    }

    #[test]
    fn unknown_keys_and_values_are_named_with_what_is_allowed() {
        let error = |o: &str| load("broadcast", &[o.to_owned()]).unwrap_err().to_string();
        let e = error("load.viewer=7");
        assert!(e.contains("`viewer`") && e.contains("`viewers`"), "{e}");
        let e = error("media.codec=av1");
        assert!(e.contains("`av1`") && e.contains("`vp8`"), "{e}");
        assert!(error("media.fps=0").contains("media.fps"));
        assert!(error("nothing").contains("key=value"));
        assert!(error("viewer.video-slots=26").contains("1..=25"));
        assert!(error("viewer.audio-slots=0").contains("1..=25"));
        let options = ["media.audio=false", "viewer.audio-slots=2"].map(str::to_owned);
        let e = load("broadcast", &options).unwrap_err().to_string();
        assert!(e.contains("needs media.audio"), "{e}");
        let options = ["http.api=janus", "viewer.video-slots=2"].map(str::to_owned);
        let e = load("broadcast", &options).unwrap_err().to_string();
        assert!(e.contains("http.api"), "{e}");
        assert!(load("/nonexistent", &[]).is_err());
        // What would overflow, never end, never break or be no time at all.
        for (option, key) in [
            ("seconds=inf", "seconds"),
            ("settle-seconds=-1", "settle-seconds"),
            ("settle-seconds=nan", "settle-seconds"),
            ("ramp.join-timeout-seconds=-1", "ramp.join-timeout-seconds"),
            ("ramp.joins-per-second=inf", "ramp.joins-per-second"),
            ("ramp.steps=[inf]", "ramp.steps"),
            ("load.rooms=3000000000", "load.rooms"),
            ("media.fps=1e-300", "media.fps"),
            ("media.kbps=4000000000", "media.kbps"),
            ("churn.viewers-per-second=-1", "churn"),
            ("abuse.bad-tokens-per-second=inf", "abuse"),
            ("abuse.garbage-requests-per-second=1e-300", "abuse"),
            ("abuse.garbage-datagrams-per-second=-5", "abuse"),
            ("http.concurrency=9000000000000000000", "http.concurrency"),
            (
                "generator.receive-threads=1000000",
                "generator.receive-threads",
            ),
            ("limits.loss-percent=nan", "limits"),
            ("limits.freeze-ms=inf", "limits.freeze-ms"),
        ] {
            let text = error(option);
            assert!(
                text.contains(key) && text.contains("must"),
                "{option}: {text}"
            );
        }
    }
}
