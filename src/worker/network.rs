//! The sockets of a worker: what is read goes into its core, what the core has written leaves.

use std::io;
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};

use super::patience::Patience;
use super::sans_io::{IoCounts, SansIo};
use super::thread::Sockets;
use crate::net::{Datagram, Proto, RecvBatch, SendArena, SendReport, TcpPort, UdpPort};
use crate::telemetry::DropReason;

/// How far ahead a core is told of the datagrams of a batch.
const AHEAD: usize = 4;

/// Reads of a patient socket in one turn, so that media does not wait for more than a
/// fraction of a millisecond of reports.
const PATIENT_READS: usize = 4;

const UDP: usize = 1;
const PATIENT: usize = 1 << 15;
const LISTENER: usize = 1 << 16;
const CONNECTIONS: usize = 1 << 17;

/// The sockets and what went through them.
pub(super) struct Network {
    udp: Vec<UdpPort>,
    /// When what may wait is read.
    pub(super) patience: Patience,
    /// The patient sockets are registered to wake the worker.
    listens: bool,
    /// Sockets that may have something to read.
    readable: Vec<bool>,
    pub(super) tcp: Vec<TcpPort>,
    batch: RecvBatch,
    pub(super) counts: IoCounts,
}

impl Network {
    pub(super) fn new(sockets: Sockets) -> Self {
        let has_patient = sockets.udp.iter().any(|port| port.patient_fd().is_some());
        Self {
            patience: Patience::new(Instant::now(), has_patient),
            listens: false,
            readable: vec![true; sockets.udp.len()],
            udp: sockets.udp,
            tcp: sockets.tcp,
            batch: RecvBatch::new(),
            counts: IoCounts::default(),
        }
    }

    pub(super) fn register(&mut self, poll: &Poll) -> io::Result<()> {
        let registry = poll.registry();
        for (n, port) in self.udp.iter().enumerate() {
            let fd = port.raw_fd();
            registry.register(&mut SourceFd(&fd), Token(UDP + n), Interest::READABLE)?;
        }
        for (n, port) in self.tcp.iter_mut().enumerate() {
            // Each listener has its own range of tokens.
            port.register(registry, Token(LISTENER + n), CONNECTIONS * (n + 1))?;
        }
        Ok(())
    }

    /// Lets the patient sockets wake the worker, or not.
    pub(super) fn listen(&mut self, registry: &Registry) {
        let listens = self.patience.wakes();
        if std::mem::replace(&mut self.listens, listens) == listens {
            return;
        }
        let ports = self.udp.iter().zip(PATIENT..);
        for (fd, token) in ports.filter_map(|(port, token)| Some((port.patient_fd()?, token))) {
            let mut source = SourceFd(&fd);
            let told = if listens {
                registry.register(&mut source, Token(token), Interest::READABLE)
            } else {
                registry.deregister(&mut source)
            };
            if let Err(error) = told {
                tracing::error!(%error, "waiting for a socket failed");
                self.patience.note_deaf();
            }
        }
    }

    /// Takes note of what a wait told about UDP.
    pub(super) fn note(&mut self, events: &Events) {
        for event in events {
            let token = event.token().0;
            if (PATIENT..LISTENER).contains(&token) {
                self.patience.told();
            } else if let Some(readable) = token
                .checked_sub(UDP)
                .and_then(|n| self.readable.get_mut(n))
            {
                *readable = true;
            }
        }
    }

    /// What may wait.
    pub(super) fn read_patient(&mut self, core: &mut impl SansIo, now: Instant) {
        let (mut datagrams, mut more) = (0, false);
        for port in &mut self.udp {
            let mut reads = 0;
            loop {
                reads += 1;
                let read = port.receive_patient(&mut self.batch);
                if !take(read, &self.batch, &mut self.counts, core, now) {
                    break;
                }
                datagrams += self.batch.len();
                if !self.batch.is_full() {
                    break;
                }
                if reads == PATIENT_READS {
                    more = true;
                    break;
                }
            }
        }
        self.patience.note_read(now, datagrams, more);
    }

    /// All UDP sockets may have something to read.
    pub(super) fn look_again(&mut self) {
        self.readable.fill(true);
    }

    /// One system call for each readable UDP socket.
    pub(super) fn read_udp(&mut self, core: &mut impl SansIo, now: Instant) {
        for (port, readable) in self.udp.iter_mut().zip(&mut self.readable) {
            if *readable {
                let read = port.receive(&mut self.batch);
                if take(read, &self.batch, &mut self.counts, core, now) {
                    *readable = self.batch.is_full();
                }
            }
        }
    }

    /// Reads, accepts and writes what the wait told about TCP, and what was left over.
    pub(super) fn serve_tcp(&mut self, core: &mut impl SansIo, events: &Events, now: Instant) {
        let mut frame = |datagram: Datagram<'_>| core.datagram(now, datagram);
        for event in events {
            let token = event.token().0;
            if token >= CONNECTIONS {
                if let Some(port) = self.tcp.get_mut(token / CONNECTIONS - 1) {
                    port.ready(event, now, &mut frame);
                }
            } else if let Some(port) = token
                .checked_sub(LISTENER)
                .and_then(|n| self.tcp.get_mut(n))
            {
                port.accept(now);
            }
        }
        for port in &mut self.tcp {
            if port.has_more() {
                port.resume(now, &mut frame);
            }
        }
        for port in &mut self.tcp {
            port.expire(now, |remote| core.knows(remote));
        }
        for port in &mut self.tcp {
            while let Some(remote) = port.pop_closed() {
                core.tcp_closed(now, remote);
            }
            self.counts.drops.add_all(&port.take_drops());
        }
    }

    pub(super) fn flush(&mut self, arena: &mut SendArena, now: Instant) {
        let mut report = SendReport::default();
        for port in &mut self.udp {
            report += port.send(arena);
        }
        // Nearly always there is nothing for TCP among thousands of runs.
        if arena.has_tcp() && !self.tcp.is_empty() {
            report.errors += self.for_nobody(arena);
            for port in &mut self.tcp {
                report += port.send(arena, now);
            }
        }
        self.counts.datagrams_out += report.datagrams;
        self.counts.bytes_out += report.bytes;
        let drops = &mut self.counts.drops;
        drops.add_many(DropReason::KernelFull, report.dropped_full);
        drops.add_many(DropReason::SendFailed, report.errors);
        arena.clear();
    }

    /// Datagrams for TCP connections that are no more.
    fn for_nobody(&self, arena: &SendArena) -> u64 {
        let runs = arena.runs().filter(|run| run.path.proto == Proto::Tcp);
        let nobodys = runs.filter(|run| !self.tcp.iter().any(|port| port.carries(&run.path)));
        nobodys.map(|run| run.count() as u64).sum()
    }

    pub(super) fn has_more(&self) -> bool {
        self.readable.contains(&true) || self.tcp.iter().any(TcpPort::has_more)
    }
}

/// Gives a batch that was read to the core. False when reading failed.
fn take(
    read: io::Result<usize>,
    batch: &RecvBatch,
    counts: &mut IoCounts,
    core: &mut impl SansIo,
    now: Instant,
) -> bool {
    // A pending error of the socket was taken by this call; the next tells more.
    if let Err(error) = read {
        tracing::debug!(%error, "receiving failed");
        return false;
    }
    let unusable = batch.malformed() as u64;
    counts.drops.add_many(DropReason::UnknownProtocol, unusable);
    let mut ahead = batch.iter();
    for coming in ahead.by_ref().take(AHEAD) {
        core.expect(&coming);
    }
    for datagram in batch.iter() {
        if let Some(coming) = ahead.next() {
            core.expect(&coming);
        }
        core.datagram(now, datagram);
    }
    true
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpStream};

    use super::*;
    use crate::net::{Path, TcpLimits};

    /// A connection that another listener has took its frame; what nobody has is told once.
    #[test]
    fn of_several_listeners_those_without_the_connection_count_nothing() {
        let address: SocketAddr = ([127, 0, 0, 1], 0).into();
        let now = Instant::now();
        let mut clients = Vec::new();
        let mut tcp = Vec::new();
        for _ in 0..2 {
            let mut port = TcpPort::bind(address, false, TcpLimits::default()).expect("bind");
            clients.push(TcpStream::connect(port.local()).expect("connect"));
            while port.connections() == 0 {
                port.accept(now);
            }
            tcp.push(port);
        }
        let udp = Vec::new();
        let mut network = Network::new(Sockets { udp, tcp });
        let mut arena = SendArena::new(10_000, 100);
        let remotes = clients.iter().map(|c| c.local_addr().expect("address"));
        for remote in remotes.chain([([127, 0, 0, 1], 9).into()]) {
            let path = Path {
                proto: Proto::Tcp,
                local: address,
                remote,
            };
            assert!(arena.push(path, &[1; 100]));
        }
        network.flush(&mut arena, now);
        assert_eq!(network.counts.datagrams_out, 2);
        assert_eq!(network.counts.drops.get(DropReason::SendFailed), 1);
    }
}
