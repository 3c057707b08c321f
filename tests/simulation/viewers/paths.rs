//! Paths and measurements that the scenarios share.

use std::time::{Duration, Instant};

use crate::client::Received;
use crate::link::Conditions;
use crate::world::{ClientId, World};

pub const SECOND: Duration = Duration::from_secs(1);

/// Packets a frame of the layers: 0.26, 0.53 and 2.6 Mb/s of payload.
pub const PACKETS: [u16; 3] = [1, 2, 10];

/// Paths of many lengths, with and without jitter.
pub fn path(seed: u64, rate: Option<u64>) -> Conditions {
    Conditions {
        delay: Duration::from_millis(10 + seed % 5 * 10),
        jitter: Duration::from_millis(seed % 3 * 3),
        rate,
        ..Conditions::default()
    }
}

/// Runs for some seconds and notes how long a datagram would wait, in ms.
pub fn run(world: &mut World, viewer: ClientId, seconds: u32, waits: &mut Vec<f64>) {
    for _ in 0..seconds * 50 {
        world.run(Duration::from_millis(20));
        let wait = world.down[viewer.0].waiting(world.now);
        waits.push(wait.as_secs_f64() * 1000.0);
    }
}

/// The value that 95 of a hundred stay below.
pub fn p95(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() * 95 / 100]
}

/// The viewer's estimate, in bits per second.
pub fn estimate(world: &mut World, viewer: ClientId) -> f64 {
    let key = world.keys[viewer.0];
    let snapshot = world.snapshot(usize::from(key.worker.0));
    let row = snapshot.viewers.iter().find(|v| v.key == key);
    let estimate = row.expect("a row").estimate;
    estimate.expect("a known estimate").0 as f64
}

/// How far the estimates move in 20 s from what they were `before`: the largest change, as a share.
pub fn moved<const N: usize>(world: &mut World, viewers: [ClientId; N], before: [f64; N]) -> f64 {
    let mut most = 0.0f64;
    for _ in 0..20 {
        world.run(SECOND);
        let now = viewers.map(|v| estimate(world, v));
        for (before, now) in before.iter().zip(now) {
            most = most.max((now / before - 1.0).abs());
        }
    }
    most
}

/// The number of a packet of sound, from 0, and how long it took, in ms, from a publisher that
/// began then.
pub fn sound_took(packet: &Received, begun: Instant) -> (u32, f64) {
    let number = packet.audio_number.expect("a number") - 500;
    let made = begun + Duration::from_millis(20) * number;
    let took = packet.at.saturating_duration_since(made);
    (number, took.as_secs_f64() * 1000.0)
}

/// Frames whose end came in `from..to`, by layer.
pub fn frames(packets: &[&Received], from: Instant, to: Instant) -> [usize; 3] {
    let mut counts = [0; 3];
    for packet in packets {
        if (from..to).contains(&packet.at)
            && let Some(stamp) = packet.stamp.filter(|s| s.index + 1 == s.count)
        {
            counts[usize::from(stamp.layer)] += 1;
        }
    }
    counts
}

/// The most changes of the layer within 10 s of `from..to`.
pub fn switches(packets: &[&Received], from: Instant, to: Instant) -> f64 {
    let mut sorted: Vec<&&Received> = packets.iter().collect();
    sorted.sort_by_key(|p| p.seq);
    let flowing: Vec<(Instant, u8)> = sorted
        .iter()
        .filter(|p| (from..to).contains(&p.at))
        .filter_map(|p| Some((p.at, p.stamp?.layer)))
        .collect();
    let times: Vec<Instant> = flowing
        .windows(2)
        .filter(|pair| pair[0].1 != pair[1].1)
        .map(|pair| pair[1].0)
        .collect();
    let within = |from: Instant| {
        let soon = |at: &&Instant| (from..from + 10 * SECOND).contains(*at);
        times.iter().filter(soon).count()
    };
    times.iter().map(|at| within(*at)).max().unwrap_or(0) as f64
}
