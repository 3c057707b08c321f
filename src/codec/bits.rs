//! A bit reader for codec headers: bounded, without allocation, and unable to
//! panic. Reading past the end gives `None`.

/// Reads most significant bits first.
#[derive(Clone, Debug)]
pub(crate) struct BitReader<'a> {
    data: &'a [u8],
    next: usize,
    current: u8,
    left: u32,
    consumed: usize,
    /// Skip emulation prevention bytes (H.264 and H.265 §7.4.1, `00 00 03`).
    escaped: bool,
    zeros: u32,
}

impl<'a> BitReader<'a> {
    /// Reads plain bytes.
    pub fn new(data: &'a [u8]) -> Self {
        Self {
            data,
            next: 0,
            current: 0,
            left: 0,
            consumed: 0,
            escaped: false,
            zeros: 0,
        }
    }

    /// Reads the raw byte sequence inside a NAL unit: emulation prevention
    /// bytes are left out.
    pub fn rbsp(data: &'a [u8]) -> Self {
        Self {
            escaped: true,
            ..Self::new(data)
        }
    }

    /// How many bits were read so far, emulation prevention bytes not counted.
    pub fn consumed(&self) -> usize {
        self.consumed
    }

    fn load(&mut self) -> Option<()> {
        let mut byte = *self.data.get(self.next)?;
        self.next += 1;
        if self.escaped && self.zeros >= 2 && byte == 3 {
            self.zeros = 0;
            byte = *self.data.get(self.next)?;
            self.next += 1;
        }
        self.zeros = if byte == 0 { self.zeros + 1 } else { 0 };
        self.current = byte;
        self.left = 8;
        Some(())
    }

    /// The next `count` bits (at most 32) as a number.
    pub fn bits(&mut self, count: u32) -> Option<u32> {
        debug_assert!(count <= 32);
        let mut value = 0u64;
        let mut wanted = count;
        while wanted > 0 {
            if self.left == 0 {
                self.load()?;
            }
            let take = wanted.min(self.left);
            let shifted = u32::from(self.current) >> (self.left - take);
            value = (value << take) | u64::from(shifted & ((1 << take) - 1));
            self.left -= take;
            wanted -= take;
            self.consumed += take as usize;
        }
        Some(value as u32)
    }

    /// The next bit as a flag.
    pub fn flag(&mut self) -> Option<bool> {
        Some(self.bits(1)? == 1)
    }

    /// Passes over `count` bits.
    pub fn skip(&mut self, count: u32) -> Option<()> {
        let mut wanted = count;
        while wanted > 0 {
            let take = wanted.min(32);
            self.bits(take)?;
            wanted -= take;
        }
        Some(())
    }

    /// Unsigned Exp-Golomb, `ue(v)` (H.264 §9.1), and AV1's `uvlc()` but for its
    /// special case of 32 leading zeros, which is refused.
    pub fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some(((1u64 << zeros) - 1 + u64::from(self.bits(zeros)?)) as u32)
    }

    /// Signed Exp-Golomb, `se(v)` (H.264 §9.1.1).
    pub fn se(&mut self) -> Option<i32> {
        let code = i64::from(self.ue()?);
        let magnitude = (code + 1) / 2;
        Some((if code % 2 == 0 { -magnitude } else { magnitude }) as i32)
    }

    /// A number below `n` in AV1's non-symmetric code, `ns(n)` (AV1 §4.10.7).
    pub fn ns(&mut self, n: u32) -> Option<u32> {
        let width = 32 - n.leading_zeros();
        if width == 0 {
            return None;
        }
        let shorter = ((1u64 << width) - u64::from(n)) as u32;
        let value = self.bits(width - 1)?;
        if value < shorter {
            return Some(value);
        }
        Some((value << 1) - shorter + self.bits(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_cross_bytes_and_end() {
        let mut r = BitReader::new(&[0b1010_0101, 0xff, 0x00, 0x12, 0x34]);
        assert_eq!(r.bits(3), Some(0b101));
        assert_eq!(r.bits(7), Some(0b0010111));
        assert_eq!(r.consumed(), 10);
        assert_eq!(r.bits(30), Some(0x3f00_1234));
        assert_eq!(r.bits(0), Some(0));
        assert_eq!(r.bits(1), None);
    }

    #[test]
    fn thirty_two_bits_at_once() {
        let mut r = BitReader::new(&[0xff, 0xff, 0xff, 0xff, 0x80]);
        assert_eq!(r.bits(32), Some(u32::MAX));
        assert_eq!(r.flag(), Some(true));
    }

    #[test]
    fn emulation_prevention_is_left_out() {
        let mut r = BitReader::rbsp(&[0, 0, 3, 1, 0, 0, 3, 0, 0, 3, 3]);
        for want in [0, 0, 1, 0, 0, 0, 0, 3] {
            assert_eq!(r.bits(8), Some(want));
        }
        assert_eq!(r.bits(1), None);
    }

    #[test]
    fn exp_golomb() {
        // 1 | 010 | 011 | 00100 | 00101
        let mut r = BitReader::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        for want in 0..5 {
            assert_eq!(r.ue(), Some(want));
        }
        let mut r = BitReader::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        for want in [0, 1, -1, 2, -2] {
            assert_eq!(r.se(), Some(want));
        }
        assert_eq!(BitReader::new(&[0; 16]).ue(), None);
        let largest = [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xfe];
        assert_eq!(BitReader::new(&largest).ue(), Some(u32::MAX - 1));
    }

    #[test]
    fn non_symmetric() {
        // n = 5: 00 01 10 110 111
        let mut r = BitReader::new(&[0b0001_1011, 0b0111_0000]);
        for want in 0..5 {
            assert_eq!(r.ns(5), Some(want));
        }
        assert_eq!(BitReader::new(&[]).ns(1), Some(0));
        assert_eq!(BitReader::new(&[0]).ns(0), None);
    }
}
