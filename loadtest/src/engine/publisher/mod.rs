//! The thread that publishes: every frame at its time, stamped, sealed and sent
//! in one call, and a note when it was late.

mod output;
pub(super) mod sender;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::mailbox::Inbox;
use super::peer::{Peer, Seed};
use super::program::Program;
use super::{Event, REPORT_INTERVAL, Shared, rtcp_out};
use crate::measure::window::Window;
use crate::signal::offer::{AUDIO_MID, OPUS_PT, Sending, VIDEO_MID, VIDEO_PT};
use crate::sys::{Epoll, RecvBatch, SendBatch, realtime_ns, sharp_timers, thread_cpu_ns};
use crate::wire::{self, transport};
use output::{Output, Session};
use sender::Publisher;

const BELL: u64 = u64::MAX;

/// A new publisher.
pub struct NewPublisher {
    /// The session.
    pub seed: Seed,
    /// The streams it announced.
    pub sending: Sending,
    /// Who it is, of all rooms.
    pub participant: u64,
}

/// What the thread can be told.
pub enum Command {
    /// Bring a publisher up and send.
    Add(Box<NewPublisher>),
    /// End one, with good-bye.
    Remove(u64),
    /// Send no more media, on any.
    Mute,
    /// The phase has changed: hand in what belongs to the old one.
    Phase,
    /// Hand in the rest and end.
    Stop,
}

/// The thread.
pub struct Thread {
    program: Arc<Program>,
    shared: Shared,
    inbox: Inbox<Command>,
    epoll: Epoll,
    publishers: HashMap<u64, Publisher>,
    due: BinaryHeap<Reverse<(Instant, u64, usize)>>,
    receive: RecvBatch,
    batch: SendBatch,
    window: Window,
    phase: u32,
    cpu_ns: u64,
    muted: bool,
}

impl Thread {
    /// Prepares it; [`Thread::run`] is for a thread of its own.
    pub fn new(program: Arc<Program>, shared: Shared, inbox: Inbox<Command>) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        epoll.add(&inbox, BELL)?;
        Ok(Self {
            program,
            shared,
            inbox,
            epoll,
            publishers: HashMap::new(),
            due: BinaryHeap::new(),
            receive: RecvBatch::new(false),
            batch: SendBatch::default(),
            window: Window::default(),
            phase: 0,
            cpu_ns: 0,
            muted: false,
        })
    }

    /// Runs until told to stop.
    pub fn run(mut self) {
        sharp_timers();
        self.cpu_ns = thread_cpu_ns();
        let mut ready = Vec::new();
        let mut next_report = Instant::now() + REPORT_INTERVAL;
        let mut next_timers = Instant::now();
        loop {
            let now = Instant::now();
            let wake = self
                .due
                .peek()
                .map_or(next_timers, |Reverse((at, ..))| (*at).min(next_timers));
            let wait = wake.saturating_duration_since(now);
            if self.epoll.wait(wait, &mut ready).is_err() {
                break;
            }
            self.send_due();
            for token in std::mem::take(&mut ready) {
                if token != BELL {
                    self.read(token);
                }
            }
            self.inbox.quiet();
            while let Some(command) = self.inbox.take() {
                match command {
                    Command::Add(new) => self.add(*new),
                    Command::Remove(id) => self.remove(id),
                    Command::Mute => self.mute(),
                    // The report at the end of the loop sees to it.
                    Command::Phase => {}
                    Command::Stop => {
                        self.report();
                        for id in self.publishers.keys().copied().collect::<Vec<_>>() {
                            self.remove(id);
                        }
                        return;
                    }
                }
            }
            let now = Instant::now();
            if now >= next_timers {
                next_timers = now + Duration::from_millis(20);
                self.timers(now);
            }
            if now >= next_report || self.phase != self.shared.phase.load(Ordering::Acquire) {
                next_report = now + REPORT_INTERVAL;
                self.report();
            }
        }
    }

    fn report(&mut self) {
        let cpu = thread_cpu_ns();
        self.window.publish_cpu_ns += cpu - self.cpu_ns;
        self.cpu_ns = cpu;
        let window = Box::new(self.window.clone());
        let _ = self.shared.events.send(Event::Window {
            phase: self.phase,
            window,
        });
        self.window.clear();
        self.phase = self.shared.phase.load(Ordering::Acquire);
    }

    fn add(&mut self, new: NewPublisher) {
        let (program, negotiated) = (&self.program, &new.seed.negotiated);
        let mut outputs = Vec::new();
        if !program.audio.is_empty() {
            let mut audio = Output::new(
                new.sending.audio_ssrc,
                OPUS_PT,
                48_000,
                program.audio_interval,
                AUDIO_MID,
                None,
                None,
                self.shared.streams.add(new.seed.id, new.participant),
            );
            audio.transport_cc = negotiated.audio_transport_cc;
            outputs.push(audio);
        }
        for encoding in 0..program.encodings.len() {
            let mut video = Output::new(
                new.sending.video_ssrc.wrapping_add(encoding as u32),
                VIDEO_PT,
                90_000,
                Duration::from_secs_f64(1.0 / program.fps),
                VIDEO_MID,
                new.sending.rids.get(encoding).cloned(),
                Some(encoding),
                self.shared.streams.add(new.seed.id, new.participant),
            );
            video.transport_cc = negotiated.video_transport_cc;
            if negotiated.rtx {
                let number = rand::rng().random_range(0..30_000);
                video.rtx = Some((new.sending.rtx_ssrc(encoding), number));
            }
            outputs.push(video);
        }
        let session = Session {
            transport: 1,
            drop: program.drop,
        };
        let id = new.seed.id;
        let mut peer = Peer::new(new.seed, Instant::now());
        if let Err(e) = self.epoll.add(&peer.socket, id) {
            let _ = self.shared.events.send(Event::Ended(id, e.to_string()));
            return;
        }
        // The first checks leave at once.
        let _ = peer.tick(Instant::now());
        self.publishers.insert(
            id,
            Publisher {
                peer,
                outputs,
                session,
                started: None,
            },
        );
    }

    fn remove(&mut self, id: u64) {
        if let Some(mut p) = self.publishers.remove(&id) {
            p.end_streams();
            let ssrcs: Vec<u32> = p.outputs.iter().map(|o| o.ssrc).collect();
            let _ = p.peer.send_rtcp(&rtcp_out::goodbye(&ssrcs));
            p.peer.close();
        }
    }

    fn mute(&mut self) {
        self.muted = true;
        self.due.clear();
        for p in self.publishers.values() {
            p.end_streams();
        }
    }

    fn timers(&mut self, now: Instant) {
        let mut over = Vec::new();
        for (&id, p) in &mut self.publishers {
            match p.peer.tick(now) {
                Ok(Some(transport::Event::Connected)) => {
                    start(id, p, &mut self.due, &self.shared, self.muted);
                }
                Ok(Some(transport::Event::Closed)) => over.push((id, "closed".to_owned())),
                Ok(None) => {}
                Err(e) => over.push((id, e.to_string())),
            }
        }
        self.end(over);
    }

    fn end(&mut self, over: Vec<(u64, String)>) {
        for (id, why) in over {
            if let Some(p) = self.publishers.remove(&id) {
                p.end_streams();
                self.window.ended += 1;
                let _ = self.shared.events.send(Event::Ended(id, why));
            }
        }
    }

    fn send_due(&mut self) {
        loop {
            let now = Instant::now();
            match self.due.peek() {
                Some(Reverse((at, ..))) if *at <= now => {}
                _ => return,
            }
            let Some(Reverse((at, id, index))) = self.due.pop() else {
                return;
            };
            let Some(p) = self.publishers.get_mut(&id) else {
                continue;
            };
            let late = now - at;
            let Some(interval) = p.burst(
                index,
                &self.program,
                late,
                &mut self.batch,
                &mut self.window,
            ) else {
                continue;
            };
            self.due.push(Reverse((at + interval, id, index)));
        }
    }

    fn read(&mut self, id: u64) {
        let Some(p) = self.publishers.get_mut(&id) else {
            return;
        };
        let now = Instant::now();
        let n = self.receive.recv(p.peer.socket.as_raw_fd()).unwrap_or(0);
        for i in 0..n {
            let got = self.receive.get(i);
            let Some(from) = got.from else { continue };
            if wire::classify(got.data) == wire::Kind::Rtcp {
                if let Some(receive) = &p.peer.receive
                    && let Some(plain) = receive.open_rtcp(got.data)
                {
                    let plain = plain.to_vec();
                    p.feedback(&plain, &mut self.batch, &mut self.window);
                }
                continue;
            }
            match p.peer.control(now, from, got.data) {
                Ok(Some(transport::Event::Connected)) => {
                    start(id, p, &mut self.due, &self.shared, self.muted);
                }
                Ok(None) => {}
                Ok(Some(transport::Event::Closed)) => {
                    self.end(vec![(id, "closed".to_owned())]);
                    return;
                }
                Err(e) => {
                    self.end(vec![(id, e.to_string())]);
                    return;
                }
            }
        }
    }
}

fn start(
    id: u64,
    p: &mut Publisher,
    due: &mut BinaryHeap<Reverse<(Instant, u64, usize)>>,
    shared: &Shared,
    muted: bool,
) {
    if p.started.is_some() {
        return;
    }
    // Publishers of one run do not all send in the same moment.
    let spread = Duration::from_micros(rand::rng().random_range(0..20_000));
    let at = Instant::now() + spread;
    p.started = Some((at, realtime_ns() + spread.as_nanos() as u64));
    if !muted {
        for index in 0..p.outputs.len() {
            due.push(Reverse((at, id, index)));
        }
    }
    let _ = shared.events.send(Event::Connected(id));
}
