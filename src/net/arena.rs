//! The send arena: all datagrams of one turn of the loop, back to back in one
//! buffer, already grouped into runs that UDP GSO can send with one message.

use super::path::{Path, Proto};

/// Datagrams in one run. Linux takes 64 (`UDP_MAX_SEGMENTS` before 6.9, 128 since).
pub const MAX_SEGMENTS: usize = 64;

/// Bytes in one run: with IP and UDP headers it must stay below 65,536.
pub const MAX_RUN_BYTES: usize = 65_000;

/// Consecutive datagrams on one path: all of `segment` bytes, only the last may be shorter.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// Where they go.
    pub path: Path,
    /// The size of every datagram but the last.
    pub segment: usize,
    /// The datagrams, back to back.
    pub bytes: &'a [u8],
}

impl<'a> Run<'a> {
    /// How many datagrams.
    pub fn count(&self) -> usize {
        self.bytes.len().div_ceil(self.segment.max(1))
    }

    /// The datagrams one by one.
    pub fn datagrams(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        self.bytes.chunks(self.segment.max(1))
    }
}

#[derive(Debug)]
struct Entry {
    path: Path,
    start: usize,
    end: usize,
    segment: usize,
    /// A shorter datagram or a limit ended the run.
    closed: bool,
}

/// A buffer for everything that one turn of the loop sends.
///
/// Memory is allocated once, in [`SendArena::new`]. When it is full, datagrams are
/// refused and the caller counts them as dropped
/// ([`EgressFull`](crate::telemetry::DropReason::EgressFull)).
#[derive(Debug)]
pub struct SendArena {
    bytes: Box<[u8]>,
    used: usize,
    runs: Vec<Entry>,
    max_runs: usize,
    /// Runs for TCP connections.
    tcp_runs: usize,
    datagrams: usize,
    reserved: Option<Reservation>,
}

#[derive(Debug, Clone, Copy)]
struct Reservation {
    max: usize,
    /// Where it goes, when that is not the way of an open last run.
    elsewhere: Option<Path>,
}

impl SendArena {
    /// An arena for `bytes` bytes in at most `runs` runs (so at least `runs` datagrams).
    pub fn new(bytes: usize, runs: usize) -> Self {
        Self {
            bytes: vec![0; bytes].into_boxed_slice(),
            used: 0,
            runs: Vec::with_capacity(runs),
            max_runs: runs,
            tcp_runs: 0,
            datagrams: 0,
            reserved: None,
        }
    }

    /// Room for one datagram of up to `max` bytes; `None` when the arena is full.
    ///
    /// It counts once [`commit`](Self::commit) follows; without, the next `reserve` takes
    /// the same room. The slice holds stale bytes.
    #[inline]
    pub fn reserve(&mut self, to: Path, max: usize) -> Option<&mut [u8]> {
        self.reserved = None;
        if self.runs.len() >= self.max_runs {
            return None;
        }
        let room = self.bytes.get_mut(self.used..self.used.checked_add(max)?)?;
        let open = |run: &Entry| !run.closed && run.path == to;
        let elsewhere = (!self.runs.last().is_some_and(open)).then_some(to);
        self.reserved = Some(Reservation { max, elsewhere });
        Some(room)
    }

    /// Sends the first `len` bytes of what was reserved last; more than was
    /// reserved is cut to it. Without a reservation, or with `len` 0, nothing happens.
    #[inline]
    pub fn commit(&mut self, len: usize) {
        let Some(Reservation { max, elsewhere }) = self.reserved.take() else {
            return;
        };
        let len = len.min(max);
        if len == 0 {
            return;
        }
        let start = self.used;
        let end = start + len;
        self.used = end;
        self.datagrams += 1;
        let Some(run) = self.runs.last_mut() else {
            return self.begin(elsewhere, start, end);
        };
        if elsewhere.is_none() && len <= run.segment && end - run.start <= MAX_RUN_BYTES {
            run.end = end;
            run.closed = len < run.segment || end - run.start >= run.segment * MAX_SEGMENTS;
            return;
        }
        let path = elsewhere.unwrap_or(run.path);
        self.begin(Some(path), start, end);
    }

    /// Begins a run with one datagram.
    fn begin(&mut self, path: Option<Path>, start: usize, end: usize) {
        if let Some(path) = path {
            self.tcp_runs += usize::from(path.proto == Proto::Tcp);
            self.runs.push(Entry {
                path,
                start,
                end,
                segment: end - start,
                closed: false,
            });
        }
    }

    /// Copies one datagram in; false when the arena is full.
    pub fn push(&mut self, to: Path, bytes: &[u8]) -> bool {
        let Some(room) = self.reserve(to, bytes.len()) else {
            return false;
        };
        room.copy_from_slice(bytes);
        self.commit(bytes.len());
        true
    }

    /// Nothing to send.
    pub fn is_empty(&self) -> bool {
        self.datagrams == 0
    }

    /// How many datagrams wait.
    pub fn len(&self) -> usize {
        self.datagrams
    }

    /// Some are for TCP connections.
    pub fn has_tcp(&self) -> bool {
        self.tcp_runs > 0
    }

    /// How many bytes wait.
    pub fn bytes(&self) -> usize {
        self.used
    }

    /// How many more bytes fit; none when an eighth of the runs is left, so that what one viewer
    /// gets in a turn never meets the end of them.
    pub fn room(&self) -> usize {
        if self.runs.len() < self.max_runs - self.max_runs / 8 {
            self.bytes.len() - self.used
        } else {
            0
        }
    }

    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.used = 0;
        self.datagrams = 0;
        self.tcp_runs = 0;
        self.reserved = None;
        self.runs.clear();
    }

    /// How many runs there is room for.
    pub fn most_runs(&self) -> usize {
        self.max_runs
    }

    /// The runs in the order of their first datagrams.
    pub fn runs(&self) -> impl ExactSizeIterator<Item = Run<'_>> {
        self.runs.iter().map(|run| self.whole(run))
    }

    /// One of them.
    pub fn run(&self, number: usize) -> Option<Run<'_>> {
        self.runs.get(number).map(|run| self.whole(run))
    }

    fn whole(&self, run: &Entry) -> Run<'_> {
        Run {
            path: run.path,
            segment: run.segment,
            bytes: self.bytes.get(run.start..run.end).unwrap_or_default(),
        }
    }

    /// Every datagram with its path, in order.
    pub fn datagrams(&self) -> impl Iterator<Item = (Path, &[u8])> {
        self.runs()
            .flat_map(|run| run.datagrams().map(move |bytes| (run.path, bytes)))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::net) fn path(port: u16) -> Path {
        Path {
            proto: Proto::Udp,
            local: ([127, 0, 0, 1], 1).into(),
            remote: ([127, 0, 0, 1], port).into(),
        }
    }

    fn shape(arena: &SendArena) -> Vec<(u16, usize, usize)> {
        arena
            .runs()
            .map(|run| (run.path.remote.port(), run.segment, run.count()))
            .collect()
    }

    #[test]
    fn datagrams_for_tcp_are_known_of_until_they_are_forgotten() {
        let mut arena = SendArena::new(1000, 10);
        assert!(arena.push(path(1), &[0; 10]) && !arena.has_tcp());
        let tcp = Path {
            proto: Proto::Tcp,
            ..path(1)
        };
        assert!(arena.push(tcp, &[0; 10]) && arena.push(path(1), &[0; 10]));
        assert!(arena.has_tcp());
        arena.clear();
        assert!(!arena.has_tcp());
    }

    #[test]
    fn equal_sizes_to_one_path_form_a_run_that_a_shorter_one_ends() {
        let mut arena = SendArena::new(100_000, 100);
        for len in [100, 100, 60, 100, 101] {
            assert!(arena.push(path(1), &vec![len as u8; len]));
        }
        assert!(arena.push(path(2), &[0; 101]));
        assert!(arena.push(path(1), &[0; 101]));
        assert_eq!(
            shape(&arena),
            [
                (1, 100, 3),
                (1, 100, 1),
                (1, 101, 1),
                (2, 101, 1),
                (1, 101, 1)
            ]
        );
        let first = arena.runs().next().expect("run");
        let sizes: Vec<_> = first.datagrams().map(<[u8]>::len).collect();
        assert_eq!(sizes, [100, 100, 60]);
        assert_eq!(arena.len(), 7);
        assert_eq!(arena.datagrams().count(), 7);
        for (_, bytes) in arena.datagrams().take(5) {
            assert!(bytes.iter().all(|b| usize::from(*b) == bytes.len()));
        }
    }

    #[test]
    fn a_run_stays_within_the_limits_of_the_kernel() {
        let mut arena = SendArena::new(400_000, 100);
        for _ in 0..130 {
            assert!(arena.push(path(1), &[1; 20]));
        }
        assert_eq!(shape(&arena), [(1, 20, 64), (1, 20, 64), (1, 20, 2)]);
        arena.clear();
        for _ in 0..60 {
            assert!(arena.push(path(1), &[1; 1200]));
        }
        assert_eq!(shape(&arena), [(1, 1200, 54), (1, 1200, 6)]);
    }

    #[test]
    fn a_full_arena_refuses_and_recovers() {
        let mut arena = SendArena::new(250, 100);
        assert!(arena.push(path(1), &[1; 100]));
        assert!(arena.push(path(1), &[1; 100]));
        assert!(!arena.push(path(1), &[1; 51]));
        assert!(arena.push(path(1), &[1; 50]));
        assert!(arena.reserve(path(1), 1).is_none());
        assert_eq!((arena.len(), arena.bytes()), (3, 250));
        arena.clear();
        assert!(arena.is_empty());
        assert!(arena.push(path(1), &[1; 250]));

        let mut few = SendArena::new(1000, 2);
        assert!(few.push(path(1), &[1; 10]));
        assert!(few.push(path(2), &[1; 10]));
        assert!(!few.push(path(3), &[1; 10]));
    }

    #[test]
    fn what_is_not_committed_is_not_sent() {
        let mut arena = SendArena::new(1000, 10);
        assert_eq!(arena.reserve(path(1), 100).map(|b| b.len()), Some(100));
        arena.reserve(path(2), 100).expect("room").fill(7);
        arena.commit(30);
        arena.commit(30);
        assert_eq!(shape(&arena), [(2, 30, 1)]);
        arena.reserve(path(2), 100).expect("room");
        arena.commit(0);
        assert!(arena.reserve(path(2), 1000).is_none());
        arena.commit(5);
        assert_eq!(arena.len(), 1);
        arena.reserve(path(2), 10).expect("room");
        arena.commit(usize::MAX);
        assert_eq!(arena.bytes(), 40);
        assert!(arena.reserve(path(2), usize::MAX).is_none());
    }

    #[test]
    fn the_last_runs_are_kept_for_the_viewer_in_hand() {
        let mut arena = SendArena::new(1 << 20, 80);
        for port in 0..70 {
            assert!(arena.room() > 0, "{port}");
            assert!(arena.push(path(port), &[0; 10]));
        }
        assert_eq!(arena.room(), 0);
        for port in 70..80 {
            assert!(arena.push(path(port), &[0; 10]));
        }
        assert!(!arena.push(path(80), &[0; 10]));
    }
}
