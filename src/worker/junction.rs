//! What ties workers together: bounded queues for their messages, and a bell that wakes one
//! with at most one system call however much is put into its queues.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use mio::{Poll, Token, Waker};

use crate::units::WorkerId;

/// Messages that wait for one worker, from all others: at 100,000 packets a second across
/// workers, 40 ms. Media that waits longer is late anyway.
pub const MESH_QUEUE: usize = 4096;

/// How a bell shows among the events of a poll: below all tokens of sockets.
const BELL: Token = Token(0);

/// Wakes a worker that waits, and costs nothing while it works.
#[derive(Debug)]
pub struct Doorbell {
    waker: Waker,
    /// The worker waits, or is about to.
    asleep: AtomicBool,
    /// Rung since the worker last looked into its queues.
    rung: AtomicBool,
}

impl Doorbell {
    /// Called behind putting something into a queue of the worker.
    pub fn ring(&self) {
        // All in one order of all threads: either the worker sees `rung` before it waits, or
        // this sees `asleep` and wakes it.
        self.rung.store(true, Ordering::SeqCst);
        if self.asleep.swap(false, Ordering::SeqCst)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "waking a worker failed");
        }
    }

    /// The worker is going to wait, unless [`was_rung`](Self::was_rung).
    pub(super) fn before_sleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
    }

    /// Something was queued since [`after_sleep`](Self::after_sleep).
    pub(super) fn was_rung(&self) -> bool {
        self.rung.load(Ordering::SeqCst)
    }

    /// The worker is awake and going to look into its queues.
    pub(super) fn after_sleep(&self) {
        self.asleep.store(false, Ordering::SeqCst);
        // A swap, so that what was queued before the ring that it takes is seen.
        self.rung.swap(false, Ordering::SeqCst);
    }
}

/// A worker's queue and bell, as other workers hold them.
pub(super) type Peer<M> = (SyncSender<(WorkerId, M)>, Arc<Doorbell>);

/// A worker's place among the others.
#[derive(Debug)]
pub struct Seat<M> {
    /// The worker.
    pub id: WorkerId,
    pub(super) poll: Poll,
    pub(super) bell: Arc<Doorbell>,
    pub(super) inbox: Receiver<(WorkerId, M)>,
    /// All workers by index, itself included.
    pub(super) peers: Vec<Peer<M>>,
}

/// One seat for each of `workers` workers.
pub fn junction<M>(workers: u8) -> io::Result<Vec<Seat<M>>> {
    let mut peers: Vec<Peer<M>> = Vec::new();
    let mut open = Vec::new();
    for _ in 0..workers {
        let poll = Poll::new()?;
        let bell = Arc::new(Doorbell {
            waker: Waker::new(poll.registry(), BELL)?,
            asleep: AtomicBool::new(false),
            rung: AtomicBool::new(false),
        });
        let (sender, inbox) = sync_channel(MESH_QUEUE);
        peers.push((sender, Arc::clone(&bell)));
        open.push((poll, bell, inbox));
    }
    let seats = open
        .into_iter()
        .zip(0..)
        .map(|((poll, bell, inbox), id)| Seat {
            id: WorkerId(id),
            poll,
            bell,
            inbox,
            peers: peers.clone(),
        });
    Ok(seats.collect())
}
