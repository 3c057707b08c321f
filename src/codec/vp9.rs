//! VP9 over RTP (RFC 9628).

use super::bits::BitReader;
use super::packet::{PacketInfo, PictureIds, checked_size};
use super::picture_id::PictureId;

/// Layer indices of a VP9 payload descriptor (RFC 9628 §4.2, L bit).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerIndices {
    /// TID: temporal layer.
    pub temporal: u8,
    /// U: from this picture on a receiver may switch up to this temporal layer.
    pub switch_up: bool,
    /// SID: spatial layer.
    pub spatial: u8,
    /// D: predicted from the next lower spatial layer of the same picture.
    pub inter_layer: bool,
}

/// Scalability structure (RFC 9628 §4.2.1); the picture group is read over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScalabilityStructure {
    /// Spatial layers, 1 to 8.
    pub spatial_layers: u8,
    /// Width and height of each spatial layer, when told.
    pub sizes: Option<[(u16, u16); 8]>,
    /// Pictures in the picture group, when it is described.
    pub group: Option<u8>,
}

impl ScalabilityStructure {
    /// The largest spatial layer's width and height.
    pub fn largest(&self) -> Option<(u16, u16)> {
        let sizes = self.sizes.as_ref()?;
        sizes
            .iter()
            .copied()
            .filter(|&(w, h)| w > 0 && h > 0)
            .max_by_key(|&(w, h)| u32::from(w) * u32::from(h))
    }
}

/// A VP9 payload descriptor (RFC 9628 §4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// P: refers to earlier pictures.
    pub inter_picture: bool,
    /// F: flexible mode.
    pub flexible: bool,
    /// B: begins a layer frame.
    pub starts_frame: bool,
    /// E: ends a layer frame.
    pub ends_frame: bool,
    /// Z: no higher spatial layer refers to this frame.
    pub not_for_upper_layers: bool,
    /// Picture id.
    pub picture_id: Option<PictureId>,
    /// Layer indices.
    pub layers: Option<LayerIndices>,
    /// `TL0PICIDX`; only in non-flexible mode.
    pub tl0_pic_idx: Option<u8>,
    /// Reference distances (`P_DIFF`), of flexible mode; 0 where there is none.
    pub p_diffs: [u8; 3],
    /// Scalability structure.
    pub structure: Option<ScalabilityStructure>,
    /// Length of the descriptor in bytes.
    pub len: usize,
    picture_id_at: usize,
    tl0_at: usize,
}

impl Descriptor {
    /// Parses the descriptor at the head of a payload; `None` when it is cut
    /// short or has more references than allowed.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let first = *payload.first()?;
        let bit = |n: u32| first >> (7 - n) & 1 == 1;
        let mut d = Self {
            inter_picture: bit(1),
            flexible: bit(3),
            starts_frame: bit(4),
            ends_frame: bit(5),
            not_for_upper_layers: bit(7),
            len: 1,
            ..Self::default()
        };
        if bit(0) {
            d.picture_id_at = d.len;
            let high = d.take(payload)?;
            let wide = high & 0x80 != 0;
            let value = if wide {
                u16::from(high & 0x7f) << 8 | u16::from(d.take(payload)?)
            } else {
                u16::from(high)
            };
            d.picture_id = Some(PictureId { value, wide });
        }
        if bit(2) {
            let byte = d.take(payload)?;
            d.layers = Some(LayerIndices {
                temporal: byte >> 5,
                switch_up: byte & 0x10 != 0,
                spatial: byte >> 1 & 7,
                inter_layer: byte & 1 != 0,
            });
            if !d.flexible {
                d.tl0_at = d.len;
                d.tl0_pic_idx = Some(d.take(payload)?);
            }
        }
        if d.flexible && d.inter_picture {
            // P_DIFF and N: up to three, the last one without N.
            for index in 0..3 {
                let byte = d.take(payload)?;
                if let Some(diff) = d.p_diffs.get_mut(index) {
                    *diff = byte >> 1;
                }
                match byte & 1 {
                    0 => break,
                    _ if index == 2 => return None,
                    _ => {}
                }
            }
        }
        if bit(6) {
            d.structure = Some(d.take_structure(payload)?);
        }
        Some(d)
    }

    fn take(&mut self, payload: &[u8]) -> Option<u8> {
        let byte = *payload.get(self.len)?;
        self.len += 1;
        Some(byte)
    }

    fn take_u16(&mut self, payload: &[u8]) -> Option<u16> {
        Some(u16::from_be_bytes([
            self.take(payload)?,
            self.take(payload)?,
        ]))
    }

    fn take_structure(&mut self, payload: &[u8]) -> Option<ScalabilityStructure> {
        let head = self.take(payload)?;
        let mut structure = ScalabilityStructure {
            spatial_layers: (head >> 5) + 1,
            ..ScalabilityStructure::default()
        };
        if head & 0x10 != 0 {
            let mut sizes = [(0, 0); 8];
            for size in sizes.iter_mut().take(usize::from(structure.spatial_layers)) {
                *size = (self.take_u16(payload)?, self.take_u16(payload)?);
            }
            structure.sizes = Some(sizes);
        }
        if head & 0x08 != 0 {
            let pictures = self.take(payload)?;
            for _ in 0..pictures {
                let references = self.take(payload)? >> 2 & 3;
                for _ in 0..references {
                    self.take(payload)?;
                }
            }
            structure.group = Some(pictures);
        }
        Some(structure)
    }

    /// Belongs to spatial layer 0, or to a stream without layers.
    fn is_base(&self) -> bool {
        self.layers.is_none_or(|l| l.spatial == 0)
    }
}

/// Reads what a packet tells; see [`super::inspect`].
pub fn inspect(payload: &[u8]) -> PacketInfo {
    let Some(d) = Descriptor::parse(payload) else {
        return PacketInfo::default();
    };
    let layers = d.layers.unwrap_or_default();
    let frame = payload.get(d.len..).unwrap_or_default();
    // RFC 9628 §4.2: without P, the base layer's frame is a keyframe. An upper layer's frame
    // without P may only mean that this layer begins.
    let mut keyframe = !d.inter_picture && d.is_base();
    let mut size = d.structure.and_then(|s| s.largest());
    if keyframe && d.starts_frame && size.is_none() {
        size = keyframe_size(frame);
    }
    // FFmpeg never sets P, nor any other field: there the frame itself has to tell.
    if d.picture_id.is_none() && d.layers.is_none() && d.structure.is_none() {
        keyframe &= d.starts_frame && size.is_some();
    }
    PacketInfo {
        starts_keyframe: keyframe && d.starts_frame,
        keyframe,
        starts_frame: d.starts_frame,
        ends_frame: d.ends_frame,
        spatial: layers.spatial,
        temporal: layers.temporal,
        switch_up: layers.switch_up,
        ids: PictureIds::new(d.picture_id, d.picture_id_at, d.tl0_pic_idx, d.tl0_at),
        size,
        ..PacketInfo::default()
    }
}

/// Width and height of a keyframe's uncompressed header (VP9 bitstream §6.2);
/// `None` for other frames.
fn keyframe_size(frame: &[u8]) -> Option<(u16, u16)> {
    const SYNC_CODE: u32 = 0x49_83_42;
    const COLOUR_SPACE_RGB: u32 = 7;
    let mut r = BitReader::new(frame);
    if r.bits(2)? != 2 {
        return None;
    }
    let profile = r.bits(1)? | r.bits(1)? << 1;
    if profile == 3 {
        r.skip(1)?;
    }
    let shown_again = r.flag()?;
    let inter = r.flag()?;
    if shown_again || inter {
        return None;
    }
    r.skip(2)?;
    if r.bits(24)? != SYNC_CODE {
        return None;
    }
    // §6.2.2 color_config()
    if profile >= 2 {
        r.skip(1)?;
    }
    let full_chroma = profile == 1 || profile == 3;
    if r.bits(3)? == COLOUR_SPACE_RGB {
        r.skip(if full_chroma { 1 } else { 0 })?;
    } else {
        r.skip(if full_chroma { 4 } else { 1 })?;
    }
    let width = u64::from(r.bits(16)?) + 1;
    let height = u64::from(r.bits(16)?) + 1;
    checked_size(width, height)
}

#[cfg(test)]
mod tests;
