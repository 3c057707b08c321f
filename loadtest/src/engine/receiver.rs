//! A thread that receives for many viewers.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::mailbox::Inbox;
use super::viewer::{NewViewer, Viewer, use_streams};
use super::{Event, REPORT_INTERVAL, Shared};
use crate::measure::window::Window;
use crate::sys::{Epoll, Looked, RECV_BATCH, RecvBatch, realtime_ns, sharp_timers, thread_cpu_ns};

const BELL: u64 = u64::MAX;

/// What the thread can be told.
pub enum Command {
    /// Bring a viewer up.
    Add(Box<NewViewer>),
    /// End one.
    Remove(u64),
    /// The publishers have stopped: settle the accounts. The second value is when
    /// they stopped, nanoseconds of `CLOCK_REALTIME`.
    Complete(u64),
    /// The phase has changed: hand in what belongs to the old one.
    Phase,
    /// Hand in the rest and end.
    Stop,
}

/// The thread.
pub struct Thread {
    shared: Shared,
    inbox: Inbox<Command>,
    /// The inbox, and the viewers' sockets where each datagram wakes the thread.
    epoll: Epoll,
    /// The viewers' sockets where the thread looks at them instead.
    looked: Looked,
    viewers: HashMap<u64, Viewer>,
    timers: BinaryHeap<Reverse<(Instant, u64)>>,
    receive: RecvBatch,
    rest: Duration,
    window: Window,
    phase: u32,
    cpu_ns: u64,
}

impl Thread {
    /// Prepares it; [`Thread::run`] is for a thread of its own.
    ///
    /// It looks at its sockets every `rest`, or is woken for each datagram if that is zero.
    pub fn new(
        shared: Shared,
        inbox: Inbox<Command>,
        gro: bool,
        rest: Duration,
    ) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        epoll.add(&inbox, BELL)?;
        Ok(Self {
            shared,
            inbox,
            epoll,
            looked: Looked::default(),
            viewers: HashMap::new(),
            timers: BinaryHeap::new(),
            receive: RecvBatch::new(gro),
            rest,
            window: Window::default(),
            phase: 0,
            cpu_ns: 0,
        })
    }

    /// Runs until told to stop.
    pub fn run(mut self) {
        sharp_timers();
        use_streams(std::sync::Arc::clone(&self.shared.streams));
        self.cpu_ns = thread_cpu_ns();
        let mut ready = Vec::new();
        let mut next_report = Instant::now() + REPORT_INTERVAL;
        loop {
            let now = Instant::now();
            let wake = self
                .timers
                .peek()
                .map_or(next_report, |Reverse((at, _))| (*at).min(next_report));
            let mut wait = wake.saturating_duration_since(now);
            if !self.rest.is_zero() {
                wait = wait.min(self.rest);
            }
            if self.epoll.wait(wait, &mut ready).is_err() || self.looked.look(&mut ready).is_err() {
                break;
            }
            for token in ready.iter().copied() {
                if token != BELL {
                    self.read(token);
                } else if self.commands() {
                    return;
                }
            }
            let now = Instant::now();
            self.run_timers(now);
            if now >= next_report || self.phase != self.shared.phase.load(Ordering::Acquire) {
                next_report = now + REPORT_INTERVAL;
                self.report();
            }
        }
    }

    /// True when the thread must end.
    fn commands(&mut self) -> bool {
        self.inbox.quiet();
        while let Some(command) = self.inbox.take() {
            match command {
                Command::Add(new) => self.add(*new),
                Command::Remove(id) => {
                    if let Some(mut viewer) = self.viewers.remove(&id) {
                        viewer.settle(realtime_ns(), false, &mut self.window);
                        self.looked.forget(viewer.peer.socket.as_raw_fd());
                        viewer.peer.close();
                    }
                }
                Command::Complete(stopped_ns) => {
                    let now = Instant::now();
                    for viewer in self.viewers.values_mut() {
                        // What is on a simulated link has come for the server.
                        viewer.release(now, u64::MAX, &self.shared, &mut self.window);
                        viewer.settle(stopped_ns, true, &mut self.window);
                        viewer.final_freeze(stopped_ns, &mut self.window);
                    }
                    self.report();
                }
                // The report at the end of the loop sees to it.
                Command::Phase => {}
                Command::Stop => {
                    self.report();
                    for viewer in self.viewers.values_mut() {
                        viewer.peer.close();
                    }
                    return true;
                }
            }
        }
        false
    }

    fn add(&mut self, new: NewViewer) {
        let now = Instant::now();
        let id = new.seed.id;
        let viewer = Viewer::new(new, now);
        if !self.rest.is_zero() {
            self.looked.add(&viewer.peer.socket, id);
        } else if let Err(e) = self.epoll.add(&viewer.peer.socket, id) {
            let _ = self.shared.events.send(Event::Ended(id, e.to_string()));
            return;
        }
        self.viewers.insert(id, viewer);
        self.timers.push(Reverse((now, id)));
    }

    fn end(&mut self, id: u64, why: String) {
        if let Some(mut viewer) = self.viewers.remove(&id) {
            viewer.settle(realtime_ns(), false, &mut self.window);
            self.looked.forget(viewer.peer.socket.as_raw_fd());
            self.window.ended += 1;
            let _ = self.shared.events.send(Event::Ended(id, why));
        }
    }

    fn run_timers(&mut self, now: Instant) {
        while let Some(Reverse((at, id))) = self.timers.peek().copied() {
            if at > now {
                return;
            }
            self.timers.pop();
            let Some(viewer) = self.viewers.get_mut(&id) else {
                continue;
            };
            match viewer.tick(now, &self.shared, &mut self.window) {
                Ok(next) => {
                    // Never at once, whatever a deadline says.
                    let next = next.max(now + Duration::from_millis(1));
                    self.timers.push(Reverse((next, id)));
                }
                Err(why) => self.end(id, why),
            }
        }
    }

    fn read(&mut self, id: u64) {
        let Some(viewer) = self.viewers.get_mut(&id) else {
            return;
        };
        let fd = viewer.peer.socket.as_raw_fd();
        if viewer.deaf() {
            // The socket stays open and fills up, which is the point; nobody must
            // spin on it.
            self.epoll.forget(fd);
            self.looked.forget(fd);
            return;
        }
        let now = Instant::now();
        // An error queued on the socket (ICMP) is cleared by reading it.
        let n = self.receive.recv(fd).unwrap_or(0);
        let mut failure = None;
        for i in 0..n.min(RECV_BATCH) {
            let got = self.receive.get(i);
            let Some(from) = got.from else { continue };
            let kernel_ns = if got.kernel_ns == 0 {
                realtime_ns()
            } else {
                got.kernel_ns
            };
            if let Some(drops) = got.drops {
                viewer.note_drops(drops, &mut self.window);
            }
            let size = got.segment.unwrap_or(got.data.len()).max(1);
            for datagram in got.data.chunks_mut(size) {
                let result = viewer.datagram(
                    now,
                    kernel_ns,
                    from,
                    datagram,
                    &self.shared,
                    &mut self.window,
                );
                if let Err(why) = result {
                    failure = Some(why);
                }
            }
        }
        viewer.after_batch(now, &mut self.window);
        if let Some(why) = failure {
            self.end(id, why);
        }
    }

    fn report(&mut self) {
        let cpu = thread_cpu_ns();
        self.window.receive_cpu_ns += cpu - self.cpu_ns;
        self.cpu_ns = cpu;
        let now_ns = realtime_ns();
        for viewer in self.viewers.values_mut() {
            viewer.settle(now_ns, false, &mut self.window);
        }
        let window = Box::new(self.window.clone());
        let _ = self.shared.events.send(Event::Window {
            phase: self.phase,
            window,
        });
        self.window.clear();
        self.phase = self.shared.phase.load(Ordering::Acquire);
    }
}
