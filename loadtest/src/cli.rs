//! The command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::peers::floor::{self, Work};
use crate::peers::report::PeersReport;
use crate::peers::rounds::{self, Rounds, RoundsError};
use crate::peers::{Peer, PeerError, SERVE_PATIENCE};
use crate::report::text::summary;
use crate::report::{Report, html, results};
use crate::run::{self, Plan, RunError};
use crate::scenario::{self, ScenarioError, types::Scenario};
use crate::server::{Placement, Served, serve};
use crate::signal::client::Trust;
use crate::sys;

/// CPU time given to the floor.
const FLOOR_TIME: Duration = Duration::from_secs(2);
/// The run ended as its limits want.
const EXIT_PASS: u8 = 0;
/// A limit broke, or the run was inconclusive.
const EXIT_FAIL: u8 = 1;
/// Nothing could be run.
const EXIT_ERROR: u8 = 2;

#[derive(Debug, Parser)]
#[command(
    name = "weir-loadtest",
    version,
    about = "Load test for WHIP and WHEP servers"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario: a file, or the name of a shipped one.
    Run {
        /// `broadcast`, `conference`, `rooms`, `simulcast-throttled`, `churn`,
        /// `overload`, `idle`, or a file.
        scenario: String,
        #[command(flatten)]
        common: Common,
    },
    /// One publisher and many viewers, by flags.
    Broadcast {
        /// Viewers.
        #[arg(long, default_value_t = 100)]
        viewers: u32,
        /// Seconds to measure.
        #[arg(long, default_value_t = 20.0)]
        seconds: f64,
        /// Video kilobits a second.
        #[arg(long)]
        kbps: Option<u32>,
        /// Viewers that join a second.
        #[arg(long)]
        joins_per_second: Option<f64>,
        #[command(flatten)]
        common: Common,
    },
    /// Find the most viewers of each publisher at which all limits hold.
    Search {
        /// As for `run`; its `load.viewers` is where the search starts.
        scenario: String,
        /// How exactly, in percent of the number.
        #[arg(long, default_value_t = 5.0)]
        percent: f64,
        /// Try no more than this.
        #[arg(long, default_value_t = 10_000)]
        most: u32,
        #[command(flatten)]
        common: Common,
    },
    /// Let several servers take turns on this machine, and put them side by side.
    Peers {
        /// As for `run`.
        scenario: String,
        /// A server with WHIP and WHEP, by name and command; it must print a line
        /// with `http=ADDRESS`, as Weir does.
        #[arg(long, value_name = "NAME=COMMAND")]
        serve: Vec<String>,
        /// `janus`, `mediamtx`, `broadcast-box`, a file that describes a peer as
        /// those in `peers/`, or `floor`: what fan-out costs at least.
        #[arg(long)]
        peer: Vec<String>,
        /// Turns of each.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
        /// Viewers of each publisher.
        #[arg(long)]
        viewers: Option<u32>,
        /// Seconds to measure in each turn.
        #[arg(long)]
        seconds: Option<f64>,
        /// Write all turns as JSON.
        #[arg(long)]
        json: Option<PathBuf>,
        /// Write the comparison as one HTML page.
        #[arg(long)]
        html: Option<PathBuf>,
        /// Set a key of the scenario, for example -o load.viewers=50.
        #[arg(short = 'o', value_name = "KEY=VALUE")]
        options: Vec<String>,
        /// Show no progress.
        #[arg(long, short)]
        quiet: bool,
    },
    /// Put tables and plots of JSON reports into a Markdown file: between
    /// `<!-- results: NAME -->` and `<!-- end -->` stands what DIRECTORY/NAME.json says.
    Results {
        /// Where the reports are.
        directory: PathBuf,
        /// The file.
        #[arg(long)]
        into: PathBuf,
    },
    /// Put several JSON reports side by side.
    Compare {
        /// Reports written with --json.
        #[arg(required = true, num_args = 1..)]
        reports: Vec<PathBuf>,
        /// Write the comparison as one HTML page, too.
        #[arg(long)]
        html: Option<PathBuf>,
    },
    /// Measure what fan-out costs at least here: copy, seal and batched send.
    Floor {
        /// Viewers.
        #[arg(long, default_value_t = 100)]
        viewers: usize,
        /// Bytes of each payload.
        #[arg(long, default_value_t = 1150)]
        payload_bytes: usize,
        /// Packets of a frame, which leave together.
        #[arg(long, default_value_t = 6)]
        burst: usize,
        /// Seconds of CPU time to measure.
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
    },
}

#[derive(Debug, Args)]
struct Common {
    /// Base URL of the server. May be left out with --serve if the command
    /// prints a line with `http=ADDRESS`.
    #[arg(long, env = "WEIR_LOADTEST_TARGET")]
    target: Option<String>,
    /// Process of the server, to measure what it uses.
    #[arg(long, conflicts_with = "serve")]
    pid: Option<u32>,
    /// Start the server with this command, measure what it uses and end it.
    #[arg(long)]
    serve: Option<String>,
    /// Write the report as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the report as one HTML page.
    #[arg(long)]
    html: Option<PathBuf>,
    /// Measure the raw floor for as many viewers in the same run.
    #[arg(long)]
    floor: bool,
    /// Bearer token for every request.
    #[arg(long, env = "WEIR_LOADTEST_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Trust the authorities in this PEM file, besides the system's, at an https target.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Trust any certificate of an https target.
    #[arg(long)]
    insecure: bool,
    /// Check everything on every so-manieth viewer, and count on the others.
    #[arg(long, value_name = "N")]
    full_check_every: Option<u32>,
    /// Set a key of the scenario, for example -o load.viewers=50.
    #[arg(short = 'o', value_name = "KEY=VALUE")]
    options: Vec<String>,
    /// Show no progress.
    #[arg(long, short)]
    quiet: bool,
}

impl Common {
    /// All settings of scenario keys; the later count.
    fn settings(&self) -> Vec<String> {
        let every = self.full_check_every;
        let flags = every.map(|n| format!("viewer.full-check-every={n}"));
        flags
            .into_iter()
            .chain(self.options.iter().cloned())
            .collect()
    }
}

#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error(transparent)]
    Rounds(#[from] RoundsError),
    #[error("{what}: {source}")]
    Io {
        what: String,
        source: std::io::Error,
    },
    #[error("the report: {0}")]
    Json(#[from] serde_json::Error),
    #[error("--ca {0}: no certificates in PEM form")]
    Authorities(String),
    #[error("--serve: no line with http=ADDRESS (give --target, then) {0}")]
    NotServed(String),
    #[error("--target is needed (or a --serve command that prints http=ADDRESS)")]
    NoTarget,
}

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> CliError {
    let what = what.into();
    move |source| CliError::Io { what, source }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    match execute(Cli::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            eprintln!("weir-loadtest: {e}");
            ExitCode::from(EXIT_ERROR)
        }
    }
}

fn execute(cli: Cli) -> Result<u8, CliError> {
    match cli.command {
        Command::Run { scenario, common } => {
            let scenario = scenario::load(&scenario, &common.settings())?;
            drive(scenario, &common, None)
        }
        Command::Broadcast {
            viewers,
            seconds,
            kbps,
            joins_per_second,
            common,
        } => {
            let mut options = vec![
                format!("load.viewers={viewers}"),
                format!("seconds={seconds:?}"),
            ];
            options.extend(kbps.map(|k| format!("media.kbps={k}")));
            options.extend(joins_per_second.map(|r| format!("ramp.joins-per-second={r:?}")));
            options.extend(common.settings());
            let scenario = scenario::load("broadcast", &options)?;
            drive(scenario, &common, None)
        }
        Command::Search {
            scenario,
            percent,
            most,
            common,
        } => {
            let scenario = scenario::load(&scenario, &common.settings())?;
            drive(scenario, &common, Some((percent, most)))
        }
        Command::Peers {
            scenario,
            serve,
            peer,
            rounds,
            viewers,
            seconds,
            json,
            html,
            mut options,
            quiet,
        } => {
            options.extend(viewers.map(|v| format!("load.viewers={v}")));
            options.extend(seconds.map(|s| format!("seconds={s:?}")));
            let mut peers = Vec::new();
            for text in &serve {
                peers.push(Peer::served(text)?);
            }
            for name in peer.iter().filter(|p| *p != rounds::FLOOR) {
                peers.push(Peer::load(name)?);
            }
            let wanted = Rounds {
                scenario,
                options,
                rounds,
                peers,
                floor: peer.iter().any(|p| p == rounds::FLOOR),
                progress: !quiet,
            };
            let report = rounds::run(&wanted, |round| eprintln!("{}", round.line()))?;
            compare_peers(&report, json.as_deref(), html.as_deref())
        }
        Command::Results { directory, into } => {
            let written = results::fill(&directory, &into).map_err(io("results"))?;
            println!("{} in {}", written.join(", "), into.display());
            Ok(EXIT_PASS)
        }
        Command::Compare { reports, html } => compare(&reports, html.as_deref()),
        Command::Floor {
            viewers,
            payload_bytes,
            burst,
            seconds,
        } => {
            sys::raise_open_files().map_err(io("sockets"))?;
            let time = Duration::from_secs_f64(seconds.clamp(0.01, 60.0));
            let work = Work::video(viewers, payload_bytes, burst.clamp(1, 60));
            let placement = Placement::halves(true);
            let f = floor::floor(work, &placement.server, time).map_err(io("the floor"))?;
            println!(
                "floor: {:.3} us CPU per packet ({} packets of {} bytes to {} viewers)",
                f.cpu_us_per_packet, f.packets, f.payload_bytes, f.viewers
            );
            Ok(EXIT_PASS)
        }
    }
}

/// Runs or searches, writes the reports and returns the exit code.
fn drive(scenario: Scenario, common: &Common, search: Option<(f64, u32)>) -> Result<u8, CliError> {
    let placement = Placement::halves(scenario.generator.pin && common.serve.is_some());
    // Before the server starts, so that it may open as many as `peers` lets it.
    sys::raise_open_files().map_err(io("sockets"))?;
    let served = match &common.serve {
        Some(command) => Some(serve::serve(command, &placement.server).map_err(io("--serve"))?),
        None => None,
    };
    placement.keep_generator().map_err(io("pinning"))?;
    let mut plan = Plan {
        scenario,
        target: String::new(),
        pid: common.pid.or_else(|| served.as_ref().map(Served::pid)),
        token: common.token.clone(),
        trust: trust(common)?,
        placement,
        progress: !common.quiet,
    };
    // Held to the end, when it ends the server.
    let served = reach(common, served, &mut plan)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("lt-http")
        .enable_all()
        .build()
        .map_err(io("the runtime"))?;
    let mut report = runtime.block_on(async {
        match search {
            Some((percent, most)) => {
                run::search(&plan, percent, most, |viewers, report| {
                    eprintln!("{viewers} viewers: {} ({})", report.verdict, report.reason);
                })
                .await
            }
            None => run::run(&plan).await,
        }
    })?;
    if common.floor {
        // At once after the server's own work, so that the machine is the same.
        let work = Work::of(&plan.scenario);
        let measured = floor::floor(work, &plan.placement.server, FLOOR_TIME);
        report.floor = Some(measured.map_err(io("the floor"))?);
    }
    drop(served);
    print!("{}", summary(&report));
    write_json(&report, common.json.as_deref())?;
    write_page(|| html::page(&report), common.html.as_deref())?;
    Ok(if run::passed(&report) {
        EXIT_PASS
    } else {
        EXIT_FAIL
    })
}

/// Finds out where the server is, and waits until one that was started listens.
fn reach(
    common: &Common,
    served: Option<Served>,
    plan: &mut Plan,
) -> Result<Option<Served>, CliError> {
    let Some(mut served) = served else {
        plan.target = common.target.clone().ok_or(CliError::NoTarget)?;
        return Ok(None);
    };
    plan.target = match &common.target {
        Some(target) => {
            let bad = || RunError::Target(target.clone());
            let url = reqwest::Url::parse(target).map_err(|_| bad())?;
            served
                .listening(&url, SERVE_PATIENCE)
                .map_err(io("--serve"))?;
            target.clone()
        }
        None => served
            .announced(SERVE_PATIENCE)
            .ok_or_else(|| CliError::NotServed(served.last_words()))?,
    };
    Ok(Some(served))
}

fn write_json(report: &impl serde::Serialize, path: Option<&Path>) -> Result<(), CliError> {
    let Some(path) = path else { return Ok(()) };
    let text = serde_json::to_string_pretty(report)?;
    std::fs::write(path, text).map_err(io(path.display().to_string()))
}

fn write_page(page: impl FnOnce() -> String, path: Option<&Path>) -> Result<(), CliError> {
    let Some(path) = path else { return Ok(()) };
    std::fs::write(path, page()).map_err(io(path.display().to_string()))
}

/// Prints and writes what the rounds gave.
fn compare_peers(
    report: &PeersReport,
    json: Option<&Path>,
    html: Option<&Path>,
) -> Result<u8, CliError> {
    println!(
        "{}: {}; {}\n\n{}",
        report.scenario,
        report.machine.text(),
        report.placement.text(),
        report.markdown()
    );
    write_json(report, json)?;
    write_page(|| html::peers(report), html)?;
    Ok(if report.passed() {
        EXIT_PASS
    } else {
        EXIT_FAIL
    })
}

fn trust(common: &Common) -> Result<Trust, CliError> {
    let mut trust = Trust {
        anyone: common.insecure,
        ..Trust::default()
    };
    if let Some(path) = &common.ca {
        let name = path.display().to_string();
        let pem = std::fs::read(path).map_err(io(name.clone()))?;
        trust.authorities = reqwest::Certificate::from_pem_bundle(&pem)
            .ok()
            .filter(|all| !all.is_empty())
            .ok_or(CliError::Authorities(name))?;
    }
    Ok(trust)
}

/// Prints reports side by side, and writes them as a page.
fn compare(paths: &[PathBuf], page: Option<&Path>) -> Result<u8, CliError> {
    let mut runs = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(path).map_err(io(path.display().to_string()))?;
        let report: Report = serde_json::from_str(&text)?;
        let name = path.file_stem().unwrap_or(path.as_os_str());
        runs.push((name.to_string_lossy().into_owned(), report));
    }
    print!("{}", html::comparison_text(&runs));
    write_page(|| html::comparison(&runs), page)?;
    Ok(EXIT_PASS)
}
