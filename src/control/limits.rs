//! What one address may use up: requests a second and sessions at a time.
//!
//! An IPv6 client usually has a whole /64 to itself, so that is what counts as
//! one address there. State is bounded whatever the callers do.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{NotUntil, Quota, RateLimiter};

use crate::config::{Limit, Limits};
use crate::net::AddressKey;

/// Addresses whose rate is kept apart; about 100 bytes each. While there are
/// that many, requests are counted in [`SHARED_BUCKETS`] by their address' hash,
/// so that whoever has very many addresses crowds out few others.
const MAX_ADDRESSES: usize = 100_000;

/// See [`MAX_ADDRESSES`].
const SHARED_BUCKETS: u64 = 4_096;

/// Idle addresses are forgotten after this many requests; it makes the cost of
/// looking at all of them small beside the requests themselves.
const SWEEP_EVERY: u32 = 4_096;

/// Too many requests from one address (429).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests from this address (limits.requests_per_second)")]
pub struct TooManyRequests {
    /// When the next one will be let through, for `Retry-After`.
    pub retry_after: Duration,
}

/// Requests a second, by address.
pub struct RequestLimiter<C: Clock = DefaultClock>(Option<Buckets<C>>);

type Keyed<K, C> = RateLimiter<K, DashMapStateStore<K>, C, NoOpMiddleware<<C as Clock>::Instant>>;

struct Buckets<C: Clock> {
    clock: C,
    by_address: Keyed<AddressKey, C>,
    /// While the table is full.
    shared: Keyed<u64, C>,
    hasher: RandomState,
    until_sweep: AtomicU32,
    max_addresses: usize,
}

impl RequestLimiter {
    /// A limiter for `limits.requests_per_second` and `limits.requests_burst`.
    pub fn new(limits: &Limits) -> Self {
        Self::with_clock(limits, DefaultClock::default(), MAX_ADDRESSES)
    }
}

impl<C: Clock + Clone> RequestLimiter<C> {
    fn with_clock(limits: &Limits, clock: C, max_addresses: usize) -> Self {
        let rate = limits.requests_per_second.get().and_then(NonZeroU32::new);
        Self(rate.map(|rate| {
            let burst = NonZeroU32::new(limits.requests_burst).unwrap_or(NonZeroU32::MIN);
            let quota = Quota::per_second(rate).allow_burst(burst);
            Buckets {
                by_address: RateLimiter::dashmap_with_clock(quota, clock.clone()),
                shared: RateLimiter::dashmap_with_clock(quota, clock.clone()),
                hasher: RandomState::new(),
                clock,
                until_sweep: AtomicU32::new(SWEEP_EVERY),
                max_addresses,
            }
        }))
    }

    /// Counts a request of `client`.
    ///
    /// # Errors
    /// When the address has used up its burst and its rate.
    pub fn check(&self, client: IpAddr) -> Result<(), TooManyRequests> {
        self.0
            .as_ref()
            .map_or(Ok(()), |buckets| buckets.check(AddressKey::of(client)))
    }
}

impl<C: Clock> Buckets<C> {
    fn check(&self, key: AddressKey) -> Result<(), TooManyRequests> {
        // Wraps below zero after a lost race, which only delays the next sweep's turn.
        if self.until_sweep.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.until_sweep.store(SWEEP_EVERY, Ordering::Relaxed);
            self.by_address.retain_recent();
            self.shared.retain_recent();
        }
        let answer = if self.by_address.len() < self.max_addresses {
            self.by_address.check_key(&key)
        } else {
            self.shared
                .check_key(&(self.hasher.hash_one(key) % SHARED_BUCKETS))
        };
        answer.map_err(|until| self.refusal(&until))
    }

    fn refusal(&self, until: &NotUntil<C::Instant>) -> TooManyRequests {
        TooManyRequests {
            retry_after: until.wait_time_from(self.clock.now()),
        }
    }
}

/// Too many sessions from one address (429).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "there are {limit} sessions from this address, which is the limit (limits.sessions_per_address)"
)]
pub struct TooManySessions {
    /// The limit.
    pub limit: u32,
}

/// Sessions at a time, by address.
#[derive(Debug, Clone)]
pub struct SessionLimiter {
    limit: Limit,
    counts: Arc<DashMap<AddressKey, u32>>,
}

impl SessionLimiter {
    /// A limiter for `limits.sessions_per_address`.
    pub fn new(limits: &Limits) -> Self {
        Self {
            limit: limits.sessions_per_address,
            counts: Arc::default(),
        }
    }

    /// Counts a session of `client` in until the guard is dropped.
    ///
    /// # Errors
    /// When the address has as many as it may.
    pub fn enter(&self, client: IpAddr) -> Result<SessionGuard, TooManySessions> {
        let key = AddressKey::of(client);
        let mut count = self.counts.entry(key).or_insert(0);
        if let Some(limit) = self.limit.get()
            && *count >= limit
        {
            return Err(TooManySessions { limit });
        }
        *count += 1;
        drop(count);
        Ok(SessionGuard {
            key,
            counts: Arc::clone(&self.counts),
        })
    }
}

/// A session that is counted; dropping it counts the session out.
#[derive(Debug)]
#[must_use = "dropping the guard counts the session out"]
pub struct SessionGuard {
    key: AddressKey,
    counts: Arc<DashMap<AddressKey, u32>>,
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.counts.remove_if_mut(&self.key, |_, count| {
            *count = count.saturating_sub(1);
            *count == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    fn limits(rate: u32, burst: u32, sessions: u32) -> Limits {
        Limits {
            requests_per_second: Limit(rate),
            requests_burst: burst,
            sessions_per_address: Limit(sessions),
            ..Limits::default()
        }
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let clock = FakeRelativeClock::default();
        let limiter = RequestLimiter::with_clock(&limits(10, 3, 0), clock.clone(), 100);
        for _ in 0..3 {
            assert_eq!(limiter.check(ip("192.0.2.1")), Ok(()));
        }
        let refused = limiter
            .check(ip("192.0.2.1"))
            .expect_err("burst is used up");
        assert_eq!(refused.retry_after, Duration::from_millis(100));
        assert_eq!(limiter.check(ip("192.0.2.2")), Ok(()), "another address");
        clock.advance(Duration::from_millis(100));
        assert_eq!(limiter.check(ip("192.0.2.1")), Ok(()));
        assert!(limiter.check(ip("192.0.2.1")).is_err());
    }

    #[test]
    fn a_v6_network_and_a_mapped_v4_address_are_one() {
        let clock = FakeRelativeClock::default();
        let limiter = RequestLimiter::with_clock(&limits(1, 1, 0), clock, 100);
        assert!(limiter.check(ip("2001:db8:0:1::1")).is_ok());
        assert!(limiter.check(ip("2001:db8:0:1:ffff::2")).is_err());
        assert!(limiter.check(ip("2001:db8:0:2::1")).is_ok());
        assert!(limiter.check(ip("192.0.2.1")).is_ok());
        assert!(limiter.check(ip("::ffff:192.0.2.1")).is_err());
    }

    #[test]
    fn many_addresses_use_bounded_memory() {
        let clock = FakeRelativeClock::default();
        let limiter = RequestLimiter::with_clock(&limits(1, 2, 0), clock.clone(), 50);
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        for n in 0..100_000 {
            let _ = limiter.check(address(n));
        }
        let buckets = limiter.0.as_ref().expect("limited");
        assert_eq!(buckets.by_address.len(), 50);
        assert!(buckets.shared.len() <= 4_096);
        assert!(limiter.check(address(7)).is_err(), "still limited");
        // Once they are idle they are forgotten, and newcomers have their own buckets again.
        clock.advance(Duration::from_secs(60));
        for _ in 0..SWEEP_EVERY {
            let _ = limiter.check(address(5_000));
        }
        assert!(buckets.by_address.len() < 50);
        assert!(limiter.check(address(7)).is_ok());
    }

    #[test]
    fn no_limit_lets_everything_through() {
        let limiter = RequestLimiter::new(&limits(0, 0, 0));
        assert!((0..10_000).all(|_| limiter.check(ip("192.0.2.1")).is_ok()));
    }

    #[test]
    fn sessions_are_counted_out_when_their_guard_goes() {
        let limiter = SessionLimiter::new(&limits(0, 0, 2));
        let first = limiter.enter(ip("192.0.2.1")).expect("first");
        let _second = limiter.enter(ip("::ffff:192.0.2.1")).expect("second");
        assert_eq!(
            limiter.enter(ip("192.0.2.1")).err(),
            Some(TooManySessions { limit: 2 })
        );
        let other = limiter.enter(ip("192.0.2.2")).expect("another address");
        drop(first);
        let _third = limiter.enter(ip("192.0.2.1")).expect("a place is free");
        drop(other);
        assert_eq!(
            limiter.counts.len(),
            1,
            "addresses without sessions are forgotten"
        );
    }
}
