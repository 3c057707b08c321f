//! What must hold of every viewer's line.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::client::{Client, Received};

/// Runs `test` for each seed, or for the one in `WEIR_SEED`; a failing seed
/// prints the command that replays it.
pub fn over_seeds(name: &str, count: u64, test: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let chosen = std::env::var("WEIR_SEED").ok().and_then(|s| s.parse().ok());
    let seeds: Vec<u64> = match chosen {
        Some(seed) => vec![seed],
        None => (1..=count).collect(),
    };
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| test(seed)) {
            eprintln!("replay: WEIR_SEED={seed} cargo test --test simulation {name}");
            std::panic::resume_unwind(panic);
        }
    }
}

pub fn video(client: &Client) -> Vec<&Received> {
    client.received.iter().filter(|r| r.video).collect()
}

pub fn audio(client: &Client) -> Vec<&Received> {
    client.received.iter().filter(|r| !r.video).collect()
}

/// One SSRC, and no holes but the `allowed` ones. That nothing is sent twice `Nonces` sees on the
/// wire: what comes twice a client does not show.
pub fn continuous(packets: &[&Received], allowed: usize) {
    assert!(!packets.is_empty(), "nothing arrived");
    let ssrcs: BTreeSet<u32> = packets.iter().map(|p| p.ssrc).collect();
    assert_eq!(ssrcs.len(), 1, "one SSRC for the whole session");
    let numbers: BTreeSet<u64> = packets.iter().map(|p| p.seq).collect();
    let (first, last) = (*numbers.first().unwrap(), *numbers.last().unwrap());
    let holes = (last - first + 1) as usize - numbers.len();
    assert!(holes <= allowed, "{holes} holes, {allowed} allowed");
}

/// Timestamps never run backwards along the line, and pass as real time does.
pub fn timestamps_follow_time(packets: &[&Received], clock_rate: f64, tolerance: Duration) {
    let mut sorted: Vec<&&Received> = packets.iter().collect();
    sorted.sort_by_key(|p| p.seq);
    for pair in sorted.windows(2) {
        let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp) as i32;
        assert!(step >= 0, "time runs backwards by {step}");
    }
    let (first, last) = (sorted.first().unwrap(), sorted.last().unwrap());
    let media = f64::from(last.timestamp.wrapping_sub(first.timestamp)) / clock_rate;
    let real = (last.at - first.at).as_secs_f64();
    assert!(
        (media - real).abs() <= tolerance.as_secs_f64(),
        "media time {media}, real time {real}"
    );
}

/// The first video packet begins a keyframe.
pub fn starts_with_a_keyframe(packets: &[&Received]) {
    let first = packets.iter().min_by_key(|p| p.seq).expect("video came");
    let stamp = first.stamp.expect("a stamp");
    assert!(stamp.keyframe && stamp.index == 0, "starts with {stamp:?}");
}

/// Frames of which all packets arrived, in order of their numbers.
pub fn complete_frames(packets: &[&Received]) -> Vec<u32> {
    let mut seen: std::collections::BTreeMap<u32, (u16, BTreeSet<u16>)> = Default::default();
    for stamp in packets.iter().filter_map(|p| p.stamp) {
        let entry = seen
            .entry(stamp.frame)
            .or_insert((stamp.count, BTreeSet::new()));
        entry.1.insert(stamp.index);
    }
    seen.into_iter()
        .filter(|(_, (count, indices))| indices.len() == usize::from(*count))
        .map(|(frame, _)| frame)
        .collect()
}

/// How many pictures the viewer is led back at most, along its line.
pub fn led_back(packets: &[&Received]) -> u32 {
    let mut sorted: Vec<&&Received> = packets.iter().collect();
    sorted.sort_by_key(|p| p.seq);
    let frames = sorted.iter().filter_map(|p| Some(p.stamp?.frame));
    let (mut newest, mut back) = (0, 0);
    for frame in frames {
        newest = frame.max(newest);
        back = back.max(newest - frame);
    }
    back
}

/// When a decoder could show each picture: one after the other, and after a lost one
/// only from a keyframe on.
pub fn shown(packets: &[&Received]) -> Vec<Instant> {
    let mut sorted: Vec<&&Received> = packets.iter().collect();
    sorted.sort_by_key(|p| p.seq);
    let key = |p: &&Received| p.stamp.map(|s| (s.frame, s.layer));
    let mut times: Vec<Instant> = Vec::new();
    let (mut good, mut last) = (false, None);
    for picture in sorted.chunk_by(|a, b| key(a) == key(b)) {
        let Some(stamp) = picture[0].stamp else {
            continue;
        };
        let complete = picture.len() == usize::from(stamp.count);
        let follows = last.is_some_and(|last| last + 1 == stamp.frame);
        good = complete && (stamp.keyframe || good && follows);
        last = Some(stamp.frame);
        if good {
            let whole = picture.iter().map(|p| p.at).max();
            times.extend(whole.max(times.last().copied()));
        }
    }
    times
}

/// The longest time between two pictures that were shown in `from..to`.
pub fn longest_freeze(packets: &[&Received], from: Instant, to: Instant) -> Duration {
    let shown = shown(packets);
    let within = shown.iter().copied().filter(|at| (from..to).contains(at));
    let times: Vec<Instant> = [from].into_iter().chain(within).chain([to]).collect();
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    gaps.max().unwrap_or_default()
}

/// The share of audio packets that never came, of those between the first and the last.
pub fn audio_lost(client: &Client) -> f64 {
    let numbers: BTreeSet<u32> = audio(client)
        .iter()
        .filter_map(|p| p.audio_number)
        .collect();
    let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else {
        return 1.0;
    };
    1.0 - numbers.len() as f64 / f64::from(last - first + 1)
}
