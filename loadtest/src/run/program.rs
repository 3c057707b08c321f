//! What the publishers send, made once for the whole run.

use super::RunError;
use crate::engine::publisher::{Program, ReadyPicture};
use crate::media::{self, packetizer};
use crate::scenario::types::Scenario;

/// Pictures of every encoding in the wanted sizes, and the sound.
pub(super) fn program(scenario: &Scenario) -> Result<Program, RunError> {
    let m = &scenario.media;
    let mut encodings = Vec::new();
    if m.video {
        let pictures = match &m.video_file {
            Some(path) => media::from_file(m.codec, path)?,
            None => media::builtin(m.codec)?,
        };
        if (m.gop_frames as usize) > pictures.len() {
            return Err(RunError::Program(format!(
                "media.gop-frames: the stream has {} pictures only",
                pictures.len()
            )));
        }
        // Each encoding has half the rate of the next larger one; the smallest first.
        for layer in (0..m.layers).rev() {
            let rate = f64::from(m.kbps) * 1000.0 / f64::from(1 << layer);
            let total = (rate / 8.0 / m.fps) as usize;
            encodings.push(
                pictures
                    .iter()
                    .map(|picture| ReadyPicture {
                        keyframe: picture.keyframe,
                        payloads: packetizer::packetize(m.codec, picture, total, m.payload_bytes),
                    })
                    .collect(),
            );
        }
    }
    Ok(Program {
        fps: m.fps,
        gop: m.gop_frames as usize,
        encodings,
        audio: if m.audio {
            media::audio::builtin()?
        } else {
            Vec::new()
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_layers_are_as_asked() {
        let mut s = Scenario::default();
        s.media.layers = 3;
        s.media.kbps = 1600;
        let p = program(&s).unwrap();
        let rates: Vec<f64> = p
            .encodings
            .iter()
            .map(|e| {
                let bytes: usize = e
                    .iter()
                    .flat_map(|p| &p.payloads)
                    .map(|p| p.bytes.len())
                    .sum();
                bytes as f64 * 8.0 / (e.len() as f64 / s.media.fps) / 1000.0
            })
            .collect();
        for (rate, wanted) in rates.iter().zip([400.0, 800.0, 1600.0]) {
            assert!((rate / wanted - 1.0).abs() < 0.02, "{rates:?}");
        }
        s.media.gop_frames = 1000;
        assert!(program(&s).is_err());
    }
}
