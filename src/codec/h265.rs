//! H.265 over RTP (RFC 7798; section names of the codec are of ITU-T H.265).
//!
//! Payloads with decoding order numbers (`sprop-max-don-diff` above 0) are not
//! read: WebRTC has no interleaving.

use super::bits::BitReader;
use super::fmtp::parameter;
use super::nal::{Aggregate, Store, append, each_sprop};
use super::packet::{PacketInfo, checked_size};

const NAL_VPS: u8 = 32;
const NAL_SPS: u8 = 33;
const NAL_PPS: u8 = 34;
const AP: u8 = 48;
const FU: u8 = 49;

/// A NAL unit, or the part of one that a packet carries.
struct Unit<'a> {
    /// `nal_unit_type`.
    kind: u8,
    /// `nuh_layer_id`.
    layer: u8,
    /// What follows the NAL header; empty in a fragment that is not the first.
    body: &'a [u8],
    /// The NAL unit with its header, when the packet has it in one piece.
    whole: Option<&'a [u8]>,
}

/// `nal_unit_type`, `nuh_layer_id` and temporal layer (§7.3.1.2).
fn split_header(nal: &[u8]) -> Option<(u8, u8, u8, &[u8])> {
    let (&[first, second], body) = nal.split_first_chunk::<2>()?;
    Some((
        (first >> 1) & 0x3f,
        (first & 1) << 5 | second >> 3,
        (second & 7).saturating_sub(1),
        body,
    ))
}

/// Calls `each` with every NAL unit that begins in, or goes on in, the packet.
/// PACI packets (RFC 7798 §4.4.4) are passed over.
fn each_unit<'a>(payload: &'a [u8], mut each: impl FnMut(Unit<'a>)) {
    let Some((kind, layer, _, body)) = split_header(payload) else {
        return;
    };
    let mut whole = |nal: &'a [u8]| {
        if let Some((kind, layer, _, body)) = split_header(nal) {
            each(Unit {
                kind,
                layer,
                body,
                whole: Some(nal),
            });
        }
    };
    match kind {
        0..=47 => whole(payload),
        AP => Aggregate(body).for_each(whole),
        FU => {
            // RFC 7798 §4.4.3: S bit, E bit, then the type.
            let Some((&fu, body)) = body.split_first() else {
                return;
            };
            each(Unit {
                kind: fu & 0x3f,
                layer,
                body: if fu & 0x80 != 0 { body } else { &[] },
                whole: None,
            });
        }
        _ => {}
    }
}

/// Reads what a packet tells; see [`super::inspect`].
pub fn inspect(payload: &[u8], marker: bool) -> PacketInfo {
    let mut info = PacketInfo {
        ends_frame: marker,
        ..PacketInfo::default()
    };
    if let Some((_, layer, temporal, _)) = split_header(payload) {
        info.spatial = layer;
        info.temporal = temporal;
    }
    each_unit(payload, |unit| match unit.kind {
        0..=31 => {
            // Table 7-1: 16 to 23 are intra random access points (BLA, IDR, CRA).
            let irap = matches!(unit.kind, 16..=23);
            info.keyframe |= irap;
            // §7.3.6.1: `first_slice_segment_in_pic_flag` is the first bit.
            let first = unit.body.first().is_some_and(|b| b & 0x80 != 0);
            info.starts_frame |= first;
            info.starts_keyframe |= first && irap && unit.layer == 0;
            // Table 7-1: TSA (2, 3) and STSA (4, 5) pictures.
            info.switch_up |= matches!(unit.kind, 2..=5);
        }
        NAL_VPS | NAL_SPS => {
            info.starts_frame = true;
            info.starts_keyframe |= unit.layer == 0;
            info.keyframe = true;
            info.has_parameter_sets = true;
            if unit.kind == NAL_SPS
                && unit.layer == 0
                && let Some(sps) = Sps::parse(unit.body)
            {
                info.size = sps.size;
            }
        }
        NAL_PPS => {
            info.starts_frame = true;
            info.keyframe = true;
            info.has_pps = true;
        }
        // §7.4.2.4.4: delimiter and prefix SEI stand ahead of the first slice.
        35 | 39 => info.starts_frame = true,
        _ => {}
    });
    info
}

/// What is needed of a sequence parameter set (§7.3.2.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sps {
    /// `sps_seq_parameter_set_id`.
    pub id: u8,
    /// `sps_video_parameter_set_id`.
    pub vps: u8,
    /// Width and height in pixels after cropping; `None` when the cropping
    /// leaves nothing, or more than 65535.
    pub size: Option<(u16, u16)>,
}

impl Sps {
    /// Parses what follows the NAL header of a base layer SPS; `None` when
    /// that is not one.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut r = BitReader::rbsp(body);
        let vps = r.bits(4)? as u8;
        let sub_layers = r.bits(3)?;
        r.skip(1)?;
        skip_profile_tier_level(&mut r, sub_layers)?;
        let id = u8::try_from(r.ue()?).ok().filter(|id| *id <= 15)?;
        let chroma_format = r.ue().filter(|c| *c <= 3)?;
        let separate_planes = chroma_format == 3 && r.flag()?;
        let mut width = u64::from(r.ue()?);
        let mut height = u64::from(r.ue()?);
        if r.flag()? {
            // Table 6-1: SubWidthC and SubHeightC.
            let (unit_x, unit_y) = match chroma_format {
                1 if !separate_planes => (2, 2),
                2 if !separate_planes => (2, 1),
                _ => (1, 1),
            };
            let left = u64::from(r.ue()?);
            let right = u64::from(r.ue()?);
            let top = u64::from(r.ue()?);
            let bottom = u64::from(r.ue()?);
            width = width.saturating_sub((left + right) * unit_x);
            height = height.saturating_sub((top + bottom) * unit_y);
        }
        Some(Self {
            id,
            vps,
            size: checked_size(width, height),
        })
    }
}

/// Passes over `profile_tier_level(1, sub_layers)` (§7.3.3).
fn skip_profile_tier_level(r: &mut BitReader<'_>, sub_layers: u32) -> Option<()> {
    const PROFILE_BITS: u32 = 88;
    const LEVEL_BITS: u32 = 8;
    r.skip(PROFILE_BITS + LEVEL_BITS)?;
    if sub_layers == 0 {
        return Some(());
    }
    // Two flags for each of eight places; those not in use are reserved bits.
    let flags = r.bits(16)?;
    for layer in 0..sub_layers {
        let pair = flags >> (14 - 2 * layer);
        if pair & 2 != 0 {
            r.skip(PROFILE_BITS)?;
        }
        if pair & 1 != 0 {
            r.skip(LEVEL_BITS)?;
        }
    }
    Some(())
}

/// The newest VPS, SPS and PPS of a stream, to send ahead of a random access
/// picture that comes without.
///
/// Holds at most 4 VPS, 4 SPS and 16 PPS of at most 1 KiB each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParameterSets {
    vps: Store<4>,
    sps: Store<4>,
    pps: Store<16>,
}

impl ParameterSets {
    /// Reads NAL units in base64 with commas between, as in `sprop-vps`,
    /// `sprop-sps` and `sprop-pps` (RFC 7798 §7.1). What can't be read is left out.
    pub fn from_sprop(list: &str) -> Self {
        let mut sets = Self::default();
        sets.absorb_sprop(list);
        sets
    }

    /// Reads `sprop-vps`, `sprop-sps` and `sprop-pps` out of an `a=fmtp`
    /// parameter list; empty when it has none.
    pub fn from_fmtp(fmtp: &str) -> Self {
        let mut sets = Self::default();
        for name in ["sprop-vps", "sprop-sps", "sprop-pps"] {
            if let Some(list) = parameter(fmtp, name) {
                sets.absorb_sprop(list);
            }
        }
        sets
    }

    fn absorb_sprop(&mut self, list: &str) {
        each_sprop(list, |nal| {
            self.absorb(nal);
        });
    }

    /// Takes over the base layer's parameter sets of a packet. True when that
    /// changed what is held; only then memory is allocated. Fragmented ones are not kept.
    pub fn absorb(&mut self, payload: &[u8]) -> bool {
        let mut changed = false;
        each_unit(payload, |unit| {
            let Some(nal) = unit.whole.filter(|_| unit.layer == 0) else {
                return;
            };
            match unit.kind {
                NAL_VPS => {
                    // §7.3.2.1: the id is the first four bits.
                    if let Some(id) = BitReader::rbsp(unit.body).bits(4) {
                        changed |= self.vps.put(id, 0, nal);
                    }
                }
                NAL_SPS => {
                    if let Some(sps) = Sps::parse(unit.body) {
                        changed |= self.sps.put(u32::from(sps.id), u32::from(sps.vps), nal);
                    }
                }
                NAL_PPS => {
                    // §7.3.2.3: its id, then the SPS's.
                    let mut r = BitReader::rbsp(unit.body);
                    if let (Some(id @ 0..=63), Some(sps @ 0..=15)) = (r.ue(), r.ue()) {
                        changed |= self.pps.put(id, sps, nal);
                    }
                }
                _ => {}
            }
        });
        changed
    }

    /// True when there is a PPS together with its SPS and that one's VPS.
    pub fn is_complete(&self) -> bool {
        self.pps.iter().any(|pps| {
            self.sps
                .iter()
                .any(|sps| sps.id == pps.refers_to && self.vps.contains(sps.refers_to))
        })
    }

    /// Picture width and height of the newest SPS.
    pub fn size(&self) -> Option<(u16, u16)> {
        Sps::parse(self.sps.newest()?.nal.get(2..)?)?.size
    }

    /// Writes all sets as the payload of one aggregation packet (RFC 7798
    /// §4.4.2): VPS, SPS, PPS. Gives its length, or `None` when the sets are
    /// not complete or do not fit.
    pub fn write_ap(&self, out: &mut [u8]) -> Option<usize> {
        if !self.is_complete() {
            return None;
        }
        let mut at = 2;
        let sets = self.vps.iter().chain(self.sps.iter());
        for set in sets.chain(self.pps.iter()) {
            at = append(out, at, &set.nal)?;
        }
        // Layer 0 and temporal layer 0: the lowest of the units, as §4.4.2 asks.
        out.get_mut(..2)?.copy_from_slice(&[AP << 1, 1]);
        Some(at)
    }
}

#[cfg(test)]
mod tests;
