//! SSRCs that a publisher's section announces (RFC 5576).

use super::simulcast::MAX_LAYERS;
use super::syntax::Section;
use super::types::SignalledSsrc;

/// The most media SSRCs kept of a section: a simulcast layer takes one.
const MAX_SSRCS: usize = 16;

/// The media SSRCs of simulcast layers that have no rids, as the offer groups them
/// (`a=ssrc-group:SIM`); empty without such a group.
pub(super) fn simulcast(section: &Section<'_>, known: &[SignalledSsrc]) -> Vec<u32> {
    let group = section.values("ssrc-group").find_map(|value| {
        let (semantics, ids) = value.split_once(' ')?;
        (semantics == "SIM").then_some(ids)
    });
    let mut layers: Vec<u32> = Vec::new();
    for ssrc in group
        .unwrap_or_default()
        .split_ascii_whitespace()
        .map_while(|word| word.parse().ok())
        .take(MAX_LAYERS)
    {
        if known.iter().any(|k| k.ssrc == ssrc) && !layers.contains(&ssrc) {
            layers.push(ssrc);
        }
    }
    if layers.len() < 2 {
        layers.clear();
    }
    layers
}

/// The media SSRCs of a section with their RTX partners, in order of
/// appearance. Groups are read first: FFmpeg names its RTX SSRC only there.
pub(super) fn read(section: &Section<'_>) -> Vec<SignalledSsrc> {
    let mut list: Vec<SignalledSsrc> = Vec::new();
    let mut repairs: Vec<u32> = Vec::new();
    for value in section.values("ssrc-group") {
        let mut words = value.split_ascii_whitespace();
        let semantics = words.next().unwrap_or_default();
        let mut ids = words.map_while(|w| w.parse::<u32>().ok());
        match semantics {
            "FID" => {
                if let (Some(ssrc), Some(rtx)) = (ids.next(), ids.next())
                    && ssrc != rtx
                    && list.len() < MAX_SSRCS
                    && !list.iter().any(|s| s.ssrc == ssrc)
                {
                    list.push(SignalledSsrc {
                        ssrc,
                        rtx: Some(rtx),
                    });
                    repairs.push(rtx);
                }
            }
            // The second SSRC carries forward error correction (RFC 5956), which
            // is not negotiated.
            "FEC" | "FEC-FR" => repairs.extend(ids.nth(1).filter(|_| repairs.len() < 64)),
            _ => {}
        }
    }
    for value in section.values("ssrc") {
        let id = value.split(' ').next().unwrap_or_default();
        if let Ok(ssrc) = id.parse::<u32>()
            && list.len() < MAX_SSRCS
            && !repairs.contains(&ssrc)
            && !list.iter().any(|s| s.ssrc == ssrc)
        {
            list.push(SignalledSsrc { ssrc, rtx: None });
        }
    }
    list.retain(|s| !repairs.contains(&s.ssrc));
    list
}
