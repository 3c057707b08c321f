//! SSRCs that a publisher's section announces (RFC 5576).

use super::syntax::Section;
use super::types::SignalledSsrc;

/// The most media SSRCs kept of a section: a simulcast layer takes one.
const MAX_SSRCS: usize = 16;

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
