//! ICE over TCP, passive side (RFC 6544), with the framing of RFC 4571: for clients whose
//! UDP is blocked. A frame on a connection is treated as a datagram from its remote address.

mod connection;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use slab::Slab;
use socket2::{Domain, Protocol, Socket, Type};

use super::address_key::AddressKey;
use super::arena::SendArena;
use super::bind_error::BindError;
use super::demux::AddressTable;
use super::path::{Datagram, Path, Proto, unmapped};
use super::udp::SendReport;
use crate::telemetry::{DropCounters, DropReason};
use connection::Connection;

/// Reads of one connection before the others get their turn.
const READ_ROUNDS: usize = 4;

/// Connections accepted in one turn of the loop.
const ACCEPTS: usize = 64;

/// Connections that wait in the kernel to be accepted.
const BACKLOG: i32 = 256;

/// How often time-outs are looked at; few connections and coarse times need no timer each.
const TICK: Duration = Duration::from_secs(1);

/// What connections may use.
#[derive(Debug, Clone, Copy)]
pub struct TcpLimits {
    /// Connections of one worker.
    pub total: usize,
    /// Connections from one address, or one IPv6 /64. An office behind one NAT shares it.
    pub per_address: u32,
    /// A connection on which no connectivity check has proved a session in this time is closed.
    pub first_check: Duration,
    /// A connection that sent nothing for so long is closed. (Sessions end earlier: RFC 7675.)
    pub idle: Duration,
    /// A connection that took nothing of what waits for it for so long is closed.
    pub stuck: Duration,
}

impl Default for TcpLimits {
    fn default() -> Self {
        Self {
            total: 1024,
            per_address: 64,
            first_check: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            stuck: Duration::from_secs(5),
        }
    }
}

/// A listener and its connections.
#[derive(Debug)]
pub struct TcpPort {
    listener: TcpListener,
    local: SocketAddr,
    limits: TcpLimits,
    registry: Option<Registry>,
    first_token: usize,
    connections: Slab<Connection>,
    index: AddressTable,
    per_address: HashMap<AddressKey, u32>,
    /// Connections with more to read, whose event is spent.
    unfinished: VecDeque<usize>,
    accept_more: bool,
    closed: Vec<SocketAddr>,
    next_tick: Option<Instant>,
    buffer: Box<[u8]>,
    drops: DropCounters,
}

impl TcpPort {
    /// Listens on `address`; an IPv6 wildcard takes IPv4 too unless `only_v6`.
    pub fn bind(address: SocketAddr, only_v6: bool, limits: TcpLimits) -> Result<Self, BindError> {
        Self::open(address, only_v6, limits).map_err(|error| BindError::new("TCP", address, error))
    }

    fn open(address: SocketAddr, only_v6: bool, limits: TcpLimits) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM.nonblocking().cloexec(),
            Some(Protocol::TCP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(only_v6 || !address.ip().is_unspecified())?;
        }
        // A restart must not wait for old connections in TIME_WAIT; on Linux a port that
        // another process listens on stays refused.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.into());
        Ok(Self {
            local: listener.local_addr()?,
            listener,
            limits,
            registry: None,
            first_token: 0,
            connections: Slab::new(),
            index: AddressTable::default(),
            per_address: HashMap::new(),
            unfinished: VecDeque::new(),
            accept_more: false,
            closed: Vec::new(),
            next_tick: None,
            buffer: vec![0; connection::BUFFER].into_boxed_slice(),
            drops: DropCounters::default(),
        })
    }

    /// The address it listens on, with the real port.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// What was dropped since the last call.
    pub fn take_drops(&mut self) -> DropCounters {
        std::mem::take(&mut self.drops)
    }

    /// Lets a poll tell about the listener with `listener` and about connections with
    /// tokens from `first_connection` upwards.
    pub fn register(
        &mut self,
        registry: &Registry,
        listener: Token,
        first_connection: usize,
    ) -> io::Result<()> {
        registry.register(&mut self.listener, listener, Interest::READABLE)?;
        self.registry = Some(registry.try_clone()?);
        self.first_token = first_connection;
        Ok(())
    }

    /// Takes new connections, after an event of the listener.
    pub fn accept(&mut self, now: Instant) {
        self.accept_more = true;
        for _ in 0..ACCEPTS {
            match self.listener.accept() {
                Ok((stream, remote)) => {
                    // A connection that ends at once is none of the server's worries.
                    let _ = self.open_connection(stream, unmapped(remote), now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.accept_more = false;
                    return;
                }
                // The peer gave up while it waited.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // Out of files or memory: the next tick tries again.
                Err(_) => {
                    self.accept_more = false;
                    self.next_tick.get_or_insert(now + TICK);
                    return;
                }
            }
        }
    }

    fn open_connection(
        &mut self,
        mut stream: TcpStream,
        remote: SocketAddr,
        now: Instant,
    ) -> io::Result<()> {
        let used = self
            .per_address
            .get(&AddressKey::of(remote.ip()))
            .copied()
            .unwrap_or(0);
        if self.connections.len() >= self.limits.total || used >= self.limits.per_address {
            self.drops.add(DropReason::SessionTableFull);
            return Ok(());
        }
        stream.set_nodelay(true)?;
        let local = unmapped(stream.local_addr()?);
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        if let Some(registry) = &self.registry {
            let interest = Interest::READABLE | Interest::WRITABLE;
            registry.register(&mut stream, Token(self.first_token + key), interest)?;
        }
        entry.insert(Connection::new(stream, local, remote, now));
        *self
            .per_address
            .entry(AddressKey::of(remote.ip()))
            .or_default() += 1;
        self.index.insert(Proto::Tcp, remote, key as u32);
        self.next_tick.get_or_insert(now + TICK);
        Ok(())
    }

    /// Reads and writes a connection after one of its events; `frame` gets what arrived.
    pub fn ready(&mut self, event: &Event, now: Instant, frame: &mut impl FnMut(Datagram<'_>)) {
        let Some(key) = event.token().0.checked_sub(self.first_token) else {
            return;
        };
        if event.is_writable() {
            self.write(key, now);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.read(key, now, frame);
        }
    }

    /// True when something is left to do that no event will tell.
    pub fn has_more(&self) -> bool {
        self.accept_more || !self.unfinished.is_empty()
    }

    /// Goes on with what [`has_more`](Self::has_more) tells.
    pub fn resume(&mut self, now: Instant, frame: &mut impl FnMut(Datagram<'_>)) {
        if self.accept_more {
            self.accept(now);
        }
        for _ in 0..self.unfinished.len() {
            if let Some(key) = self.unfinished.pop_front() {
                self.read(key, now, frame);
            }
        }
    }

    fn read(&mut self, key: usize, now: Instant, frame: &mut impl FnMut(Datagram<'_>)) {
        for _ in 0..READ_ROUNDS {
            let Some(connection) = self.connections.get_mut(key) else {
                return;
            };
            match connection.read(&mut self.buffer, now, frame) {
                Ok(true) => {}
                Ok(false) => return,
                Err(reason) => {
                    if let Some(reason) = reason {
                        self.drops.add(reason);
                    }
                    self.close_key(key);
                    return;
                }
            }
        }
        if !self.unfinished.contains(&key) {
            self.unfinished.push_back(key);
        }
    }

    fn write(&mut self, key: usize, now: Instant) {
        if let Some(connection) = self.connections.get_mut(key)
            && connection.write(now).is_err()
        {
            self.close_key(key);
        }
    }

    /// Sends the arena's datagrams for TCP paths. What a slow connection can't keep is
    /// dropped, frame by frame; what is for no connection [here](Self::carries) is passed over.
    pub fn send(&mut self, arena: &SendArena, now: Instant) -> SendReport {
        let mut report = SendReport::default();
        for run in arena.runs().filter(|run| run.path.proto == Proto::Tcp) {
            let key = self.index.get(Proto::Tcp, run.path.remote);
            let Some((key, connection)) =
                key.and_then(|key| Some((key as usize, self.connections.get_mut(key as usize)?)))
            else {
                continue;
            };
            for bytes in run.datagrams() {
                if connection.queue(bytes, now) {
                    report.datagrams += 1;
                    report.bytes += bytes.len() as u64;
                } else {
                    self.drops.add(DropReason::TcpBackpressure);
                }
            }
            report.syscalls += 1;
            self.write(key, now);
        }
        report
    }

    /// Whether there is a connection for `path`.
    pub fn carries(&self, path: &Path) -> bool {
        path.proto == Proto::Tcp && self.index.get(Proto::Tcp, path.remote).is_some()
    }

    /// Closes connections whose time is over. `is_known` tells of an address whether a session is to be
    /// reached there: whoever just opens connections must not take all places.
    pub fn expire(&mut self, now: Instant, is_known: impl Fn(SocketAddr) -> bool) {
        if self.next_tick.is_none_or(|at| at > now) {
            return;
        }
        self.next_tick = None;
        // Also after an accept that failed for want of files.
        self.accept(now);
        let limits = self.limits;
        let late: Vec<usize> = self
            .connections
            .iter()
            .filter(|(_, c)| c.is_late(now, &limits, is_known(c.remote)))
            .map(|(key, _)| key)
            .collect();
        for key in late {
            if self
                .connections
                .get(key)
                .is_some_and(|c| !c.waiting.is_empty())
            {
                self.drops.add(DropReason::TcpBackpressure);
            }
            self.close_key(key);
        }
        if !self.connections.is_empty() {
            self.next_tick.get_or_insert(now + TICK);
        }
    }

    /// When [`expire`](Self::expire) wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.next_tick
    }

    /// A peer whose connection is gone, each once.
    pub fn pop_closed(&mut self) -> Option<SocketAddr> {
        self.closed.pop()
    }

    fn close_key(&mut self, key: usize) {
        let Some(mut connection) = self.connections.try_remove(key) else {
            return;
        };
        if let Some(registry) = &self.registry {
            let _ = registry.deregister(&mut connection.stream);
        }
        self.unfinished.retain(|other| *other != key);
        self.index.remove(Proto::Tcp, connection.remote);
        let key = AddressKey::of(connection.remote.ip());
        if let Some(used) = self.per_address.get_mut(&key) {
            *used -= 1;
            if *used == 0 {
                self.per_address.remove(&key);
            }
        }
        self.closed.push(connection.remote);
    }
}
