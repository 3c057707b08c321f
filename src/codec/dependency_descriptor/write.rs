//! Changing a descriptor on its way to a viewer.

use super::{BitReader, Descriptor, Error, Structure};

/// Writes another frame number into a descriptor, in place. False when it has
/// fewer than three bytes; then nothing is written.
pub fn rewrite_frame_number(extension: &mut [u8], frame_number: u16) -> bool {
    let Some(field) = extension.get_mut(1..3) else {
        return false;
    };
    field.copy_from_slice(&frame_number.to_be_bytes());
    true
}

/// Copies a descriptor to `out` with another mask of active decode targets (bit 0 for the
/// first), so that a receiver does not wait for layers that are not sent to it.
/// Everything else stays as it is. `structure` is the one in use for this descriptor; one
/// that the descriptor brings is used instead. Gives the length, which may be greater than before by the
/// mask and its flags (up to 5 bytes), or an error when the descriptor can't be read or does not fit.
pub fn write_active_decode_targets(
    extension: &[u8],
    structure: &Structure,
    mask: u32,
    out: &mut [u8],
) -> Result<usize, Error> {
    let own = Structure::parse(extension)?;
    let has_own = own.is_some();
    let structure = own.as_ref().unwrap_or(structure);
    let (_, layout) = Descriptor::parse_with(extension, structure, has_own)?;
    let mut r = BitReader::new(extension);
    let mut w = Writer { out, bits: 0 };
    let copied = (|| {
        w.copy(&mut r, 24)?;
        if extension.len() > 3 {
            w.copy(&mut r, 1)?;
            r.skip(1)?;
            w.put(1, 1)?;
            w.copy(&mut r, 3)?;
        } else {
            w.put(0b01000, 5)?;
        }
        let flags_end = r.consumed();
        w.copy(&mut r, layout.structure_end - flags_end)?;
        w.put(mask & structure.all_targets(), structure.targets() as u32)?;
        let mask_bits = layout.definition - layout.structure_end;
        r.skip(u32::try_from(mask_bits).ok()?)?;
        w.copy(&mut r, layout.end - layout.definition)?;
        Some(w.bits.div_ceil(8))
    })();
    copied.ok_or(Error::Malformed)
}

/// Writes bits, most significant first; the rest of the last byte is zero.
struct Writer<'a> {
    out: &'a mut [u8],
    bits: usize,
}

impl Writer<'_> {
    fn put(&mut self, value: u32, count: u32) -> Option<()> {
        for bit in (0..count).rev() {
            let byte = self.out.get_mut(self.bits / 8)?;
            if self.bits.is_multiple_of(8) {
                *byte = 0;
            }
            *byte |= ((value >> bit & 1) as u8) << (7 - self.bits % 8);
            self.bits += 1;
        }
        Some(())
    }

    fn copy(&mut self, r: &mut BitReader<'_>, count: usize) -> Option<()> {
        let mut left = count;
        while left > 0 {
            let take = left.min(32) as u32;
            self.put(r.bits(take)?, take)?;
            left -= take as usize;
        }
        Some(())
    }
}
