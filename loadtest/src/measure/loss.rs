//! Loss from end to end: what the publisher sent against what a viewer got,
//! even when the server renumbers or simply stops.
//!
//! Headers are in the clear, so every packet is counted by its sequence number.
//! Stamps, which are inside the encryption, anchor that line to the publisher's:
//! if the publisher's counter goes further between two anchors than the line
//! does, the server dropped packets and closed the gap; if less far, it sent
//! some twice under new numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::line::Line;

/// A published stream, as its publisher tells of it.
#[derive(Debug, Default)]
pub struct StreamInfo {
    /// The number in the stamps.
    pub id: u32,
    /// The session that publishes it: its other encodings have the same.
    pub session: u64,
    /// Who publishes it, of all rooms; the same over that participant's sessions.
    pub participant: u64,
    /// Packets sent so far.
    pub sent: AtomicU32,
    /// When the publisher last sent a frame later than it should have,
    /// nanoseconds of `CLOCK_REALTIME`.
    pub late_ns: AtomicU64,
    /// True once the publisher has stopped sending for good.
    pub ended: std::sync::atomic::AtomicBool,
}

#[derive(Debug)]
struct Anchor {
    stream: Arc<StreamInfo>,
    line: i64,
    stamp: u32,
    unique: u64,
    simulated: u64,
    padding: u64,
    hidden: i64,
    /// The newest packet whose stamp was seen.
    newest: i64,
}

/// Loss of one received stream.
#[derive(Debug, Default)]
pub struct Loss {
    anchor: Option<Anchor>,
    /// Of streams before this anchor.
    expected: u64,
    lost: u64,
    renumbered_twice: u64,
    padding: u64,
}

/// Sums from the first anchor on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Packets that should have come.
    pub expected: u64,
    /// Those that did not.
    pub lost: u64,
    /// Those that came more than once under different numbers.
    pub repeated: u64,
}

impl Loss {
    /// The stream the line is anchored to.
    pub fn stream(&self) -> Option<&Arc<StreamInfo>> {
        self.anchor.as_ref().map(|a| &a.stream)
    }

    /// Notes a packet of padding only, which no publisher sent.
    pub fn padding(&mut self) {
        self.padding += 1;
    }

    /// Anchors the line: the packet `number`, just pushed, has this stamp. True when
    /// the line has changed to this stream from another of the same publisher.
    pub fn anchor(
        &mut self,
        line: &Line,
        number: i64,
        stamp: u32,
        stream: &Arc<StreamInfo>,
    ) -> bool {
        let mut changed = false;
        match &mut self.anchor {
            // One that comes late, or again, belongs to the stream of its time.
            Some(a) if a.stream.id != stream.id && number <= a.newest => {}
            Some(a) if a.stream.id == stream.id => {
                // A packet from before the anchor says nothing about what came after.
                // Nor one that is older than the last.
                if number > a.newest && stamp > a.stamp {
                    a.newest = number;
                    let padding = (self.padding - a.padding) as i64;
                    a.hidden = i64::from(stamp - a.stamp) - (number - a.line - padding);
                }
            }
            _ => {
                let before = self.sums(line, false);
                let before_it = self.anchor.as_ref().map(|a| a.stream.session);
                changed = before_it == Some(stream.session);
                // The packet at hand belongs to the new anchor.
                let counted = u64::from(self.anchor.is_some());
                self.expected = before.expected.saturating_sub(counted);
                self.lost = before.lost;
                self.renumbered_twice = before.repeated;
                self.anchor = Some(Anchor {
                    stream: Arc::clone(stream),
                    line: number,
                    stamp,
                    // The anchor itself is counted as received.
                    unique: line.unique().saturating_sub(1),
                    simulated: line.simulated(),
                    padding: self.padding,
                    hidden: 0,
                    newest: number,
                });
            }
        }
        changed
    }

    /// The sums now. `complete` says that nothing is on its way any more: then
    /// all that the publisher sent should have come.
    pub fn sums(&self, line: &Line, complete: bool) -> Sums {
        let mut out = Sums {
            expected: self.expected,
            lost: self.lost,
            repeated: self.renumbered_twice,
        };
        let Some(a) = &self.anchor else {
            return out;
        };
        let padding = self.padding - a.padding;
        let progress = ((line.highest() - a.line + 1).max(0) as u64).saturating_sub(padding);
        let hidden_loss = a.hidden.max(0) as u64;
        out.repeated += (-a.hidden).max(0) as u64;
        let unique = (line.unique() - a.unique).saturating_sub(padding);
        let received = unique - ((-a.hidden).max(0) as u64).min(unique);
        let mut expected = progress + hidden_loss - ((-a.hidden).max(0) as u64).min(progress);
        if complete {
            let sent = a.stream.sent.load(Ordering::Acquire);
            expected = expected.max(u64::from(sent.saturating_sub(a.stamp)));
        }
        // Below 0 when what was lost before the anchor came again after it; it is
        // among the received then.
        let ours = line.simulated() as i64 - a.simulated as i64;
        out.expected += expected;
        // What was missing at a change may come after it.
        let lost = out.lost as i64 + expected as i64 - received as i64 - ours;
        out.lost = lost.max(0) as u64;
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(sent: u32) -> Arc<StreamInfo> {
        Arc::new(StreamInfo {
            id: 5,
            sent: AtomicU32::new(sent),
            ..StreamInfo::default()
        })
    }

    /// Feeds (line number, stamp) pairs, all of them opened.
    fn run(packets: &[(i64, u32)], sent: u32) -> (Sums, Sums) {
        let (mut line, mut loss, stream) = (Line::default(), Loss::default(), stream(sent));
        for &(number, stamp) in packets {
            line.push(number, false);
            loss.anchor(&line, number, stamp, &stream);
        }
        (loss.sums(&line, false), loss.sums(&line, true))
    }

    fn sums(expected: u64, lost: u64, repeated: u64) -> Sums {
        Sums {
            expected,
            lost,
            repeated,
        }
    }

    #[test]
    fn all_came() {
        let (now, end) = run(&[(100, 7), (101, 8), (102, 9)], 10);
        assert_eq!(now, sums(3, 0, 0));
        assert_eq!(end, sums(3, 0, 0));
    }

    #[test]
    fn gaps_hidden_gaps_and_a_silent_end_are_losses() {
        // 102 is a gap in the line; 9 and 10 of the publisher's never got a number.
        let (now, end) = run(&[(100, 5), (101, 6), (103, 8), (104, 11)], 20);
        assert_eq!(now, sums(7, 3, 0));
        assert_eq!(end, sums(15, 11, 0));
    }

    #[test]
    fn renumbered_repeats_are_no_packets() {
        let (now, _) = run(&[(100, 5), (101, 6), (102, 6), (103, 7)], 8);
        assert_eq!(now, sums(3, 0, 1));
    }

    #[test]
    fn reordered_packets_are_not_lost() {
        let (now, _) = run(&[(100, 5), (102, 7), (101, 6), (103, 8)], 9);
        assert_eq!(now, sums(4, 0, 0));
    }

    /// The stamp of a late packet is from before what was hidden since.
    #[test]
    fn a_late_packet_takes_back_no_hidden_loss() {
        let (now, _) = run(&[(100, 5), (102, 8), (101, 6)], 9);
        assert_eq!(now, sums(4, 1, 0));
    }

    /// A repair of the stream before a change comes after it.
    #[test]
    fn late_packets_of_another_stream_change_nothing() {
        let (mut line, mut loss) = (Line::default(), Loss::default());
        let (a, b) = (
            stream(10),
            Arc::new(StreamInfo {
                id: 6,
                ..StreamInfo::default()
            }),
        );
        let mut changes = 0;
        for (number, stamp, stream) in [
            (1, 0, &a),
            (2, 1, &a),
            (4, 900, &b),
            (3, 2, &a),
            (5, 901, &b),
            (6, 902, &b),
        ] {
            line.push(number, false);
            changes += u32::from(loss.anchor(&line, number, stamp, stream));
        }
        assert_eq!(changes, 1);
        assert_eq!(loss.sums(&line, false), sums(6, 0, 0));
    }

    #[test]
    fn another_publisher_is_no_other_encoding() {
        let (mut line, mut loss) = (Line::default(), Loss::default());
        let of = |id, session| {
            Arc::new(StreamInfo {
                id,
                session,
                ..StreamInfo::default()
            })
        };
        let mut changes = Vec::new();
        for (number, stream) in [of(1, 7), of(2, 7), of(3, 8), of(4, 8)].iter().enumerate() {
            line.push(number as i64, false);
            changes.push(loss.anchor(&line, number as i64, 5, stream));
        }
        assert_eq!(changes, [false, true, false, true]);
    }

    /// What our own link lost before a change is repaired after it.
    #[test]
    fn repairs_across_a_change_are_no_loss() {
        let (mut line, mut loss) = (Line::default(), Loss::default());
        let (a, b) = (
            stream(10),
            Arc::new(StreamInfo {
                id: 6,
                ..StreamInfo::default()
            }),
        );
        line.push(1, false);
        loss.anchor(&line, 1, 0, &a);
        line.lose(2);
        line.lose(3);
        line.push(4, false);
        loss.anchor(&line, 4, 900, &b);
        line.push(2, false);
        line.push(3, false);
        line.lose(5);
        line.push(6, false);
        loss.anchor(&line, 6, 902, &b);
        assert_eq!(loss.sums(&line, false).lost, 0);
    }

    #[test]
    fn a_new_stream_keeps_what_was_lost_before() {
        let (mut line, mut loss) = (Line::default(), Loss::default());
        let (a, b) = (
            stream(10),
            Arc::new(StreamInfo {
                id: 6,
                ..StreamInfo::default()
            }),
        );
        for (number, stamp, stream) in [(1, 0, &a), (3, 2, &a), (4, 900, &b), (5, 901, &b)] {
            line.push(number, false);
            loss.anchor(&line, number, stamp, stream);
        }
        assert_eq!(loss.sums(&line, false), sums(5, 1, 0));
    }
}
