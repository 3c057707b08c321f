//! Sums over a stretch of time, made by each thread and added up by the run.

use hdrhistogram::Histogram;

/// Longest value a histogram holds, in microseconds; longer ones count as that.
const LONGEST_US: u64 = 120_000_000;

/// Durations in microseconds with three digits.
#[derive(Clone)]
pub struct Durations(Histogram<u64>);

impl std::fmt::Debug for Durations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (n, max) = (self.count(), self.max_ms().unwrap_or(0.0));
        write!(f, "{n} up to {max} ms")
    }
}

impl Default for Durations {
    fn default() -> Self {
        // These bounds are always valid; one digit of precision is the fallback
        // the library can't refuse either.
        let histogram = Histogram::new_with_bounds(1, LONGEST_US, 3).or_else(|_| Histogram::new(1));
        match histogram {
            Ok(h) => Self(h),
            Err(_) => unreachable!("constant bounds"),
        }
    }
}

impl Durations {
    /// Adds one.
    pub fn record_us(&mut self, us: u64) {
        self.0.saturating_record(us.clamp(1, LONGEST_US));
    }

    /// Adds one given in nanoseconds.
    pub fn record_ns(&mut self, ns: u64) {
        self.record_us(ns / 1000);
    }

    /// Adds one in nanoseconds that stands for so many.
    pub fn record_many_ns(&mut self, ns: u64, count: u64) {
        let us = (ns / 1000).clamp(1, LONGEST_US);
        self.0.saturating_record_n(us, count);
    }

    /// Adds all of another.
    pub fn add(&mut self, other: &Self) {
        if !other.0.is_empty() {
            // Both have the same bounds, so nothing can be out of range.
            let _ = self.0.add(&other.0);
        }
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The value below which a share (0..=1) of all lies, in milliseconds; `None`
    /// when there are none.
    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(share) as f64 / 1000.0)
    }

    /// The largest, in milliseconds.
    pub fn max_ms(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.max() as f64 / 1000.0)
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.reset();
    }
}

macro_rules! window {
    (counters { $($(#[$cm:meta])* $counter:ident,)* } durations { $($(#[$dm:meta])* $duration:ident,)* }) => {
        /// What happened in a stretch of time.
        #[derive(Debug, Clone, Default)]
        pub struct Window {
            $($(#[$cm])* pub $counter: u64,)*
            $($(#[$dm])* pub $duration: Durations,)*
            /// Longest gap between decodable frames, nanoseconds.
            pub longest_gap_ns: u64,
            /// Loss of the track that lost most, in millionths.
            pub worst_track_ppm: u64,
        }

        impl Window {
            /// Adds another stretch or another thread's.
            pub fn add(&mut self, other: &Self) {
                // What a stretch takes back of an earlier one (a loss that turned
                // out to be a late packet) wraps below 0; the sum does not.
                $(self.$counter = self.$counter.wrapping_add(other.$counter);)*
                $(self.$duration.add(&other.$duration);)*
                self.longest_gap_ns = self.longest_gap_ns.max(other.longest_gap_ns);
                self.worst_track_ppm = self.worst_track_ppm.max(other.worst_track_ppm);
            }

            /// Empties it; keeps the memory.
            pub fn clear(&mut self) {
                $(self.$counter = 0;)*
                $(self.$duration.clear();)*
                self.longest_gap_ns = 0;
                self.worst_track_ppm = 0;
            }
        }
    };
}

window! {
    counters {
        /// RTP packets that publishers sent.
        sent_packets,
        /// Bytes of them, with RTP headers and tags.
        sent_bytes,
        /// Bursts sent later than they should have been.
        late_sends,
        /// Bursts sent.
        sends,
        /// Datagrams the kernel did not take.
        send_failures,
        /// Keyframe requests that reached publishers.
        keyframe_requests,
        /// NACKs that reached publishers.
        publisher_nacks,
        /// Packets publishers sent again.
        publisher_resends,
        /// Transport-wide feedback that reached publishers.
        publisher_feedbacks,
        /// Packets publishers left out on purpose.
        publisher_drops,
        /// RTP packets that viewers received, all of them.
        received_packets,
        /// Of those, packets of publishers, each once: neither padding nor repeats, nor what is
        /// not authentic.
        forwarded_packets,
        /// Bytes of all.
        received_bytes,
        /// Packets that should have come since each viewer's first live one.
        expected_packets,
        /// Those that did not, without what the generator itself dropped.
        lost_packets,
        /// Received more than once.
        duplicates,
        /// Received after a newer one.
        reordered,
        /// Retransmissions received.
        retransmissions,
        /// Gaps they filled.
        recovered,
        /// NACK messages viewers sent.
        nacks,
        /// PLI messages viewers sent.
        plis,
        /// Transport-wide feedback messages viewers sent.
        feedbacks,
        /// Packets of padding only, which servers probe with.
        padding,
        /// Decodable frames.
        frames,
        /// Gaps between decodable frames longer than the limit.
        freezes,
        /// Such gaps that the generator itself caused.
        own_freezes,
        /// Such gaps of viewers behind simulated bad links.
        link_freezes,
        /// Changes of the encoding that a viewer gets.
        layer_switches,
        /// Packets whose contents were checked.
        opened,
        /// Packets that were not authentic.
        not_authentic,
        /// Packets that the independent parser reads differently.
        malformed,
        /// Datagrams dropped by full sockets of the generator.
        socket_drops,
        /// Packets our own simulated links lost.
        simulated_losses,
        /// Packets our own simulated links put out of order.
        simulated_reorders,
        /// Viewers whose connection ended before it should.
        ended,
        /// CPU time of the threads that receive, nanoseconds.
        receive_cpu_ns,
        /// CPU time of the threads that publish, nanoseconds.
        publish_cpu_ns,
    }
    durations {
        /// Publisher's send to the kernel's receive time-stamp.
        delay,
        /// Interarrival jitter (RFC 3550), once a second and stream.
        jitter,
        /// POST to keys.
        connect,
        /// POST to the first packet.
        first_packet,
        /// POST to the first complete keyframe.
        join,
        /// POST to the first of the last track that a viewer waits for.
        all_tracks,
        /// How far apart a player would show sound and picture of one moment.
        av_offset,
    }
}

impl Window {
    /// Adds only how long joins took in another stretch.
    pub fn add_joins(&mut self, other: &Self) {
        self.connect.add(&other.connect);
        self.first_packet.add(&other.first_packet);
        self.join.add(&other.join);
        self.all_tracks.add(&other.all_tracks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_add_up() {
        let mut a = Window {
            lost_packets: 3,
            longest_gap_ns: 7,
            ..Window::default()
        };
        let mut b = Window {
            lost_packets: 4,
            longest_gap_ns: 5,
            ..Window::default()
        };
        for us in 1..=1000 {
            a.delay.record_us(us);
            b.delay.record_us(us + 1000);
        }
        a.add(&b);
        assert_eq!((a.lost_packets, a.longest_gap_ns), (7, 7));
        assert_eq!(a.delay.count(), 2000);
        assert!((a.delay.quantile_ms(0.5).unwrap() - 1.0).abs() < 0.002);
        assert!((a.delay.max_ms().unwrap() - 2.0).abs() < 0.002);
        a.clear();
        assert_eq!((a.lost_packets, a.delay.quantile_ms(0.5)), (0, None));
    }
}
