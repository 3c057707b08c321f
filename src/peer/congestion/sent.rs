//! What was sent under which transport-wide sequence number: a ring of eight
//! bytes a packet, so that feedback finds the time, size and purpose of what it
//! reports on.

use super::Micros;
use crate::net::prefetch::prefetch;

/// Packets a new log holds: a second of a 4 Mb/s stream, in 4 KiB.
const INITIAL: usize = 512;

/// Packets a log grows to: a second of a 40 Mb/s stream, in 32 KiB.
const LARGEST: usize = 4096;

/// A log should hold what is sent in this time: feedback interval and the
/// longest round trip that can be used.
const REMEMBERED: Micros = 1_000_000;

/// A packet of no probe.
pub const NO_PROBE: u8 = 0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Not sent, or over and done with.
    #[default]
    Free,
    Sent,
    /// Reported missing; it may still have been overtaken only.
    Missing,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// Microseconds, the lower half: enough for an hour.
    at: u32,
    /// Bytes, with those of packets without a number sent before it.
    size: u16,
    probe: u8,
    state: State,
}

/// What feedback says of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logged {
    /// When it was sent.
    pub sent: Micros,
    /// Its bytes on the wire, with those of packets without a number before it.
    pub size: u32,
    /// The probe it belongs to; [`NO_PROBE`] when to none.
    pub probe: u8,
    /// It had been reported missing before.
    pub was_missing: bool,
}

/// See the module's description.
#[derive(Debug, Default)]
pub struct SentLog {
    entries: Vec<Entry>,
    /// The number that the next packet gets.
    next: u16,
    /// The number behind the newest that was reported.
    reported: u16,
    /// Bytes sent without a number since the last with one.
    unnumbered: u32,
    probe: u8,
    probe_bytes: u32,
    probe_packets: u32,
    /// Start of the present count, and packets since.
    counting: Option<(Micros, u32)>,
}

impl SentLog {
    /// Notes a packet that takes part in transport-wide feedback.
    #[inline]
    pub fn record(&mut self, now: Micros, sequence: u16, size: usize) {
        if self.entries.is_empty() {
            self.entries.resize(INITIAL, Entry::default());
            self.next = sequence;
            self.reported = sequence;
        }
        // Numbers that were taken and not sent hold nothing.
        while self.next != sequence {
            let at = self.index(self.next);
            self.entries[at] = Entry::default();
            self.next = self.next.wrapping_add(1);
        }
        let size = size as u32 + std::mem::take(&mut self.unnumbered);
        if self.probe != NO_PROBE {
            self.probe_bytes += size;
            self.probe_packets += 1;
        }
        if let Some((_, packets)) = &mut self.counting {
            *packets += 1;
        }
        let at = self.index(sequence);
        self.entries[at] = Entry {
            at: now as u32,
            size: u16::try_from(size).unwrap_or(u16::MAX),
            probe: self.probe,
            state: State::Sent,
        };
        self.next = sequence.wrapping_add(1);
    }

    /// Notes a packet without a number: its bytes use the path all the same.
    #[inline]
    pub fn record_unnumbered(&mut self, size: usize) {
        self.unnumbered = self.unnumbered.saturating_add(size as u32);
    }

    /// From here on packets belong to this probe, media included.
    pub fn begin_probe(&mut self, probe: u8) {
        self.probe = probe;
        self.probe_bytes = 0;
        self.probe_packets = 0;
    }

    /// The probe's packets end; returns how many they were.
    pub fn end_probe(&mut self) -> u32 {
        self.probe = NO_PROBE;
        self.probe_packets
    }

    /// Bytes of the present probe so far.
    pub fn probe_bytes(&self) -> u32 {
        self.probe_bytes
    }

    /// A receiver tells whether the packet arrived. `None` when it is not known
    /// (any more), or the report is no news.
    pub fn report(&mut self, now: Micros, sequence: u16, arrived: bool) -> Option<Logged> {
        let age = self.next.wrapping_sub(1).wrapping_sub(sequence);
        if usize::from(age) >= self.entries.len() {
            return None;
        }
        let at = self.index(sequence);
        let behind = sequence.wrapping_add(1);
        if self.next.wrapping_sub(behind) < self.next.wrapping_sub(self.reported) {
            self.reported = behind;
        }
        let entry = &mut self.entries[at];
        let before = entry.state;
        entry.state = match (before, arrived) {
            (State::Free, _) | (State::Missing, false) => return None,
            (State::Sent, false) => State::Missing,
            (_, true) => State::Free,
        };
        let elapsed = (now as u32).wrapping_sub(entry.at);
        Some(Logged {
            sent: now - Micros::from(elapsed),
            size: u32::from(entry.size),
            probe: entry.probe,
            was_missing: before == State::Missing,
        })
    }

    /// Begins to load what the next packets' records are written to.
    #[inline]
    pub fn prefetch_next(&self) {
        self.prefetch_from(self.next, 2);
    }

    /// Begins to load what the next feedback reports on.
    #[inline]
    pub fn prefetch_reported(&self) {
        self.prefetch_from(self.reported, 3);
    }

    #[inline]
    fn prefetch_from(&self, sequence: u16, lines: usize) {
        const A_LINE: usize = 64 / size_of::<Entry>();
        if self.entries.is_empty() {
            return;
        }
        for line in 0..lines {
            let sequence = sequence.wrapping_add((line * A_LINE) as u16);
            prefetch(&self.entries[self.index(sequence)]);
        }
    }

    /// Grows a log that is too small for what is sent, or soon will be for what is not reported
    /// on yet. Called with feedback.
    pub fn fit(&mut self, now: Micros) {
        let length = self.entries.len();
        if length == 0 {
            return;
        }
        let (since, packets) = *self.counting.get_or_insert((now, 0));
        let mut wanted = length;
        if now - since >= REMEMBERED {
            self.counting = Some((now, 0));
            if packets as usize > length {
                wanted = length * 2;
            }
        }
        let under_way = usize::from(self.next.wrapping_sub(self.reported));
        if under_way > length / 2 {
            // A burst into a path with a queue: without its times nobody would see the queue.
            wanted = wanted.max((under_way * 2).next_power_of_two());
        }
        let wanted = wanted.min(LARGEST);
        if wanted > length {
            self.grow(wanted);
        }
    }

    /// Bits per second that were sent over the last `span`, as far as the log goes back. Looks at
    /// each packet of it.
    pub fn sent_over(&self, now: Micros, span: Micros) -> f64 {
        let newest_first = (1..=self.entries.len() as u16)
            .map(|back| self.entries[self.index(self.next.wrapping_sub(back))])
            .filter(|entry| entry.size > 0);
        let age = |entry: &Entry| Micros::from((now as u32).wrapping_sub(entry.at));
        let bytes: u32 = newest_first
            .take_while(|entry| age(entry) <= span)
            .map(|entry| u32::from(entry.size))
            .sum();
        f64::from(bytes) * 8e6 / span as f64
    }

    fn grow(&mut self, wanted: usize) {
        let mut grown = vec![Entry::default(); wanted];
        for back in 1..=self.entries.len() as u16 {
            let sequence = self.next.wrapping_sub(back);
            let entry = self.entries[self.index(sequence)];
            grown[usize::from(sequence) & (wanted - 1)] = entry;
        }
        self.entries = grown;
    }

    fn index(&self, sequence: u16) -> usize {
        usize::from(sequence) & (self.entries.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_of_late_is_counted() {
        let mut sent = SentLog::default();
        assert_eq!(sent.sent_over(0, 500_000), 0.0);
        for index in 0..1000u16 {
            if index % 10 != 3 {
                sent.record(Micros::from(index) * 1000, index, 500);
            }
            sent.report(Micros::from(index) * 1000, index, index % 2 == 0);
        }
        // 512 are remembered, and nine of ten were sent.
        let rate = sent.sent_over(999_000, 100_000);
        assert!((rate - 3.6e6).abs() < 0.1e6, "{rate}");
        assert!(sent.sent_over(1_400_000, 500_000) < 0.9e6);
    }

    fn log(first: u16, count: u16) -> SentLog {
        let mut log = SentLog::default();
        for index in 0..count {
            let at = Micros::from(index) * 1000;
            log.record(at, first.wrapping_add(index), 1000 + usize::from(index));
        }
        log
    }

    #[test]
    fn feedback_finds_packets_over_the_wrap_and_once() {
        let mut log = log(65_530, 20);
        let now = 100_000;
        let logged = log.report(now, 3, true).unwrap();
        assert_eq!(
            logged,
            Logged {
                sent: 9000,
                size: 1009,
                probe: NO_PROBE,
                was_missing: false
            }
        );
        assert_eq!(log.report(now, 3, true), None, "no news");
        assert_eq!(log.report(now, 14, true), None, "not sent yet");
        assert_eq!(log.report(now, 65_529, true), None, "before the first");
    }

    #[test]
    fn a_missing_packet_may_still_arrive() {
        let mut log = log(0, 5);
        assert!(!log.report(9000, 2, false).unwrap().was_missing);
        assert_eq!(log.report(9000, 2, false), None);
        assert!(log.report(9000, 2, true).unwrap().was_missing);
        assert_eq!(log.report(9000, 2, false), None);
    }

    #[test]
    fn packets_older_than_the_ring_are_forgotten() {
        let mut log = log(0, 600);
        assert_eq!(log.report(700_000, 87, true), None);
        assert!(log.report(700_000, 88, true).is_some());
    }

    #[test]
    fn numbers_that_were_not_sent_are_not_found() {
        let mut log = log(0, 4);
        log.record(4000, 6, 500);
        assert_eq!(log.report(5000, 4, true), None);
        assert_eq!(log.report(5000, 5, true), None);
        assert_eq!(log.report(5000, 6, true).unwrap().size, 500);
        assert!(log.report(5000, 3, true).is_some());
    }

    #[test]
    fn bytes_without_a_number_count_with_the_next_packet() {
        let mut log = log(0, 1);
        log.record_unnumbered(5000);
        log.record_unnumbered(6000);
        log.record(1000, 1, 100);
        log.record(1000, 2, 100);
        assert_eq!(log.report(2000, 1, true).unwrap().size, 11_100);
        assert_eq!(log.report(2000, 2, true).unwrap().size, 100);
    }

    #[test]
    fn a_log_grows_with_what_is_sent_and_keeps_its_packets() {
        let mut log = SentLog::default();
        log.fit(0);
        for index in 0..2000u16 {
            log.record(Micros::from(index) * 500, index, 1000);
        }
        assert!(log.report(1_000_000, 1488, true).is_some());
        log.fit(1_000_000);
        assert_eq!(log.entries.len(), 1024);
        assert!(log.report(1_000_000, 1489, true).is_some());
        for index in 2000..2500u16 {
            log.record(Micros::from(index) * 500, index, 1000);
        }
        assert!(log.report(1_300_000, 1490, true).is_some());
        let mut next = 2500u16;
        for second in 2..20 {
            for _ in 0..9000 {
                log.record(0, next, 1);
                next = next.wrapping_add(1);
            }
            log.fit(second * 1_000_000);
        }
        assert_eq!(log.entries.len(), LARGEST);
    }

    #[test]
    fn a_log_grows_at_once_for_a_burst_that_is_not_reported_on_yet() {
        let mut log = log(0, 300);
        assert!(log.report(100_000, 0, true).is_some());
        log.fit(100_000);
        assert_eq!(log.entries.len(), 1024);
        for index in 300..1000u16 {
            log.record(Micros::from(index) * 100, index, 1000);
        }
        assert!(log.report(200_000, 1, true).is_some(), "it is still known");
        log.fit(200_000);
        assert_eq!(log.entries.len(), 2048);
        assert!(log.report(200_000, 2, true).is_some());
        log.report(300_000, 999, true);
        log.fit(300_000);
        assert_eq!(log.entries.len(), 2048);
    }

    #[test]
    fn packets_of_a_probe_are_told_apart() {
        let mut log = log(0, 2);
        log.begin_probe(7);
        log.record(3000, 2, 1200);
        log.record(4000, 3, 800);
        assert_eq!(log.probe_bytes(), 2000);
        assert_eq!(log.end_probe(), 2);
        log.record(5000, 4, 800);
        let probes: Vec<u8> = (0..5)
            .map(|s| log.report(6000, s, true).unwrap().probe)
            .collect();
        assert_eq!(probes, [0, 0, 7, 7, 0]);
    }

    #[test]
    fn an_entry_is_eight_bytes() {
        assert_eq!(size_of::<Entry>(), 8);
    }
}
