//! All parts of the server, started in order and stopped in reverse.

use std::sync::Arc;
use std::time::Duration;

use rand::TryRng;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::banner::Served;
use super::error::RunError;
use super::sockets::{self, Bound};
use crate::config::{Announced, Config};
use crate::control::{Control, ControlSettings, SnapshotSet, WorkerLink, announce};
use crate::http::{App, HttpServer, MetricsText};
use crate::net::SoleAddress;
use crate::peer::crypto::Crypto;
use crate::peer::negotiate::AnswerContext;
use crate::telemetry::Metrics;
use crate::worker::clock::WallClock;
use crate::worker::mesh::MeshMessage;
use crate::worker::{self, Core, CoreConfig, Seat, WorkerHandle};

/// Events of all workers that wait for the control plane, which only ever does
/// a little work for each. What does not fit waits at its worker.
const EVENT_QUEUE: usize = 8192;

/// How often the machine's addresses are looked at: as long may packets leave from a wrong one
/// when a second one appears. A look takes some 0.1 ms.
const ADDRESSES_AGE: Duration = Duration::from_secs(5);

/// How often request times are folded into their buckets.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// The share of `shutdown_timeout` for saying goodbye to sessions; the rest is
/// for HTTP responses under way and for the threads to end.
const GOODBYE_SHARE: f64 = 0.7;

/// A running server.
pub(super) struct Server {
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    control: Control,
    workers: Vec<WorkerHandle>,
    stop_http: CancellationToken,
    http: JoinHandle<()>,
    /// Where it is.
    pub(super) served: Served,
}

impl Server {
    /// Binds every socket, starts the workers, and serves.
    pub(super) async fn start(config: Config, metrics: Arc<Metrics>) -> Result<Self, RunError> {
        let config = Arc::new(config);
        let stop_http = CancellationToken::new();
        let grace = config.shutdown_timeout.mul_f64((1.0 - GOODBYE_SHARE) / 2.0);

        let sole = SoleAddress::default();
        let bound = sockets::bind(&config, &sole)?;
        let addresses = announce::addresses(&config).await?;
        let udp = bound.iter().map(|worker| worker.port).collect();
        let (events, event_queue) = mpsc::channel(EVENT_QUEUE);
        let crypto = Crypto::new()?;
        let links = start_workers(&config, bound, &addresses, &crypto, &events)?;
        let (workers, links) = links.into_iter().unzip();
        // The workers' senders are the only ones: when they end, so does the pump.
        drop(events);

        let control = Control::new(links, ControlSettings::from_config(&config));
        tokio::spawn(control.clone().run(event_queue));
        let text = metrics_text(&config, &metrics, &control);
        let app = App::new(Arc::clone(&config), control.clone(), text);
        let http = HttpServer::bind(&config.http, app.router()).await;
        let http = http.and_then(|server| Ok((server.local_addr()?, server)));
        let (address, server) = http.map_err(|source| RunError::Http {
            address: config.http.listen,
            source,
        })?;
        let http = tokio::spawn(server.serve(stop_http.clone(), grace));
        let (upkeep, stop) = (Arc::clone(&metrics), stop_http.clone());
        tokio::spawn(async move {
            stop.run_until_cancelled_owned(upkeep.keep_up(METRICS_UPKEEP))
                .await
        });
        tokio::spawn(
            stop_http
                .clone()
                .run_until_cancelled_owned(look_at_addresses(sole)),
        );
        metrics.set_ready(true);
        Ok(Self {
            served: Served {
                http: address,
                udp,
                announced: addresses,
            },
            config,
            metrics,
            control,
            workers,
            stop_http,
            http,
        })
    }

    /// Comes back only if the HTTP server ends without being told to.
    pub(super) async fn failed(&mut self) -> RunError {
        let _ = (&mut self.http).await;
        RunError::HttpFailed
    }

    /// Refuses newcomers, says goodbye to all sessions, and ends every part
    /// within `shutdown_timeout`.
    pub(super) async fn stop(self) {
        let limit = self.config.shutdown_timeout;
        let deadline = Instant::now() + limit;
        info!(sessions = self.control.session_count(), "stopping");
        self.metrics.set_ready(false);
        let left = self.control.shutdown(limit.mul_f64(GOODBYE_SHARE)).await;
        if left > 0 {
            warn!(sessions = left, "sessions did not end in time");
        }
        self.stop_http.cancel();
        let _ = tokio::time::timeout_at(deadline, self.http).await;
        for worker in &self.workers {
            worker.stop();
        }
        let workers = self.workers;
        let join = tokio::task::spawn_blocking(move || {
            workers.into_iter().for_each(WorkerHandle::join);
        });
        if tokio::time::timeout_at(deadline, join).await.is_err() {
            warn!("a worker did not end in time");
        }
        info!("stopped");
    }
}

/// Keeps `sole` true. It blocks a little, as long as the kernel lists its interfaces.
async fn look_at_addresses(sole: SoleAddress) {
    loop {
        let looked = sole.clone();
        let found = tokio::task::spawn_blocking(move || looked.look()).await;
        if let Ok(Err(error)) = found {
            debug!(%error, "the machine's addresses can't be listed");
        }
        tokio::time::sleep(ADDRESSES_AGE).await;
    }
}

/// Starts a thread for each worker's sockets.
fn start_workers(
    config: &Config,
    bound: Vec<Bound>,
    addresses: &[Announced],
    crypto: &Crypto,
    events: &mpsc::Sender<(crate::units::WorkerId, crate::control::messages::Event)>,
) -> Result<Vec<(WorkerHandle, WorkerLink)>, RunError> {
    let failed = |source| RunError::Start {
        what: "a media worker",
        source,
    };
    let count = u8::try_from(bound.len()).unwrap_or(u8::MAX);
    let seats = worker::junction::<MeshMessage>(count).map_err(failed)?;
    let clock = WallClock::system();
    seats
        .into_iter()
        .zip(bound)
        .map(|(seat, bound): (Seat<MeshMessage>, Bound)| {
            let id = seat.id;
            let candidates = announce::candidates(config, addresses, usize::from(id.0), bound.port);
            let tcp = match config.tcp.enabled {
                true => &candidates[..],
                false => &[],
            };
            let context = Arc::new(AnswerContext::new(&crypto.fingerprint(), &candidates, tcp));
            let mut seed = [0; 32];
            rand::rngs::SysRng
                .try_fill_bytes(&mut seed)
                .map_err(|_| RunError::NoRandomness)?;
            let core = CoreConfig {
                id,
                workers: count,
                // The control plane counts them over all workers.
                max_sessions: config.limits.sessions.get().unwrap_or(u32::MAX),
                consent_timeout: config.limits.consent_timeout,
                connect_timeout: config.limits.connect_timeout,
                seed,
                clock,
            };
            let crypto = crypto.clone();
            let handle = worker::spawn(
                seat,
                bound.sockets,
                events.clone(),
                move || Core::new(core, crypto),
                worker::exit_process,
            )
            .map_err(failed)?;
            let sink = Arc::new(handle.commands());
            Ok((handle, WorkerLink { id, sink, context }))
        })
        .collect()
}

/// What answers `GET /metrics`.
fn metrics_text(config: &Config, metrics: &Arc<Metrics>, control: &Control) -> MetricsText {
    if !config.metrics.enabled {
        return None;
    }
    let (metrics, control) = (Arc::clone(metrics), control.clone());
    Some(Box::new(move |snapshots: &SnapshotSet| {
        for (worker, snapshot) in &snapshots.workers {
            metrics.worker(*worker, snapshot);
        }
        metrics.set_ready(control.accepting());
        metrics.render()
    }))
}

/// What is left for the runtime's own threads after [`Server::stop`].
pub(super) const RUNTIME_GRACE: Duration = Duration::from_millis(100);
