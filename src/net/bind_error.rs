//! Why a media socket could not be opened.

use std::io;
use std::net::SocketAddr;

/// Why a media socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another socket has the port.
    #[error("{proto} {address} is in use by another process")]
    Busy {
        /// "UDP" or "TCP".
        proto: &'static str,
        /// The address asked for.
        address: SocketAddr,
    },
    /// No interface of this machine has the address.
    #[error("no network interface of this machine has the address of {proto} {address}")]
    NotLocal {
        /// "UDP" or "TCP".
        proto: &'static str,
        /// The address asked for.
        address: SocketAddr,
    },
    /// The process may not bind the port.
    #[error("binding {proto} {address} is not permitted")]
    Denied {
        /// "UDP" or "TCP".
        proto: &'static str,
        /// The address asked for.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("binding {proto} {address}: {source}")]
    Other {
        /// "UDP" or "TCP".
        proto: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

impl BindError {
    pub(super) fn new(proto: &'static str, address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::Busy { proto, address },
            io::ErrorKind::AddrNotAvailable => Self::NotLocal { proto, address },
            io::ErrorKind::PermissionDenied => Self::Denied { proto, address },
            _ => Self::Other {
                proto,
                address,
                source,
            },
        }
    }

    /// The machine has no IPv6, so the address can't even be tried.
    pub fn is_family_missing(&self) -> bool {
        match self {
            Self::Other { source, .. } => source.raw_os_error() == Some(libc::EAFNOSUPPORT),
            Self::NotLocal { address, .. } => address.is_ipv6() && address.ip().is_unspecified(),
            _ => false,
        }
    }
}
