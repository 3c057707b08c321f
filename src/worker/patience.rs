//! When a worker reads what may wait: connectivity checks, reports and feedback, which come on a
//! socket of their own that does not wake it.
//!
//! They come one by one from every viewer, far more often than frames, and a wake-up costs more than what most of them
//! ask for. So they are read some milliseconds apart, many at a time; behind a frame's last packet where
//! that spares a wake-up; and rarely where no media flows. While somebody may be joining they are in more of a hurry, since
//! a session begins with such checks. When several reads in a row found nothing, the socket wakes
//! the worker like the others, until something has come.

use std::time::{Duration, Instant};

/// How far apart reads are while media flows: as far as brings [`MANY`] datagrams, within these
/// bounds. The longer one is two reads for each of 30 frames a second, of which one needs no wake-up. Estimates follow
/// feedback so much later; requests for repairs and keyframes come by the other socket.
const SHORT: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_millis(18);

/// As many datagrams as a read is worth: the wake-up's share of each is small then.
const MANY: u32 = 48;

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
    /// What was read last gives this slice while media flows.
    flowing: Duration,
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
            flowing: SHORT,
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

    /// Media was sent.
    pub(super) fn carried(&mut self, now: Instant) {
        self.media = Some(now);
    }

    /// The socket told that there is something to read.
    pub(super) fn told(&mut self) {
        self.now = true;
    }

    /// The socket has to wake the worker.
    pub(super) fn wakes(&self) -> bool {
        self.exists && self.empty >= EMPTY
    }

    /// It has to be read in a turn at `now` before all else: a handshake follows a check.
    pub(super) fn comes_first(&self, now: Instant) -> bool {
        self.exists && self.is_joining(now)
    }

    /// It has to be read in a turn at `now`.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.exists
            && (self.now || self.is_joining(now) || self.next(now).is_some_and(|at| at <= now))
    }

    /// It may as well be read in a turn at `now`, since the worker is awake.
    pub(super) fn is_near(&self, now: Instant) -> bool {
        self.is_due(now) || self.exists && !self.wakes() && now >= self.read + self.slice(now) / 2
    }

    /// It was read, and held so much; `more` may be left.
    pub(super) fn note_read(&mut self, now: Instant, datagrams: usize, more: bool) {
        self.flowing = flowing(now.saturating_duration_since(self.read), datagrams);
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
            () => self.flowing,
        }
    }

    fn is_joining(&self, now: Instant) -> bool {
        is_within(self.command, JOIN, now)
    }

    fn is_quiet(&self, now: Instant) -> bool {
        !self.is_joining(now) && !is_within(self.media, PAUSE, now)
    }
}

/// The slice that follows a read of so many datagrams, which came within `time`.
fn flowing(time: Duration, datagrams: usize) -> Duration {
    match u32::try_from(datagrams) {
        Ok(0) => LONG,
        Ok(datagrams) => (time.min(JOIN) * MANY / datagrams).clamp(SHORT, LONG),
        Err(_) => SHORT,
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

        /// A turn; it reads if that is due, or near behind media.
        fn turn(&mut self, media: bool) {
            if media {
                self.patience.carried(self.now);
            }
            if self.patience.is_due(self.now) || media && self.patience.is_near(self.now) {
                let mut datagrams = 0;
                while self.came <= self.now {
                    self.waited = self.waited.max(self.now - self.came);
                    self.came += self.every;
                    datagrams += 1;
                }
                self.reads += 1;
                self.patience.note_read(self.now, datagrams, false);
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

    /// Turns and reads in a second of 30 frames, and how long something waited at most.
    fn flowing_second(every: Duration) -> (u32, u32, Duration) {
        let mut worker = Virtual::new(every);
        worker.run(millis(100), Some(millis(33)));
        (worker.reads, worker.waited) = (0, Duration::ZERO);
        let turns = worker.run(millis(990), Some(millis(33)));
        (turns, worker.reads, worker.waited)
    }

    #[test]
    fn many_viewers_feedback_is_read_often_while_media_flows() {
        let (turns, reads, waited) = flowing_second(Duration::from_micros(100));
        assert!((198..=230).contains(&reads), "{reads}");
        assert!(turns <= reads + 30, "{turns}");
        assert!(waited <= SHORT, "{waited:?}");
    }

    #[test]
    fn few_viewers_feedback_adds_a_wake_up_to_each_frame() {
        for every in [1, 5] {
            let (turns, reads, waited) = flowing_second(millis(every));
            assert!((59..=61).contains(&reads), "{reads}");
            assert!(
                turns <= reads + 1,
                "{turns}: with a frame where that is near"
            );
            assert!(waited <= LONG, "{waited:?}");
        }
    }

    #[test]
    fn reads_follow_what_comes_within_bounds() {
        assert_eq!(flowing(LONG, 0), LONG);
        assert_eq!(flowing(millis(10), MANY as usize), millis(10));
        assert_eq!(flowing(millis(10), 2 * MANY as usize), SHORT);
        assert_eq!(flowing(millis(10), 1), LONG);
        assert_eq!(flowing(Duration::from_secs(1 << 40), 1), LONG);
        assert_eq!(flowing(millis(1), usize::MAX), SHORT);
    }

    #[test]
    fn what_is_nearly_due_is_read_behind_a_frame() {
        let start = Instant::now();
        let mut patience = Patience::new(start, true);
        let read = start + LONG;
        patience.carried(read);
        patience.note_read(read, 1, false);
        assert!(!patience.is_near(read + LONG / 4));
        let near = read + LONG / 2;
        assert!(patience.is_near(near) && !patience.is_due(near));
        assert_eq!(patience.wake_at(near, None), Some(read + LONG));
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
        assert!(worker.patience.comes_first(worker.now));
        worker.run(millis(500), None);
        assert!(worker.waited <= JOINING, "{:?}", worker.waited);
        worker.run(JOIN, None);
        assert!(!worker.patience.comes_first(worker.now));
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
        assert!(!patience.is_near(start + millis(100)));
        assert!(!patience.comes_first(start));
        assert!(!patience.wakes());
        let deadline = Some(start + millis(200));
        assert_eq!(patience.wake_at(start, deadline), deadline);
        assert_eq!(patience.wake_at(start, None), None);
    }
}
