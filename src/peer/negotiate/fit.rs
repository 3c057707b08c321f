//! Answers that fit whoever reads them.

use std::net::SocketAddr;

use super::answer::MAX_ANSWER;
use super::candidate::MAX_LOCAL;
use super::context::AnswerContext;
use super::error::NegotiateError;
use super::offer::{Accepted, LineKind};
use super::types::{
    AnswerNames, Direction, Fingerprint, IceCredentials, LocalTransport, SignalledSsrc,
};

/// Sections beyond a picture, a sound and a data channel make the answer longer
/// by this much each. Only viewers of rooms have them, and those are browsers.
const FURTHER_SECTION: usize = 2_560;

/// The longest answer to an offer of which so many media sections are accepted.
fn limit(sections: usize) -> usize {
    MAX_ANSWER + sections.saturating_sub(2) * FURTHER_SECTION
}

/// Makes the answer fit its [`limit`] whatever the transport will be, by leaving
/// out the least wanted codecs of the section that takes the most room. Sections
/// keep at least one codec.
pub(super) fn fit(accepted: &mut Accepted) -> Result<(), NegotiateError> {
    let limit = limit(accepted.negotiated.media.len());
    if accepted.at_most().is_some_and(|bytes| bytes <= limit) {
        return Ok(());
    }
    let mut size = accepted.longest().len();
    while size > limit {
        let freed = accepted
            .lines
            .iter_mut()
            .filter_map(|line| match &mut line.kind {
                LineKind::Media(media) => Some(media),
                _ => None,
            })
            .filter(|media| {
                let section = accepted.negotiated.media.get(media.at);
                section.is_some_and(|s| s.codecs.len() > 1)
            })
            .max_by_key(|media| media.payloads.size())
            .and_then(|media| {
                let section = accepted.negotiated.media.get_mut(media.at)?;
                let dropped = section.codecs.pop()?;
                let before = media.payloads.size();
                media.payloads.remove(dropped.pt);
                Some(before - media.payloads.size())
            })
            .filter(|freed| *freed > 0)
            .ok_or(NegotiateError::AnswerTooLong { limit })?;
        size -= freed;
    }
    Ok(())
}

impl Accepted {
    /// Bytes that no answer exceeds: a few more than the longest has, without writing
    /// it, which takes a tenth as long as reading the offer does. `None` where that is
    /// not known.
    fn at_most(&self) -> Option<usize> {
        /// What stands above the sections, but for mids.
        const SESSION: usize = 140;
        const CANDIDATES: usize = MAX_LOCAL * 104 + 21;
        /// A section's m-line, address, mid, ICE credentials, fingerprint and role.
        const SECTION: usize = 297;
        const REJECTED: usize = 13;
        const DATA: usize = 64;
        /// Direction and multiplexing.
        const MEDIA: usize = 45;
        const RSIZE: usize = "a=rtcp-rsize\r\n".len();
        const MIXED: usize = "a=extmap-allow-mixed\r\n".len();
        /// The track that we send, each of its SSRCs, and their group.
        const TRACK: usize = 82;
        const SSRC: usize = 188;
        const GROUP: usize = 40;
        let mut bytes = SESSION + CANDIDATES;
        bytes += self.bundle.iter().map(|mid| mid.len() + 1).sum::<usize>();
        for line in &self.lines {
            let mid = line.mid.as_ref().map_or(0, String::len);
            bytes += SECTION + line.media.len() + line.proto.len() + mid;
            bytes += match &line.kind {
                LineKind::Rejected { formats } => REJECTED + formats.len(),
                LineKind::Data => DATA,
                LineKind::Media(media) if media.layers.is_empty() => {
                    let section = self.negotiated.media.get(media.at)?;
                    let extensions = media.extensions.iter().map(|e| e.size());
                    let stream = match self.negotiated.direction {
                        Direction::Publish => 0,
                        Direction::View if section.has_rtx() => TRACK + GROUP + 2 * SSRC,
                        Direction::View => TRACK + SSRC,
                    };
                    MEDIA
                        + stream
                        + usize::from(section.rtcp_rsize) * RSIZE
                        + usize::from(media.allow_mixed) * MIXED
                        + extensions.sum::<usize>()
                        + media.payloads.size()
                }
                LineKind::Media(_) => return None,
            };
        }
        Some(bytes)
    }

    /// The answer with everything of the transport as long as it can be.
    fn longest(&self) -> String {
        let candidate = SocketAddr::from(([0xffff; 8], u16::MAX));
        let fingerprint = Fingerprint {
            algorithm: "sha-256".to_owned(),
            bytes: vec![0; 32],
        };
        let context = AnswerContext::new(&fingerprint, &[candidate], &[candidate; MAX_LOCAL]);
        let ssrc = SignalledSsrc {
            ssrc: u32::MAX,
            rtx: Some(u32::MAX),
        };
        let local = LocalTransport {
            ice: IceCredentials {
                ufrag: "u".repeat(32),
                pwd: "p".repeat(32),
            },
            ssrcs: vec![ssrc; self.negotiated.media.len()],
        };
        let long = "n".repeat(64);
        self.answer(
            &context,
            &local,
            &AnswerNames {
                session_id: u64::MAX,
                stream_id: &long,
                cname: &long,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::OFFERS;
    use super::super::{Policy, read_offer};
    use super::*;

    #[test]
    fn the_quick_bound_is_above_the_longest_answer_and_close_to_it() {
        let mut bounded = 0;
        for (name, direction, sdp) in OFFERS {
            let accepted = read_offer(sdp, *direction, &Policy::default()).expect(name);
            let (longest, bound) = (accepted.longest().len(), accepted.at_most());
            assert_eq!(bound.is_none(), name.contains("simulcast3"), "{name}");
            let Some(bound) = bound else { continue };
            bounded += 1;
            assert!(bound >= longest, "{name}: {bound} < {longest}");
            assert!(
                bound <= longest + 40 * accepted.lines.len() + 40,
                "{name}: {bound}, {longest}"
            );
        }
        assert!(bounded > 10, "{bounded}");
    }

    #[test]
    fn viewers_like_browsers_need_no_exact_length() {
        for (name, direction, sdp) in OFFERS {
            if *direction == Direction::View {
                let accepted = read_offer(sdp, *direction, &Policy::default()).expect(name);
                let bound = accepted.at_most().expect(name);
                let longest = accepted.longest().len();
                assert!(bound <= MAX_ANSWER, "{name}: {bound}, {longest}");
            }
        }
    }
}
