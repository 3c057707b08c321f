//! What the publishers of a run send, ready to be stamped.

use std::time::Duration;

use crate::media::packetizer::Payload;

/// One picture, ready to be stamped and sent.
#[derive(Debug)]
pub struct ReadyPicture {
    /// A decoder can start here.
    pub keyframe: bool,
    /// Its payloads.
    pub payloads: Vec<Payload>,
}

/// One encoding of the video.
#[derive(Debug)]
pub struct Encoding {
    /// Its pictures; the first is a keyframe.
    pub pictures: Vec<ReadyPicture>,
    /// Where it goes on after the last picture without a keyframe, if it can.
    pub goes_on: Option<usize>,
}

/// What every publisher of a run sends.
#[derive(Debug)]
pub struct Program {
    /// Frames a second.
    pub fps: f64,
    /// Frames from keyframe to keyframe; 0 for the stream's own keyframes and
    /// those that are asked for.
    pub gop: usize,
    /// The smallest encoding first.
    pub encodings: Vec<Encoding>,
    /// Opus packets, or none.
    pub audio: Vec<Vec<u8>>,
    /// What an Opus packet lasts.
    pub audio_interval: Duration,
    /// Share (0..=1) of the packets that publishers leave out on purpose; they
    /// are sent when asked for.
    pub drop: f64,
}

/// The place of a publisher in an encoding.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    next: usize,
    /// Pictures since the last keyframe, that one included.
    since_keyframe: usize,
}

impl Place {
    /// Index of the next picture. `wanted` asks for a keyframe and is cleared
    /// when one is given.
    pub(super) fn advance(
        &mut self,
        encoding: &Encoding,
        gop: usize,
        wanted: &mut bool,
    ) -> Option<usize> {
        let all = &encoding.pictures;
        if self.next >= all.len() {
            self.next = encoding.goes_on.unwrap_or(0);
        }
        // Two IDR pictures in a row would need different ids (H.264 §7.4.3), so
        // one wanted right after one waits a frame.
        let due = gop > 0 && self.since_keyframe >= gop || *wanted && self.since_keyframe > 1;
        if due {
            let ahead = all.iter().skip(self.next).position(|p| p.keyframe);
            self.next = ahead.map_or(0, |i| self.next + i);
        }
        let index = self.next;
        let keyframe = all.get(index)?.keyframe;
        if keyframe {
            self.since_keyframe = 0;
            *wanted = false;
        }
        self.since_keyframe += 1;
        self.next += 1;
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoding(keyframes: &[usize], len: usize, goes_on: Option<usize>) -> Encoding {
        Encoding {
            pictures: (0..len)
                .map(|i| ReadyPicture {
                    keyframe: keyframes.contains(&i),
                    payloads: Vec::new(),
                })
                .collect(),
            goes_on,
        }
    }

    fn play(encoding: &Encoding, gop: usize, wanted_at: &[usize], n: usize) -> Vec<usize> {
        let (mut place, mut wanted) = (Place::default(), false);
        (0..n)
            .map(|i| {
                wanted |= wanted_at.contains(&i);
                place.advance(encoding, gop, &mut wanted).unwrap()
            })
            .collect()
    }

    #[test]
    fn groups_are_as_long_as_asked() {
        let e = encoding(&[0], 6, Some(4));
        assert_eq!(play(&e, 3, &[], 7), [0, 1, 2, 0, 1, 2, 0]);
        // Longer than the stream, and without end.
        assert_eq!(play(&e, 9, &[], 11), [0, 1, 2, 3, 4, 5, 4, 5, 4, 0, 1]);
        assert_eq!(play(&e, 0, &[], 10), [0, 1, 2, 3, 4, 5, 4, 5, 4, 5]);
    }

    #[test]
    fn a_keyframe_comes_when_asked_for_but_never_twice_in_a_row() {
        let e = encoding(&[0], 6, Some(4));
        assert_eq!(play(&e, 0, &[3, 4], 8), [0, 1, 2, 0, 1, 0, 1, 2]);
        assert_eq!(play(&e, 0, &[1], 4), [0, 1, 0, 1]);
    }

    #[test]
    fn a_file_keeps_its_own_keyframes() {
        let e = encoding(&[0, 3], 5, None);
        assert_eq!(play(&e, 0, &[], 8), [0, 1, 2, 3, 4, 0, 1, 2]);
        assert_eq!(play(&e, 0, &[2], 5), [0, 1, 3, 4, 0]);
    }
}
