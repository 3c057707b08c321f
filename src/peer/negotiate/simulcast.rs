//! Simulcast (RFC 8853) with restriction identifiers (RFC 8851).

use super::error::NegotiateError;
use super::syntax::Section;

/// The most layers a track can have. Encoders make three; the answer has to
/// name every one, so more is refused rather than cut.
pub(super) const MAX_LAYERS: usize = 8;

/// The longest restriction kept, in bytes, and how many of a layer; RFC 8851 §5 has eight.
const MAX_RESTRICTION: usize = 32;
const MAX_RESTRICTIONS: usize = 8;

/// One simulcast layer that the publisher sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layer {
    pub rid: String,
    /// It starts paused (`~`).
    pub paused: bool,
    /// Payload types of the answer that its `a=rid` line restricts it to; all when empty.
    pub payload_types: Vec<u8>,
    /// The line's other restrictions, which an answer has to repeat (RFC 8851 §6.2.1).
    pub restrictions: String,
}

impl Layer {
    /// The end of the answer's `a=rid` line, with those of its payload types
    /// that `is_answered`.
    pub fn parameters(&self, is_answered: impl Fn(u8) -> bool) -> String {
        let types: Vec<String> = self
            .payload_types
            .iter()
            .filter(|pt| is_answered(**pt))
            .map(u8::to_string)
            .collect();
        let mut out = String::new();
        if !types.is_empty() {
            out = format!(" pt={}", types.join(","));
        }
        if !self.restrictions.is_empty() {
            out.push(if types.is_empty() { ' ' } else { ';' });
            out.push_str(&self.restrictions);
        }
        out
    }
}

/// The layers of `a=simulcast:send`, in the offer's order; empty without
/// simulcast. Of alternatives (`a,b`) the first, most wanted one is taken, as
/// RFC 8853 §5.3.2 lets an answerer do. A layer without `a=rid` line is taken
/// too: the publisher sends it all the same.
pub(super) fn read(
    section: &Section<'_>,
    payload_types: &[u8],
) -> Result<Vec<Layer>, NegotiateError> {
    let Some(list) = section.own("simulcast").and_then(send_list) else {
        return Ok(Vec::new());
    };
    let too_many = |offered| NegotiateError::TooManyLayers {
        mid: section.label(),
        offered,
        limit: MAX_LAYERS,
    };
    let offered = list.split(';').count();
    if offered > MAX_LAYERS {
        return Err(too_many(offered));
    }
    let mut layers: Vec<Layer> = Vec::new();
    for alternatives in list.split(';') {
        let first = alternatives.split(',').next().unwrap_or_default().trim();
        let (rid, paused) = match first.strip_prefix('~') {
            Some(rid) => (rid, true),
            None => (first, false),
        };
        if rid.is_empty() || layers.iter().any(|l| l.rid == rid) {
            continue;
        }
        if !is_rid(rid) {
            return Err(NegotiateError::BadAttribute {
                place: section.label(),
                why: "a=simulcast names a rid that is not made of letters, digits, - and _"
                    .to_owned(),
            });
        }
        let Some((types, restrictions)) = restrictions(section, rid, payload_types) else {
            continue;
        };
        layers.push(Layer {
            rid: rid.to_owned(),
            paused,
            payload_types: types,
            restrictions,
        });
    }
    Ok(layers)
}

/// The list after `send`. Drafts before RFC 8853 wrote `send rid=a;b`.
fn send_list(value: &str) -> Option<&str> {
    let mut words = value.split_ascii_whitespace();
    while let Some(word) = words.next() {
        let list = words.next()?;
        if word == "send" {
            return match list.split_once('=') {
                Some(("rid", list)) => Some(list),
                Some(_) => None,
                None => Some(list),
            };
        }
    }
    None
}

/// `rid-id` of RFC 8851 §10, at most 16 bytes so that the one-byte header
/// extension can carry it.
fn is_rid(rid: &str) -> bool {
    rid.len() <= 16
        && rid
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// What the layer's `a=rid` line restricts it to: payload types of the answer,
/// and the rest; `None` when none of its payload types is left.
fn restrictions(section: &Section<'_>, rid: &str, answered: &[u8]) -> Option<(Vec<u8>, String)> {
    let line = section.values("rid").find_map(|value| {
        let mut words = value.splitn(3, ' ');
        let id = words.next()?;
        let way = words.next()?;
        (id == rid && way.trim() == "send").then(|| words.next().unwrap_or_default())
    });
    let mut types: Vec<u8> = Vec::new();
    let mut kept: Vec<&str> = Vec::new();
    for restriction in line.unwrap_or_default().split(';').map(str::trim) {
        if let Some(list) = restriction.strip_prefix("pt=") {
            let offered = list.split(',').filter_map(|pt| pt.trim().parse().ok());
            types.extend(
                offered
                    .filter(|pt| answered.contains(pt))
                    .take(answered.len()),
            );
            if types.is_empty() {
                return None;
            }
        } else if !restriction.is_empty() && restriction.len() <= MAX_RESTRICTION {
            kept.push(restriction);
        }
    }
    types.dedup();
    types.truncate(answered.len());
    kept.truncate(MAX_RESTRICTIONS);
    Some((types, kept.join(";")))
}
