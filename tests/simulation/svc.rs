//! A VP9 stream of three spatial layers over a path that is wide, then narrow.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::checks::{audio, over_seeds, video};
use crate::client::{Plan, Received};
use crate::link::Conditions;
use crate::world::{ALICE, World};

const SECOND: Duration = Duration::from_secs(1);

/// When a decoder could show each picture, and its layers: all packets up to the marker, and all that
/// the picture refers to, have come.
fn shown(packets: &[&Received]) -> Vec<(Instant, u8)> {
    let mut pictures: BTreeMap<u32, Vec<&Received>> = BTreeMap::new();
    for packet in packets {
        let stamp = packet.stamp.expect("a stamp");
        pictures.entry(stamp.frame).or_default().push(packet);
    }
    let mut shown: Vec<(Instant, u8)> = Vec::new();
    let mut had: Option<(u32, u8)> = None;
    for (frame, mut packets) in pictures {
        packets.sort_by_key(|p| p.seq);
        let stamps: Vec<_> = packets.iter().filter_map(|p| p.stamp).collect();
        let (first, last) = (stamps[0], stamps[stamps.len() - 1]);
        let span = packets[packets.len() - 1].seq - packets[0].seq + 1;
        let whole = span == packets.len() as u64
            && (first.layer, first.index) == (0, 0)
            && packets[packets.len() - 1].marker
            && last.index + 1 == last.count;
        let refers = had.is_some_and(|(before, layer)| before + 1 == frame && layer >= last.layer);
        if whole && (first.keyframe || refers) {
            had = Some((frame, last.layer));
            let at = packets.iter().map(|p| p.at).max().expect("packets");
            shown.push((
                shown.last().map_or(at, |(before, _)| at.max(*before)),
                last.layer,
            ));
        } else {
            had = None;
        }
    }
    shown
}

#[test]
fn a_path_that_turns_narrow_holds_the_picture_for_a_moment_only() {
    over_seeds("a_path_that_turns_narrow", 12, |seed| {
        let mut world = World::new(seed, 1);
        world.vp9 = true;
        // 0.11, 0.21 and 1.06 Mb/s; a keyframe is 8, 28 and 80 kB.
        let plan = Plan {
            fps: 12,
            svc: vec![(1, 7), (1, 18), (8, 50)],
            ..Plan::default()
        };
        let publisher = world.publish(0, 1, 1, plan);
        let viewer = world.view(0, 1, ALICE);
        world.down[viewer.0].conditions.queue = Duration::from_millis(250);
        if seed % 2 == 0 {
            world.patience = Duration::from_millis(30);
        }
        world.run(8 * SECOND + Duration::from_millis(37 * seed));
        assert_eq!(
            shown(&video(world.client(viewer))).last().map(|s| s.1),
            Some(2)
        );

        let asked = world.client(publisher).keyframe_requests;
        let from = world.now;
        world.down[viewer.0].conditions = Conditions {
            rate: Some(350_000),
            queue: Duration::from_millis(250),
            ..Conditions::default()
        };
        world.run(8 * SECOND);
        let asked = world.client(publisher).keyframe_requests - asked;
        let now = world.now;
        let client = world.client(viewer);
        let pictures = shown(&video(client));
        let times = pictures
            .iter()
            .map(|s| s.0)
            .filter(|at| *at >= from - SECOND / 4);
        let times: Vec<Instant> = times.chain([now]).collect();
        let longest = times
            .windows(2)
            .map(|t| t[1] - t[0])
            .max()
            .expect("pictures");
        let heard = audio(client).iter().filter(|p| p.at >= from).count();
        // 0.6 s of it is the full queue, and what it takes to see that repairs do not help.
        assert!(
            longest < SECOND * 13 / 10,
            "the picture stood for {longest:?}"
        );
        assert!(asked <= 3, "{asked} keyframes in 8 s");
        assert!(times.len() >= 85, "{} of 96 pictures", times.len());
        assert!(heard >= 380, "{heard} of 400 packets of sound");

        // And wide again: nothing holds the larger pictures back for long.
        world.down[viewer.0].conditions.rate = None;
        let wide = world.now;
        world.run(12 * SECOND);
        let pictures = shown(&video(world.client(viewer)));
        let full = pictures
            .iter()
            .find(|(at, layer)| *at > wide && *layer == 2);
        let took = full.map(|(at, _)| *at - wide).expect("a full picture");
        assert!(took < SECOND * 8, "full after {took:?}");
    });
}
