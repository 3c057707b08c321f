//! A viewer's simulated bad link: media on its way from the server is lost,
//! delayed, put out of order and held back by a bound with a queue.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::RngExt;

/// How much later a packet comes that is put out of order, nanoseconds.
const REORDER_NS: u64 = 20_000_000;
const MS: f64 = 1e6;

/// What a link does.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LinkSpec {
    /// Percent of the packets it loses at random.
    pub loss_percent: f64,
    /// Milliseconds each packet takes.
    pub delay_ms: f64,
    /// Up to so many more at random, without changing the order.
    pub jitter_ms: f64,
    /// Percent of the packets that come later than those after them.
    pub reorder_percent: f64,
    /// Kilobits a second it lets through; 0 for no bound.
    pub kbps: u32,
    /// Milliseconds a packet may wait for the bound; beyond that it is lost.
    pub queue_ms: f64,
}

/// A datagram on a link.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Carried {
    /// When it comes out, nanoseconds of `CLOCK_REALTIME`.
    pub(super) out_ns: u64,
    /// When the kernel took it, before the link.
    pub(super) kernel_ns: u64,
    /// The link loses it. What it lost the generator received, so it is never
    /// charged to the server.
    pub(super) lost: bool,
    pub(super) data: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry(u64, u64, Carried);

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The link, with what is on it.
#[derive(Debug)]
pub(super) struct Link {
    spec: LinkSpec,
    /// When the bound has let everything through that is queued.
    free_ns: u64,
    /// When the last packet in order comes out.
    last_ns: u64,
    count: u64,
    queue: BinaryHeap<Reverse<Entry>>,
    spare: Vec<Vec<u8>>,
}

impl Link {
    pub(super) fn new(spec: LinkSpec) -> Self {
        Self {
            spec,
            free_ns: 0,
            last_ns: 0,
            count: 0,
            queue: BinaryHeap::new(),
            spare: Vec::new(),
        }
    }

    /// The bound in bits a second, if there is one.
    pub(super) fn bound(&self) -> Option<f32> {
        (self.spec.kbps > 0).then_some(self.spec.kbps as f32 * 1000.0)
    }

    /// When a packet of so many bytes comes out that goes in now, and whether it
    /// is lost.
    fn fate(&mut self, now_ns: u64, bytes: usize) -> (u64, bool) {
        let (spec, mut rng) = (self.spec, rand::rng());
        let mut chance =
            |percent: f64| percent > 0.0 && rng.random_bool((percent / 100.0).min(1.0));
        let mut lost = chance(spec.loss_percent);
        let reordered = chance(spec.reorder_percent);
        let mut out_ns = now_ns;
        if spec.kbps > 0 {
            let takes = bytes as f64 * 8.0 / f64::from(spec.kbps) * MS;
            let free_ns = self.free_ns.max(now_ns);
            out_ns = free_ns + takes as u64;
            if (free_ns - now_ns) as f64 > spec.queue_ms * MS {
                lost = true;
                out_ns = free_ns;
            } else {
                self.free_ns = out_ns;
            }
        }
        let jitter = if spec.jitter_ms > 0.0 {
            rng.random_range(0.0..spec.jitter_ms)
        } else {
            0.0
        };
        out_ns += ((spec.delay_ms + jitter) * MS) as u64;
        if reordered {
            return (out_ns + REORDER_NS, lost);
        }
        self.last_ns = self.last_ns.max(out_ns);
        (self.last_ns, lost)
    }

    /// Puts a datagram on the link that the kernel took at `kernel_ns`.
    pub(super) fn put(&mut self, kernel_ns: u64, data: &[u8]) {
        let (out_ns, lost) = self.fate(kernel_ns, data.len());
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(data);
        let carried = Carried {
            out_ns,
            kernel_ns,
            lost,
            data: bytes,
        };
        self.count += 1;
        self.queue.push(Reverse(Entry(out_ns, self.count, carried)));
    }

    /// The next datagram that has come out by `now_ns`.
    pub(super) fn take(&mut self, now_ns: u64) -> Option<Carried> {
        let Reverse(Entry(out_ns, ..)) = self.queue.peek()?;
        if *out_ns > now_ns {
            return None;
        }
        self.queue.pop().map(|Reverse(Entry(.., c))| c)
    }

    /// Gives a datagram's memory back.
    pub(super) fn recycle(&mut self, data: Vec<u8>) {
        self.spare.push(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(spec: LinkSpec, packets: u64, gap_ns: u64) -> Vec<Carried> {
        let mut link = Link::new(spec);
        for i in 0..packets {
            link.put(1_000_000_000 + i * gap_ns, &[i as u8; 1000]);
        }
        std::iter::from_fn(|| link.take(u64::MAX)).collect()
    }

    #[test]
    fn the_bound_holds_and_its_queue_delays_before_it_loses() {
        // 1000 packets of 1000 bytes in a second are 8 Mbit/s.
        let spec = LinkSpec {
            kbps: 800,
            queue_ms: 100.0,
            ..LinkSpec::default()
        };
        let all = through(spec, 1000, 1_000_000);
        let passed: Vec<&Carried> = all.iter().filter(|c| !c.lost).collect();
        assert!((105..=115).contains(&passed.len()), "{}", passed.len());
        let waits: Vec<u64> = passed.iter().map(|c| c.out_ns - c.kernel_ns).collect();
        assert_eq!(waits[0], 10_000_000);
        let longest = waits.iter().max().copied().unwrap_or(0);
        assert!((95_000_000..=110_000_000).contains(&longest), "{longest}");
        // Never faster than the bound.
        assert!(
            passed
                .windows(2)
                .all(|w| w[1].out_ns - w[0].out_ns >= 10_000_000)
        );
    }

    #[test]
    fn losses_have_their_share() {
        let spec = LinkSpec {
            loss_percent: 10.0,
            ..LinkSpec::default()
        };
        let lost = through(spec, 10_000, 1).iter().filter(|c| c.lost).count();
        assert!((850..1150).contains(&lost), "{lost}");
    }

    #[test]
    fn delay_and_jitter_keep_the_order() {
        let spec = LinkSpec {
            delay_ms: 50.0,
            jitter_ms: 30.0,
            ..LinkSpec::default()
        };
        let all = through(spec, 1000, 1_000_000);
        assert!(all.windows(2).all(|w| w[0].kernel_ns < w[1].kernel_ns));
        let took = |c: &Carried| c.out_ns - c.kernel_ns;
        assert!(
            all.iter()
                .all(|c| (50_000_000..80_000_000).contains(&took(c)))
        );
        let average = all.iter().map(took).sum::<u64>() / 1000;
        assert!(average > 60_000_000, "{average}");
        assert!(all.iter().all(|c| !c.lost));
    }

    #[test]
    fn some_packets_come_after_later_ones() {
        let spec = LinkSpec {
            reorder_percent: 10.0,
            ..LinkSpec::default()
        };
        let all = through(spec, 10_000, 1_000_000);
        let mut highest = 0;
        let mut late = 0;
        for c in &all {
            late += usize::from(c.kernel_ns < highest);
            highest = highest.max(c.kernel_ns);
        }
        assert!((850..1150).contains(&late), "{late}");
    }

    #[test]
    fn nothing_comes_out_early() {
        let mut link = Link::new(LinkSpec {
            delay_ms: 5.0,
            ..LinkSpec::default()
        });
        link.put(100, &[1]);
        assert_eq!(link.take(100 + 4_999_999), None);
        let carried = link.take(100 + 5_000_000).unwrap();
        assert_eq!((carried.kernel_ns, &carried.data[..]), (100, &[1][..]));
        link.recycle(carried.data);
    }
}
