//! When a worker reads what may wait: connectivity checks, reports and feedback, which come on a
//! socket of their own that does not wake it.
//!
//! They come one by one from every viewer, far more often than frames, and a wake-up costs more than what most of them
//! ask for. So they are read some milliseconds apart, many at a time; soon after a frame where
//! that spares a wake-up; and rarely where no media flows. While somebody may be joining they are in more of a hurry, since
//! a session begins with such checks. When several reads in a row found nothing, the socket wakes
//! the worker like the others, until something has come.

use std::time::{Duration, Instant};

/// How far apart reads are while media flows. What a viewer asks for waits half of it on average,
/// less than the 5 ms in which browsers' own pacers send.
const FLOWING: Duration = Duration::from_millis(5);

/// While somebody may be joining.
const JOINING: Duration = Duration::from_millis(2);

/// While no media flows and nobody joins: answers to checks and timers may be so late.
const QUIET: Duration = Duration::from_millis(50);

/// Media flows until so long after the last of it.
const PAUSE: Duration = Duration::from_millis(200);

/// The control plane's last command is followed by checks for so long: an answer travels to a
/// client, whose checks travel back.
const JOIN: Duration = Duration::from_secs(3);

/// So many reads in a row that found nothing make the socket wake the worker.
const EMPTY: u32 = 8;

/// See the module's description.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// There is such a socket.
    exists: bool,
    read: Instant,
    media: Option<Instant>,
    command: Option<Instant>,
    /// Reads in a row that found nothing.
    empty: u32,
    /// It is read in the next turn.
    now: bool,
}

impl Patience {
    /// A worker with such a socket, or without: then nothing is ever due.
    pub(super) fn new(now: Instant, exists: bool) -> Self {
        Self {
            exists,
            read: now,
            media: None,
            command: None,
            empty: EMPTY,
            now: false,
        }
    }

    /// The control plane wants something of a session.
    pub(super) fn commanded(&mut self, now: Instant) {
        self.command = Some(now);
    }

    /// A turn ends that had media to send.
    pub(super) fn carried(&mut self, now: Instant) {
        self.media = Some(now);
        // The worker is awake, and what it sends has left.
        self.now = self.is_near(now);
    }

    /// The socket told that there is something to read.
    pub(super) fn told(&mut self) {
        self.now = true;
    }

    /// The socket has to wake the worker.
    pub(super) fn wakes(&self) -> bool {
        self.exists && self.empty >= EMPTY
    }

    /// It has to be read in a turn at `now`.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.exists
            && (self.now || self.is_joining(now) || self.next(now).is_some_and(|at| at <= now))
    }

    /// It may as well be read in a turn at `now` that does not hold media up.
    pub(super) fn is_near(&self, now: Instant) -> bool {
        self.is_due(now) || self.exists && !self.wakes() && now >= self.read + self.slice(now) / 2
    }

    /// It was read, and held so much; `more` may be left.
    pub(super) fn note_read(&mut self, now: Instant, datagrams: usize, more: bool) {
        self.read = now;
        self.now = more;
        self.empty = if datagrams == 0 { self.empty + 1 } else { 0 };
    }

    /// The socket can't wake the worker: it is read on.
    pub(super) fn note_deaf(&mut self) {
        self.empty = 0;
    }

    /// Until when a worker may sleep whose timers are due at `deadline`: where nothing is in a hurry
    /// they are late, so that what they bring is done together with what is read.
    pub(super) fn wake_at(&self, now: Instant, deadline: Option<Instant>) -> Option<Instant> {
        match (self.next(now), deadline) {
            (Some(next), _) if self.is_quiet(now) => Some(next),
            (next, deadline) => next.into_iter().chain(deadline).min(),
        }
    }

    /// When it is read next; `None` for when it tells.
    fn next(&self, now: Instant) -> Option<Instant> {
        match () {
            () if !self.exists => None,
            () if self.now => Some(self.read),
            () if self.wakes() => None,
            () => Some(self.read + self.slice(now)),
        }
    }

    fn slice(&self, now: Instant) -> Duration {
        match () {
            () if self.is_joining(now) => JOINING,
            () if self.is_quiet(now) => QUIET,
            () => FLOWING,
        }
    }

    fn is_joining(&self, now: Instant) -> bool {
        is_within(self.command, JOIN, now)
    }

    fn is_quiet(&self, now: Instant) -> bool {
        !self.is_joining(now) && !is_within(self.media, PAUSE, now)
    }
}

fn is_within(since: Option<Instant>, time: Duration, now: Instant) -> bool {
    since.is_some_and(|since| now < since + time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// A worker on a virtual clock, whose patient socket gets something every `every`.
    struct Virtual {
        patience: Patience,
        now: Instant,
        every: Duration,
        came: Instant,
        reads: u32,
        /// The longest that something waited.
        waited: Duration,
    }

    impl Virtual {
        fn new(every: Duration) -> Self {
            let now = Instant::now();
            Self {
                patience: Patience::new(now, true),
                now,
                every,
                came: now,
                reads: 0,
                waited: Duration::ZERO,
            }
        }

        /// A turn, if it reads, and the time until it ends.
        fn turn(&mut self, media: bool) {
            if self.patience.is_due(self.now) {
                let mut datagrams = 0;
                while self.came <= self.now {
                    self.waited = self.waited.max(self.now - self.came);
                    self.came += self.every;
                    datagrams += 1;
                }
                self.reads += 1;
                self.patience.note_read(self.now, datagrams, false);
            }
            if media {
                self.patience.carried(self.now);
            }
        }

        /// Sleeps and works for so long; frames come every `frames`. The number of turns.
        fn run(&mut self, time: Duration, frames: Option<Duration>) -> u32 {
            let end = self.now + time;
            let mut frame = frames.map(|every| self.now + every);
            let mut turns = 0;
            while self.now < end {
                let told = self.patience.wakes().then_some(self.came);
                let wakes = [self.patience.wake_at(self.now, None), told, frame];
                let wake = wakes.into_iter().flatten().min().expect("something");
                self.now = self.now.max(wake);
                if told.is_some_and(|at| at <= self.now) {
                    self.patience.told();
                }
                let media = frame.is_some_and(|at| at <= self.now);
                if media {
                    frame = frame.zip(frames).map(|(at, every)| at + every);
                }
                self.turn(media);
                turns += 1;
            }
            turns
        }
    }

    #[test]
    fn while_media_flows_reads_are_milliseconds_apart_and_share_turns_with_it() {
        let mut worker = Virtual::new(Duration::from_micros(100));
        worker.run(millis(100), Some(millis(33)));
        (worker.reads, worker.waited) = (0, Duration::ZERO);
        let turns = worker.run(millis(990), Some(millis(33)));
        assert!((200..=240).contains(&worker.reads), "{}", worker.reads);
        assert!(turns <= 200 + 2 * 30, "{turns}");
        assert!(worker.waited <= FLOWING, "{:?}", worker.waited);
    }

    #[test]
    fn what_is_nearly_due_is_read_behind_a_frame() {
        let start = Instant::now();
        let mut patience = Patience::new(start, true);
        patience.note_read(start, 1, false);
        patience.carried(start + millis(1));
        assert!(!patience.is_due(start + millis(1)));
        patience.carried(start + millis(3));
        assert!(patience.is_due(start + millis(3)));
        assert_eq!(patience.wake_at(start + millis(3), None), Some(start));
    }

    #[test]
    fn without_media_a_thousand_viewers_share_twenty_turns_a_second() {
        let mut worker = Virtual::new(millis(1));
        worker.run(millis(1000), None);
        let turns = worker.run(millis(1000), None);
        assert!((19..=21).contains(&turns), "{turns}");
        assert!(worker.waited <= QUIET, "{:?}", worker.waited);
        // Timers don't add to them, but are at most so late.
        let at = worker.now + millis(1);
        let wakes = worker
            .patience
            .wake_at(worker.now, Some(at))
            .expect("wakes");
        assert!(wakes <= worker.now + QUIET);
        assert!(wakes > at);
    }

    #[test]
    fn timers_are_in_time_while_media_flows() {
        let mut worker = Virtual::new(millis(1));
        worker.run(millis(100), Some(millis(33)));
        let at = worker.now + Duration::from_micros(300);
        assert_eq!(worker.patience.wake_at(worker.now, Some(at)), Some(at));
    }

    #[test]
    fn a_joiner_is_not_kept_waiting() {
        let mut worker = Virtual::new(millis(1));
        worker.run(millis(500), None);
        worker.patience.commanded(worker.now);
        worker.waited = Duration::ZERO;
        let wakes = worker.patience.wake_at(worker.now, None).expect("wakes");
        assert!(wakes <= worker.now + JOINING);
        // A handshake behind a check finds the check read.
        assert!(worker.patience.is_due(worker.now));
        worker.run(millis(500), None);
        assert!(worker.waited <= JOINING, "{:?}", worker.waited);
        worker.run(JOIN, None);
        let turns = worker.run(millis(1000), None);
        assert!((19..=21).contains(&turns), "{turns}");
    }

    #[test]
    fn what_comes_rarely_wakes_the_worker_and_is_read_at_once() {
        let mut worker = Virtual::new(millis(1000));
        let turns = worker.run(millis(9_990), None);
        assert!(turns <= 10 * (2 + EMPTY), "{turns}");
        assert_eq!(worker.waited, Duration::ZERO);
    }

    #[test]
    fn a_full_read_is_followed_by_another() {
        let start = Instant::now();
        let mut patience = Patience::new(start, true);
        patience.note_read(start, 64, true);
        assert!(patience.is_due(start));
        patience.note_read(start, 10, false);
        assert!(!patience.is_due(start));
    }

    #[test]
    fn without_such_a_socket_nothing_is_due() {
        let start = Instant::now();
        let mut patience = Patience::new(start, false);
        patience.commanded(start);
        patience.carried(start + millis(100));
        assert!(!patience.is_due(start + millis(100)));
        assert!(!patience.wakes());
        let deadline = Some(start + millis(200));
        assert_eq!(patience.wake_at(start, deadline), deadline);
        assert_eq!(patience.wake_at(start, None), None);
    }
}
