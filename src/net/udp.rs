//! A worker's UDP socket: batches in with `recvmmsg` and GRO, runs out with `sendmmsg` and GSO.

mod send;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use socket2::Socket;

use super::batch::RecvBatch;
use super::bind_error::BindError;
use super::lanes::{self, Lanes};
use super::pairs::Pairs;
use super::path::{Path, Proto};
use super::source::SoleAddress;
use super::sys::{self, BATCH, Control, RawAddress};

pub use send::SendReport;

/// How to open a socket.
#[derive(Debug, Clone, Copy)]
pub struct UdpOptions {
    /// Bytes of kernel receive buffer; the kernel may allow less (`net.core.rmem_max`).
    pub receive_buffer: usize,
    /// Bytes of kernel send buffer; the kernel may allow less (`net.core.wmem_max`).
    pub send_buffer: usize,
    /// An IPv6 wildcard socket takes IPv6 only, not IPv4 too.
    pub only_v6: bool,
    /// What may wait comes in by a socket of its own, which [`UdpPort::receive_patient`] reads,
    /// where the kernel can sort: connectivity checks, receivers' reports and feedback for estimates.
    pub lanes: bool,
}

impl Default for UdpOptions {
    fn default() -> Self {
        Self {
            receive_buffer: 4 << 20,
            send_buffer: 4 << 20,
            only_v6: false,
            lanes: false,
        }
    }
}

/// A bound UDP socket and the memory for its outgoing messages.
#[derive(Debug)]
pub struct UdpPort {
    socket: Socket,
    /// See [`lanes`].
    patient: Option<Socket>,
    bound: SocketAddr,
    v6: bool,
    only_v6: bool,
    gso: bool,
    /// A run was taken.
    gso_works: bool,
    /// Runs that were refused before.
    refusals: u32,
    pairs: Pairs,
    sole: SoleAddress,
    names: Box<[RawAddress]>,
    controls: Box<[Control]>,
}

impl UdpPort {
    /// Binds `address`; port 0 takes a free one. An IPv6 wildcard address takes IPv4 too unless
    /// `options` say otherwise.
    pub fn bind(address: SocketAddr, options: UdpOptions) -> Result<Self, BindError> {
        Self::open(address, options).map_err(|source| BindError::new("UDP", address, source))
    }

    fn open(address: SocketAddr, options: UdpOptions) -> io::Result<Self> {
        let Lanes {
            prompt: socket,
            patient,
        } = lanes::open(address, options)?;
        let fd = socket.as_fd();
        let gso = sys::set_option(fd, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok();
        let bound = socket
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::Error::other("a bound socket has an address"))?;
        Ok(Self {
            socket,
            patient,
            bound,
            v6: address.is_ipv6(),
            only_v6: lanes::is_only_v6(address, options),
            gso,
            gso_works: false,
            refusals: 0,
            pairs: Pairs::default(),
            sole: SoleAddress::default(),
            names: vec![RawAddress::default(); BATCH].into_boxed_slice(),
            controls: vec![Control::default(); BATCH].into_boxed_slice(),
        })
    }

    /// Leaves the source address to the kernel where it can only choose the right one, as `sole`
    /// tells from now on.
    pub fn follow(&mut self, sole: SoleAddress) {
        self.sole = sole;
    }

    /// The address it is bound to, with the real port.
    pub fn local(&self) -> SocketAddr {
        self.bound
    }

    /// Bytes of receive buffer that the kernel granted (it doubles what is asked for, for its
    /// own bookkeeping).
    pub fn receive_buffer(&self) -> usize {
        self.socket.recv_buffer_size().unwrap_or(0)
    }

    /// Bytes of send buffer that the kernel granted, doubled too.
    pub fn send_buffer(&self) -> usize {
        self.socket.send_buffer_size().unwrap_or(0)
    }

    /// The kernel splits outgoing runs, as far as is known.
    pub fn has_gso(&self) -> bool {
        self.gso
    }

    /// Goes on without GSO, as after the kernel refused it.
    pub fn disable_gso(&mut self) {
        self.gso = false;
    }

    /// The socket, to wait for.
    pub fn raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Whether this socket can send on `path`.
    pub fn carries(&self, path: &Path) -> bool {
        let family = match path.remote {
            SocketAddr::V4(_) => !self.v6 || !self.only_v6,
            SocketAddr::V6(_) => self.v6,
        };
        let (bound, local) = (self.bound.ip(), path.local.ip());
        path.proto == Proto::Udp
            && family
            && (bound.is_unspecified() || local.is_unspecified() || bound == local)
    }

    /// Reads once, without waiting. How many datagrams; zero when none waits.
    pub fn receive(&mut self, batch: &mut RecvBatch) -> io::Result<usize> {
        batch.fill(self.socket.as_fd(), self.bound)
    }

    /// The socket of what may wait, where there is one.
    pub fn patient_fd(&self) -> Option<RawFd> {
        self.patient.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Reads what may wait, like [`receive`](Self::receive).
    pub fn receive_patient(&mut self, batch: &mut RecvBatch) -> io::Result<usize> {
        match &self.patient {
            Some(socket) => batch.fill(socket.as_fd(), self.bound),
            None => {
                batch.clear();
                Ok(0)
            }
        }
    }
}

impl AsFd for UdpPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
