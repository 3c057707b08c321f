//! Why the server could not start, or stopped by itself.

use std::io;
use std::net::SocketAddr;

use crate::control::announce::AnnounceError;
use crate::net::BindError;
use crate::peer::crypto::SetupError;

/// The server could not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The HTTP listener could not be bound.
    #[error("{}", http_bind(.address, .source))]
    Http {
        /// `http.listen`.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// A media socket could not be bound.
    #[error("{source}{}", media_hint(.source))]
    Media {
        /// What the kernel said.
        #[from]
        source: BindError,
    },
    /// There is no address to announce.
    #[error(transparent)]
    Announce(#[from] AnnounceError),
    /// DTLS could not be set up.
    #[error(transparent)]
    Crypto(#[from] SetupError),
    /// No random bytes to seed the workers with.
    #[error("the system gives no random bytes")]
    NoRandomness,
    /// A thread or one of the queues between threads could not be made.
    #[error("{what} can't be started: {source}")]
    Start {
        /// The part of the server.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The metrics could not be set up.
    #[error("the metrics can't be set up: {0}")]
    Metrics(String),
    /// The HTTP server ended without being told to.
    #[error("the HTTP server failed")]
    HttpFailed,
    /// A second signal came before the server had stopped.
    #[error("stopped at once by a second signal")]
    Interrupted,
}

fn http_bind(address: &SocketAddr, source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::AddrInUse => format!(
            "HTTP {address} is in use by another process: stop that one, or choose another \
             address with --http (http.listen; port 0 takes a free one)"
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "no network interface of this machine has the address of HTTP {address} \
             (http.listen; 0.0.0.0 is every IPv4 address, [::] every address)"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "HTTP {address} may not be bound: ports below 1024 need the capability \
             CAP_NET_BIND_SERVICE (http.listen)"
        ),
        _ => format!("HTTP {address} can't be bound: {source} (http.listen)"),
    }
}

fn media_hint(error: &BindError) -> &'static str {
    match error {
        BindError::Busy { .. } => {
            ": stop that one, or choose other ports with --udp-port (udp.port; 0 takes free ones)"
        }
        BindError::NotLocal { .. } => " (udp.listen)",
        BindError::Denied { .. } | BindError::Other { .. } => " (udp.port, udp.listen)",
    }
}
