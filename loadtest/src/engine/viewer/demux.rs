//! Which section of its session a packet belongs to (RFC 8843 §9.2): by an SSRC that the
//! answer told or that was learnt, else by the mid in the packet, else by being the only one.

use crate::signal::negotiated::{Medium, Section};
use crate::signal::offer::MID_EXTENSION;
use crate::wire::rtp::{self, Header};

/// SSRCs learnt beyond those that were told. More are not kept: a server has no use for them.
const MOST_LEARNT: usize = 64;

/// The sections of a session, and the streams known of each.
#[derive(Debug)]
pub(super) struct Demux {
    sections: Vec<(Medium, String)>,
    ssrcs: Vec<(u32, usize)>,
    told: usize,
    /// Where the last packet's SSRC stands: packets of a frame come together.
    last: usize,
}

impl Demux {
    pub(super) fn new(sections: &[Section]) -> Self {
        let ssrcs: Vec<_> = (0..)
            .zip(sections)
            .flat_map(|(at, s)| s.ssrcs.iter().map(move |ssrc| (*ssrc, at)))
            .collect();
        Self {
            sections: sections.iter().map(|s| (s.medium, s.mid.clone())).collect(),
            told: ssrcs.len(),
            ssrcs,
            last: 0,
        }
    }

    /// The index of the section of a packet whose payload type is of this medium.
    pub(super) fn section(
        &mut self,
        medium: Medium,
        header: &Header,
        packet: &[u8],
    ) -> Option<usize> {
        let known = |(ssrc, _): &(u32, usize)| *ssrc == header.ssrc;
        let mut place = self.last;
        if !self.ssrcs.get(place).is_some_and(known) {
            place = match self.ssrcs.iter().position(known) {
                Some(place) => place,
                None => return self.learn(medium, header, packet),
            };
            self.last = place;
        }
        let (_, at) = *self.ssrcs.get(place)?;
        self.is_of(at, medium).then_some(at)
    }

    fn is_of(&self, at: usize, medium: Medium) -> bool {
        self.sections.get(at).is_some_and(|(m, _)| *m == medium)
    }

    fn learn(&mut self, medium: Medium, header: &Header, packet: &[u8]) -> Option<usize> {
        let mut sections = (0..self.sections.len()).filter(|at| self.is_of(*at, medium));
        // Sections without a mid are those of a server that told none.
        let named = self.sections.iter().any(|(_, mid)| !mid.is_empty());
        let mid = rtp::extension(packet, header, MID_EXTENSION).filter(|_| named);
        let at = match mid {
            Some(mid) => sections.find(|at| self.sections[*at].1.as_bytes() == mid)?,
            None => sections.next().filter(|_| sections.next().is_none())?,
        };
        if self.ssrcs.len() < self.told + MOST_LEARNT {
            self.ssrcs.push((header.ssrc, at));
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(medium: Medium, mid: &str, ssrcs: &[u32]) -> Section {
        Section {
            medium,
            mid: mid.to_owned(),
            ssrcs: ssrcs.to_vec(),
        }
    }

    fn find(demux: &mut Demux, medium: Medium, ssrc: u32, mid: &str) -> Option<usize> {
        let mut packet = Vec::new();
        let extensions = [(MID_EXTENSION, mid.as_bytes())];
        let used = usize::from(!mid.is_empty());
        rtp::write(&mut packet, false, 96, 1, 2, ssrc, &extensions[..used]);
        let header = rtp::parse(&packet).unwrap();
        demux.section(medium, &header, &packet)
    }

    #[test]
    fn streams_are_told_by_the_answer_or_by_their_mid() {
        use Medium::{Audio, Video};
        let mut demux = Demux::new(&[
            section(Audio, "0", &[10]),
            section(Audio, "1", &[]),
            section(Video, "2", &[20, 21]),
            section(Video, "3", &[]),
        ]);
        assert_eq!(find(&mut demux, Video, 21, ""), Some(2));
        assert_eq!(find(&mut demux, Video, 20, ""), Some(2));
        assert_eq!(find(&mut demux, Audio, 10, ""), Some(0));
        // Not told, and two could be meant.
        assert_eq!(find(&mut demux, Video, 30, ""), None);
        assert_eq!(find(&mut demux, Video, 30, "3"), Some(3));
        // Known from now on.
        assert_eq!(find(&mut demux, Video, 30, ""), Some(3));
        assert_eq!(find(&mut demux, Audio, 11, "1"), Some(1));
        // A mid of nobody's, or of the other kind.
        assert_eq!(find(&mut demux, Video, 31, "9"), None);
        assert_eq!(find(&mut demux, Video, 31, "1"), None);
        assert_eq!(find(&mut demux, Audio, 20, ""), None);
    }

    #[test]
    fn the_only_section_of_a_kind_needs_no_mid() {
        let sections = [
            section(Medium::Audio, "a", &[]),
            section(Medium::Video, "v", &[]),
        ];
        let mut demux = Demux::new(&sections);
        assert_eq!(find(&mut demux, Medium::Video, 1, ""), Some(1));
        assert_eq!(find(&mut demux, Medium::Audio, 2, ""), Some(0));
        let sections = [section(Medium::Video, "", &[])];
        let mut demux = Demux::new(&sections);
        assert_eq!(find(&mut demux, Medium::Video, 1, "v"), Some(0));
    }

    #[test]
    fn what_is_learnt_has_a_bound() {
        let mut demux = Demux::new(&[section(Medium::Video, "v", &[7])]);
        for ssrc in 0..1000 {
            assert_eq!(find(&mut demux, Medium::Video, ssrc, ""), Some(0));
        }
        assert_eq!(demux.ssrcs.len(), 1 + MOST_LEARNT);
    }
}
