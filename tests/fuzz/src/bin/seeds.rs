//! Writes the seeds of the fuzz targets, made of the repository's fixtures.
//!
//!     weir_fuzz_seeds REPOSITORY OUT

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

fn main() -> io::Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(root), Some(out)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: weir_fuzz_seeds REPOSITORY OUT");
        std::process::exit(2);
    };
    let fixtures = root.join("tests/fixtures");
    for file in files(&fixtures.join("rtp"), "rtp")? {
        let name = file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let codec = name
            .trim_start_matches("chromium-")
            .split('-')
            .next()
            .unwrap_or_default();
        let target = if codec == "opus" { "audio" } else { codec };
        let (mut line, mut descriptors) = (Vec::new(), Vec::new());
        let mut published = vec![0];
        for (number, packet) in framed(&fs::read(&file)?).into_iter().take(24).enumerate() {
            let Some((extension, payload)) = split(packet) else {
                continue;
            };
            let head = &payload[..payload.len().min(200)];
            seed(&out, target, &format!("{name}-{number}"), head)?;
            if number < 2 {
                seed(&out, "rtp_header", &format!("{name}-{number}"), packet)?;
            }
            published.extend([packet.len().min(1020).div_ceil(4) as u8, 4]);
            published.extend(&packet[..packet.len().min(1020) / 4 * 4]);
            append(&mut line, &head[..head.len().min(12)]);
            if let Some(extension) = extension {
                append(&mut descriptors, extension);
            }
        }
        seed(&out, target, &format!("{name}-line"), &line)?;
        seed(&out, "publisher", &name, &published)?;
        if !descriptors.is_empty() {
            seed(&out, "dependency_descriptor", &name, &descriptors)?;
        }
    }
    for file in files(&fixtures.join("offers"), "sdp")? {
        copy(&out, "offer", &file)?;
        copy(&out, "answer", &file)?;
        copy(&out, "fragment", &file)?;
    }
    for file in files(&fixtures.join("offers"), "txt")? {
        copy(&out, "fragment", &file)?;
    }
    for file in files(&root.join("config"), "toml")? {
        copy(&out, "configuration", &file)?;
    }
    for (target, name, bytes) in SMALL {
        seed(&out, target, name, bytes)?;
    }
    Ok(())
}

/// Seeds for targets that have no fixtures.
const SMALL: &[(&str, &str, &[u8])] = &[
    ("sprop", "h264", b"sprop-parameter-sets=Z2QAHqzZQKAv+XARAAADAAEAAAMAMg8WLZY=,aOvjyyLA;a=b"),
    ("sprop", "h265", b"sprop-vps=QAEMAf//AWA=; sprop-sps=QgEBAWA=; sprop-pps=RAHBcrRiQA=="),
    ("stun", "request", b"\x00\x01\x00\x14\x21\x12\xa4\x42abcdefghijkl\x00\x06\x00\x09evtj:h6vY\0\0\0\x00\x25\x00\x00"),
    ("datagram", "request", b"\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl"),
    ("rtcp", "report", b"\x81\xc9\x00\x07\x00\x00\x00\x01\x00\x00\x00\x02\x00\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
    ("rtcp", "twcc", b"\x8f\xcd\x00\x05\x00\x00\x00\x01\x00\x00\x00\x02\x00\x01\x00\x02\x00\x00\x01\x00\x20\x02\x10\x10"),
    ("rtcp", "remb", b"\x8f\xce\x00\x05\x00\x00\x00\x01\x00\x00\x00\x00REMB\x01\x00\x10\x00\x00\x00\x00\x02"),
    ("tcp", "frames", b"\x00\x14\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl\x00\x00\x00\x02hi\x00\x05h"),
    // Ten packets, time, feedback on them, a train, reports.
    ("congestion", "call", b"\x48\x29\x54\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x3e\xff\x1f\x29\x54\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x05\x64\x20\x05\x40\x01\x02\x03\x04"),
    ("srtp", "rtcp", b"\x04\x80\xc9\x00\x01\x00\x00\x00\x01"),
    ("layer", "json", br#"{"mediaId":"1","rid":"h","spatialLayerId":2,"temporalLayerId":1,"maxSpatialLayerId":2,"maxTemporalLayerId":2,"maxWidth":1280,"maxHeight":720}"#),
    ("layer", "query", b"maxWidth=1280&maxHeight=720&encodingId=h&temporalLayerId=1"),
    ("token", "claims", br#"{"iss":"APIweir","sub":"alice","exp":4102444800,"video":{"roomJoin":true,"room":"studio","canPublishSources":["camera"]}}"#),
];

fn files(folder: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let all = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    let paths = all.into_iter().map(|entry| entry.path());
    Ok(paths
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect())
}

fn seed(out: &Path, target: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let folder = out.join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), bytes)
}

fn copy(out: &Path, target: &str, file: &Path) -> io::Result<()> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    seed(out, target, &name, &fs::read(file)?)
}

/// As the codec targets split their input: lengths in units of four bytes.
fn append(to: &mut Vec<u8>, packet: &[u8]) {
    let units = packet.len().div_ceil(4);
    to.push(units as u8);
    to.extend_from_slice(packet);
    to.resize(to.len() + units * 4 - packet.len(), 0);
}

/// The packets of a fixture (RFC 4571 framing).
fn framed(bytes: &[u8]) -> Vec<&[u8]> {
    let mut packets = Vec::new();
    let mut rest = bytes;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (packet, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
        packets.push(packet);
        rest = after;
    }
    packets
}

/// The dependency descriptor (extension id 13) and the payload of an RTP
/// packet of the fixtures, which have no CSRCs and no padding.
fn split(packet: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let body = packet.get(12..)?;
    if packet.first()? & 0x10 == 0 {
        return Some((None, body));
    }
    let (&[p0, p1, l0, l1], after) = body.split_first_chunk::<4>()?;
    let words = usize::from(u16::from_be_bytes([l0, l1]));
    let (mut elements, payload) = after.split_at_checked(words * 4)?;
    let two_bytes = (p0, p1) == (0x10, 0x00);
    let mut found = None;
    while let Some((&first, rest)) = elements.split_first() {
        if first == 0 {
            elements = rest;
            continue;
        }
        let (id, length, rest) = if two_bytes {
            let (&length, rest) = rest.split_first()?;
            (first, usize::from(length), rest)
        } else {
            (first >> 4, usize::from(first & 15) + 1, rest)
        };
        let (value, rest) = rest.split_at_checked(length)?;
        if id == 13 {
            found = Some(value);
        }
        elements = rest;
    }
    Some((found, payload))
}
