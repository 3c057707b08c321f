//! Starts every part of the server from a configuration, and stops it on a signal.

mod banner;
mod error;
mod server;
mod sockets;

use std::io::{self, Write};
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

pub use error::RunError;

use crate::config::{Config, LogFormat};
use crate::net::sys;
use crate::telemetry::{Metrics, logging};
use server::{RUNTIME_GRACE, Server};

/// Threads for HTTP and the control plane: they never touch a packet, so a few
/// are enough beside the media workers.
const CONTROL_THREADS: usize = 4;

/// Workers that share a heap. They allocate when sessions come and go, and for a publisher's
/// packets; with fewer heaps joins find memory that others have freed.
const WORKERS_PER_HEAP: u8 = 4;

/// Runs the server until SIGTERM or SIGINT. Once it serves, standard output has
/// the line `weir ready http=... udp=...`.
///
/// # Errors
/// When it can't start, or fails while it runs. A configuration that was
/// loaded is not the cause, so the exit code is 1.
pub fn run(config: Config) -> Result<(), RunError> {
    // A process that logs already keeps its own way to log.
    let _ = logging::init(&config.log);
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        warn!(%error, "the limit on open files stays as it is");
    }
    let metrics = Metrics::new().map_err(|error| RunError::Metrics(error.to_string()))?;
    metrics
        .install()
        .map_err(|error| RunError::Metrics(error.to_string()))?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    share_heaps(config.workers, cores);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(CONTROL_THREADS))
        .thread_name("weir-control")
        .enable_all()
        .build()
        .map_err(|source| RunError::Start {
            what: "the control plane",
            source,
        })?;
    let result = runtime.block_on(serve(config, Arc::new(metrics)));
    runtime.shutdown_timeout(RUNTIME_GRACE);
    result
}

/// Bounds the heaps of so many workers (0: one for each core), unless whoever starts the server
/// has tuned the allocator.
fn share_heaps(workers: u8, cores: usize) {
    let tuned = ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"];
    if tuned
        .iter()
        .all(|name| std::env::var_os(name).is_none_or(|value| value.is_empty()))
    {
        let workers = match workers {
            0 => u8::try_from(cores).unwrap_or(u8::MAX),
            workers => workers,
        };
        sys::limit_heaps(workers.div_ceil(WORKERS_PER_HEAP));
    }
}

async fn serve(config: Config, metrics: Arc<Metrics>) -> Result<(), RunError> {
    // Before anything else, so that a signal during the start ends it cleanly too.
    let mut stop = Stop::new()?;
    let tell = config.clone();
    let mut server = tokio::select! {
        server = Server::start(config, metrics) => server?,
        name = stop.signalled() => {
            info!(signal = name, "stopped while starting");
            return Ok(());
        }
    };
    let human = tell.log.format == LogFormat::Text;
    // Nobody may be reading, which is no reason not to serve.
    let _ = announce_ready(&server, human.then_some(&tell));
    info!(
        http = %server.served.http,
        udp = ?server.served.udp,
        "serving"
    );
    tokio::select! {
        name = stop.signalled() => info!(signal = name, "signal"),
        error = server.failed() => return Err(error),
    }
    tokio::select! {
        () = server.stop() => Ok(()),
        _ = stop.signalled() => Err(RunError::Interrupted),
    }
}

/// Prints the ready line, after a block for people unless the output is for machines.
fn announce_ready(server: &Server, human: Option<&Config>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if let Some(config) = human {
        writeln!(out, "{}", server.served.banner(config))?;
    }
    writeln!(out, "{}", server.served.ready_line())?;
    out.flush()
}

/// The signals that end the server.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> Result<Self, RunError> {
        let listen = |kind| {
            signal(kind).map_err(|source| RunError::Start {
                what: "the signal handler",
                source,
            })
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal and names it.
    async fn signalled(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
