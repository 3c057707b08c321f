//! H.264 over RTP (RFC 6184; section names of the codec are of ITU-T H.264).

use super::bits::BitReader;
use super::fmtp::parameter;
use super::nal::{Aggregate, Store, append, each_sprop};
use super::packet::{PacketInfo, checked_size};

const NAL_SLICE: u8 = 1;
const NAL_IDR: u8 = 5;
const NAL_SEI: u8 = 6;
const NAL_SPS: u8 = 7;
const NAL_PPS: u8 = 8;
const NAL_DELIMITER: u8 = 9;
const NAL_FILLER: u8 = 12;
const NAL_PREFIX: u8 = 14;
const NAL_SLICE_EXTENSION: u8 = 20;
const STAP_A: u8 = 24;
const STAP_B: u8 = 25;
const FU_A: u8 = 28;
const FU_B: u8 = 29;

/// A NAL unit, or the part of one that a packet carries.
struct Unit<'a> {
    /// `nal_unit_type`.
    kind: u8,
    /// `nal_ref_idc`.
    ref_idc: u8,
    /// What follows the NAL header; empty in a fragment that is not the first.
    body: &'a [u8],
    /// The NAL unit with its header, when the packet has it in one piece.
    whole: Option<&'a [u8]>,
}

/// Calls `each` with every NAL unit that begins in, or goes on in, the packet.
/// MTAP packets (RFC 6184 §5.7.2) are passed over: WebRTC has no interleaved mode.
fn each_unit<'a>(payload: &'a [u8], mut each: impl FnMut(Unit<'a>)) {
    let Some((&head, rest)) = payload.split_first() else {
        return;
    };
    let mut whole = |nal: &'a [u8]| {
        if let Some((&head, body)) = nal.split_first() {
            each(Unit {
                kind: head & 0x1f,
                ref_idc: (head >> 5) & 3,
                body,
                whole: Some(nal),
            });
        }
    };
    match head & 0x1f {
        1..=23 => whole(payload),
        STAP_A => Aggregate(rest).for_each(whole),
        // RFC 6184 §5.7.1: a decoding order number stands ahead of the units.
        STAP_B => Aggregate(rest.get(2..).unwrap_or_default()).for_each(whole),
        kind @ (FU_A | FU_B) => {
            let Some((&fu, body)) = rest.split_first() else {
                return;
            };
            // RFC 6184 §5.8: S bit first, then E and R, then the type. FU-B has a DON.
            let skip = if kind == FU_B { 2 } else { 0 };
            let starts = fu & 0x80 != 0;
            each(Unit {
                kind: fu & 0x1f,
                ref_idc: (head >> 5) & 3,
                body: body.get(skip..).filter(|_| starts).unwrap_or_default(),
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
    let mut slices = false;
    let mut referenced = false;
    let (mut beside, mut more) = (false, false);
    each_unit(payload, |unit| match unit.kind {
        NAL_SLICE..=NAL_IDR => {
            slices = true;
            more = true;
            referenced |= unit.ref_idc != 0;
            info.keyframe |= unit.kind == NAL_IDR;
            // Data partitions B and C (types 3, 4) begin otherwise and never a picture.
            if matches!(unit.kind, 3 | 4) || unit.body.is_empty() {
                return;
            }
            match SliceStart::parse(unit.body) {
                Some(slice) => {
                    info.starts_frame |= slice.first;
                    info.starts_keyframe |= slice.first && unit.kind == NAL_IDR;
                    info.b_frame |= slice.is_b;
                }
                None => info.unreadable = true,
            }
        }
        NAL_SPS => {
            more = true;
            info.starts_frame = true;
            info.starts_keyframe = true;
            info.keyframe = true;
            info.has_parameter_sets = true;
            if let Some(sps) = Sps::parse(unit.body) {
                info.size = sps.size;
            }
        }
        NAL_PPS => {
            more = true;
            info.starts_frame = true;
            info.keyframe = true;
            info.has_pps = true;
        }
        NAL_SEI..=NAL_FILLER => {
            beside = true;
            // §7.4.1.2.3: these stand ahead of the first slice of a picture.
            info.starts_frame |= matches!(unit.kind, NAL_SEI | NAL_DELIMITER);
        }
        NAL_PREFIX | NAL_SLICE_EXTENSION => {
            more = true;
            // RFC 6190 §1.1.3: the SVC extension header; MVC clears its first bit.
            if let &[first, ids, temporal, ..] = unit.body
                && first & 0x80 != 0
            {
                info.spatial = (ids >> 4) & 7;
                info.temporal = temporal >> 5;
            }
        }
        _ => more = true,
    });
    info.discardable = slices && !referenced;
    info.beside = beside && !more;
    info
}

/// The layers that the headers of a picture's NAL units told (RFC 6190 §1.1.3), for its packets
/// that have none: a prefix NAL unit may come in a packet of its own, and the
/// fragments of a NAL unit do not repeat what stands ahead of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct LayerCarry {
    /// The newest picture and the one before, whose packets may be late.
    told: [Option<(u32, u8, u8)>; 2],
}

impl LayerCarry {
    /// Completes what the packet with this RTP timestamp tells.
    pub fn complete(&mut self, timestamp: u32, payload: &[u8], info: &mut PacketInfo) {
        let kind = payload.first().map_or(0, |head| head & 0x1f);
        if kind == NAL_PREFIX || (info.spatial, info.temporal) != (0, 0) {
            let layers = Some((timestamp, info.spatial, info.temporal));
            if self.told[0].is_none_or(|(t, ..)| t != timestamp) {
                info.starts_frame = true;
                self.told[1] = self.told[0];
            }
            self.told[0] = layers;
        } else if let Some((_, spatial, temporal)) =
            self.told.iter().flatten().find(|(t, ..)| *t == timestamp)
        {
            let (spatial, temporal) = (*spatial, *temporal);
            info.temporal = temporal;
            let of_extension = payload.get(1).map(|fu| fu & 0x1f) == Some(NAL_SLICE_EXTENSION);
            if matches!(kind, FU_A | FU_B) && of_extension {
                info.spatial = spatial;
            }
        }
    }
}

/// The first fields of a slice header (§7.3.3).
struct SliceStart {
    /// It is the first slice of its picture.
    first: bool,
    is_b: bool,
}

impl SliceStart {
    fn parse(body: &[u8]) -> Option<Self> {
        let mut r = BitReader::rbsp(body);
        let first = r.ue()? == 0;
        let slice_type = r.ue()?;
        // Table 7-6: 1 and 6 are B; values above 9 do not exist.
        (slice_type <= 9).then_some(Self {
            first,
            is_b: slice_type % 5 == 1,
        })
    }
}

/// What is needed of a sequence parameter set (§7.3.2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sps {
    /// `seq_parameter_set_id`.
    pub id: u8,
    /// `profile_idc`.
    pub profile: u8,
    /// `level_idc`.
    pub level: u8,
    /// Width and height in pixels after cropping; `None` when the cropping
    /// leaves nothing, or more than 65535.
    pub size: Option<(u16, u16)>,
}

impl Sps {
    /// Parses what follows the NAL header; `None` when that is not an SPS.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut r = BitReader::rbsp(body);
        let profile = r.bits(8)? as u8;
        r.skip(8)?;
        let level = r.bits(8)? as u8;
        let id = u8::try_from(r.ue()?).ok().filter(|id| *id <= 31)?;
        let mut chroma_format = 1;
        let mut separate_planes = false;
        if matches!(
            profile,
            100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135
        ) {
            chroma_format = r.ue().filter(|c| *c <= 3)?;
            if chroma_format == 3 {
                separate_planes = r.flag()?;
            }
            r.ue()?;
            r.ue()?;
            r.skip(1)?;
            if r.flag()? {
                let lists = if chroma_format == 3 { 12 } else { 8 };
                for list in 0..lists {
                    if r.flag()? {
                        skip_scaling_list(&mut r, if list < 6 { 16 } else { 64 })?;
                    }
                }
            }
        }
        r.ue()?;
        match r.ue()? {
            0 => {
                r.ue()?;
            }
            1 => {
                r.skip(1)?;
                r.se()?;
                r.se()?;
                let frames = r.ue().filter(|n| *n <= 255)?;
                for _ in 0..frames {
                    r.se()?;
                }
            }
            2 => {}
            _ => return None,
        }
        r.ue()?;
        r.skip(1)?;
        let width_mbs = u64::from(r.ue()?) + 1;
        let height_units = u64::from(r.ue()?) + 1;
        let frame_only = r.flag()?;
        if !frame_only {
            r.skip(1)?;
        }
        r.skip(1)?;
        // §7.4.2.1.1: the crop unit depends on chroma sampling and on fields.
        let fields = if frame_only { 1 } else { 2 };
        let (unit_x, unit_y) = match chroma_format {
            1 if !separate_planes => (2, 2 * fields),
            2 if !separate_planes => (2, fields),
            _ => (1, fields),
        };
        let mut width = width_mbs * 16;
        let mut height = height_units * 16 * fields;
        if r.flag()? {
            let left = u64::from(r.ue()?);
            let right = u64::from(r.ue()?);
            let top = u64::from(r.ue()?);
            let bottom = u64::from(r.ue()?);
            width = width.saturating_sub((left + right) * unit_x);
            height = height.saturating_sub((top + bottom) * unit_y);
        }
        Some(Self {
            id,
            profile,
            level,
            size: checked_size(width, height),
        })
    }
}

/// Passes over a scaling list (§7.3.2.1.1.1).
fn skip_scaling_list(r: &mut BitReader<'_>, size: u32) -> Option<()> {
    let mut last: i64 = 8;
    let mut next: i64 = 8;
    for _ in 0..size {
        if next != 0 {
            next = (last + i64::from(r.se()?) + 256).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Some(())
}

/// The newest SPS and PPS of a stream, to send ahead of an IDR picture that comes
/// without (encoders that give them only in SDP, or only once).
///
/// Holds at most 4 SPS and 16 PPS of at most 1 KiB each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParameterSets {
    sps: Store<4>,
    pps: Store<16>,
}

impl ParameterSets {
    /// Reads `sprop-parameter-sets` (RFC 6184 §8.1): NAL units in base64 with
    /// commas between. What can't be read is left out.
    pub fn from_sprop(list: &str) -> Self {
        let mut sets = Self::default();
        each_sprop(list, |nal| {
            sets.absorb(nal);
        });
        sets
    }

    /// Reads `sprop-parameter-sets` out of an `a=fmtp` parameter list; empty when it has none.
    pub fn from_fmtp(fmtp: &str) -> Self {
        parameter(fmtp, "sprop-parameter-sets")
            .map(Self::from_sprop)
            .unwrap_or_default()
    }

    /// Takes over the parameter sets of a packet. True when that changed what
    /// is held; only then memory is allocated. Fragmented ones are not kept.
    pub fn absorb(&mut self, payload: &[u8]) -> bool {
        let mut changed = false;
        each_unit(payload, |unit| {
            let Some(nal) = unit.whole else { return };
            match unit.kind {
                NAL_SPS => {
                    if let Some(sps) = Sps::parse(unit.body) {
                        changed |= self.sps.put(u32::from(sps.id), 0, nal);
                    }
                }
                NAL_PPS => {
                    // §7.3.2.2: its id, then the SPS's.
                    let mut r = BitReader::rbsp(unit.body);
                    if let (Some(id @ 0..=255), Some(sps @ 0..=31)) = (r.ue(), r.ue()) {
                        changed |= self.pps.put(id, sps, nal);
                    }
                }
                _ => {}
            }
        });
        changed
    }

    /// True when there is a PPS together with the SPS it refers to.
    pub fn is_complete(&self) -> bool {
        self.pps.iter().any(|p| self.sps.contains(p.refers_to))
    }

    /// Picture width and height of the newest SPS.
    pub fn size(&self) -> Option<(u16, u16)> {
        let (_, body) = self.sps.newest()?.nal.split_first()?;
        Sps::parse(body)?.size
    }

    /// Writes all sets as the payload of one STAP-A packet (RFC 6184 §5.7.1),
    /// SPS first. Gives its length, or `None` when the sets are not complete or
    /// do not fit.
    pub fn write_stap_a(&self, out: &mut [u8]) -> Option<usize> {
        if !self.is_complete() {
            return None;
        }
        // The aggregate has the largest `nal_ref_idc` of its units.
        let mut head = 0;
        let mut at = 1;
        for set in self.sps.iter().chain(self.pps.iter()) {
            head = head.max(set.nal.first()? & 0x60);
            at = append(out, at, &set.nal)?;
        }
        *out.first_mut()? = head | STAP_A;
        Some(at)
    }
}

#[cfg(test)]
mod tests;
