//! Simulcast (RFC 8853) with restriction identifiers (RFC 8851).

use super::error::NegotiateError;
use super::syntax::Section;

/// The most layers a track can have. Encoders make three; the answer has to
/// name every one, so more is refused rather than cut.
pub(super) const MAX_LAYERS: usize = 8;

/// One simulcast layer that the publisher sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layer {
    pub rid: String,
    /// It starts paused (`~`).
    pub paused: bool,
    /// Restrictions of its `a=rid` line, which an answer has to repeat (RFC 8851 §6.2.1).
    pub restrictions: String,
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
        let Some(restrictions) = restrictions(section, rid, payload_types) else {
            continue;
        };
        layers.push(Layer {
            rid: rid.to_owned(),
            paused,
            restrictions,
        });
    }
    if layers.len() > MAX_LAYERS {
        return Err(NegotiateError::TooManyLayers {
            mid: section.label(),
            offered: layers.len(),
            limit: MAX_LAYERS,
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

/// What the layer's `a=rid` line restricts it to, with the payload types of the
/// answer only; `None` when none of its payload types is left.
fn restrictions(section: &Section<'_>, rid: &str, payload_types: &[u8]) -> Option<String> {
    let line = section.values("rid").find_map(|value| {
        let mut words = value.splitn(3, ' ');
        let id = words.next()?;
        let way = words.next()?;
        (id == rid && way.trim() == "send").then(|| words.next().unwrap_or_default())
    });
    let mut kept: Vec<String> = Vec::new();
    for restriction in line.unwrap_or_default().split(';') {
        let restriction = restriction.trim();
        if restriction.is_empty() || restriction.len() > 64 {
            continue;
        }
        match restriction.split_once('=') {
            Some(("pt", list)) => {
                let left: Vec<&str> = list
                    .split(',')
                    .filter(|pt| pt.parse().is_ok_and(|pt| payload_types.contains(&pt)))
                    .collect();
                if left.is_empty() {
                    return None;
                }
                kept.push(format!("pt={}", left.join(",")));
            }
            _ => kept.push(restriction.to_owned()),
        }
    }
    kept.truncate(8);
    Some(kept.join(";"))
}
