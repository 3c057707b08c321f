//! What a viewer asks for, and when.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use super::{Behaviour, NewViewer, Viewer};
use crate::engine::mutation_tests::connected_seed;
use crate::engine::{Shared, Streams};
use crate::measure::window::Window;
use crate::media::VideoCodec;
use crate::scenario::types::{Feedback, Tracks};
use crate::signal::offer::VIDEO_PT;
use crate::sys::realtime_ns;
use crate::wire::rtp;
use crate::wire::srtp::{Profile, Srtp};

struct Test {
    viewer: Viewer,
    shared: Shared,
    window: Window,
    now: Instant,
    number: u16,
}

impl Test {
    fn new() -> Self {
        let now = Instant::now();
        let seed = connected_seed();
        let behaviour = Behaviour {
            full_check: true,
            nack: true,
            video: Some(VideoCodec::H264),
            link: None,
            feedback: Feedback::Auto,
            stop_reading: false,
            freeze_ns: 1_000_000_000,
            tracks: Tracks { audio: 0, video: 1 },
            room: None,
        };
        let (events, _) = tokio::sync::mpsc::unbounded_channel();
        let mut test = Self {
            viewer: Viewer::new(NewViewer { seed, behaviour }, now),
            shared: Shared {
                phase: Arc::new(AtomicU32::new(0)),
                events,
                streams: Arc::new(Streams::default()),
            },
            window: Window::default(),
            now,
            number: 7,
        };
        test.viewer
            .tick(now, &test.shared, &mut test.window)
            .unwrap();
        test
    }

    /// A packet of H.264 comes; the ticks follow it.
    fn packet(&mut self, nal: u8, marker: bool) {
        let srtp = Srtp::new(Profile::Gcm128, &[1; 16], &[2; 12]).unwrap();
        let mut packet = Vec::new();
        let header = rtp::write(&mut packet, marker, VIDEO_PT, self.number, 9, 5, &[]);
        packet.extend_from_slice(&[nal; 50]);
        assert!(srtp.seal_rtp(&mut packet, 0, header, 0));
        self.number += 1;
        let from = "127.0.0.1:9".parse().unwrap();
        let (viewer, now) = (&mut self.viewer, self.now);
        let window = &mut self.window;
        viewer
            .datagram(now, realtime_ns(), from, &mut packet, &self.shared, window)
            .unwrap();
        viewer.after_batch(now, window);
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 10 {
            self.now += Duration::from_millis(10);
            let window = &mut self.window;
            self.viewer.tick(self.now, &self.shared, window).unwrap();
        }
    }
}

/// libwebrtc asks when the first picture is no keyframe, and again each 200 ms that it waits.
#[test]
fn a_keyframe_is_asked_for_when_the_first_picture_is_none() {
    let mut test = Test::new();
    test.packet(0x41, false);
    assert_eq!(test.window.plis, 0, "the picture is not there yet");
    test.packet(0x41, true);
    assert_eq!(test.window.plis, 1);
    test.packet(0x41, true);
    assert_eq!(test.window.plis, 1);
    test.pass(150);
    assert_eq!(test.window.plis, 1);
    test.pass(60);
    assert_eq!(test.window.plis, 2);
    test.packet(0x65, true);
    test.pass(500);
    assert_eq!(test.window.plis, 2, "it has one");
}

#[test]
fn who_gets_a_keyframe_first_asks_for_none() {
    let mut test = Test::new();
    test.packet(0x65, true);
    test.packet(0x41, true);
    test.pass(300);
    assert_eq!(test.window.plis, 0);
}
