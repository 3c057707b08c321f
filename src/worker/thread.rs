//! The OS thread around a worker's core: it waits, makes the system calls and carries
//! messages; everything else is the core's.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::Events;
use tokio::sync::mpsc;

use super::junction::{Doorbell, Seat};
use super::network::Network;
use super::pace::{GATHER, Pace};
use super::sans_io::{MeshValue, SansIo};
use crate::control::QueueFull;
use crate::control::messages::{Command, Event};
use crate::net::{SendArena, TcpPort, UdpPort, sys};
use crate::telemetry::DropReason;
use crate::units::WorkerId;

/// Commands that wait for a worker: a burst of joins and trickled candidates. At some ten
/// thousand commands a second a full queue is a tenth of a second late; more is a 503.
pub const COMMAND_QUEUE: usize = 1024;

/// Commands in one turn, so that media does not wait for a burst of joins: opening
/// a session takes about a quarter of a millisecond.
const COMMANDS_PER_TURN: usize = 8;

/// Messages of other workers in one turn, about as many as a read brings datagrams.
const MESH_PER_TURN: usize = 1024;

/// Events that wait because the control plane does not take them. Replies and ends of
/// sessions are kept beyond it (their number is bounded by the commands and sessions); news that
/// a later one makes obsolete are dropped and counted.
const EVENT_OUTBOX: usize = 4096;

/// How soon a full queue is tried again.
const RETRY: Duration = Duration::from_millis(2);

/// Events of one wait.
const POLL_EVENTS: usize = 256;

/// The sockets of a worker, bound before its thread starts so that errors are told at once.
#[derive(Debug, Default)]
pub struct Sockets {
    /// One or more UDP sockets.
    pub udp: Vec<UdpPort>,
    /// TCP listeners, where ICE-TCP is on.
    pub tcp: Vec<TcpPort>,
}

/// Queues commands for a worker and wakes it.
#[derive(Debug, Clone)]
pub struct CommandSender {
    queue: SyncSender<Command>,
    bell: Arc<Doorbell>,
}

impl CommandSender {
    /// Queues a command without waiting.
    pub fn send(&self, command: Command) -> Result<(), QueueFull> {
        let result = self.queue.try_send(command).map_err(|_| QueueFull);
        self.bell.ring();
        result
    }
}

impl crate::control::CommandSink for CommandSender {
    fn send(&self, command: Command) -> Result<(), QueueFull> {
        Self::send(self, command)
    }
}

/// A running worker.
#[derive(Debug)]
pub struct WorkerHandle {
    /// Its number.
    pub id: WorkerId,
    /// The addresses that its UDP sockets are bound to.
    pub udp: Vec<SocketAddr>,
    /// The addresses that it accepts TCP connections on.
    pub tcp: Vec<SocketAddr>,
    commands: CommandSender,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl WorkerHandle {
    /// Queues a command without waiting.
    pub fn send(&self, command: Command) -> Result<(), QueueFull> {
        self.commands.send(command)
    }

    /// Another sender of commands, such as the control plane's.
    pub fn commands(&self) -> CommandSender {
        self.commands.clone()
    }

    /// Asks the thread to end after a last turn. Commands that are queued by now are still
    /// carried out: close the sessions first.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.commands.bell.ring();
    }

    /// Waits until the thread has ended.
    pub fn join(self) {
        // A panic was dealt with inside.
        let _ = self.thread.join();
    }
}

/// Ends the process with exit code 1: the answer to a panic of a core outside of any
/// session, since its state can't be trusted any more.
pub fn exit_process(worker: WorkerId) {
    tracing::error!(worker = worker.0, "a worker failed; the server ends");
    std::process::exit(1);
}

/// Starts a worker. `make_core` runs on the new thread; `on_panic` is [`exit_process`]
/// outside of tests.
pub fn spawn<C: SansIo>(
    seat: Seat<C::Mesh>,
    sockets: Sockets,
    events: mpsc::Sender<(WorkerId, Event)>,
    make_core: impl FnOnce() -> C + Send + 'static,
    on_panic: fn(WorkerId),
) -> io::Result<WorkerHandle> {
    let id = seat.id;
    let (sender, commands) = sync_channel(COMMAND_QUEUE);
    let udp = sockets.udp.iter().map(UdpPort::local).collect();
    let tcp = sockets.tcp.iter().map(TcpPort::local).collect();
    let sender = CommandSender {
        queue: sender,
        bell: Arc::clone(&seat.bell),
    };
    let stop = Arc::new(AtomicBool::new(false));
    let mut network = Network::new(sockets);
    network.register(&seat.poll)?;
    let stopped = Arc::clone(&stop);
    let thread = std::thread::Builder::new()
        .name(format!("weir-worker-{}", id.0))
        .spawn(move || {
            let run = AssertUnwindSafe(|| {
                let outboxes = seat.peers.iter().map(|_| VecDeque::new()).collect();
                let worker = Worker {
                    core: make_core(),
                    seat,
                    network,
                    commands,
                    events,
                    event_outbox: VecDeque::new(),
                    outboxes,
                    stop: stopped,
                };
                worker.run();
            });
            if catch_unwind(run).is_err() {
                on_panic(id);
            }
        })?;
    Ok(WorkerHandle {
        id,
        udp,
        tcp,
        commands: sender,
        stop,
        thread,
    })
}

struct Worker<C: SansIo> {
    core: C,
    seat: Seat<C::Mesh>,
    network: Network,
    commands: Receiver<Command>,
    events: mpsc::Sender<(WorkerId, Event)>,
    event_outbox: VecDeque<Event>,
    /// What could not be queued to each worker, in order.
    outboxes: Vec<VecDeque<C::Mesh>>,
    stop: Arc<AtomicBool>,
}

impl<C: SansIo> Worker<C> {
    fn run(mut self) {
        let mut events = Events::with_capacity(POLL_EVENTS);
        let mut more = true;
        let mut pace = Pace::new(Instant::now());
        loop {
            let stopping = self.stop.load(Ordering::SeqCst);
            if !(more || stopping || self.network.has_more())
                && let Some(rest) = pace.rest(Instant::now())
            {
                std::thread::sleep(rest);
            }
            let left = more || self.network.has_more();
            self.wait(&mut events, more && !stopping);
            self.network.note(&events);
            let mut now = Instant::now();
            pace.begin(now, left || !events.is_empty());
            let checked = self.network.patience.comes_first(now);
            if checked {
                self.network.read_patient(&mut self.core, now);
            }
            self.network.read_udp(&mut self.core, now);
            if self.core.is_mid_frame() && !stopping {
                now = self.gather();
            }
            self.network.serve_tcp(&mut self.core, &events, now);
            more = self.take_messages(now, stopping);
            let media = self.core.has_media();
            pace.carries(media);
            if !(checked || media) && self.network.patience.is_near(now) {
                self.network.read_patient(&mut self.core, now);
            }
            self.turn(now);
            if media {
                // It has left; the worker is awake, and its caches are warm.
                now = Instant::now();
                self.network.patience.carried(now);
                if !checked && self.network.patience.is_near(now) {
                    self.network.read_patient(&mut self.core, now);
                    self.turn(now);
                }
            }
            self.give_events();
            self.give_mesh();
            if stopping {
                return;
            }
            pace.end(Instant::now());
        }
    }

    fn turn(&mut self, now: Instant) {
        let network = &mut self.network;
        self.core
            .turn(now, &mut |arena: &mut SendArena| network.flush(arena, now));
    }

    /// Reads the rest of a frame, which is there by now or comes in a moment; returns the
    /// time then.
    fn gather(&mut self) -> Instant {
        self.network.look_again();
        let mut now = Instant::now();
        self.network.read_udp(&mut self.core, now);
        if self.core.is_mid_frame() {
            std::thread::sleep(GATHER);
            self.network.look_again();
            now = Instant::now();
            self.network.read_udp(&mut self.core, now);
        }
        now
    }

    /// Waits for something to do, but not when there is `more` already.
    fn wait(&mut self, events: &mut Events, more: bool) {
        self.network.listen(self.seat.poll.registry());
        let stopping = self.stop.load(Ordering::SeqCst);
        let timeout = if more || stopping || self.network.has_more() {
            Some(Duration::ZERO)
        } else {
            let deadline = self
                .network
                .tcp
                .iter()
                .filter_map(TcpPort::next_deadline)
                .chain(self.core.next_deadline())
                .min();
            let now = Instant::now();
            let deadline = self.network.patience.wake_at(now, deadline);
            let until = deadline.map(|at| at.saturating_duration_since(now));
            match until {
                Some(until) if self.is_retrying() => Some(until.min(RETRY)),
                None if self.is_retrying() => Some(RETRY),
                until => until,
            }
        };
        let asleep = timeout != Some(Duration::ZERO);
        if asleep {
            self.seat.bell.before_sleep();
        }
        // A message that was queued before the bell could be heard is taken in the turn
        // behind this wait; one that comes later rings.
        let timeout = if asleep && self.seat.bell.was_rung() {
            Some(Duration::ZERO)
        } else {
            timeout
        };
        if let Err(error) = self.seat.poll.poll(events, timeout)
            && error.kind() != io::ErrorKind::Interrupted
        {
            tracing::error!(%error, "waiting for the network failed");
        }
        self.seat.bell.after_sleep();
    }

    fn is_retrying(&self) -> bool {
        !self.event_outbox.is_empty() || self.outboxes.iter().any(|outbox| !outbox.is_empty())
    }

    /// Commands and other workers' messages; true when more may wait.
    fn take_messages(&mut self, now: Instant, all: bool) -> bool {
        let limit = if all {
            COMMAND_QUEUE
        } else {
            COMMANDS_PER_TURN
        };
        let mut commands = 0;
        // While the control plane does not take what it asked for, it gets nothing new.
        while commands < limit && self.event_outbox.len() < EVENT_OUTBOX {
            let Ok(command) = self.commands.try_recv() else {
                break;
            };
            commands += 1;
            if matches!(command, Command::Snapshot { .. }) {
                self.network.counts.cpu = sys::thread_cpu_time();
                self.core
                    .io_counts(std::mem::take(&mut self.network.counts));
            } else {
                self.network.patience.commanded(now);
            }
            self.core.command(now, command);
        }
        let mut messages = 0;
        while messages < MESH_PER_TURN {
            let Ok((from, message)) = self.seat.inbox.try_recv() else {
                break;
            };
            messages += 1;
            self.core.mesh(now, from, message);
        }
        commands == limit || messages == MESH_PER_TURN
    }

    fn give_events(&mut self) {
        let id = self.seat.id;
        for event in self.core.events().drain(..) {
            // Only these are made obsolete by what follows.
            let news = matches!(
                event,
                Event::ViewerActive { .. }
                    | Event::ViewerInactive { .. }
                    | Event::TrackCodec { .. }
                    | Event::SlotsChanged { .. }
                    | Event::LayersChanged { .. }
            );
            if news && self.event_outbox.len() >= EVENT_OUTBOX {
                self.network.counts.drops.add(DropReason::EventQueueFull);
                continue;
            }
            self.event_outbox.push_back(event);
        }
        while let Some(event) = self.event_outbox.pop_front() {
            match self.events.try_send((id, event)) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full((_, event))) => {
                    self.event_outbox.push_front(event);
                    return;
                }
                // Nobody listens any more.
                Err(mpsc::error::TrySendError::Closed(_)) => self.event_outbox.clear(),
            }
        }
    }

    fn give_mesh(&mut self) {
        let from = self.seat.id;
        for ((queue, bell), outbox) in self.seat.peers.iter().zip(&mut self.outboxes) {
            let mut sent = false;
            while let Some(message) = outbox.pop_front() {
                match queue.try_send((from, message)) {
                    Ok(()) => sent = true,
                    Err(TrySendError::Full((_, message))) => {
                        outbox.push_front(message);
                        break;
                    }
                    Err(TrySendError::Disconnected(_)) => outbox.clear(),
                }
            }
            if sent {
                bell.ring();
            }
        }
        let mut rung = 0u128;
        let mut messages = std::mem::take(self.core.mesh_out());
        for (to, message) in messages.drain(..) {
            let index = usize::from(to.0);
            let (Some((queue, _)), Some(outbox)) =
                (self.seat.peers.get(index), self.outboxes.get_mut(index))
            else {
                continue;
            };
            // Nothing overtakes what waits.
            let refused = if outbox.is_empty() {
                match queue.try_send((from, message)) {
                    Ok(()) => {
                        rung |= 1 << (index % 128);
                        continue;
                    }
                    Err(TrySendError::Full((_, message))) => message,
                    Err(TrySendError::Disconnected(_)) => continue,
                }
            } else {
                message
            };
            if refused.may_drop() {
                self.network.counts.drops.add(DropReason::MeshFull);
                self.core.refused(refused);
            } else {
                outbox.push_back(refused);
            }
        }
        *self.core.mesh_out() = messages;
        // One ring a worker and turn, however many messages.
        for (index, (_, bell)) in self.seat.peers.iter().enumerate() {
            if rung & (1 << (index % 128)) != 0 {
                bell.ring();
            }
        }
    }
}

#[cfg(test)]
#[path = "thread_tests.rs"]
mod tests;
