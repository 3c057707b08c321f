//! How often strangers may use the media port as a STUN server.

use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::demux::FoldState;

/// Buckets for address prefixes. The table never grows: prefixes that fall into one
/// bucket share its budget, which 4096 buckets make rare (128 KiB a worker).
const BUCKETS: usize = 4096;

/// Answers per second and prefix in the long run: a client asks once or twice
/// for each of its sockets, and a whole office may sit behind one address.
const PER_PREFIX: Rate = Rate {
    per_second: 20,
    burst: 60,
};

/// Answers per second in total, so that forged sources can't make the server send
/// more than about 0.6 Mbit/s of responses.
const IN_TOTAL: Rate = Rate {
    per_second: 1000,
    burst: 2000,
};

#[derive(Debug, Clone, Copy)]
struct Rate {
    per_second: u64,
    burst: u64,
}

impl Rate {
    /// Nanoseconds that one token takes to come back.
    const fn token(self) -> u64 {
        1_000_000_000 / self.per_second
    }
}

/// A token bucket as one number: the time at which it is full again (GCRA).
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    full_at: u64,
}

impl Bucket {
    /// The bucket after taking one token at `now`, if there is one.
    fn take(self, now: u64, rate: Rate) -> Option<Self> {
        let full_at = self.full_at.max(now) + rate.token();
        (full_at - now <= rate.token() * rate.burst).then_some(Self { full_at })
    }
}

/// Limits answers to plain STUN requests, per source prefix (IPv4 /24, IPv6 /48, as far
/// as one party usually owns neighbouring addresses) and in total.
#[derive(Debug)]
pub struct StunLimiter {
    start: Instant,
    hasher: FoldState,
    buckets: Box<[Bucket]>,
    total: Bucket,
}

impl StunLimiter {
    /// A limiter with all its budget at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            start: now,
            hasher: FoldState::new(),
            buckets: vec![Bucket::default(); BUCKETS].into_boxed_slice(),
            total: Bucket::default(),
        }
    }

    /// Whether a request from `source` may be answered now; if so, it is paid for.
    pub fn allow(&mut self, source: SocketAddr, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.start);
        let now = since
            .min(Duration::from_secs(u64::from(u32::MAX)))
            .as_nanos() as u64;
        let prefix = match source.ip().to_canonical() {
            IpAddr::V4(ip) => u64::from(ip.to_bits() >> 8),
            // The top bit keeps the families apart: global IPv6 prefixes start with 001.
            IpAddr::V6(ip) => (ip.to_bits() >> 80) as u64 | (1 << 63),
        };
        let index = self.hasher.hash_one(prefix) as usize % BUCKETS;
        let Some(bucket) = self.buckets.get_mut(index) else {
            return false;
        };
        let (Some(own), Some(total)) =
            (bucket.take(now, PER_PREFIX), self.total.take(now, IN_TOTAL))
        else {
            return false;
        };
        *bucket = own;
        self.total = total;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(limiter: &mut StunLimiter, source: &str, now: Instant, tries: u32) -> u32 {
        let source = SocketAddr::new(source.parse().expect("ip"), 1);
        (0..tries)
            .map(|_| u32::from(limiter.allow(source, now)))
            .sum()
    }

    #[test]
    fn a_prefix_has_a_burst_and_a_rate() {
        let start = Instant::now();
        let mut limiter = StunLimiter::new(start);
        assert_eq!(allowed(&mut limiter, "192.0.2.1", start, 100), 60);
        assert_eq!(allowed(&mut limiter, "192.0.2.200", start, 100), 0);
        assert_eq!(allowed(&mut limiter, "::ffff:192.0.2.7", start, 100), 0);
        let later = start + Duration::from_secs(1);
        assert_eq!(allowed(&mut limiter, "192.0.2.1", later, 100), 20);
        let much_later = start + Duration::from_secs(100);
        assert_eq!(allowed(&mut limiter, "192.0.2.1", much_later, 100), 60);
    }

    #[test]
    fn other_prefixes_are_not_touched_but_the_total_is() {
        let start = Instant::now();
        let mut limiter = StunLimiter::new(start);
        assert_eq!(allowed(&mut limiter, "2001:db8:1::1", start, 100), 60);
        assert_eq!(allowed(&mut limiter, "2001:db8:1:ffff::1", start, 100), 0);
        let mut sum = 60;
        for n in 0..2000u32 {
            let ip = format!("10.{}.{}.1", n >> 8, n & 255);
            sum += allowed(&mut limiter, &ip, start, 2);
        }
        assert_eq!(sum, 2000);
        let later = start + Duration::from_millis(100);
        let sum: u32 = (0..1000u32)
            .map(|n| {
                allowed(
                    &mut limiter,
                    &format!("11.{}.{}.1", n >> 8, n & 255),
                    later,
                    1,
                )
            })
            .sum();
        assert_eq!(sum, 100);
    }
}
