//! The parameter sets of H.264 and H.265, which some encoders send once only.

use crate::codec::{Codec, h264, h265};

/// The parameter sets an encoding repeats to those who join.
#[derive(Debug, Default, Clone)]
pub enum ParameterSets {
    /// The codec has none, or none came yet.
    #[default]
    None,
    /// SPS and PPS.
    H264(h264::ParameterSets),
    /// VPS, SPS and PPS.
    H265(h265::ParameterSets),
}

impl ParameterSets {
    pub(super) fn for_codec(codec: Codec) -> Self {
        match codec {
            Codec::H264 => Self::H264(h264::ParameterSets::default()),
            Codec::H265 => Self::H265(h265::ParameterSets::default()),
            _ => Self::None,
        }
    }

    pub(super) fn absorb(&mut self, payload: &[u8]) {
        match self {
            Self::None => {}
            Self::H264(sets) => {
                sets.absorb(payload);
            }
            Self::H265(sets) => {
                sets.absorb(payload);
            }
        }
    }

    /// The codec has parameter sets.
    pub fn is_needed(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// All sets a decoder needs are known.
    pub fn is_complete(&self) -> bool {
        match self {
            Self::None => false,
            Self::H264(sets) => sets.is_complete(),
            Self::H265(sets) => sets.is_complete(),
        }
    }

    /// Writes one aggregation packet's payload that holds them all.
    pub fn write(&self, out: &mut [u8]) -> Option<usize> {
        match self {
            Self::None => None,
            Self::H264(sets) => sets.write_stap_a(out),
            Self::H265(sets) => sets.write_ap(out),
        }
    }
}
