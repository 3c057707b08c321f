//! What H.264 and H.265 payloads share: aggregation and a bounded store of
//! parameter sets.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// The longest parameter set that is kept, in bytes. Real ones are below 200;
/// one packet must hold them all.
const MAX_BYTES: usize = 1024;

/// The most parameter sets read from one `sprop` value.
const MAX_SPROP: usize = 32;

/// Outside encoders differ about `=` at the end, so both forms are read.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The NAL units of an aggregation packet: 16-bit sizes, each before its unit
/// (RFC 6184 §5.7.1, RFC 7798 §4.4.2). Ends at the first size that is wrong.
pub(super) struct Aggregate<'a>(pub &'a [u8]);

impl<'a> Iterator for Aggregate<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (size, rest) = self.0.split_first_chunk::<2>()?;
        let (unit, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*size)))?;
        self.0 = rest;
        (!unit.is_empty()).then_some(unit)
    }
}

/// The newest parameter sets of one kind, by id; at most `MAX` of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Store<const MAX: usize> {
    /// Oldest first.
    sets: Vec<Set>,
}

/// One parameter set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Set {
    /// Its own id.
    pub id: u32,
    /// The id of the set it refers to; 0 when it refers to none.
    pub refers_to: u32,
    /// The NAL unit with its header.
    pub nal: Box<[u8]>,
}

impl<const MAX: usize> Store<MAX> {
    /// Keeps `nal` under `id`. True when that changed anything; only then
    /// memory is allocated. The oldest set gives way when all places are taken.
    pub fn put(&mut self, id: u32, refers_to: u32, nal: &[u8]) -> bool {
        if nal.len() > MAX_BYTES {
            return false;
        }
        if let Some(at) = self.sets.iter().position(|s| s.id == id) {
            if self.sets.get(at).is_some_and(|s| *s.nal == *nal) {
                return false;
            }
            self.sets.remove(at);
        } else if self.sets.len() >= MAX {
            self.sets.remove(0);
        }
        self.sets.push(Set {
            id,
            refers_to,
            nal: nal.into(),
        });
        true
    }

    pub fn contains(&self, id: u32) -> bool {
        self.sets.iter().any(|s| s.id == id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Set> {
        self.sets.iter()
    }

    /// The set that changed last.
    pub fn newest(&self) -> Option<&Set> {
        self.sets.last()
    }
}

/// Appends `nal` with its 16-bit size to `out` at `at`; the new end, or `None`
/// when it does not fit.
pub(super) fn append(out: &mut [u8], at: usize, nal: &[u8]) -> Option<usize> {
    let size = u16::try_from(nal.len()).ok()?;
    let end = at.checked_add(2)?.checked_add(nal.len())?;
    let (head, body) = out.get_mut(at..end)?.split_at_mut(2);
    head.copy_from_slice(&size.to_be_bytes());
    body.copy_from_slice(nal);
    Some(end)
}

/// Calls `each` with every NAL unit of a comma-separated base64 list
/// (`sprop-parameter-sets`, `sprop-vps` and its like). What can't be decoded is
/// passed over.
pub(super) fn each_sprop(list: &str, mut each: impl FnMut(&[u8])) {
    for item in list.split(',').map(str::trim).take(MAX_SPROP) {
        if item.is_empty() || item.len() > MAX_BYTES * 2 {
            continue;
        }
        if let Ok(nal) = BASE64.decode(item) {
            each(&nal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aggregate_stops_at_a_wrong_size() {
        let units: Vec<_> = Aggregate(&[0, 1, 7, 0, 2, 8, 9, 0, 9, 1]).collect();
        assert_eq!(units, [&[7][..], &[8, 9][..]]);
        assert_eq!(Aggregate(&[0, 0, 0, 1, 5]).count(), 0);
        assert_eq!(Aggregate(&[0]).count(), 0);
    }

    #[test]
    fn store_is_bounded_and_tells_changes() {
        let mut store = Store::<2>::default();
        assert!(store.put(1, 0, &[1]));
        assert!(!store.put(1, 0, &[1]));
        assert!(store.put(2, 0, &[2]));
        assert!(store.put(1, 0, &[1, 1]), "same id, other content");
        assert_eq!(store.newest().map(|s| s.id), Some(1));
        assert!(store.put(3, 0, &[3]), "the oldest gives way");
        assert!(!store.contains(2));
        assert!(store.contains(1) && store.contains(3));
        assert!(!store.put(4, 0, &[0; MAX_BYTES + 1]), "too long to keep");
        assert_eq!(store.iter().count(), 2);
    }

    #[test]
    fn sprop_reads_both_paddings_and_passes_over_garbage() {
        let mut seen = Vec::new();
        each_sprop("Z0I=, Z0I ,,***,aA==", |nal| seen.push(nal.to_vec()));
        assert_eq!(seen, [vec![0x67, 0x42], vec![0x67, 0x42], vec![0x68]]);
    }
}
