//! Opus packets (RFC 6716): length and kind, for continuity and DTX.

/// What an Opus packet's table-of-contents byte tells (RFC 6716 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Toc {
    /// Duration of the whole packet in samples at 48 kHz, which is the RTP clock (RFC 7587 §4.1).
    pub samples: u16,
    /// Two channels.
    pub stereo: bool,
    /// Carries no sound: one or two bytes, as encoders in DTX send (RFC 6716 §2.1.9).
    pub silent: bool,
}

/// Reads an Opus packet; `None` when it is empty or breaks a rule on its
/// duration: no frames, or more than 120 ms (RFC 6716 §3.2.5).
pub fn parse(payload: &[u8]) -> Option<Toc> {
    const MAX_SAMPLES: u32 = 5760;
    let toc = *payload.first()?;
    let config = toc >> 3;
    // Table 2, in samples at 48 kHz.
    let frame: u32 = match (config, config & 3) {
        (0..=11, 0) => 480,
        (0..=11, 1) => 960,
        (0..=11, 2) => 1920,
        (0..=11, _) => 2880,
        (12..=15, _) => 480 << (config & 1),
        (_, step) => 120 << step,
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(payload.get(1)? & 0x3f),
    };
    let samples = frames * frame;
    (1..=MAX_SAMPLES).contains(&samples).then_some(Toc {
        samples: samples as u16,
        stereo: toc & 4 != 0,
        silent: payload.len() <= 2,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(payload: &[u8]) -> Option<u16> {
        parse(payload).map(|t| t.samples)
    }

    #[test]
    fn durations_of_table_2() {
        let silk = [480, 960, 1920, 2880];
        for config in 0..12u8 {
            let want = silk[usize::from(config % 4)];
            assert_eq!(samples(&[config << 3, 1, 2]), Some(want), "config {config}");
        }
        for (config, want) in [(12u8, 480), (13, 960), (14, 480), (15, 960)] {
            assert_eq!(samples(&[config << 3, 1, 2]), Some(want), "config {config}");
        }
        for config in 16..32u8 {
            let want = [120, 240, 480, 960][usize::from(config % 4)];
            assert_eq!(samples(&[config << 3, 1, 2]), Some(want), "config {config}");
        }
    }

    #[test]
    fn frame_counts() {
        assert_eq!(samples(&[0x79, 0, 0]), Some(1920), "two equal frames");
        assert_eq!(samples(&[0x7a, 1, 0, 0]), Some(1920), "two unequal frames");
        assert_eq!(
            samples(&[0x7b, 0x83, 0, 0]),
            Some(2880),
            "three, VBR flag set"
        );
        assert_eq!(samples(&[0x7b, 6, 0]), Some(5760), "120 ms");
        assert_eq!(samples(&[0x7b, 7, 0]), None, "140 ms is not allowed");
        assert_eq!(samples(&[0x1b, 0x3f, 0]), None, "63 of 60 ms");
        assert_eq!(samples(&[0x7b, 0, 0]), None, "no frames are not allowed");
        assert_eq!(samples(&[0x7b]), None, "the count is missing");
        assert_eq!(samples(&[]), None);
    }

    #[test]
    fn stereo_and_silence() {
        let stereo = parse(&[0x7c, 1, 2]).unwrap();
        assert!(stereo.stereo && !stereo.silent);
        let dtx = parse(&[0x78]).unwrap();
        assert!(!dtx.stereo && dtx.silent);
        assert_eq!(dtx.samples, 960);
    }
}
