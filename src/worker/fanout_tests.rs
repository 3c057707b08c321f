//! What viewers see of a publisher's breaks.

use super::guard_tests::stage::PICTURE;
use super::guard_tests::{pictures, staged, turn};
use crate::room::encoding::LINE_BREAK;

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
