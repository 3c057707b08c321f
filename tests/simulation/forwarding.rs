//! From one publisher to its viewers.

use std::time::Duration;

use weir::control::messages::ViewTarget;
use weir::net::{Datagram, Proto, SendArena};
use weir::worker::Input;

use crate::checks::{
    audio, complete_frames, continuous, over_seeds, starts_with_a_keyframe, timestamps_follow_time,
    video,
};
use crate::client::Plan;
use crate::link::Conditions;
use crate::world::{ALICE, World};

#[test]
fn reports_that_are_read_late_make_no_round_trip_longer() {
    let name = "reports_that_are_read_late_make_no_round_trip_longer";
    over_seeds(name, 2, |seed| {
        let mut world = World::new(seed, 1);
        world.patience = Duration::from_millis(18);
        world.publish(0, 1, 1, Plan::default());
        world.view(0, 1, ALICE);
        world.run(Duration::from_secs(5));
        let snapshot = world.snapshot(0);
        let viewers = snapshot.viewers.iter().find_map(|viewer| viewer.rtt);
        let publishers = snapshot.publishers.iter().find_map(|p| p.rtt);
        for rtt in [viewers, publishers] {
            let rtt = rtt.expect("reports").as_secs_f64();
            // The links' ten milliseconds each way.
            assert!((0.019..0.026).contains(&rtt), "{rtt}");
        }
    });
}

#[test]
fn a_viewer_gets_every_packet_on_one_line() {
    over_seeds("a_viewer_gets_every_packet_on_one_line", 3, |seed| {
        let mut world = World::new(seed, 1);
        world.publish(0, 1, 1, Plan::default());
        world.run(Duration::from_secs(2));
        let viewer = world.view(0, 1, ALICE);
        world.run(Duration::from_secs(5));
        let viewer = world.client(viewer);
        let video = video(viewer);
        starts_with_a_keyframe(&video);
        continuous(&video, 0);
        timestamps_follow_time(&video, 90_000.0, Duration::from_millis(100));
        assert!(complete_frames(&video).len() > 4 * 30, "{}", video.len());
        let audio = audio(viewer);
        continuous(&audio, 0);
        timestamps_follow_time(&audio, 48_000.0, Duration::from_millis(100));
        assert!(audio.len() > 4 * 50);
    });
}

#[test]
fn a_viewer_that_answers_an_offer_gets_what_the_others_get() {
    let name = "a_viewer_that_answers_an_offer_gets_what_the_others_get";
    over_seeds(name, 3, |seed| {
        let mut world = World::new(seed, 2);
        world.publish(0, 1, 1, Plan::default());
        world.run(Duration::from_secs(2));
        let viewers = [0, 1].map(|worker| world.view_by_answer(worker, 1, ALICE));
        world.run(Duration::from_secs(2));
        for viewer in viewers {
            world.down[viewer.0].conditions.loss = 0.03;
        }
        world.run(Duration::from_secs(4));
        for viewer in viewers {
            world.down[viewer.0].conditions.loss = 0.0;
        }
        world.run(Duration::from_secs(1));
        for viewer in viewers {
            let client = world.client(viewer);
            let video = video(client);
            starts_with_a_keyframe(&video);
            // RTX was agreed on, too.
            continuous(&video, 2);
            timestamps_follow_time(&video, 90_000.0, Duration::from_millis(100));
            assert!(complete_frames(&video).len() > 6 * 30);
            assert!(audio(client).len() > 6 * 45);
        }
    });
}

#[test]
fn viewers_may_come_first_and_wait() {
    over_seeds("viewers_may_come_first_and_wait", 3, |seed| {
        let mut world = World::new(seed, 1);
        let named = world.view(0, 1, ALICE);
        let room = world.view(0, 1, ViewTarget::Room);
        world.run(Duration::from_secs(3));
        world.publish(0, 1, 1, Plan::default());
        world.run(Duration::from_secs(3));
        for viewer in [named, room] {
            let video = video(world.client(viewer));
            starts_with_a_keyframe(&video);
            continuous(&video, 0);
            assert!(complete_frames(&video).len() > 2 * 30);
        }
    });
}

#[test]
fn a_joiner_sees_a_keyframe_within_a_second() {
    over_seeds("a_joiner_sees_a_keyframe_within_a_second", 5, |seed| {
        let mut world = World::new(seed, 1);
        let publisher = world.publish(0, 1, 1, Plan::default());
        world.run(Duration::from_secs(3));
        let mut joined = Vec::new();
        for _ in 0..20 {
            joined.push((world.view(0, 1, ALICE), world.now));
            world.run(Duration::from_millis(37));
        }
        world.run(Duration::from_secs(2));
        for (viewer, at) in joined {
            let video = video(world.client(viewer));
            starts_with_a_keyframe(&video);
            let waited = video[0].at - at;
            assert!(waited < Duration::from_secs(1), "{waited:?}");
            continuous(&video, 0);
        }
        // Twenty joiners in 740 ms are a handful of requests, not twenty.
        let requests = world.client(publisher).keyframe_requests;
        assert!(requests <= 5, "{requests} keyframe requests");
    });
}

#[test]
fn loss_is_repaired_on_both_ways() {
    over_seeds("loss_is_repaired_on_both_ways", 10, |seed| {
        let mut world = World::new(seed, 1);
        world.plain = seed % 2 == 0;
        let publisher = world.publish(0, 1, 1, Plan::default());
        let viewer = world.view(0, 1, ALICE);
        world.run(Duration::from_secs(1));
        world.up[publisher.0].conditions.loss = 0.03;
        world.down[viewer.0].conditions.loss = 0.03;
        world.run(Duration::from_secs(10));
        world.up[publisher.0].conditions.loss = 0.0;
        world.down[viewer.0].conditions.loss = 0.0;
        world.run(Duration::from_secs(2));
        let totals = world.snapshot(0).totals;
        assert!(totals.repairs_out > 10, "{}", totals.repairs_out);
        let video = video(world.client(viewer));
        // A repair that was lost too is asked for again, but not for ever.
        continuous(&video, 6);
        let frames = complete_frames(&video);
        let missing = (frames[frames.len() - 1] - frames[0] + 1) as usize - frames.len();
        assert!(missing <= 4, "{missing} frames incomplete");
    });
}

#[test]
fn rough_links_never_break_a_line() {
    over_seeds("rough_links_never_break_a_line", 10, |seed| {
        let mut world = World::new(seed, 1);
        world.plain = seed % 2 == 0;
        let publisher = world.publish(0, 1, 1, Plan::default());
        let viewer = world.view(0, 1, ALICE);
        world.run(Duration::from_secs(1));
        for link in [&mut world.up[publisher.0], &mut world.down[viewer.0]] {
            link.conditions = Conditions {
                delay: Duration::from_millis(40),
                jitter: Duration::from_millis(20),
                loss: 0.02,
                duplicates: 0.05,
                reordered: 0.05,
                ..Conditions::default()
            };
        }
        world.run(Duration::from_secs(10));
        let viewer = world.client(viewer);
        let video = video(viewer);
        starts_with_a_keyframe(&video);
        continuous(&video, 15);
        timestamps_follow_time(&video, 90_000.0, Duration::from_millis(300));
        let audio = audio(viewer);
        timestamps_follow_time(&audio, 48_000.0, Duration::from_millis(300));
    });
}

#[test]
fn the_best_simulcast_layer_is_forwarded() {
    over_seeds("the_best_simulcast_layer_is_forwarded", 3, |seed| {
        let mut world = World::new(seed, 1);
        let plan = Plan {
            layers: vec![
                ("a".into(), (320, 180)),
                ("b".into(), (1280, 720)),
                ("c".into(), (640, 360)),
            ],
            ..Plan::default()
        };
        world.publish(0, 1, 1, plan);
        world.run(Duration::from_secs(2));
        let viewer = world.view(0, 1, ALICE);
        world.run(Duration::from_secs(3));
        let snapshot = world.snapshot(0);
        let track = &snapshot.publishers[0].tracks[1];
        assert_eq!(track.encodings.len(), 3);
        for encoding in &track.encodings {
            assert!(encoding.active && encoding.packets > 100, "{encoding:?}");
        }
        let video = video(world.client(viewer));
        starts_with_a_keyframe(&video);
        continuous(&video, 0);
        let layers: std::collections::BTreeSet<u8> = video
            .iter()
            .filter_map(|p| p.stamp)
            .map(|s| s.layer)
            .collect();
        assert_eq!(layers.into_iter().collect::<Vec<_>>(), [1]);
    });
}

#[test]
fn sound_and_pictures_stay_in_sync() {
    over_seeds("sound_and_pictures_stay_in_sync", 5, |seed| {
        let mut world = World::new(seed, 2);
        let publisher = world.publish(0, 1, 1, Plan::default());
        let viewers = [world.view(0, 1, ALICE), world.view(1, 1, ALICE)];
        // Video is held up on its way in, as a slow uplink does.
        world.up[publisher.0].conditions.jitter = Duration::from_millis(15);
        world.run(Duration::from_secs(12));
        for viewer in viewers {
            let client = world.client(viewer);
            // Frame n and audio packet m were captured at n/30 s and m/50 s
            // after the publisher began; the reports must say so too.
            let begin = |captured: Duration, media: f64| captured.as_secs_f64() - media;
            let video = video(client)
                .iter()
                .rev()
                .find_map(|p| Some(begin(p.captured?, f64::from(p.stamp?.frame - 1) / 30.0)))
                .expect("video with a report");
            let audio = audio(client)
                .iter()
                .rev()
                .find_map(|p| Some(begin(p.captured?, f64::from(p.audio_number? - 500) / 50.0)))
                .expect("audio with a report");
            let offset = (video - audio).abs();
            assert!(offset < 0.005, "sound and pictures are {offset} s apart");
        }
    });
}

#[test]
fn viewers_of_a_silent_publisher_get_no_reports_until_it_sends_again() {
    over_seeds("viewers_of_a_silent_publisher", 5, |seed| {
        let mut world = World::new(seed, 1);
        // Sound alone: nobody waits for a keyframe.
        let plan = Plan {
            video: false,
            ..Plan::default()
        };
        let publisher = world.publish(0, 1, 1, plan);
        // Some without an estimate, whose changes would have layers chosen anew.
        let viewers: Vec<_> = (0..6)
            .map(|n| {
                world.run(Duration::from_millis(70 * n));
                world.unsaid = (n % 2 == 0).then_some("transport");
                world.view(0, 1, ALICE)
            })
            .collect();
        let silence = |world: &mut World, share| {
            world.up[publisher.0].conditions.loss = share;
        };
        let reports = |world: &mut World| -> Vec<usize> {
            let of = |viewer: &_| world.client(*viewer).reports.len();
            viewers.iter().map(of).collect()
        };
        let gained = |now: &[usize], before: &[usize]| -> Vec<usize> {
            now.iter().zip(before).map(|(n, b)| n - b).collect()
        };
        let lag = Duration::from_millis(100);
        world.run(Duration::from_secs(10)); // the publisher has sent its own by now
        let first = reports(&mut world);
        world.run(Duration::from_secs(5) + lag);
        let more = gained(&reports(&mut world), &first);
        assert!(more.iter().all(|n| (4..=6).contains(n)), "{more:?}");
        // One for what was sent since the last, and one more (RFC 3550 §6.4).
        let before = reports(&mut world);
        silence(&mut world, 1.0);
        world.run(Duration::from_secs(3));
        let last = reports(&mut world);
        let more = gained(&last, &before);
        assert!(more.iter().all(|n| (1..=2).contains(n)), "{more:?}");
        world.run(Duration::from_secs(22));
        assert_eq!(reports(&mut world), last);
        // It goes on; players can tell sound and pictures' times apart within a second.
        silence(&mut world, 0.0);
        world.run(Duration::from_secs(1) + lag);
        let again = reports(&mut world);
        let more = gained(&again, &last);
        assert!(more.iter().all(|n| *n > 0), "{more:?}");
        world.run(Duration::from_secs(5));
        let more = gained(&reports(&mut world), &again);
        assert!(more.iter().all(|n| (4..=6).contains(n)), "{more:?}");
    });
}

#[test]
fn the_core_tells_when_a_frame_has_begun_and_not_ended() {
    let mut world = World::new(1, 1);
    let plan = Plan {
        packets_per_frame: 5,
        audio: false,
        ..Plan::default()
    };
    let publisher = world.publish(0, 1, 1, plan);
    world.view(0, 1, ALICE);
    world.run(Duration::from_secs(2));
    world.now += Duration::from_millis(33);
    let (now, from) = (world.now, world.clients[publisher.0].address);
    let mut frame = Vec::new();
    world.clients[publisher.0].tick(now, |_, bytes| frame.push(bytes.to_vec()));
    // Media is of the second version of RTP; RTCP may be beside it.
    frame.retain(|bytes| bytes[0] >> 6 == 2 && !(64..96).contains(&(bytes[1] & 0x7f)));
    assert!(frame.len() >= 5, "{}", frame.len());
    assert!(!world.cores[0].is_mid_frame());
    for (index, bytes) in frame.iter().enumerate() {
        let datagram = Datagram {
            proto: Proto::Udp,
            local: ([10, 0, 0, 1], 7882).into(),
            remote: from,
            waited: Duration::ZERO,
            bytes,
        };
        world.cores[0].handle(now, Input::Datagram(datagram));
        assert_eq!(world.cores[0].is_mid_frame(), (index + 1) % 5 != 0);
    }
    world.cores[0].turn(now, &mut |arena: &mut SendArena| arena.clear());
    assert!(!world.cores[0].is_mid_frame());
}

/// What a viewer's reports are when each turn begins with so much room in the arena as there is.
fn reports(seed: u64, crowded: bool) -> Vec<usize> {
    let mut world = World::new(seed, 1);
    world.crowded = crowded;
    let publisher = world.publish(0, 1, 1, Plan::default());
    let viewers: Vec<_> = (0..3).map(|_| world.view(0, 1, ALICE)).collect();
    world.run(Duration::from_secs(4));
    let asked = world.client(publisher).keyframe_requests;
    world.client(viewers[0]).request_keyframe();
    world.run(Duration::from_millis(200));
    assert_eq!(world.client(publisher).keyframe_requests, asked + 1);
    world.up[publisher.0].conditions.loss = 0.05;
    world.run(Duration::from_secs(5));
    world.up[publisher.0].conditions.loss = 0.0;
    world.run(Duration::from_secs(1));
    let reports = viewers.iter().map(|viewer| {
        let client = world.client(*viewer);
        continuous(&video(client), 2); // the publisher was asked for what was lost
        client.reports.len()
    });
    reports.collect()
}

#[test]
fn reports_and_requests_leave_though_media_has_filled_the_arena() {
    let name = "reports_and_requests_leave_though_media_has_filled_the_arena";
    over_seeds(name, 2, |seed| {
        let usual = reports(seed, false);
        assert!(usual.iter().all(|count| *count >= 14), "{usual:?} in 10 s");
        assert_eq!(reports(seed, true), usual);
    });
}
