//! Joining in the middle: pictures at once, from the cached segment, whatever
//! the publisher does when asked for a keyframe.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use weir::control::messages::{Event, InactiveReason, LayerWish};

use crate::checks::{
    audio, complete_frames, continuous, over_seeds, shown, starts_with_a_keyframe, video,
};
use crate::client::{Client, Plan};
use crate::world::{ALICE, ClientId, World};

/// Of the links in these tests.
const RTT: Duration = Duration::from_millis(20);

/// Ignores requests, a keyframe every 10 s, 2.6 Mb/s.
fn stubborn() -> Plan {
    Plan {
        packets_per_frame: 10,
        gop: 300,
        reacts: false,
        ..Plan::default()
    }
}

/// When the last packet of each frame came.
fn arrivals(client: &Client) -> BTreeMap<u32, Instant> {
    let mut at = BTreeMap::new();
    for packet in video(client) {
        if let Some(stamp) = packet.stamp {
            let entry = at.entry(stamp.frame).or_insert(packet.at);
            *entry = packet.at.max(*entry);
        }
    }
    at
}

/// How long after it was connected the client had its first whole picture.
fn first_picture(client: &Client) -> Duration {
    let frames = complete_frames(&video(client));
    let at = arrivals(client)[&frames[0]];
    at.saturating_duration_since(client.connected.expect("connected"))
}

/// How long after its first picture a client is as live as a viewer that has
/// been there for long and got its pictures at `live`.
fn caught_up(client: &Client, live: &BTreeMap<u32, Instant>) -> Duration {
    let frames = arrivals(client);
    let first = *frames.values().next().expect("a picture");
    let tolerance = Duration::from_millis(20);
    let late = frames
        .iter()
        .filter(|(frame, at)| live.get(frame).is_none_or(|live| **at > *live + tolerance))
        .map(|(_, at)| *at)
        .max();
    late.map_or(Duration::ZERO, |at| at - first)
}

/// What sender reports say about the offset of sound and pictures, in seconds.
fn offset(client: &Client) -> f64 {
    let begin = |captured: Duration, media: f64| captured.as_secs_f64() - media;
    let pictures = video(client)
        .iter()
        .rev()
        .find_map(|p| Some(begin(p.captured?, f64::from(p.stamp?.frame - 1) / 30.0)))
        .expect("video with a report");
    let sound = audio(client)
        .iter()
        .rev()
        .find_map(|p| Some(begin(p.captured?, f64::from(p.audio_number? - 500) / 50.0)))
        .expect("audio with a report");
    pictures - sound
}

/// Timestamps grow with every picture, and pass as time does from the live
/// edge on.
fn times_grow(client: &Client) {
    let mut packets = video(client);
    packets.sort_by_key(|p| p.seq);
    for pair in packets.windows(2) {
        let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp) as i32;
        let next = pair[0].stamp.map(|s| s.frame) != pair[1].stamp.map(|s| s.frame);
        assert_eq!(step > 0, next, "{:?} {:?}", pair[0], pair[1]);
    }
}

fn join_a_stubborn_publisher(seed: u64, workers: u8) {
    let mut world = World::new(seed, workers);
    let publisher = world.publish(0, 1, 1, stubborn());
    let reference = world.view(0, 1, ALICE);
    // 12 s in, the keyframe of second 10 is two seconds old.
    world.run(Duration::from_secs(12));
    let requests = world.client(publisher).keyframe_requests;
    let mut joined = Vec::new();
    for n in 0..8u8 {
        joined.push(world.view(n % workers, 1, ALICE));
        world.run(Duration::from_millis(900 + 13 * (seed % 7)));
    }
    world.run(Duration::from_secs(8));
    let live = arrivals(world.client(reference));
    for viewer in joined {
        let client = world.client(viewer);
        let frames = video(client);
        starts_with_a_keyframe(&frames);
        continuous(&frames, 0);
        continuous(&audio(client), 0);
        times_grow(client);
        let waited = first_picture(client);
        assert!(waited <= 2 * RTT, "{waited:?} to the first picture");
        let behind = caught_up(client, &live);
        assert!(behind < Duration::from_secs(1), "{behind:?} behind");
        // Nothing is left out on the way to the live edge.
        let whole = complete_frames(&frames);
        assert_eq!(whole.len() as u32, whole[whole.len() - 1] - whole[0] + 1);
        let offset = offset(client);
        assert!(offset.abs() < 0.005, "sound and pictures {offset} s apart");
    }
    let mut totals = (0, 0);
    for worker in 0..usize::from(workers) {
        let worker = world.snapshot(worker).totals;
        totals.0 += worker.nacks_in;
        totals.1 += worker.keyframe_requests_in;
    }
    assert_eq!(totals, (0, 0), "the replay provokes no NACK and no PLI");
    let asked = world.client(publisher).keyframe_requests - requests;
    assert!(
        asked <= 8,
        "{asked} requests to a publisher that ignores them"
    );
}

#[test]
fn a_joiner_is_given_the_cached_segment() {
    over_seeds("a_joiner_is_given_the_cached_segment", 4, |seed| {
        join_a_stubborn_publisher(seed, 1);
    });
}

#[test]
fn a_joiner_on_another_worker_is_given_it_too() {
    over_seeds("a_joiner_on_another_worker_is_given_it_too", 4, |seed| {
        join_a_stubborn_publisher(seed, 4);
    });
}

#[test]
fn a_publisher_that_reacts_is_asked_and_shortens_the_replay() {
    over_seeds("a_publisher_that_reacts_is_asked", 4, |seed| {
        let mut world = World::new(seed, 1);
        let plan = Plan {
            reacts: true,
            ..stubborn()
        };
        let publisher = world.publish(0, 1, 1, plan);
        let reference = world.view(0, 1, ALICE);
        world.run(Duration::from_secs(8));
        let requests = world.client(publisher).keyframe_requests;
        let viewer = world.view(0, 1, ALICE);
        world.run(Duration::from_secs(3));
        let live = arrivals(world.client(reference));
        let asked = world.client(publisher).keyframe_requests - requests;
        assert_eq!(asked, 1, "one request for a segment of 7 s");
        let client = world.client(viewer);
        let frames = video(client);
        starts_with_a_keyframe(&frames);
        continuous(&frames, 0);
        times_grow(client);
        assert!(first_picture(client) <= 2 * RTT);
        let behind = caught_up(client, &live);
        assert!(behind < Duration::from_millis(150), "{behind:?} behind");
        let whole = complete_frames(&frames);
        let span = (whole[whole.len() - 1] - whole[0] + 1) as usize;
        assert!(whole.len() < span, "it leapt to the new keyframe");
        assert_eq!(whole.len() * 10, frames.len(), "no picture was cut");
        // Those who follow closely share that keyframe.
        let requests = world.client(publisher).keyframe_requests;
        for _ in 0..10 {
            world.view(0, 1, ALICE);
            world.run(Duration::from_millis(20));
        }
        world.run(Duration::from_secs(1));
        let asked = world.client(publisher).keyframe_requests - requests;
        assert!(asked <= 1, "{asked} requests for ten joiners");
    });
}

#[test]
fn a_viewer_that_asks_without_end_does_not_set_the_pace_for_all() {
    over_seeds("a_viewer_that_asks_without_end", 3, |seed| {
        let mut world = World::new(seed, 1);
        let plan = Plan {
            reacts: true,
            ..stubborn()
        };
        let publisher = world.publish(0, 1, 1, plan);
        let viewer = world.view(0, 1, ALICE);
        world.run(Duration::from_secs(8));
        let requests = world.client(publisher).keyframe_requests;
        for _ in 0..150 {
            world.client(viewer).request_keyframe();
            world.run(Duration::from_millis(200));
        }
        let asked = world.client(publisher).keyframe_requests - requests;
        // As a receiver does whose path breaks every keyframe.
        assert!((5..=12).contains(&asked), "{asked} keyframes within 30 s");
    });
}

/// Browsers ask again only after three seconds of a picture that stands.
#[test]
fn a_request_that_comes_too_soon_is_answered_in_its_time() {
    let name = "a_request_that_comes_too_soon_is_answered_in_its_time";
    over_seeds(name, 3, |seed| {
        for answered in [false, true] {
            let mut world = World::new(seed, 1);
            let plan = Plan {
                gop: 0,
                reacts: true,
                ..stubborn()
            };
            let publisher = world.publish(0, 1, 1, plan);
            let viewers = [world.view(0, 1, ALICE), world.view(0, 1, ALICE)];
            world.run(Duration::from_secs(4));
            for _ in 0..2 {
                world.client(viewers[0]).request_keyframe();
                world.run(Duration::from_millis(700));
            }
            let requests = world.client(publisher).keyframe_requests;
            world.client(viewers[0]).request_keyframe();
            let asked = world.now;
            world.run(Duration::from_millis(20));
            if answered {
                world.client(viewers[1]).request_keyframe(); // brings it to both
            }
            world.run(Duration::from_secs(3));
            let made = world.client(publisher).keyframe_requests - requests;
            assert_eq!(made, 1, "answered: {answered}");
            let frames = video(world.client(viewers[0]));
            let mut keyframes = frames
                .iter()
                .filter(|p| p.stamp.is_some_and(|s| s.keyframe));
            let waited = keyframes.find(|p| p.at > asked).expect("a keyframe").at - asked;
            let limit = Duration::from_millis(800);
            assert!(waited < limit, "{waited:?}, answered: {answered}");
        }
    });
}

#[test]
fn a_viewer_that_lost_its_way_is_helped_from_the_cache() {
    over_seeds("a_viewer_that_lost_its_way_is_helped", 4, |seed| {
        let mut world = World::new(seed, 1);
        world.publish(0, 1, 1, stubborn());
        let viewer = world.view(0, 1, ALICE);
        world.run(Duration::from_secs(13));
        let lost = world.now;
        // Whether the publisher helps is not known before it was asked.
        for _ in 0..20 {
            world.client(viewer).request_keyframe();
            world.run(Duration::from_millis(50));
        }
        world.run(Duration::from_secs(2));
        let totals = world.snapshot(0).totals;
        assert!(
            totals.keyframe_requests_in >= 5,
            "{}",
            totals.keyframe_requests_in
        );
        let client = world.client(viewer);
        let frames = video(client);
        continuous(&frames, 0);
        times_grow(client);
        let keyframes: Vec<Instant> = frames
            .iter()
            .filter(|p| p.at > lost && p.stamp.is_some_and(|s| s.keyframe && s.index == 0))
            .map(|p| p.at)
            .collect();
        // One as soon as the publisher should have answered; one more, since requests went on after it
        // had arrived.
        assert_eq!(keyframes.len(), 2, "twenty requests are two replays");
        let waited = keyframes[0] - lost;
        assert!(waited < Duration::from_millis(600), "{waited:?}");
        assert!(offset(client).abs() < 0.005);
    });
}

#[test]
fn a_viewer_that_lost_its_first_packets_is_given_them_again() {
    over_seeds("a_viewer_that_lost_its_first_packets", 4, |seed| {
        let mut world = World::new(seed, 1);
        world.publish(0, 1, 1, stubborn());
        world.run(Duration::from_secs(14));
        // Firefox is deaf until its keys are in place.
        let viewer = world.view(0, 1, ALICE);
        while world.clients[viewer.0].received.is_empty() {
            world.run(Duration::from_millis(1));
        }
        world.down[viewer.0].conditions.loss = 1.0;
        world.run(Duration::from_millis(100));
        world.down[viewer.0].conditions.loss = 0.0;
        let heard = world.now;
        for _ in 0..4 {
            world.client(viewer).request_keyframe();
            world.run(Duration::from_millis(200));
        }
        let frames = video(world.client(viewer));
        let seen = frames
            .iter()
            .find(|p| p.at > heard && p.stamp.is_some_and(|s| s.keyframe && s.index == 9))
            .expect("a keyframe");
        let waited = seen.at - heard;
        assert!(waited < Duration::from_millis(300), "{waited:?}");
    });
}

/// What a viewer was told of media that flows or does not, and when.
fn told(world: &World, viewer: ClientId) -> Vec<(Instant, Result<(), InactiveReason>)> {
    let key = world.keys[viewer.0];
    let state = |event: &Event| match *event {
        Event::ViewerActive { key: k } if k == key => Some(Ok(())),
        Event::ViewerInactive { key: k, why } if k == key => Some(Err(why)),
        _ => None,
    };
    let events = world.events.iter();
    events
        .filter_map(|(at, e)| Some((*at, state(e)?)))
        .collect()
}

#[test]
fn a_viewer_hears_that_it_waits_for_a_keyframe_and_how_long() {
    let name = "a_viewer_hears_that_it_waits_for_a_keyframe_and_how_long";
    over_seeds(name, 3, |seed| {
        let mut world = World::new(seed, 2);
        // Keyframes in the seconds 15, 30 and 45, whoever asks; the cache goes back 12 s.
        let plan = Plan {
            packets_per_frame: 2,
            gop: 450,
            starts_late: true,
            ..stubborn()
        };
        world.publish(0, 1, 1, plan);
        world.run(Duration::from_secs(10));
        let first = world.view(0, 1, ALICE);
        world.run(Duration::from_millis(32_600));
        // The newest keyframe is 12.6 s old.
        let others = [world.view(0, 1, ALICE), world.view(1, 1, ALICE)];
        world.run(Duration::from_secs(5));
        for viewer in [first, others[0], others[1]] {
            let told = told(&world, viewer);
            let [
                (_, Ok(())),
                (at, Err(InactiveReason::Keyframe { since, expected })),
                (seen, Ok(())),
            ] = told[..]
            else {
                panic!("{told:?}");
            };
            let client = world.client(viewer);
            let connected = client.connected.expect("connected");
            let after = at - connected;
            assert!((0.9..2.2).contains(&after.as_secs_f64()), "{after:?}");
            let late = since.saturating_duration_since(connected);
            assert!(late < Duration::from_millis(100), "{late:?}");
            let picture = video(client)[0].at;
            let gap = (picture - RTT / 2).saturating_duration_since(seen)
                + seen.saturating_duration_since(picture);
            assert!(gap < Duration::from_millis(50), "{gap:?}");
            assert!(!audio(client).is_empty());
            // The first one of all comes unforeseen.
            assert_eq!(expected.is_some(), viewer != first);
            if let Some(expected) = expected {
                let error = (picture - expected.min(picture)) + (expected - picture.min(expected));
                assert!(error < Duration::from_millis(100), "{error:?}");
            }
        }
    });
}

#[test]
fn nobody_who_sees_a_picture_or_whose_publisher_is_silent_hears_of_keyframes() {
    let name = "nobody_who_sees_a_picture_or_whose_publisher_is_silent_hears_of_keyframes";
    over_seeds(name, 2, |seed| {
        let mut world = World::new(seed, 1);
        let publisher = world.publish(0, 1, 1, stubborn());
        let viewer = world.view(0, 1, ALICE);
        world.run(Duration::from_secs(9));
        world.client(viewer).request_keyframe();
        world.run(Duration::from_secs(3));
        if let crate::client::Role::Publisher(publishing) = &mut world.client(publisher).role {
            publishing.sending = false;
        }
        world.run(Duration::from_secs(14));
        // The segment is too old by now, and nothing comes.
        let late = world.view(0, 1, ALICE);
        world.run(Duration::from_secs(4));
        for viewer in [viewer, late] {
            let told = told(&world, viewer);
            let keyframe = told
                .iter()
                .any(|(_, state)| matches!(state, Err(InactiveReason::Keyframe { .. })));
            assert!(!keyframe, "{told:?}");
        }
    });
}

/// What a viewer got of pictures whose keyframe's first packet was lost on its way to the server and
/// repaired: with it goes what came meanwhile, so that nothing is missing even to those who ask
/// for no repairs.
fn is_whole(world: &mut World, viewer: ClientId) {
    let client = world.client(viewer);
    let frames = video(client);
    starts_with_a_keyframe(&frames);
    continuous(&frames, 0);
    times_grow(client);
    let pictures = frames.iter().filter_map(|p| p.stamp);
    let pictures: BTreeSet<_> = pictures.map(|s| (s.frame, s.layer)).collect();
    assert!(pictures.len() > 50, "{} pictures", pictures.len());
    assert_eq!(shown(&frames).len(), pictures.len(), "pictures shown");
    let workers = world.cores.len();
    let asked: u64 = (0..workers)
        .map(|w| world.snapshot(w).totals.nacks_in)
        .sum();
    assert_eq!(asked, 0, "repairs asked for");
}

#[test]
fn a_keyframe_whose_start_comes_late_is_seen_whole() {
    let name = "a_keyframe_whose_start_comes_late_is_seen_whole";
    over_seeds(name, 4, |seed| {
        for workers in [1, 2] {
            // The first one of all, and one that a joiner asked for when none was kept any more.
            for wait in [0, 15] {
                let mut world = World::new(seed, workers);
                world.links.delay = Duration::from_millis(15 + seed * 5);
                let first = (wait == 0).then(|| world.view(workers - 1, 1, ALICE));
                world.run(Duration::from_secs(1));
                let publisher = world.publish(0, 1, 1, Plan::default());
                world.client(publisher).lose_starts(wait == 0);
                world.run(Duration::from_secs(wait));
                world.client(publisher).lose_starts(true);
                let viewer = first.unwrap_or_else(|| world.view(workers - 1, 1, ALICE));
                world.run(Duration::from_secs(3));
                is_whole(&mut world, viewer);
                let asked = world.client(publisher).keyframe_requests;
                assert!(asked <= 2, "{asked} keyframes");
            }
        }
    });
}

#[test]
fn a_switch_to_a_keyframe_whose_start_comes_late_is_seen_whole() {
    let name = "a_switch_to_a_keyframe_whose_start_comes_late_is_seen_whole";
    over_seeds(name, 4, |seed| {
        let mut world = World::new(seed, 1);
        world.links.delay = Duration::from_millis(15 + seed * 5);
        let plan = Plan {
            layers: vec![("a".into(), (320, 180)), ("b".into(), (640, 360))],
            ..Plan::default()
        };
        let publisher = world.publish(0, 1, 1, plan);
        let viewer = world.view(0, 1, ALICE);
        world.run(Duration::from_secs(15));
        let mid = world.video_slot(viewer).mid;
        world.client(publisher).lose_starts(true);
        for layer in [0, 1] {
            let wish = LayerWish {
                rid: Some(["a", "b"][layer].into()),
                ..LayerWish::default()
            };
            world.choose(viewer, &mid, wish);
            world.run(Duration::from_secs(3));
            let newest = video(world.client(viewer)).last().and_then(|p| p.stamp);
            assert_eq!(newest.map(|s| usize::from(s.layer)), Some(layer));
        }
        is_whole(&mut world, viewer);
    });
}
