//! NTP time-stamps of sender reports, and round trips from them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds from 1900 to 1970 (RFC 868).
const UNIX_OFFSET: u64 = 2_208_988_800;

/// Seconds of an NTP era; the first ends in 2036.
const ERA: u64 = 1 << 32;

/// A 64-bit NTP time-stamp: seconds since 1900 and a 32-bit fraction (RFC 3550 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// The time-stamp of a time since 1970.
    pub fn from_unix(since_epoch: Duration) -> Self {
        let seconds = since_epoch.as_secs().wrapping_add(UNIX_OFFSET) % ERA;
        // Rounded, so that a way through NTP and back does not lose a nanosecond.
        let nanos = u64::from(since_epoch.subsec_nanos());
        let fraction = ((nanos << 32) + 500_000_000) / 1_000_000_000;
        Self((seconds << 32) | fraction)
    }

    /// The time since 1970. Time-stamps before 1968 are taken to be of the era
    /// that starts in 2036 (RFC 4330 §3).
    pub fn to_unix(self) -> Duration {
        let seconds = self.0 >> 32;
        let since_1900 = if seconds >= ERA / 2 {
            seconds
        } else {
            seconds + ERA
        };
        let nanos = ((self.0 & 0xFFFF_FFFF) * 1_000_000_000 + (1 << 31)) >> 32;
        // Before 1970 there is nothing to stand for.
        Duration::from_secs(since_1900.saturating_sub(UNIX_OFFSET)) + Duration::from_nanos(nanos)
    }

    /// The middle 32 bits, as LSR holds them: units of 1/65536 s (RFC 3550 §6.4.1).
    #[inline]
    pub fn compact(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

impl From<SystemTime> for NtpTime {
    fn from(time: SystemTime) -> Self {
        Self::from_unix(time.duration_since(UNIX_EPOCH).unwrap_or_default())
    }
}

impl From<NtpTime> for SystemTime {
    fn from(time: NtpTime) -> Self {
        UNIX_EPOCH + time.to_unix()
    }
}

/// The round trip a report block tells: `now - lsr - dlsr`, all in units of
/// 1/65536 s, `now` being [`NtpTime::compact`] of the block's arrival (RFC 3550
/// §6.4.1). `None` when the peer has not seen a report yet (`lsr` 0). Clocks that
/// tick coarsely can make it negative; then it is zero.
pub fn round_trip(now: u32, lsr: u32, dlsr: u32) -> Option<Duration> {
    if lsr == 0 {
        return None;
    }
    let units = now.wrapping_sub(lsr).wrapping_sub(dlsr);
    let units = if units > i32::MAX as u32 { 0 } else { units };
    Some(Duration::from_nanos(
        (u64::from(units) * 1_000_000_000) >> 16,
    ))
}
