//! Picture ids of VP8 and VP9: a viewer's own line over switches and cuts.

/// A picture id as a payload descriptor has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureId {
    /// Its value.
    pub value: u16,
    /// 15 bits when true, 7 bits otherwise.
    pub wide: bool,
}

/// How many steps of a line are remembered. Two make one cut, so a packet may be
/// up to 16 cuts late: with every other picture cut, half a second at 60 pictures a second.
const STEPS: usize = 32;

/// From this source id on, `out = id + shift`; without a shift the ids were cut.
#[derive(Clone, Copy, Debug)]
struct Step {
    from: i64,
    shift: Option<i64>,
}

/// A viewer's line of picture ids and `TL0PICIDX` values: it goes on without a
/// jump when the source is switched, and closes up over pictures that are cut.
///
/// Within one source `out = in + shift`, so the ids of lost or late pictures stay
/// free for them. A receiver waits for a missing picture id, so cut pictures must not leave a hole.
///
/// ```
/// use weir::codec::{PictureId, PictureIdLine};
/// let id = |value| PictureId { value, wide: true };
/// let mut line = PictureIdLine::default();
/// assert_eq!(line.map(id(100), Some(7)), Some((100, 7)));
/// line.cut(id(101));
/// assert_eq!(line.map(id(102), Some(8)), Some((101, 8)));
/// line.switch();
/// assert_eq!(line.map(id(9000), Some(200)), Some((102, 9)));
/// ```
#[derive(Clone, Debug)]
pub struct PictureIdLine {
    /// Newest source id, unwrapped; `None` until the source's first picture.
    newest: Option<i64>,
    /// The newest source id's shift.
    shift: i64,
    /// Oldest first; `steps[..len]` are in use.
    steps: [Step; STEPS],
    len: usize,
    /// The id after the highest one given out; `None` before the first.
    next: Option<i64>,
    tl0_anchored: bool,
    tl0_shift: u8,
    tl0_next: Option<u8>,
}

impl Default for PictureIdLine {
    fn default() -> Self {
        Self {
            newest: None,
            shift: 0,
            steps: [Step {
                from: 0,
                shift: None,
            }; STEPS],
            len: 0,
            next: None,
            tl0_anchored: false,
            tl0_shift: 0,
            tl0_next: None,
        }
    }
}

impl PictureIdLine {
    /// The source changes: the next mapped picture follows the newest one given
    /// out. Packets of the old source must not be mapped after this.
    pub fn switch(&mut self) {
        self.newest = None;
        self.len = 0;
        self.tl0_anchored = false;
    }

    /// The line's picture id (15 bits) and `TL0PICIDX` for a source packet; 0 for an
    /// absent `tl0`. `None` for pictures that were cut, that come from before the
    /// switch, or that are too late to know: such a packet can't be sent.
    pub fn map(&mut self, id: PictureId, tl0: Option<u8>) -> Option<(u16, u8)> {
        let id = match self.newest {
            None => {
                let id = i64::from(id.value);
                self.shift = self.next.map_or(0, |next| next - id);
                self.push(id, Some(self.shift));
                self.newest = Some(id);
                id
            }
            Some(newest) => {
                let id = unwrap(newest, id);
                self.newest = Some(newest.max(id));
                id
            }
        };
        let steps = self.steps.get(..self.len)?;
        let out = id + steps.iter().rev().find(|s| s.from <= id)?.shift?;
        self.next = Some(self.next.map_or(out + 1, |next| next.max(out + 1)));
        let tl0 = tl0.map_or(0, |tl0| self.map_tl0(tl0));
        Some(((out & 0x7fff) as u16, tl0))
    }

    /// The source picture is not sent to this viewer: later ids close up. May
    /// be called for every packet of the picture. Only for VP8: VP9's
    /// descriptors refer to other pictures by id, and its receivers know of cut layers.
    pub fn cut(&mut self, id: PictureId) {
        let Some(newest) = self.newest else { return };
        let id = unwrap(newest, id);
        // An older id is known as cut already, or is late: then its place stays empty.
        if id > newest {
            self.newest = Some(id);
            // Right after another cut: one longer hole instead of two.
            let follows = self.len >= 2
                && self.steps.get(self.len - 1).is_some_and(|s| s.from == id)
                && self
                    .steps
                    .get(self.len - 2)
                    .is_some_and(|s| s.shift.is_none());
            if follows {
                self.len -= 1;
            } else {
                self.push(id, None);
            }
            self.shift -= 1;
            self.push(id + 1, Some(self.shift));
        }
    }

    fn push(&mut self, from: i64, shift: Option<i64>) {
        if self.len == STEPS {
            self.steps.copy_within(1.., 0);
            self.len -= 1;
        }
        if let Some(step) = self.steps.get_mut(self.len) {
            *step = Step { from, shift };
            self.len += 1;
        }
    }

    fn map_tl0(&mut self, tl0: u8) -> u8 {
        if !self.tl0_anchored {
            self.tl0_anchored = true;
            self.tl0_shift = self.tl0_next.map_or(0, |next| next.wrapping_sub(tl0));
        }
        let out = tl0.wrapping_add(self.tl0_shift);
        let newer = self
            .tl0_next
            .is_none_or(|next| out.wrapping_sub(next) < 0x80);
        if newer {
            self.tl0_next = Some(out.wrapping_add(1));
        }
        out
    }
}

/// The id nearest to `newest` that has this value in its 7 or 15 bits.
fn unwrap(newest: i64, id: PictureId) -> i64 {
    let bits = if id.wide { 15 } else { 7 };
    let (range, half) = (1i64 << bits, 1i64 << (bits - 1));
    let ahead = (i64::from(id.value) - newest).rem_euclid(range);
    newest + if ahead < half { ahead } else { ahead - range }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wide(value: u16) -> PictureId {
        PictureId { value, wide: true }
    }

    fn out(line: &mut PictureIdLine, value: u16) -> Option<u16> {
        line.map(wide(value), None).map(|(id, _)| id)
    }

    #[test]
    fn keeps_the_first_source_as_it_is_over_the_wrap() {
        let mut line = PictureIdLine::default();
        for id in [0x7ffe, 0x7fff, 0, 1] {
            assert_eq!(line.map(wide(id), Some(9)), Some((id, 9)));
        }
        assert_eq!(out(&mut line, 0x7fff), Some(0x7fff), "a late packet");
    }

    #[test]
    fn seven_bit_ids_unwrap_in_seven_bits() {
        let narrow = |value| PictureId { value, wide: false };
        let mut line = PictureIdLine::default();
        assert_eq!(line.map(narrow(126), None), Some((126, 0)));
        assert_eq!(line.map(narrow(127), None), Some((127, 0)));
        assert_eq!(line.map(narrow(0), None), Some((128, 0)));
        assert_eq!(line.map(narrow(127), None), Some((127, 0)));
    }

    #[test]
    fn a_switch_goes_on_without_a_jump() {
        let mut line = PictureIdLine::default();
        assert_eq!(line.map(wide(10), Some(250)), Some((10, 250)));
        assert_eq!(line.map(wide(11), Some(255)), Some((11, 255)));
        line.switch();
        assert_eq!(line.map(wide(30_000), Some(3)), Some((12, 0)));
        assert_eq!(line.map(wide(30_001), Some(3)), Some((13, 0)));
        assert_eq!(out(&mut line, 29_999), None, "older than the switch");
        line.switch();
        assert_eq!(line.map(wide(5), Some(0)), Some((14, 1)));
    }

    #[test]
    fn a_lost_picture_keeps_its_place_and_a_cut_one_does_not() {
        let mut line = PictureIdLine::default();
        assert_eq!(out(&mut line, 1), Some(1));
        assert_eq!(out(&mut line, 3), Some(3), "2 may still come");
        line.cut(wide(4));
        line.cut(wide(4));
        line.cut(wide(5));
        assert_eq!(out(&mut line, 6), Some(4));
        assert_eq!(out(&mut line, 2), Some(2), "it came");
        assert_eq!(out(&mut line, 4), None);
        assert_eq!(out(&mut line, 5), None);
        line.cut(wide(3));
        assert_eq!(out(&mut line, 7), Some(5), "a late cut changes nothing");
    }

    #[test]
    fn history_is_bounded() {
        let mut line = PictureIdLine::default();
        let mut sent = Vec::new();
        for id in 0..1000u16 {
            if id % 2 == 0 {
                sent.extend(out(&mut line, id));
            } else {
                line.cut(wide(id));
            }
        }
        assert_eq!(sent, (0..500).collect::<Vec<_>>());
        assert_eq!(out(&mut line, 990), Some(495));
        assert_eq!(out(&mut line, 100), None, "too late to know");
    }

    #[test]
    fn every_picture_cut_is_one_hole() {
        let mut line = PictureIdLine::default();
        assert_eq!(out(&mut line, 0), Some(0));
        (1..200).for_each(|id| line.cut(wide(id)));
        assert!(line.len <= 3);
        assert_eq!(out(&mut line, 200), Some(1));
        assert_eq!(out(&mut line, 0), Some(0));
    }
}
