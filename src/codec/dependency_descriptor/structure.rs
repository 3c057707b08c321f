//! The template dependency structure (A.8.2 `template_dependency_structure`).

use super::{
    BitReader, Diffs, Error, Indication, Indications, MAX_DECODE_TARGETS, MAX_SPATIAL,
    MAX_TEMPLATES, checked_size,
};

/// What frames that name this template have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// Spatial layer.
    pub spatial: u8,
    /// Temporal layer.
    pub temporal: u8,
    /// What such a frame is to each decode target.
    pub indications: Indications,
    /// How many frames before such a frame lie those that it refers to.
    pub frame_diffs: Diffs<u8>,
    /// Four bits a chain.
    chain_diffs: u128,
}

impl Template {
    /// How many frames before such a frame lies the newest one of the chain; 0
    /// when there is none.
    pub fn chain_diff(&self, chain: usize) -> u8 {
        (self.chain_diffs.checked_shr(4 * chain as u32).unwrap_or(0) & 15) as u8
    }
}

/// How the frames of a coded video sequence depend on each other. Of fixed
/// size (some 3 KiB), whatever a sender says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    id_offset: u8,
    templates: [Template; MAX_TEMPLATES],
    template_count: u8,
    targets: u8,
    chains: u8,
    /// For each decode target, the chain that protects it.
    protected_by: [u8; MAX_DECODE_TARGETS],
    /// For each decode target, its highest spatial and temporal layer.
    layers: [(u8, u8); MAX_DECODE_TARGETS],
    resolutions: Option<[Option<(u16, u16)>; MAX_SPATIAL]>,
    bits: u32,
}

impl Structure {
    /// Reads the structure that a descriptor brings; `Ok(None)` when it brings none.
    pub fn parse(extension: &[u8]) -> Result<Option<Self>, Error> {
        match extension {
            [] | [_] | [_, _] => return Err(Error::Malformed),
            // A.8.2: template_dependency_structure_present_flag
            [_, _, _, flags, ..] if flags & 0x80 != 0 => {}
            _ => return Ok(None),
        }
        let mut r = BitReader::new(extension);
        let read = r.skip(29).and_then(|()| Self::read(&mut r));
        read.map(Some).ok_or(Error::Malformed)
    }

    fn read(r: &mut BitReader<'_>) -> Option<Self> {
        let begin = r.consumed();
        let mut s = Self {
            id_offset: r.bits(6)? as u8,
            templates: [Template::default(); MAX_TEMPLATES],
            template_count: 0,
            targets: r.bits(5)? as u8 + 1,
            chains: 0,
            protected_by: [0; MAX_DECODE_TARGETS],
            layers: [(0, 0); MAX_DECODE_TARGETS],
            resolutions: None,
            bits: 0,
        };
        s.read_layers(r)?;
        let targets = s.targets();
        for template in s.used_templates() {
            template.indications = Indications::read(r, targets)?;
        }
        for template in s.used_templates() {
            while r.flag()? {
                template.frame_diffs.push(r.bits(4)? as u8 + 1)?;
            }
        }
        s.read_chains(r)?;
        s.find_target_layers();
        if r.flag()? {
            s.read_resolutions(r)?;
        }
        s.bits = u32::try_from(r.consumed() - begin).ok()?;
        Some(s)
    }

    /// `template_layers()`.
    fn read_layers(&mut self, r: &mut BitReader<'_>) -> Option<()> {
        let (mut spatial, mut temporal) = (0u8, 0u8);
        loop {
            let template = self.templates.get_mut(usize::from(self.template_count))?;
            template.spatial = spatial;
            template.temporal = temporal;
            self.template_count += 1;
            match r.bits(2)? {
                0 => {}
                1 => temporal += 1,
                2 => {
                    temporal = 0;
                    spatial += 1;
                }
                _ => return Some(()),
            }
            // The codecs have at most four spatial and eight temporal layers.
            if usize::from(spatial) >= MAX_SPATIAL || temporal > 7 {
                return None;
            }
        }
    }

    /// `template_chains()`.
    fn read_chains(&mut self, r: &mut BitReader<'_>) -> Option<()> {
        let targets = u32::from(self.targets);
        let chains = r.ns(targets + 1)?;
        self.chains = chains as u8;
        if chains == 0 {
            return Some(());
        }
        for protected_by in self.protected_by.iter_mut().take(targets as usize) {
            *protected_by = r.ns(chains)? as u8;
        }
        for template in self.used_templates() {
            for chain in 0..chains {
                template.chain_diffs |= u128::from(r.bits(4)?) << (4 * chain);
            }
        }
        Some(())
    }

    /// `decode_target_layers()`.
    fn find_target_layers(&mut self) {
        let count = usize::from(self.template_count);
        for (target, (spatial, temporal)) in self.layers.iter_mut().enumerate() {
            for template in self.templates.iter().take(count) {
                if template.indications.get(target) != Indication::NotPresent {
                    *spatial = (*spatial).max(template.spatial);
                    *temporal = (*temporal).max(template.temporal);
                }
            }
        }
    }

    /// `render_resolutions()`: one for each spatial layer.
    fn read_resolutions(&mut self, r: &mut BitReader<'_>) -> Option<()> {
        let layers = usize::from(self.spatial_layers());
        let mut sizes = [None; MAX_SPATIAL];
        for size in sizes.iter_mut().take(layers) {
            let width = u64::from(r.bits(16)?) + 1;
            let height = u64::from(r.bits(16)?) + 1;
            *size = checked_size(width, height);
        }
        self.resolutions = Some(sizes);
        Some(())
    }

    fn used_templates(&mut self) -> impl Iterator<Item = &mut Template> {
        let count = usize::from(self.template_count);
        self.templates.iter_mut().take(count)
    }

    /// The template that a frame's `template_id` means.
    pub fn template(&self, template_id: u8) -> Option<&Template> {
        let index = template_id.wrapping_sub(self.id_offset) & 63;
        self.templates().get(usize::from(index))
    }

    /// All templates.
    pub fn templates(&self) -> &[Template] {
        self.templates
            .get(..usize::from(self.template_count))
            .unwrap_or_default()
    }

    /// How many decode targets there are, 1 to 32.
    pub fn targets(&self) -> usize {
        usize::from(self.targets)
    }

    /// The highest spatial and temporal layer of a decode target.
    pub fn target_layers(&self, target: usize) -> Option<(u8, u8)> {
        (target < self.targets()).then(|| self.layers.get(target).copied())?
    }

    /// A mask with every decode target.
    pub fn all_targets(&self) -> u32 {
        u32::MAX >> (MAX_DECODE_TARGETS - self.targets())
    }

    /// How many chains there are.
    pub fn chains(&self) -> usize {
        usize::from(self.chains)
    }

    /// The chain that tells a decode target's receiver of a loss; `None` without chains.
    #[cfg(test)]
    pub(super) fn protecting_chain(&self, target: usize) -> Option<usize> {
        if self.chains == 0 || target >= self.targets() {
            return None;
        }
        self.protected_by.get(target).copied().map(usize::from)
    }

    /// How many spatial layers there are.
    pub fn spatial_layers(&self) -> u8 {
        self.templates()
            .iter()
            .map(|t| t.spatial + 1)
            .max()
            .unwrap_or(0)
    }

    /// Width and height of a spatial layer, when the structure tells them.
    pub fn resolution(&self, spatial: u8) -> Option<(u16, u16)> {
        *self.resolutions.as_ref()?.get(usize::from(spatial))?
    }

    /// Its length in a descriptor, in bits.
    pub(super) fn bits(&self) -> u32 {
        self.bits
    }
}
