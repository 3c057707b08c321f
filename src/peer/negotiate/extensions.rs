//! RTP header extensions (RFC 8285): which of a section's both ends know.

use super::codecs::decimal;
use super::syntax::Section;
use super::types::{Direction, HeaderExtension};
use crate::codec::fmtp::split_once;

/// The highest id of the one-byte form (RFC 8285 §4.2). Higher ids are left out
/// even where `a=extmap-allow-mixed` would permit them: every client offers
/// what matters with low ids, and one form is quicker to read and to write.
const MAX_ID: u8 = 14;

/// An agreed extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AgreedExtension {
    pub id: u8,
    pub extension: HeaderExtension,
    /// The direction behind the id in the answer's line, if there is one.
    way: &'static str,
}

impl AgreedExtension {
    /// The answer's line.
    fn parts<'a>(&self, digits: &'a mut [u8; 3]) -> [&'a str; 6] {
        let id = decimal(self.id, digits);
        let uri = self.extension.uri();
        ["a=extmap:", id, self.way, " ", uri, "\r\n"]
    }

    /// Bytes of its line.
    pub fn size(&self) -> usize {
        self.parts(&mut [0; 3]).iter().map(|part| part.len()).sum()
    }

    /// Writes its line.
    pub fn write(&self, out: &mut String) {
        out.extend(self.parts(&mut [0; 3]));
    }
}

/// The extensions of the section that Weir knows and that flow the way the
/// media flow, with the offer's ids. Lines at session level hold for every
/// section that has none (RFC 8285 §5).
pub(super) fn read(section: &Section<'_>, direction: Direction) -> Vec<AgreedExtension> {
    let mut agreed: Vec<AgreedExtension> = Vec::new();
    for value in section.inherited_values("extmap") {
        let mut fields = value.split_ascii_whitespace();
        let (Some(id), Some(uri)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (id, offered_way) = match split_once(id, b'/') {
            Some((id, way)) => (id, Some(way)),
            None => (id, None),
        };
        let Ok(id @ 1..=MAX_ID) = id.parse::<u8>() else {
            continue;
        };
        let Some(extension) = HeaderExtension::from_uri(uri) else {
            continue;
        };
        if !of_use(extension, direction) {
            continue;
        }
        // The direction is the offerer's; ours mirrors it (RFC 8285 §7).
        let way = match (offered_way, direction) {
            (None, _) => "",
            (Some("sendrecv" | "sendonly"), Direction::Publish) => "/recvonly",
            (Some("sendrecv" | "recvonly"), Direction::View) => "/sendonly",
            _ => continue,
        };
        if agreed
            .iter()
            .any(|a| a.id == id || a.extension == extension)
        {
            continue;
        }
        agreed.push(AgreedExtension { id, extension, way });
    }
    agreed
}

/// A viewer gets one encoding a section, so stream ids would be noise; the
/// layers allocation tells of the publisher's encodings, not of what is sent.
fn of_use(extension: HeaderExtension, direction: Direction) -> bool {
    direction == Direction::Publish
        || !matches!(
            extension,
            HeaderExtension::RtpStreamId
                | HeaderExtension::RepairedRtpStreamId
                | HeaderExtension::VideoLayersAllocation
        )
}
