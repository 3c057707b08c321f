//! How large an encoding's keyframes are.

use crate::codec::dependency_descriptor::MAX_SPATIAL;

/// Bytes of each spatial layer, of the newest keyframe, which may not have come whole yet, and of the one before.
#[derive(Debug, Default)]
pub(super) struct KeyframeSizes {
    newest: [u32; MAX_SPATIAL],
    before: [u32; MAX_SPATIAL],
}

impl KeyframeSizes {
    /// A keyframe begins.
    pub fn begin(&mut self) {
        self.before = std::mem::take(&mut self.newest);
    }

    /// A packet of it.
    #[inline]
    pub fn count(&mut self, spatial: u8, bytes: usize) {
        if let Some(of) = self.newest.get_mut(usize::from(spatial)) {
            *of = of.saturating_add(bytes as u32);
        }
    }

    /// The larger one of both, up to a spatial layer.
    pub fn up_to(&self, spatial: u8) -> u64 {
        let both = self.newest.iter().zip(&self.before);
        let layers = both.take(usize::from(spatial) + 1);
        layers.map(|(a, b)| u64::from(*a.max(b))).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_one_of_two_counts_for_each_layer() {
        let mut sizes = KeyframeSizes::default();
        assert_eq!(sizes.up_to(9), 0);
        for (spatial, bytes) in [(0, 500), (0, 500), (1, 3000), (9, 7)] {
            sizes.count(spatial, bytes);
        }
        assert_eq!([0, 1, 3].map(|s| sizes.up_to(s)), [1000, 4000, 4000]);
        sizes.begin();
        sizes.count(0, 2000);
        assert_eq!([0, 1].map(|s| sizes.up_to(s)), [2000, 5000]);
        sizes.begin();
        assert_eq!([0, 1].map(|s| sizes.up_to(s)), [2000, 2000]);
    }
}
