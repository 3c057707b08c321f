//! The seam between a worker's core and its thread.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::core::{Core, Flush, Input};
use super::mesh::MeshMessage;
use crate::control::messages::{Command, Event};
use crate::net::Datagram;
use crate::telemetry::DropCounters;
use crate::units::WorkerId;

/// What the thread did with the core's output, since it was last told.
#[derive(Debug, Clone, Default)]
pub struct IoCounts {
    /// Datagrams and frames that the kernel took.
    pub datagrams_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// What the thread gave up.
    pub drops: DropCounters,
    /// CPU time of the thread since its start.
    pub cpu: Duration,
}

/// A worker's core as its thread drives it. Nothing in it reads a clock or waits.
pub trait SansIo {
    /// What workers say to each other.
    type Mesh: MeshValue;

    /// A datagram or frame arrived.
    fn datagram(&mut self, now: Instant, datagram: Datagram<'_>);
    /// This datagram is the fourth from now in the batch that is read: what it will need may
    /// be loaded.
    fn expect(&mut self, datagram: &Datagram<'_>);
    /// A TCP connection is gone.
    fn tcp_closed(&mut self, now: Instant, remote: SocketAddr);
    /// A session is to be reached by the TCP connection from this address.
    fn knows(&self, remote: SocketAddr) -> bool;
    /// The control plane wants something.
    fn command(&mut self, now: Instant, command: Command);
    /// Another worker says something.
    fn mesh(&mut self, now: Instant, from: WorkerId, message: Self::Mesh);
    /// A message that may be dropped was: its worker can't keep up.
    fn refused(&mut self, message: Self::Mesh);
    /// A video frame has begun to arrive since the last turn and its end has not: it leaves
    /// better as a whole.
    fn is_mid_frame(&self) -> bool;
    /// Media has come since the last turn.
    fn has_media(&self) -> bool;
    /// Follows one or more inputs, or the passing of a deadline.
    fn turn(&mut self, now: Instant, flush: &mut dyn Flush);
    /// When `turn` wants to be called at the latest.
    fn next_deadline(&self) -> Option<Instant>;
    /// Events for the control plane; the thread takes them away.
    fn events(&mut self) -> &mut Vec<Event>;
    /// Messages for other workers; the thread takes them away.
    fn mesh_out(&mut self) -> &mut Vec<(WorkerId, Self::Mesh)>;
    /// What the thread counted, before each [`Command::Snapshot`].
    fn io_counts(&mut self, counts: IoCounts);
}

/// A message between workers.
pub trait MeshValue: Send + 'static {
    /// It may be dropped when the receiver can't keep up. All others arrive.
    fn may_drop(&self) -> bool;
}

impl MeshValue for MeshMessage {
    fn may_drop(&self) -> bool {
        self.is_media()
    }
}

impl SansIo for Core {
    type Mesh = MeshMessage;

    fn datagram(&mut self, now: Instant, datagram: Datagram<'_>) {
        self.handle(now, Input::Datagram(datagram));
    }

    fn expect(&mut self, datagram: &Datagram<'_>) {
        Self::expect(self, datagram);
    }

    fn tcp_closed(&mut self, now: Instant, remote: SocketAddr) {
        self.handle(now, Input::TcpClosed { remote });
    }

    fn knows(&self, remote: SocketAddr) -> bool {
        Self::knows(self, remote)
    }

    fn command(&mut self, now: Instant, command: Command) {
        self.handle(now, Input::Command(command));
    }

    fn mesh(&mut self, now: Instant, from: WorkerId, message: MeshMessage) {
        self.handle(now, Input::Mesh { from, message });
    }

    fn refused(&mut self, message: MeshMessage) {
        Self::refused(self, &message);
    }

    fn is_mid_frame(&self) -> bool {
        Self::is_mid_frame(self)
    }

    fn has_media(&self) -> bool {
        Self::has_media(self)
    }

    fn turn(&mut self, now: Instant, flush: &mut dyn Flush) {
        Self::turn(self, now, flush);
    }

    fn next_deadline(&self) -> Option<Instant> {
        Self::next_deadline(self)
    }

    fn events(&mut self) -> &mut Vec<Event> {
        &mut self.outputs.events
    }

    fn mesh_out(&mut self) -> &mut Vec<(WorkerId, MeshMessage)> {
        &mut self.outputs.mesh
    }

    fn io_counts(&mut self, counts: IoCounts) {
        self.totals.datagrams_out += counts.datagrams_out;
        self.totals.bytes_out += counts.bytes_out;
        self.totals.drops.add_all(&counts.drops);
        self.totals.cpu_nanos = u64::try_from(counts.cpu.as_nanos()).unwrap_or(u64::MAX);
    }
}
