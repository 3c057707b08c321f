//! With which payload types a viewer receives what a publisher sends.

use crate::codec::Codec;
use crate::codec::fmtp::parameter;
use crate::peer::negotiate::NegotiatedCodec;
use crate::room::Format;

/// The payload types one publisher's format goes out with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutgoingFormat {
    /// The codec.
    pub codec: Codec,
    /// Its payload type.
    pub pt: u8,
    /// The RTX payload type for it.
    pub rtx_pt: Option<u8>,
    /// The RED payload type that wraps it.
    pub red_pt: Option<u8>,
    /// The viewer may ask for repairs.
    pub nack: bool,
}

/// What tells two forms of a codec apart, as far as a decoder minds.
#[derive(Debug, Clone, Copy)]
struct Form<'a> {
    codec: Codec,
    channels: u8,
    /// Packetization mode or profile.
    mode: &'a str,
    /// The first bytes of H.264's profile and level.
    profile: &'a str,
}

impl<'a> Form<'a> {
    fn read(codec: Codec, channels: u8, fmtp: &'a str) -> Self {
        let value = |name: &str, default: &'static str| parameter(fmtp, name).unwrap_or(default);
        let mode = match codec {
            Codec::H264 => value("packetization-mode", "0"),
            Codec::Vp9 => value("profile-id", "0"),
            Codec::Av1 => value("profile", "0"),
            Codec::H265 => value("profile-id", "1"),
            _ => "",
        };
        let profile = match codec {
            Codec::H264 => value("profile-level-id", "").get(..4).unwrap_or("4200"),
            _ => "",
        };
        Self {
            codec,
            channels,
            mode,
            profile,
        }
    }

    /// How well a viewer's form fits what a publisher sends: higher is better,
    /// zero is no fit at all.
    fn fit(&self, viewer: &Form<'_>) -> u32 {
        if self.codec != viewer.codec {
            return 0;
        }
        let mode = u32::from(self.mode.eq_ignore_ascii_case(viewer.mode));
        match self.codec {
            // Decoders take any packetization in practice, and publishers declare
            // one profile and send another (OBS), so a different profile is the
            // worse choice and no refusal.
            Codec::H264 => {
                1 + 2 * u32::from(self.profile.eq_ignore_ascii_case(viewer.profile)) + 4 * mode
            }
            Codec::Vp9 | Codec::Av1 | Codec::H265 => 1 + mode,
            Codec::Opus => 1,
            _ => 1 + u32::from(self.channels == viewer.channels),
        }
    }
}

/// The viewer has a codec for what a publisher sends in `format`.
pub fn decodes(format: &Format, codecs: &[NegotiatedCodec]) -> bool {
    codecs.iter().any(|c| c.codec == format.codec)
}

/// The payload types for each of the publisher's formats; `None` where the
/// viewer has no codec for it.
pub fn match_formats(
    formats: &[Format],
    codecs: &[NegotiatedCodec],
) -> Vec<Option<OutgoingFormat>> {
    let forms: Vec<Form<'_>> = codecs
        .iter()
        .map(|c| Form::read(c.codec, c.channels, &c.fmtp))
        .collect();
    formats
        .iter()
        .map(|format| {
            let sent = Form::read(format.codec, format.channels, &format.fmtp);
            let mut best: Option<(u32, &NegotiatedCodec)> = None;
            for (codec, form) in codecs.iter().zip(&forms) {
                let fit = sent.fit(form);
                // The first of equals: the viewer's order is its preference.
                if fit > best.map_or(0, |(fit, _)| fit) {
                    best = Some((fit, codec));
                }
            }
            best.map(|(_, codec)| OutgoingFormat {
                codec: codec.codec,
                pt: codec.pt,
                rtx_pt: codec.rtx_pt,
                red_pt: codec.red_pt,
                nack: codec.feedback.nack,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::negotiate::Feedback;

    fn codec(pt: u8, codec: Codec, fmtp: &str) -> NegotiatedCodec {
        NegotiatedCodec {
            pt,
            rtx_pt: Some(pt + 1),
            red_pt: None,
            codec,
            channels: 1,
            fmtp: fmtp.into(),
            feedback: Feedback {
                nack: true,
                ..Default::default()
            },
        }
    }

    fn format(codec: Codec, fmtp: &str) -> Format {
        Format {
            codec,
            fmtp: fmtp.into(),
            channels: 1,
        }
    }

    #[test]
    fn h264_prefers_the_same_mode_then_the_same_profile() {
        let viewer = [
            codec(96, Codec::Vp8, ""),
            codec(
                98,
                Codec::H264,
                "packetization-mode=0;profile-level-id=42e01f",
            ),
            codec(
                100,
                Codec::H264,
                "packetization-mode=1;profile-level-id=640032",
            ),
            codec(
                102,
                Codec::H264,
                "packetization-mode=1;profile-level-id=42e01f",
            ),
        ];
        let pt = |fmtp: &str| match_formats(&[format(Codec::H264, fmtp)], &viewer)[0].map(|f| f.pt);
        assert_eq!(
            pt("profile-level-id=42e01f;packetization-mode=1"),
            Some(102)
        );
        assert_eq!(
            pt("profile-level-id=64001f;packetization-mode=1"),
            Some(100)
        );
        assert_eq!(
            pt("profile-level-id=4d001f;packetization-mode=1"),
            Some(100)
        );
        assert_eq!(pt("profile-level-id=42e01f"), Some(98));
    }

    #[test]
    fn a_codec_the_viewer_lacks_has_no_payload_type() {
        let viewer = [codec(96, Codec::Vp8, "")];
        let formats = [format(Codec::Av1, ""), format(Codec::Vp8, "")];
        let matched = match_formats(&formats, &viewer);
        assert_eq!(matched[0], None);
        assert_eq!(matched[1].map(|f| (f.pt, f.rtx_pt)), Some((96, Some(97))));
    }
}
