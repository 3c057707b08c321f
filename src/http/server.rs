//! The HTTP listener: accepts connections, bounds them, and stops gracefully.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use dashmap::DashMap;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::{debug, warn};

use super::caller::Peer;
use super::stream::{Activity, BusyBody, Patient};
use crate::config::{Http, Network};
use crate::net::AddressKey;

/// Connections at a time; each costs a task and some 20 KiB.
const MAX_CONNECTIONS: usize = 8_192;

/// Connections at a time from one address (IPv6: one /64) that is no trusted proxy; a browser
/// opens six, and many browsers may stand behind one address.
const MAX_CONNECTIONS_PER_ADDRESS: usize = 512;

/// What a connection is answered that is one too many (RFC 9110 §15.6.4), whatever it asks for.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\n\
    cache-control: no-store\r\naccess-control-allow-origin: *\r\n\
    content-type: application/problem+json\r\ncontent-length: 149\r\n\r\n\
    {\"type\":\"urn:weir:problem:overloaded\",\"title\":\"No capacity\",\"status\":503,\
    \"detail\":\"There are too many HTTP connections at present. Try again later.\"}";

/// Connections at a time that are answered so; further ones are closed without a word.
const MAX_FAREWELLS: usize = 64;

/// How long such a connection may take: closed sooner, what the client still sends would be
/// answered with a reset, which takes the answer away from it.
const FAREWELL: Duration = Duration::from_secs(1);

/// Bytes of a request's header that are buffered.
const MAX_HEADER: usize = 32 * 1024;

/// Unacknowledged data for this long means that the peer is gone.
const PEER_TIMEOUT: Duration = Duration::from_secs(30);

/// The wait after a failure to accept, such as too many open files.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// The bound listener with its routes.
pub struct HttpServer {
    listener: TcpListener,
    router: Router,
    header_timeout: Duration,
    idle_timeout: Duration,
    connections: Arc<Connections>,
}

/// Counts connections.
struct Connections {
    by_address: DashMap<AddressKey, usize>,
    trusted: Vec<Network>,
    tasks: TaskTracker,
    farewells: Arc<Semaphore>,
}

/// A counted connection.
struct Slot(Arc<Connections>, AddressKey);

impl Connections {
    /// Counts a connection in, unless there are too many.
    fn enter(self: &Arc<Self>, ip: IpAddr) -> Result<Slot, &'static str> {
        if self.tasks.len() >= MAX_CONNECTIONS {
            return Err("total");
        }
        let key = AddressKey::of(ip);
        let mut count = self.by_address.entry(key).or_insert(0);
        let bounded = !self.trusted.iter().any(|network| network.contains(ip));
        if bounded && *count >= MAX_CONNECTIONS_PER_ADDRESS {
            return Err("address");
        }
        *count += 1;
        Ok(Slot(self.clone(), key))
    }

    /// Tells a client that its connection is not taken.
    fn turn_away(&self, mut stream: TcpStream) {
        let Ok(permit) = self.farewells.clone().try_acquire_owned() else {
            return;
        };
        tokio::spawn(async move {
            let _permit = permit;
            let answer = async {
                stream.write_all(BUSY).await?;
                stream.shutdown().await?;
                while stream.read(&mut [0; 4096]).await? > 0 {}
                io::Result::Ok(())
            };
            // It is lost to the client either way.
            let _ = tokio::time::timeout(FAREWELL, answer).await;
        });
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.by_address.remove_if_mut(&self.1, |_, count| {
            *count = count.saturating_sub(1);
            *count == 0
        });
    }
}

impl HttpServer {
    /// Binds `http.listen`.
    ///
    /// # Errors
    /// When the address is taken or not ours.
    pub async fn bind(http: &Http, router: Router) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(http.listen).await?,
            router,
            header_timeout: http.header_timeout,
            idle_timeout: http.idle_timeout,
            connections: Arc::new(Connections {
                by_address: DashMap::new(),
                trusted: http.trusted_proxies.clone(),
                tasks: TaskTracker::new(),
                farewells: Arc::new(Semaphore::new(MAX_FAREWELLS)),
            }),
        })
    }

    /// Where it listens, with the port that was chosen for port 0.
    ///
    /// # Errors
    /// When the operating system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`, then lets requests under way finish for at most `grace`.
    pub async fn serve(self, stop: CancellationToken, grace: Duration) {
        // Connections that outlive the grace are dropped by this.
        let abort = CancellationToken::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.begin(stream, peer, &stop, &abort),
                Err(error) => {
                    warn!(%error, "can't accept an HTTP connection");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
        drop(self.listener);
        let tasks = &self.connections.tasks;
        tasks.close();
        if tokio::time::timeout(grace, tasks.wait()).await.is_err() {
            debug!(connections = tasks.len(), "HTTP connections cut off");
            abort.cancel();
            tasks.wait().await;
        }
    }

    fn begin(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        stop: &CancellationToken,
        abort: &CancellationToken,
    ) {
        let slot = match self.connections.enter(peer.ip().to_canonical()) {
            Ok(slot) => slot,
            Err(limit) => {
                metrics::counter!("weir_http_connections_refused_total", "limit" => limit)
                    .increment(1);
                self.connections.turn_away(stream);
                return;
            }
        };
        // Without these a connection only is a little slower or dies a little later.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(PEER_TIMEOUT));
        let activity = Activity::default();
        let io = Patient::new(
            stream,
            activity.clone(),
            self.header_timeout,
            self.idle_timeout,
        );
        let router = self.router.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let busy = activity.begin();
            let mut request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(Peer(peer));
            let response = router.clone().oneshot(request);
            async move {
                let response = response
                    .await
                    .unwrap_or_else(|never: Infallible| match never {});
                Ok::<_, Infallible>(response.map(|body| BusyBody::new(body, busy)))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // `Patient` does this, with a longer time between requests.
            .header_read_timeout(None)
            .max_buf_size(MAX_HEADER)
            .serve_connection(TokioIo::new(io), service);
        let (stop, abort) = (stop.clone(), abort.clone());
        self.connections.tasks.spawn(async move {
            let _slot = slot;
            let mut connection = std::pin::pin!(connection);
            let result = tokio::select! {
                result = connection.as_mut() => result,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        result = connection.as_mut() => result,
                        () = abort.cancelled() => Ok(()),
                    }
                }
            };
            if let Err(error) = result {
                debug!(%error, %peer, "HTTP connection ended");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let connections = Arc::new(Connections {
            by_address: DashMap::new(),
            trusted: vec!["2001:db8:9::/48".parse().unwrap()],
            tasks: TaskTracker::new(),
            farewells: Arc::new(Semaphore::new(1)),
        });
        let enter = |network: &str, host: usize| {
            let ip = format!("{network}::{host:x}").parse().unwrap();
            connections.enter(ip)
        };
        let kept: Vec<Slot> = (0..MAX_CONNECTIONS_PER_ADDRESS)
            .map(|host| enter("2001:db8:1:1", host).ok().unwrap())
            .collect();
        assert_eq!(enter("2001:db8:1:1", 9999).err(), Some("address"));
        assert!(enter("2001:db8:1:2", 1).is_ok(), "another network");
        let proxied: Vec<_> = (0..=kept.len())
            .map(|host| enter("2001:db8:9", host))
            .collect();
        assert!(proxied.iter().all(Result::is_ok), "a proxy brings many");
        drop(kept);
        assert!(enter("2001:db8:1:1", 9999).is_ok());
    }
}
