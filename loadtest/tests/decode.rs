//! What publishers send is decoded by FFmpeg, after another implementation has
//! received and decrypted it.

mod fake;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use fake::{Badness, Fake, Payload};
use weir_loadtest::media::{VideoCodec, starts_keyframe};
use weir_loadtest::run::{self, Plan};
use weir_loadtest::scenario;

/// FFmpeg of this machine, or the one that the end-to-end tests brought along.
fn ffmpeg() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|p| p.join("ffmpeg"));
    let venv = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/.cache/venv/lib");
    let bundled = std::fs::read_dir(venv)
        .into_iter()
        .flatten()
        .flatten()
        .map(|d| d.path().join("site-packages/imageio_ffmpeg/binaries"))
        .filter_map(|d| std::fs::read_dir(d).ok())
        .flatten()
        .flatten()
        .map(|d| d.path())
        .filter(|p| p.to_string_lossy().contains("/ffmpeg-"));
    in_path.chain(bundled).find(|p| p.is_file())
}

/// Publishes for a while, with keyframes when viewers come and none later, and
/// returns the video that arrived.
fn publish(codec: VideoCodec, options: &[&str]) -> Vec<Payload> {
    let fake = Fake::start(Badness::default());
    let mut all = vec!["load.viewers=2".to_owned(), "seconds=7.0".to_owned()];
    all.extend(options.iter().map(ToString::to_string));
    let plan = Plan::new(scenario::load("broadcast", &all).unwrap(), &*fake.url);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(run::run(&plan)).unwrap();
    let mut video = fake.video();
    video.sort_by_key(|p| p.number);
    video.dedup_by_key(|p| p.number);
    // What came before the server was ready is missing.
    let first = video.iter().position(|p| starts_keyframe(codec, &p.bytes));
    video.split_off(first.unwrap())
}

/// The frames of a stream: the payloads up to each marker.
fn frames(video: &[Payload]) -> Vec<Vec<&Payload>> {
    let mut out = vec![Vec::new()];
    for payload in video {
        out.last_mut().unwrap().push(payload);
        if payload.marker {
            out.push(Vec::new());
        }
    }
    out.pop();
    out
}

/// Annex B of RFC 6184 payloads.
fn annex_b(video: &[Payload]) -> Vec<u8> {
    let mut out = Vec::new();
    for p in video {
        let b = &p.bytes;
        match b[0] & 31 {
            24 => {
                let mut rest = &b[1..];
                while let [x, y, tail @ ..] = rest {
                    let (unit, tail) = tail.split_at(usize::from(u16::from_be_bytes([*x, *y])));
                    out.extend_from_slice(&[0, 0, 0, 1]);
                    out.extend_from_slice(unit);
                    rest = tail;
                }
            }
            28 => {
                if b[1] & 0x80 != 0 {
                    out.extend_from_slice(&[0, 0, 0, 1, b[0] & 0x60 | b[1] & 31]);
                }
                out.extend_from_slice(&b[2..]);
            }
            _ => {
                out.extend_from_slice(&[0, 0, 0, 1]);
                out.extend_from_slice(b);
            }
        }
    }
    out
}

/// IVF of RFC 7741 payloads with one byte of descriptor.
fn ivf(frames: &[Vec<&Payload>]) -> Vec<u8> {
    let mut out = b"DKIF\0\0\x20\0VP80".to_vec();
    out.extend_from_slice(&640u16.to_le_bytes());
    out.extend_from_slice(&360u16.to_le_bytes());
    out.extend_from_slice(&30u32.to_le_bytes());
    out.extend_from_slice(&1u32.to_le_bytes());
    out.extend_from_slice(&(frames.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    for (i, frame) in frames.iter().enumerate() {
        let bytes: Vec<u8> = frame.iter().flat_map(|p| p.bytes[1..].to_vec()).collect();
        out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(&(i as u64).to_le_bytes());
        out.extend_from_slice(&bytes);
    }
    out
}

/// Decodes a file strictly; returns what tells one picture from another.
fn decode(ffmpeg: &Path, file: &Path) -> Vec<String> {
    let output = Command::new(ffmpeg)
        .args(["-v", "error", "-xerror", "-err_detect", "explode", "-i"])
        .arg(file)
        .args(["-fps_mode", "passthrough", "-f", "framemd5", "-"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter(|l| !l.starts_with('#'))
        .filter_map(|l| l.rsplit(',').next())
        .map(|sum| sum.trim().to_owned())
        .collect()
}

#[test]
fn what_is_published_can_be_decoded() {
    let Some(ffmpeg) = ffmpeg() else {
        eprintln!("no FFmpeg here: not decoded");
        return;
    };
    for (name, extension, codec) in [
        ("h264", "h264", VideoCodec::H264),
        ("vp8", "ivf", VideoCodec::Vp8),
    ] {
        let options = [
            // Beyond the end of the built-in stream, with keyframes on request only.
            format!("media.codec={name}"),
            "media.gop-frames=0".to_owned(),
            "viewer.nack=false".to_owned(),
        ];
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let video = publish(codec, &options);
        let gap = video.windows(2).find(|w| w[1].number != w[0].number + 1);
        assert!(gap.is_none(), "the server missed some");
        let frames = frames(&video);
        assert!(frames.len() > 150, "{}", frames.len());
        let bytes = if codec == VideoCodec::H264 {
            annex_b(&video)
        } else {
            ivf(&frames)
        };
        let file = std::env::temp_dir().join(format!("loadtest-{}-{name}", std::process::id()));
        std::fs::write(&file, bytes).unwrap();
        let pictures = decode(&ffmpeg, &file);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(pictures.len(), frames.len(), "{name}");
        // Each of them is one of the encoder's own, to the bit.
        let own = format!("src/media/fixtures/video-640x360.{extension}");
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(own);
        let own: HashSet<String> = decode(&ffmpeg, &own).into_iter().collect();
        let foreign = pictures.iter().filter(|p| !own.contains(*p)).count();
        assert_eq!(foreign, 0, "{name}: of {} pictures", pictures.len());
        let moved = pictures.windows(2).filter(|w| w[0] != w[1]).count();
        assert!(moved > 60, "{name}: only {moved} moved");
    }
}
