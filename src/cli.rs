//! The command line: `weir`, `weir check` and `weir token`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{Config, ConfigError, Loader};
use crate::http::auth::{Claims, VideoGrant, mint};

mod summary;
#[cfg(test)]
mod tests;

pub use summary::summary;

/// Exit code for a configuration or a command line that can't be used.
const USAGE: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  weir                                       open to this machine, http://127.0.0.1:8080
  weir --http 0.0.0.0:8080 --auth open       open to everybody who reaches it
  weir --config weir.toml                    with a configuration file
  weir check weir.toml                       is the file right?
  weir token --room studio --identity alice --publish --config weir.toml

Configuration: defaults < file < WEIR_* environment < flags. config/weir.toml lists every key;
udp.port is WEIR_UDP_PORT. Exit codes: 0 stopped cleanly, 2 configuration or usage, 1 anything else.";

/// Weir, a media SFU: publish over WHIP, watch over WHEP.
#[derive(Debug, Parser)]
#[command(name = "weir", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    serve: ServeArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a configuration file (with the WEIR_* environment) and print what it means.
    Check {
        /// The TOML file.
        file: PathBuf,
    },
    /// Print a token that lets somebody publish or watch.
    ///
    /// It is signed with --key and --secret, or with a key of the configuration. Without
    /// --publish and --subscribe it allows both.
    Token(TokenArgs),
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", env = "WEIR_CONFIG")]
    config: Option<PathBuf>,
    /// Where to listen for HTTP; port 0 takes a free one [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR:PORT")]
    http: Option<String>,
    /// Who may publish and watch [default: open on loopback without keys, else token].
    #[arg(long, value_enum)]
    auth: Option<AuthChoice>,
    /// UDP (and TCP) port of the first worker; 0 takes free ones [default: 7882].
    #[arg(long, value_name = "N")]
    udp_port: Option<String>,
    /// Media worker threads; 0 is one per core [default: 0].
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// IP (or IP:PORT as seen from outside) that clients send media to; may be repeated
    /// [default: every interface that is up].
    #[arg(long, value_name = "IP")]
    announce: Vec<String>,
    /// Form of log lines on standard error [default: text].
    #[arg(long, value_name = "FORMAT", value_enum)]
    log_format: Option<LogChoice>,
    /// error, warn, info, debug, trace, or directives like info,weir::http=debug [default: info].
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum AuthChoice {
    Open,
    Token,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogChoice {
    Text,
    Json,
}

#[derive(Debug, Args)]
struct TokenArgs {
    /// The only room the token opens.
    #[arg(long)]
    room: String,
    /// Whom the token stands for.
    #[arg(long)]
    identity: String,
    /// Allow publishing.
    #[arg(long)]
    publish: bool,
    /// Allow watching.
    #[arg(long)]
    subscribe: bool,
    /// Allow managing the room: see all of it and end any session in it.
    #[arg(long)]
    admin: bool,
    /// The name that other people see.
    #[arg(long)]
    name: Option<String>,
    /// How long the token is good.
    #[arg(long, default_value = "6h", value_parser = humantime::parse_duration)]
    ttl: Duration,
    /// API key; with --config, which of its keys.
    #[arg(long, env = "LIVEKIT_API_KEY")]
    key: Option<String>,
    /// The API key's secret (better given by the environment than here).
    #[arg(
        long,
        env = "LIVEKIT_API_SECRET",
        hide_env_values = true,
        requires = "key"
    )]
    secret: Option<String>,
    /// Configuration file to take key and secret from.
    #[arg(long, value_name = "FILE", env = "WEIR_CONFIG")]
    config: Option<PathBuf>,
}

/// Runs the command line of this process; the exit code is as in `weir --help`.
pub fn main() -> ExitCode {
    // Prints help and usage errors itself, and ends with 0 or 2.
    let cli = Cli::parse();
    match cli.command {
        None => serve(&cli.serve),
        Some(Command::Check { file }) => check(&file),
        Some(Command::Token(args)) => token(&args),
    }
}

fn serve(args: &ServeArgs) -> ExitCode {
    let config = match configure(args, std::env::vars_os()) {
        Ok(config) => config,
        Err(error) => return refuse(&error),
    };
    match crate::run::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir: {error}");
            ExitCode::FAILURE
        }
    }
}

fn check(file: &Path) -> ExitCode {
    match load(Some(file), std::env::vars_os()).and_then(|loader| loader.finish()) {
        Ok(config) => {
            println!("{} is valid\n{}", file.display(), summary(&config));
            ExitCode::SUCCESS
        }
        Err(error) => refuse(&error),
    }
}

fn token(args: &TokenArgs) -> ExitCode {
    match make_token(args, std::env::vars_os()) {
        Ok(token) => {
            println!("{token}");
            ExitCode::SUCCESS
        }
        Err(why) => refuse(&why),
    }
}

fn refuse(why: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("weir: {why}");
    ExitCode::from(USAGE)
}

/// File and environment, without flags.
fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
) -> Result<Loader, ConfigError> {
    let mut loader = Loader::new();
    if let Some(file) = file {
        loader.file(file)?;
    }
    // A variable that is not UTF-8 can't be one of ours unless its name is.
    loader.env(environment.into_iter().filter_map(|(name, value)| {
        Some((
            name.into_string().ok()?,
            value.to_string_lossy().into_owned(),
        ))
    }))?;
    Ok(loader)
}

fn configure(
    args: &ServeArgs,
    environment: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
) -> Result<Config, ConfigError> {
    let mut loader = load(args.config.as_deref(), environment)?;
    let auth = args.auth.map(|choice| match choice {
        AuthChoice::Open => "open".to_owned(),
        AuthChoice::Token => "token".to_owned(),
    });
    let log_format = args.log_format.map(|choice| match choice {
        LogChoice::Text => "text".to_owned(),
        LogChoice::Json => "json".to_owned(),
    });
    let announce = (!args.announce.is_empty()).then(|| args.announce.join(","));
    for (flag, key, value) in [
        ("--http", "http.listen", &args.http),
        ("--auth", "auth.mode", &auth),
        ("--udp-port", "udp.port", &args.udp_port),
        ("--workers", "workers", &args.workers),
        ("--announce", "announce.addresses", &announce),
        ("--log-format", "log.format", &log_format),
        ("--log-level", "log.level", &args.log_level),
    ] {
        if let Some(value) = value {
            loader.flag(flag, key, value)?;
        }
    }
    loader.finish()
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
enum TokenError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(
        "no API key: give --key and --secret (or LIVEKIT_API_KEY and LIVEKIT_API_SECRET), or --config with auth.keys"
    )]
    NoKey,
    #[error("the configuration has no API key {0:?}; it has {1}")]
    UnknownKey(String, String),
    #[error("the configuration has several API keys ({0}): choose one with --key")]
    WhichKey(String),
    #[error("--{0} can't be empty")]
    Empty(&'static str),
    #[error("the token could not be signed: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

fn make_token(
    args: &TokenArgs,
    environment: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
) -> Result<String, TokenError> {
    for (flag, value) in [("room", &args.room), ("identity", &args.identity)] {
        if value.is_empty() {
            return Err(TokenError::Empty(flag));
        }
    }
    let (key, secret) = match (&args.key, &args.secret) {
        (Some(key), Some(secret)) => (key.clone(), secret.clone()),
        _ => {
            let config = load(args.config.as_deref(), environment)?.finish()?;
            let keys = config.auth.keys;
            let names = || keys.keys().cloned().collect::<Vec<_>>().join(", ");
            let found = match &args.key {
                Some(_) if keys.is_empty() => return Err(TokenError::NoKey),
                Some(key) => keys
                    .get_key_value(key)
                    .ok_or_else(|| TokenError::UnknownKey(key.clone(), names()))?,
                None if keys.len() > 1 => return Err(TokenError::WhichKey(names())),
                None => keys.iter().next().ok_or(TokenError::NoKey)?,
            };
            (found.0.clone(), found.1.expose().to_owned())
        }
    };
    let both = !args.publish && !args.subscribe;
    let publish = args.publish || both;
    let claims = Claims {
        sub: args.identity.clone(),
        name: args.name.clone().unwrap_or_default(),
        video: VideoGrant {
            room: args.room.clone(),
            room_join: true,
            can_publish: Some(publish),
            can_subscribe: Some(args.subscribe || both),
            can_publish_data: Some(publish),
            room_admin: args.admin,
            room_create: args.admin,
            room_list: args.admin,
            ..VideoGrant::default()
        },
        ..Claims::default()
    };
    Ok(mint(&key, &secret, claims, args.ttl)?)
}
