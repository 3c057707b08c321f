//! What the publishers send, made once for the whole run.

use std::time::Duration;

use super::RunError;
use crate::engine::program::{Encoding, Program, ReadyPicture};
use crate::media::{self, MediaError, Picture, Stream, packetizer};
use crate::scenario::types::{Media, Scenario};

const AUDIO_INTERVAL: Duration = Duration::from_millis(20);

/// Pictures of every encoding in the wanted sizes, and the sound.
pub(super) fn program(scenario: &Scenario) -> Result<Program, RunError> {
    let m = &scenario.media;
    let mut encodings = Vec::new();
    if m.video {
        for (i, size) in media::Size::of_layers(m.layers).iter().enumerate() {
            let stream = match &m.video_file {
                Some(path) => media::from_file(m.codec, path)?,
                None => media::builtin(m.codec, *size)?,
            };
            check_group(&stream, m.gop_frames as usize)?;
            // Each encoding has half the rate of the next larger one; the smallest first.
            let halvings = m.layers - 1 - i as u32;
            let rate = f64::from(m.kbps) * 1000.0 / f64::from(1 << halvings);
            let total = (rate / 8.0 / m.fps) as usize;
            encodings.push(Encoding {
                pictures: stream
                    .pictures
                    .iter()
                    .map(|picture| ready(m, picture, total))
                    .collect::<Result<_, _>>()?,
                goes_on: stream.goes_on,
            });
        }
    }
    let sound = match (&m.audio_file, m.audio) {
        (_, false) => None,
        (Some(path), true) => Some(media::audio_from_file(path)?),
        (None, true) => Some(media::audio::builtin()?),
    };
    let interval = sound.as_ref().map_or(AUDIO_INTERVAL, |s| s.interval);
    Ok(Program {
        fps: m.fps,
        gop: m.gop_frames as usize,
        encodings,
        audio: sound.map_or_else(Vec::new, |s| s.packets),
        audio_interval: interval,
        drop: m.drop_percent / 100.0,
    })
}

fn ready(m: &Media, picture: &Picture, total: usize) -> Result<ReadyPicture, MediaError> {
    let payloads = if m.packets_per_frame > 0 {
        let count = m.packets_per_frame as usize;
        packetizer::packetize_exactly(m.codec, picture, count, m.payload_bytes)?
    } else {
        packetizer::packetize(m.codec, picture, total, m.payload_bytes)
    };
    Ok(ReadyPicture {
        keyframe: picture.keyframe,
        payloads,
    })
}

/// A stream that can't go on without a keyframe has groups no longer than its own.
fn check_group(stream: &Stream, gop: usize) -> Result<(), MediaError> {
    let own = stream.first_group().unwrap_or(stream.pictures.len());
    if stream.goes_on.is_none() && gop > own {
        return Err(MediaError::Unfit(format!(
            "media.gop-frames is {gop}, but the file has a keyframe after {own} pictures; \
             0 takes its keyframes as they are"
        )));
    }
    Ok(())
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
                let e = &e.pictures;
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
        assert!(program(&s).is_ok());
    }

    #[test]
    fn bursts_are_as_asked() {
        let mut s = Scenario::default();
        (s.media.packets_per_frame, s.media.payload_bytes) = (7, 1160);
        let p = program(&s).unwrap();
        for picture in &p.encodings[0].pictures {
            let sizes: Vec<usize> = picture.payloads.iter().map(|p| p.bytes.len()).collect();
            assert_eq!(sizes, [1160; 7]);
        }
        s.media.payload_bytes = 200;
        s.media.packets_per_frame = 2;
        let error = program(&s).unwrap_err().to_string();
        assert!(error.contains("2 packets of 200 bytes"), "{error}");
    }

    /// A file whose second keyframe comes after its second picture.
    #[test]
    fn files_keep_their_groups() {
        let pictures = media::builtin(media::VideoCodec::H264, media::Size::Quarter)
            .unwrap()
            .pictures;
        let mut bytes = Vec::new();
        for unit in [0, 1, 0, 1, 2].iter().flat_map(|i| &pictures[*i].units) {
            bytes.extend_from_slice(&[0, 0, 1]);
            bytes.extend_from_slice(unit);
        }
        let path = std::env::temp_dir().join(format!("loadtest-gop-{}.h264", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        let mut s = Scenario::default();
        s.media.video_file = Some(path.display().to_string());
        s.media.gop_frames = 3;
        let error = program(&s).unwrap_err().to_string();
        for gop in [0, 2] {
            s.media.gop_frames = gop;
            let p = program(&s).unwrap();
            assert_eq!(p.encodings[0].pictures.len(), 5);
            assert_eq!(p.encodings[0].goes_on, None);
        }
        std::fs::remove_file(path).unwrap();
        assert!(error.contains("a keyframe after 2 pictures"), "{error}");
    }
}
