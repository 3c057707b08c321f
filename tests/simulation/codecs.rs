//! Rooms whose participants send different codecs.

use std::time::{Duration, Instant};

use weir::control::messages::{Event, InactiveReason, ViewTarget};
use weir::units::MediaKind;

use crate::checks::{audio, continuous, over_seeds, video};
use crate::client::Plan;
use crate::world::{ClientId, World};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A participant that talks from one moment to another.
fn talks(tag: u8, from: Instant, to: Instant) -> Plan {
    Plan {
        tag,
        packets_per_frame: 2,
        speech: Some(vec![(from, to, -25)]),
        ..Plan::default()
    }
}

/// How often the viewer was told that it lacks the codec of a picture.
fn told_of_codecs(world: &World, viewer: ClientId) -> usize {
    let key = world.keys[viewer.0];
    let is_codec = |event: &Event| matches!(event, Event::ViewerInactive { key: k, why: InactiveReason::Codec { kind: MediaKind::Video, .. } } if *k == key);
    world.events.iter().filter(|(_, e)| is_codec(e)).count()
}

#[test]
fn a_speaker_that_a_viewer_cannot_decode_takes_nobodys_place() {
    over_seeds("a_speaker_that_a_viewer_cannot_decode", 4, |seed| {
        let workers = if seed % 2 == 0 { 1 } else { 3 };
        let mut world = World::new(seed, workers);
        let start = world.now;
        // The first and the loudest one sends H.264; viewers have VP8 only.
        let speaker = Plan {
            h264: true,
            ..talks(1, start + seconds(3), start + seconds(20))
        };
        world.publish(0, 1, 1, speaker);
        world.run(Duration::from_millis(500));
        let other = talks(2, start, start);
        let other = world.publish(1 % workers, 1, 2, other);
        world.run(Duration::from_millis(500));
        let viewers = [
            world.view(2 % workers, 1, ViewTarget::Room),
            world.view_room(0, 1, None, (2, 2)),
        ];
        world.run(seconds(9));
        for viewer in viewers {
            assert_eq!(told_of_codecs(&world, viewer), 0);
            let client = world.client(viewer);
            let pictures = video(client);
            assert!(pictures.iter().all(|p| p.from == Some(2)));
            continuous(&pictures, 0);
            let seen = pictures.len();
            assert!(seen > 8 * 60, "{seen} packets of pictures");
            let heard = audio(client).iter().filter(|p| p.from == Some(1)).count();
            assert!(heard > 250, "{heard} packets of the speaker");
        }
        // Nobody else is left: the viewer is told why it sees nothing.
        world.close(other);
        world.run(seconds(2));
        for viewer in viewers {
            assert_eq!(told_of_codecs(&world, viewer), 1);
        }
        // Somebody comes whom it can see.
        world.publish(0, 1, 3, talks(3, start, start));
        world.run(seconds(2));
        for viewer in viewers {
            let seen = video(world.client(viewer));
            assert!(seen.iter().any(|p| p.from == Some(3)), "the third is seen");
            assert_eq!(told_of_codecs(&world, viewer), 1);
        }
    });
}
