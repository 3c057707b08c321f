//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::peers::floor;
use crate::report::{Report, html};
use crate::run::{self, Plan, RunError};
use crate::scenario::{self, ScenarioError, types::Scenario};
use crate::{server, sys};

/// How long a started server may take until it listens.
const SERVE_PATIENCE: Duration = Duration::from_secs(15);
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
        /// `overload`, or a file.
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
    /// Set a key of the scenario, for example -o load.viewers=50.
    #[arg(short = 'o', value_name = "KEY=VALUE")]
    options: Vec<String>,
    /// Show no progress.
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("{what}: {source}")]
    Io {
        what: String,
        source: std::io::Error,
    },
    #[error("the report: {0}")]
    Json(#[from] serde_json::Error),
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
            let scenario = scenario::load(&scenario, &common.options)?;
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
            options.extend(common.options.iter().cloned());
            let scenario = scenario::load("broadcast", &options)?;
            drive(scenario, &common, None)
        }
        Command::Search {
            scenario,
            percent,
            most,
            common,
        } => {
            let scenario = scenario::load(&scenario, &common.options)?;
            drive(scenario, &common, Some((percent, most)))
        }
        Command::Compare { reports, html } => compare(&reports, html.as_deref()),
        Command::Floor {
            viewers,
            payload_bytes,
            seconds,
        } => {
            sys::raise_open_files().map_err(io("sockets"))?;
            let time = Duration::from_secs_f64(seconds.clamp(0.01, 60.0));
            let f = floor::floor(viewers, payload_bytes, time).map_err(io("the floor"))?;
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
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let pin = scenario.generator.pin && common.serve.is_some() && cores >= 2;
    let served = match &common.serve {
        Some(command) => {
            // The server has the first half of the cores.
            let half = if pin {
                (0..cores / 2).collect()
            } else {
                Vec::new()
            };
            Some(server::serve(command, half, SERVE_PATIENCE).map_err(io("--serve"))?)
        }
        None => None,
    };
    if pin {
        let rest: Vec<usize> = (cores / 2..cores).collect();
        sys::pin_to(&rest).map_err(io("pinning"))?;
    }
    let target = common
        .target
        .clone()
        .or_else(|| served.as_ref().and_then(|s| s.url.clone()))
        .ok_or(CliError::NoTarget)?;
    let plan = Plan {
        scenario,
        target,
        pid: common
            .pid
            .or_else(|| served.as_ref().map(server::Served::pid)),
        token: common.token.clone(),
        progress: !common.quiet,
    };
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
        let (viewers, bytes) = (plan.scenario.viewers(), plan.scenario.media.payload_bytes);
        let measured = floor::floor(viewers as usize, bytes, FLOOR_TIME);
        report.floor = Some(measured.map_err(io("the floor"))?);
    }
    drop(served);
    print!("{}", summary(&report));
    if let Some(path) = &common.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text).map_err(io(path.display().to_string()))?;
    }
    if let Some(path) = &common.html {
        let page = html::page(&report);
        std::fs::write(path, page).map_err(io(path.display().to_string()))?;
    }
    Ok(if run::passed(&report) {
        EXIT_PASS
    } else {
        EXIT_FAIL
    })
}

/// Prints reports side by side, and writes them as a page.
fn compare(paths: &[PathBuf], page: Option<&std::path::Path>) -> Result<u8, CliError> {
    let mut runs = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(path).map_err(io(path.display().to_string()))?;
        let report: Report = serde_json::from_str(&text)?;
        let name = path.file_stem().unwrap_or(path.as_os_str());
        runs.push((name.to_string_lossy().into_owned(), report));
    }
    print!("{}", html::comparison_text(&runs));
    if let Some(path) = page {
        let text = html::comparison(&runs);
        std::fs::write(path, text).map_err(io(path.display().to_string()))?;
    }
    Ok(EXIT_PASS)
}

/// The figures that matter, a line each.
fn summary(r: &Report) -> String {
    use std::fmt::Write as _;
    let mut s = String::new();
    let f = &r.figures;
    let _ = writeln!(s, "{}: {} ({})", r.scenario, r.verdict, r.reason);
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
    if let Some(server) = &f.server {
        let _ = writeln!(
            s,
            "  server {:.3} cores, {:.3} us CPU per forwarded packet, {:.1} MB, {:.1} kB per session",
            server.cpu_cores,
            server.cpu_us_per_forwarded_packet,
            server.rss_bytes as f64 / 1e6,
            server.rss_bytes_per_session / 1e3
        );
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
        "  generator {:.3} cores (receiving {:.3}, publishing {:.3}), late sends {} of {}, socket drops {}, checked {:.1} %",
        g.cpu_cores,
        g.receive_cores,
        g.publish_cores,
        g.late_sends,
        g.sends,
        g.socket_drops,
        g.checked_percent
    );
    for (kind, count) in &f.http_errors {
        let _ = writeln!(s, "  http {kind}: {count}");
    }
    s
}
