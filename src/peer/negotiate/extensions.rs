//! RTP header extensions (RFC 8285): which of a section's both ends know.

use std::fmt::Write;

use super::syntax::Section;
use super::types::{Direction, HeaderExtension};

/// The highest id of the one-byte form (RFC 8285 §4.2). Higher ids are left out
/// even where `a=extmap-allow-mixed` would permit them: every client offers
/// what matters with low ids, and one form is quicker to read and to write.
const MAX_ID: u8 = 14;

/// An agreed extension with the answer's `a=extmap` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AgreedExtension {
    pub id: u8,
    pub extension: HeaderExtension,
    pub line: String,
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
        let (id, offered_way) = match id.split_once('/') {
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
        let mut line = String::new();
        let _ = write!(line, "a=extmap:{id}{way} {}\r\n", extension.uri());
        agreed.push(AgreedExtension {
            id,
            extension,
            line,
        });
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
