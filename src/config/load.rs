//! Lays the sources over one another: defaults < file < environment < flags.
//! Each value is checked by itself, so that an error names where it came from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::Deserialize;
use toml::{Table, Value};

use super::Config;
use super::error::{ConfigError, Origin, did_you_mean};

/// Variables that start with `WEIR_` and are read by the command line, not here.
const RESERVED_ENV: [&str; 1] = ["WEIR_CONFIG"];

/// Every key with its default: the leaves of the default configuration.
static KEYS: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
    let mut keys = BTreeMap::new();
    if let Ok(Value::Table(defaults)) = Value::try_from(Config::default()) {
        collect_leaves("", defaults, &mut keys);
    }
    keys
});

fn collect_leaves(prefix: &str, table: Table, keys: &mut BTreeMap<String, Value>) {
    for (name, value) in table {
        let path = join(prefix, &name);
        match value {
            // A section. A map of the user's own names (`auth.keys`) is empty by default.
            Value::Table(section) if !section.is_empty() => collect_leaves(&path, section, keys),
            leaf => {
                keys.insert(path, leaf);
            }
        }
    }
}

/// All configuration keys, such as `udp.port`, in alphabetical order.
pub fn keys() -> impl Iterator<Item = &'static str> {
    KEYS.keys().map(String::as_str)
}

/// The environment variable of a key: `udp.port` is `WEIR_UDP_PORT`.
pub fn env_name(key: &str) -> String {
    format!("WEIR_{}", key.replace('.', "_").to_uppercase())
}

/// Values of these keys are never shown.
fn is_secret(key: &str) -> bool {
    matches!(key, "auth.keys" | "auth.stream_keys" | "ice_servers")
}

/// Collects values from the sources, the later over the earlier.
#[derive(Debug, Default)]
pub struct Loader {
    values: Table,
    origins: BTreeMap<String, Origin>,
}

impl Loader {
    /// Nothing but the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a TOML file.
    pub fn file(&mut self, path: &Path) -> Result<&mut Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
            origin: Origin::File {
                path: path.to_owned(),
                line: None,
            },
            key: None,
            given: None,
            message: format!("can't be read: {error}"),
        })?;
        self.toml(path, &text)
    }

    /// Takes TOML text; `path` is what errors call it.
    pub fn toml(&mut self, path: &Path, text: &str) -> Result<&mut Self, ConfigError> {
        let lines = Lines {
            path: path.to_owned(),
            text,
        };
        let table: Table = toml::from_str(text).map_err(|error| ConfigError {
            origin: lines.at(error.span().map(|span| span.start)),
            key: None,
            given: None,
            message: error.message().to_owned(),
        })?;
        let mut positions = BTreeMap::new();
        if let Ok(spanned) = toml::de::DeTable::parse(text) {
            collect_positions("", spanned.get_ref(), &mut positions);
        }
        let origin = |key: &str| lines.at(positions.get(key).copied());
        self.walk("", table, &origin)?;
        Ok(self)
    }

    fn walk(
        &mut self,
        prefix: &str,
        table: Table,
        origin: &dyn Fn(&str) -> Origin,
    ) -> Result<(), ConfigError> {
        for (name, value) in table {
            let path = join(prefix, &name);
            if KEYS.contains_key(&path) {
                self.set(&path, value, origin(&path))?;
            } else if is_section(&path) {
                match value {
                    Value::Table(section) => self.walk(&path, section, origin)?,
                    other => {
                        return Err(ConfigError {
                            origin: origin(&path),
                            key: Some(path.clone()),
                            given: Some(other.to_string()),
                            message: format!(
                                "{path} is a section; its keys are {}",
                                section_keys(&path)
                            ),
                        });
                    }
                }
            } else {
                let near = did_you_mean(&path, keys());
                let known = match prefix {
                    _ if !near.is_empty() => String::new(),
                    "" => format!("; there are {}", top_level()),
                    _ => format!("; the keys of [{prefix}] are {}", section_keys(prefix)),
                };
                return Err(ConfigError {
                    origin: origin(&path),
                    key: Some(path),
                    given: None,
                    message: format!("there is no such key{known}{near}"),
                });
            }
        }
        Ok(())
    }

    /// Takes every `WEIR_*` variable of an environment.
    pub fn env(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<&mut Self, ConfigError> {
        for (name, text) in variables {
            if !name.starts_with("WEIR_")
                || RESERVED_ENV.contains(&name.as_str())
                || is_service_link(&name, &text)
            {
                continue;
            }
            let origin = Origin::Env(name.clone());
            let Some((key, default)) = KEYS.iter().find(|(key, _)| env_name(key) == name) else {
                let names: Vec<String> = keys().map(env_name).collect();
                return Err(ConfigError {
                    origin,
                    key: None,
                    given: None,
                    message: format!(
                        "no configuration key has this name{}",
                        did_you_mean(&name, names.iter().map(String::as_str))
                    ),
                });
            };
            let value = value_of_text(default, &text).map_err(|message| ConfigError {
                origin: origin.clone(),
                key: Some(key.clone()),
                given: None,
                message,
            })?;
            self.set(key, value, origin)?;
        }
        Ok(self)
    }

    /// Takes a flag of the command line (`flag` with its dashes) for `key`;
    /// `text` is read as a variable's text would be.
    pub fn flag(&mut self, flag: &str, key: &str, text: &str) -> Result<&mut Self, ConfigError> {
        let origin = Origin::Flag(flag.to_owned());
        let value = KEYS
            .get(key)
            .ok_or_else(|| "there is no such key".to_owned())
            .and_then(|default| value_of_text(default, text))
            .map_err(|message| ConfigError {
                origin: origin.clone(),
                key: Some(key.to_owned()),
                given: None,
                message,
            })?;
        self.set(key, value, origin)?;
        Ok(self)
    }

    /// Sets one key after checking the value alone.
    fn set(&mut self, key: &str, value: Value, origin: Origin) -> Result<(), ConfigError> {
        let mut alone = Table::new();
        insert(&mut alone, key, value.clone());
        if let Err(error) = Config::deserialize(Value::Table(alone)) {
            let message = readable(error.message());
            // A secret in the wrong place must not get into a log by way of the message.
            let hide = is_secret(key)
                && !["unknown field", "missing field"]
                    .iter()
                    .any(|safe| message.starts_with(safe));
            return Err(ConfigError {
                origin,
                key: Some(key.to_owned()),
                given: (!is_secret(key)).then(|| value.to_string()),
                message: if hide {
                    form_of(key).to_owned()
                } else {
                    message
                },
            });
        }
        insert(&mut self.values, key, value);
        self.origins.insert(key.to_owned(), origin);
        Ok(())
    }

    /// The configuration, checked as a whole.
    pub fn finish(&self) -> Result<Config, ConfigError> {
        let config = Config::deserialize(Value::Table(self.values.clone())).map_err(|error| {
            ConfigError {
                origin: Origin::Default,
                key: None,
                given: None,
                message: readable(error.message()),
            }
        })?;
        match config.validate() {
            Ok(()) => Ok(config),
            Err(invalid) => Err(ConfigError {
                origin: self
                    .origins
                    .get(invalid.key)
                    .cloned()
                    .unwrap_or(Origin::Default),
                given: (!is_secret(invalid.key))
                    .then(|| lookup(&self.values, invalid.key).or_else(|| KEYS.get(invalid.key)))
                    .flatten()
                    .map(Value::to_string),
                key: Some(invalid.key.to_owned()),
                message: invalid.message,
            }),
        }
    }
}

/// Finds the line of a byte offset in a file.
struct Lines<'a> {
    path: PathBuf,
    text: &'a str,
}

impl Lines<'_> {
    fn at(&self, offset: Option<usize>) -> Origin {
        let line = offset
            .and_then(|offset| self.text.as_bytes().get(..offset))
            .map(|before| 1 + before.iter().filter(|byte| **byte == b'\n').count());
        Origin::File {
            path: self.path.clone(),
            line,
        }
    }
}

fn collect_positions(
    prefix: &str,
    table: &toml::de::DeTable<'_>,
    positions: &mut BTreeMap<String, usize>,
) {
    for (name, value) in table {
        let path = join(prefix, name.get_ref());
        if let Some(section) = value.get_ref().as_table() {
            collect_positions(&path, section, positions);
        }
        positions.insert(path, name.span().start);
    }
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}

fn is_section(path: &str) -> bool {
    keys().any(|key| {
        key.strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('.'))
    })
}

fn section_keys(section: &str) -> String {
    let names: Vec<&str> = keys()
        .filter_map(|key| key.strip_prefix(section)?.strip_prefix('.'))
        .collect();
    names.join(", ")
}

/// The keys outside of sections, and the sections.
fn top_level() -> String {
    let mut names: Vec<String> = Vec::new();
    let (sections, keys): (Vec<&str>, Vec<&str>) = keys().partition(|key| key.contains('.'));
    names.extend(keys.into_iter().map(str::to_owned));
    for key in sections {
        let name = format!("[{}]", key.split('.').next().unwrap_or_default());
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(", ")
}

fn insert(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            table.insert(path.to_owned(), value);
        }
        Some((section, rest)) => {
            let entry = table
                .entry(section)
                .or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = entry {
                insert(inner, rest, value);
            }
        }
    }
}

fn lookup<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        None => table.get(path),
        Some((section, rest)) => lookup(table.get(section)?.as_table()?, rest),
    }
}

/// Reads a variable's text as the type of its key's default. Lists are split at
/// commas and maps are `name=value,name=value`; both may be written as TOML.
fn value_of_text(default: &Value, text: &str) -> Result<Value, String> {
    let text = text.trim();
    let as_toml =
        matches!(default, Value::Array(_) | Value::Table(_)) && text.starts_with(['[', '{']);
    if as_toml {
        let table: Table = toml::from_str(&format!("value = {text}"))
            .map_err(|_| "is not valid TOML".to_owned())?;
        return table
            .get("value")
            .cloned()
            .ok_or_else(|| "is not valid TOML".to_owned());
    }
    let items = || {
        text.split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
    };
    Ok(match default {
        Value::Boolean(_) => match text {
            "true" | "1" | "yes" | "on" => Value::Boolean(true),
            "false" | "0" | "no" | "off" => Value::Boolean(false),
            other => Value::String(other.to_owned()),
        },
        Value::Integer(_) => text
            .parse()
            .map_or_else(|_| Value::String(text.to_owned()), Value::Integer),
        Value::Array(_) => {
            Value::Array(items().map(|item| Value::String(item.to_owned())).collect())
        }
        Value::Table(_) => {
            let mut table = Table::new();
            for item in items() {
                let (name, value) = item
                    .split_once('=')
                    .ok_or("expected name=value,name=value or a TOML table")?;
                table.insert(
                    name.trim().to_owned(),
                    Value::String(value.trim().to_owned()),
                );
            }
            Value::Table(table)
        }
        _ => Value::String(text.to_owned()),
    })
}

/// Kubernetes puts `WEIR_SERVICE_HOST`, `WEIR_PORT=tcp://...` and the like into
/// every pod beside a Service that is called `weir` or `weir-...`.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_url = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    is_url
        || name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| {
            name.contains("_PORT_")
                && (name.ends_with(&format!("{protocol}_PROTO"))
                    || name.ends_with(&format!("{protocol}_PORT"))
                    || name.ends_with(&format!("{protocol}_ADDR")))
        })
}

/// Says Rust's type names in words.
fn readable(message: &str) -> String {
    let mut text = message.trim().to_owned();
    for (from, to) in [
        ("expected u8", "expected a whole number from 0 to 255"),
        ("expected u16", "expected a whole number from 0 to 65535"),
        (
            "expected u32",
            "expected a whole number from 0 to 4294967295",
        ),
        ("expected a boolean", "expected true or false"),
        ("expected IP address", "expected an IP address"),
    ] {
        text = text.replace(from, to);
    }
    text
}

/// What a key with secrets takes.
fn form_of(key: &str) -> &'static str {
    match key {
        "auth.keys" => "expected a table of API keys and secrets: { name = \"secret\" }",
        "auth.stream_keys" => {
            "expected a list of { key = \"...\", room = \"...\", identity = \"...\", publish = true, subscribe = false }"
        }
        _ => {
            "expected a list of { urls = [\"turn:host:3478\"], username = \"...\", credential = \"...\" } \
             or { urls = [\"turn:host:3478\"], secret = \"...\", ttl = \"24h\" }"
        }
    }
}
