//! The dependency descriptor RTP header extension (AOM "RTP Payload Format For
//! AV1", appendix A): layers, decode targets and frame numbers of any codec,
//! readable even when the payload is encrypted end to end.
//!
//! The template structure comes with a keyframe and later descriptors refer to
//! it, so a [`Reader`] keeps it for each stream.

use super::bits::BitReader;
use super::packet::{PacketInfo, checked_size};

mod structure;
mod write;

pub use structure::{Structure, Template};
pub use write::{rewrite_frame_number, write_active_decode_targets};

/// The most templates: their id has six bits (A.8.2).
pub const MAX_TEMPLATES: usize = 64;
/// The most decode targets: `dt_cnt_minus_one` has five bits (A.8.2).
pub const MAX_DECODE_TARGETS: usize = 32;
/// The most frames that one frame refers to. The format sets no limit; AV1 has
/// seven references and VP9 three.
pub const MAX_FRAME_DIFFS: usize = 16;
/// The most spatial layers: as many as AV1 has.
pub const MAX_SPATIAL: usize = 4;

/// What a frame is to a decode target (A.8.2, table A.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indication {
    /// Not part of the decode target.
    NotPresent,
    /// Part of it, but nothing in it refers to this frame.
    Discardable,
    /// From this frame on the decode target can be taken.
    Switch,
    /// Needed by later frames of the decode target.
    Required,
}

/// The indications of one frame for all decode targets: two bits each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Indications(u64);

impl Indications {
    /// The indication for a decode target; `NotPresent` for one that does not exist.
    pub fn get(self, target: usize) -> Indication {
        match self.0.checked_shr(2 * target as u32).unwrap_or(0) & 3 {
            0 => Indication::NotPresent,
            1 => Indication::Discardable,
            2 => Indication::Switch,
            _ => Indication::Required,
        }
    }

    fn read(r: &mut BitReader<'_>, targets: usize) -> Option<Self> {
        let mut all = 0u64;
        for target in 0..targets {
            all |= u64::from(r.bits(2)?) << (2 * target);
        }
        Some(Self(all))
    }

    /// No decode target needs the frame for a later one.
    fn discardable(self) -> bool {
        // Switch and Required have the high bit of their pair set.
        self.0 & 0xaaaa_aaaa_aaaa_aaaa == 0
    }

    /// Some decode target can be taken from here.
    fn switch(self) -> bool {
        let (high, low) = (self.0 >> 1, self.0);
        high & !low & 0x5555_5555_5555_5555 != 0
    }
}

/// A short list of numbers without memory of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diffs<T> {
    values: [T; MAX_FRAME_DIFFS],
    len: u8,
}

impl<T: Copy + Default> Default for Diffs<T> {
    fn default() -> Self {
        Self {
            values: [T::default(); MAX_FRAME_DIFFS],
            len: 0,
        }
    }
}

impl<T: Copy> Diffs<T> {
    /// The numbers.
    pub fn as_slice(&self) -> &[T] {
        self.values.get(..usize::from(self.len)).unwrap_or_default()
    }

    fn push(&mut self, value: T) -> Option<()> {
        *self.values.get_mut(usize::from(self.len))? = value;
        self.len += 1;
        Some(())
    }
}

/// Why a descriptor could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Cut short, or it breaks a rule of the format.
    #[error("the dependency descriptor is malformed")]
    Malformed,
    /// It refers to templates that are not known: the stream's structure has
    /// not come yet, or has changed.
    #[error("the dependency descriptor refers to an unknown template")]
    UnknownTemplate,
}

/// The three bytes that every descriptor has (A.8.2 `mandatory_descriptor_fields`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mandatory {
    /// First packet of its frame.
    pub start_of_frame: bool,
    /// Last packet of its frame.
    pub end_of_frame: bool,
    /// Which template the frame follows, before the structure's offset is taken off.
    pub template_id: u8,
    /// The frame's number; grows by one a frame and wraps.
    pub frame_number: u16,
}

impl Mandatory {
    /// Reads the fields; `None` with fewer than three bytes.
    pub fn parse(extension: &[u8]) -> Option<Self> {
        let &[first, high, low, ..] = extension else {
            return None;
        };
        Some(Self {
            start_of_frame: first & 0x80 != 0,
            end_of_frame: first & 0x40 != 0,
            template_id: first & 0x3f,
            frame_number: u16::from_be_bytes([high, low]),
        })
    }
}

/// A descriptor read in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// First packet of its frame.
    pub start_of_frame: bool,
    /// Last packet of its frame.
    pub end_of_frame: bool,
    /// The frame's number; grows by one a frame and wraps.
    pub frame_number: u16,
    /// Spatial layer of the frame.
    pub spatial: u8,
    /// Temporal layer of the frame.
    pub temporal: u8,
    /// It brings a template structure: a new coded video sequence begins.
    pub has_structure: bool,
    /// What the frame is to each decode target.
    pub indications: Indications,
    /// How many frames before this one lie those that it refers to.
    pub frame_diffs: Diffs<u16>,
    /// For each chain, how many frames before this one lies the chain's newest
    /// frame; 0 when there is none.
    pub chain_diffs: [u8; MAX_DECODE_TARGETS],
    /// How many of `chain_diffs` there are.
    pub chains: u8,
    /// Which decode targets the sender still produces, bit 0 for the first,
    /// when this descriptor tells.
    pub active_decode_targets: Option<u32>,
    /// The frame's width and height when the structure has resolutions.
    pub size: Option<(u16, u16)>,
}

/// The flags behind the mandatory fields, and where things lie, in bits.
#[derive(Clone, Copy, Debug, Default)]
struct Layout {
    custom_indications: bool,
    custom_diffs: bool,
    custom_chains: bool,
    /// Where the structure ends, or would lie.
    structure_end: usize,
    /// Where the frame's own definition begins.
    definition: usize,
    /// Where it ends; padding follows.
    end: usize,
}

impl Descriptor {
    /// Reads a descriptor that brings no structure of its own. `structure` is
    /// the stream's newest; one that the descriptor brings is used instead.
    /// A [`Reader`] does this and keeps the structure.
    pub fn parse(extension: &[u8], structure: &Structure) -> Result<Self, Error> {
        match Structure::parse(extension)? {
            Some(own) => Self::parse_with(extension, &own, true).map(|(d, _)| d),
            None => Self::parse_with(extension, structure, false).map(|(d, _)| d),
        }
    }

    fn parse_with(
        extension: &[u8],
        structure: &Structure,
        own: bool,
    ) -> Result<(Self, Layout), Error> {
        let head = Mandatory::parse(extension).ok_or(Error::Malformed)?;
        let mut r = BitReader::new(extension);
        r.skip(24).ok_or(Error::Malformed)?;
        let (mut layout, active) =
            Self::read_extended(&mut r, extension.len(), structure, own).ok_or(Error::Malformed)?;
        let template = structure
            .template(head.template_id)
            .ok_or(Error::UnknownTemplate)?;
        let mut d = Self {
            start_of_frame: head.start_of_frame,
            end_of_frame: head.end_of_frame,
            frame_number: head.frame_number,
            spatial: template.spatial,
            temporal: template.temporal,
            has_structure: own,
            indications: template.indications,
            frame_diffs: Diffs::default(),
            chain_diffs: [0; MAX_DECODE_TARGETS],
            chains: structure.chains() as u8,
            active_decode_targets: active,
            size: structure.resolution(template.spatial),
        };
        d.read_definition(&mut r, layout, structure, template)
            .ok_or(Error::Malformed)?;
        layout.end = r.consumed();
        Ok((d, layout))
    }

    /// `extended_descriptor_fields()` (A.8.2), which longer descriptors have.
    fn read_extended(
        r: &mut BitReader<'_>,
        len: usize,
        structure: &Structure,
        own: bool,
    ) -> Option<(Layout, Option<u32>)> {
        let mut layout = Layout::default();
        let mut active = None;
        if len > 3 {
            let has_structure = r.flag()?;
            let has_active = r.flag()?;
            layout.custom_indications = r.flag()?;
            layout.custom_diffs = r.flag()?;
            layout.custom_chains = r.flag()?;
            if has_structure {
                r.skip(structure.bits())?;
            }
            layout.structure_end = r.consumed();
            if own {
                active = Some(structure.all_targets());
            }
            if has_active {
                active = Some(r.bits(structure.targets() as u32)?);
            }
        } else {
            layout.structure_end = r.consumed();
        }
        layout.definition = r.consumed();
        Some((layout, active))
    }

    /// `frame_dependency_definition()` (A.8.2).
    fn read_definition(
        &mut self,
        r: &mut BitReader<'_>,
        layout: Layout,
        structure: &Structure,
        template: &Template,
    ) -> Option<()> {
        if layout.custom_indications {
            self.indications = Indications::read(r, structure.targets())?;
        }
        if layout.custom_diffs {
            // A.8.2 frame_fdiffs(): the size in half bytes, 0 ends the list.
            loop {
                let size = r.bits(2)?;
                if size == 0 {
                    break;
                }
                self.frame_diffs.push(r.bits(4 * size)? as u16 + 1)?;
            }
        } else {
            for &diff in template.frame_diffs.as_slice() {
                self.frame_diffs.push(u16::from(diff))?;
            }
        }
        let chains = self.chain_diffs.iter_mut().take(structure.chains());
        for (chain, diff) in chains.enumerate() {
            *diff = if layout.custom_chains {
                r.bits(8)? as u8
            } else {
                template.chain_diff(chain)
            };
        }
        Some(())
    }

    /// A keyframe's first spatial layer.
    pub fn is_keyframe(&self) -> bool {
        self.has_structure && self.spatial == 0
    }

    /// The decode targets that the frame is part of, bit 0 for the first.
    pub fn targets(&self, structure: &Structure) -> u32 {
        (0..structure.targets())
            .filter(|target| self.indications.get(*target) != Indication::NotPresent)
            .fold(0, |mask, target| mask | 1 << target)
    }

    /// The fields that every codec's packets have in common.
    pub fn packet_info(&self) -> PacketInfo {
        PacketInfo {
            starts_keyframe: self.is_keyframe() && self.start_of_frame,
            keyframe: self.is_keyframe(),
            starts_frame: self.start_of_frame,
            ends_frame: self.end_of_frame,
            spatial: self.spatial,
            temporal: self.temporal,
            switch_up: self.indications.switch(),
            discardable: self.indications.discardable(),
            size: self.size,
            ..PacketInfo::default()
        }
    }
}

/// Reads the descriptors of one stream and keeps its structure. Its only
/// allocation is the place of the structure, once.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    kept: Option<Box<Kept>>,
    version: u32,
}

#[derive(Clone, Debug)]
struct Kept {
    structure: Structure,
    /// The frame that brought it.
    frame: u16,
    active: u32,
}

/// How far back the frame of a structure may lie to be a late packet rather
/// than a sender that starts anew.
const LATE_FRAMES: u16 = 128;

impl Reader {
    /// Reads the next descriptor. One that brings a structure replaces the kept one, unless it
    /// comes from a slightly older frame, late.
    pub fn read(&mut self, extension: &[u8]) -> Result<Descriptor, Error> {
        let Some(structure) = Structure::parse(extension)? else {
            let kept = self.kept.as_mut().ok_or(Error::UnknownTemplate)?;
            let (d, _) = Descriptor::parse_with(extension, &kept.structure, false)?;
            if let Some(active) = d.active_decode_targets {
                kept.active = active;
            }
            return Ok(d);
        };
        let (d, _) = Descriptor::parse_with(extension, &structure, true)?;
        let active = d.active_decode_targets.unwrap_or(structure.all_targets());
        let frame = d.frame_number;
        match &mut self.kept {
            Some(kept) if (1..=LATE_FRAMES).contains(&kept.frame.wrapping_sub(frame)) => {}
            Some(kept) => {
                if kept.structure != structure {
                    self.version = self.version.wrapping_add(1).max(1);
                }
                **kept = Kept {
                    structure,
                    frame,
                    active,
                };
            }
            None => {
                self.version = self.version.wrapping_add(1).max(1);
                self.kept = Some(Box::new(Kept {
                    structure,
                    frame,
                    active,
                }));
            }
        }
        Ok(d)
    }

    /// The structure in use.
    pub fn structure(&self) -> Option<&Structure> {
        self.kept.as_ref().map(|k| &k.structure)
    }

    /// Counts the structures: the same as long as the same one is in use; 0 without any.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Which decode targets the sender produces, bit 0 for the first; 0 without a structure.
    pub fn active_decode_targets(&self) -> u32 {
        self.kept.as_ref().map_or(0, |k| k.active)
    }

    /// Forgets the structure: the stream begins anew.
    pub fn reset(&mut self) {
        self.kept = None;
    }
}

#[cfg(test)]
mod tests;
