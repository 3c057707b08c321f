//! Which frames a decoder could show, and when: complete, in order, back to a
//! keyframe without a hole.

use super::line::{Line, WINDOW};

/// A hole that is not filled for so long is given up, as a player's jitter
/// buffer would, and a keyframe is awaited. Nanoseconds.
const PATIENCE_NS: u64 = 1_000_000_000;

/// The place in a video line up to which everything can be decoded.
#[derive(Debug, Default)]
pub struct Frames {
    /// The next number a decoder needs; `None` while a keyframe is awaited.
    next: Option<i64>,
    /// When the hole at `next` was first seen.
    hole_since: Option<u64>,
}

impl Frames {
    /// True while nothing can be decoded before a keyframe starts.
    pub fn needs_keyframe(&self) -> bool {
        self.next.is_none()
    }

    /// Notes that a keyframe starts at `number`.
    pub fn keyframe_at(&mut self, number: i64) {
        if self.next.is_none() {
            self.next = Some(number);
            self.hole_since = None;
        }
    }

    /// Goes as far as the line allows; returns how many frames became complete.
    pub fn advance(&mut self, line: &Line, now_ns: u64) -> u32 {
        let Some(mut next) = self.next else {
            return 0;
        };
        let mut complete = 0;
        let before = next;
        while line.has(next) {
            complete += u32::from(line.ends_frame(next));
            next += 1;
        }
        self.next = Some(next);
        if next > line.highest() {
            self.hole_since = None;
        } else {
            if next != before {
                self.hole_since = None;
            }
            let since = *self.hole_since.get_or_insert(now_ns);
            if now_ns.saturating_sub(since) > PATIENCE_NS || next <= line.highest() - WINDOW {
                self.next = None;
                self.hole_since = None;
            }
        }
        complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_wait_for_a_keyframe_and_for_holes() {
        let mut line = Line::default();
        let mut frames = Frames::default();
        line.push(10, true);
        assert_eq!(frames.advance(&line, 0), 0);
        line.push(11, false);
        frames.keyframe_at(11);
        assert_eq!(frames.advance(&line, 1), 0);
        line.push(12, true);
        assert_eq!(frames.advance(&line, 2), 1);
        // 13 is missing: two frames behind it wait.
        line.push(14, true);
        line.push(15, true);
        assert_eq!(frames.advance(&line, 3), 0);
        line.push(13, true);
        assert_eq!(frames.advance(&line, 4), 3);
    }

    #[test]
    fn a_hole_that_stays_asks_for_a_keyframe() {
        let mut line = Line::default();
        let mut frames = Frames::default();
        line.push(1, true);
        frames.keyframe_at(1);
        assert_eq!(frames.advance(&line, 0), 1);
        line.push(3, true);
        assert_eq!(frames.advance(&line, 5), 0);
        assert!(!frames.needs_keyframe());
        line.push(4, true);
        assert_eq!(frames.advance(&line, 5 + PATIENCE_NS + 1), 0);
        assert!(frames.needs_keyframe());
    }
}
