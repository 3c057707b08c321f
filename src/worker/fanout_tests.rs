//! What a publisher's breaks and changes cost, and what its viewers see of them.

use super::guard_tests::stage::PICTURE;
use super::guard_tests::{pictures, staged, turn};
use crate::room::encoding::LINE_BREAK;
use crate::units::MediaKind;

#[test]
fn pictures_go_on_with_a_keyframe_after_a_break_of_the_line() {
    let mut stage = staged();
    pictures(&mut stage, 1);
    stage.lose(LINE_BREAK + 1);
    for _ in 0..2 {
        let picture = stage.picture(false, 0);
        turn(&mut stage, &picture);
        assert_eq!(pictures(&mut stage, 1), 0);
    }
    let picture = stage.picture(true, 0);
    turn(&mut stage, &picture);
    assert_eq!(pictures(&mut stage, 1), PICTURE + 1);
}

#[test]
fn a_keyframe_whose_packets_came_out_of_order_in_one_turn_is_sent_whole() {
    for swapped in [1, 2, PICTURE] {
        let mut stage = staged();
        pictures(&mut stage, 1);
        stage.lose(LINE_BREAK + 1);
        let picture = stage.picture(false, 0);
        turn(&mut stage, &picture);
        assert_eq!(pictures(&mut stage, 1), 0, "it waits for a keyframe");
        let mut picture = stage.picture(true, 0);
        picture.swap(0, swapped);
        turn(&mut stage, &picture);
        assert_eq!(pictures(&mut stage, 1), PICTURE + 1, "{swapped}");
    }
}

#[test]
fn a_track_whose_viewers_are_to_be_aimed_is_listed_once() {
    let mut stage = staged();
    let mut tracks = stage.core.tracks.iter();
    let found = tracks.find(|(_, t)| t.key.kind == MediaKind::Video);
    let index = found.expect("a video track").0 as u32;
    for _ in 0..2 {
        for _ in 0..3 {
            stage.core.format_changed(index);
            stage.core.aim_soon(index);
        }
        let listed = stage.core.reaim.iter().filter(|i| **i == index);
        assert_eq!(listed.count(), 1);
        turn(&mut stage, &[]);
        assert!(stage.core.reaim.is_empty());
    }
}
