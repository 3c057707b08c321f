//! Instructions per packet, counted by callgrind: the same on a busy machine
//! as on a quiet one, so that a test can fail by them.
//!
//! ```text
//! tests/bench/cost            # compare with tests/bench/instructions.txt
//! tests/bench/cost --write    # write it anew
//! ```
//!
//! A real worker core forwards to viewers that made real handshakes; only the
//! named calls are counted. It fails when a figure is more than [`TOLERANCE`]
//! above its line in the file.
#![allow(unsafe_code, missing_docs)]

#[path = "../support/callgrind.rs"]
mod callgrind;
#[path = "peer.rs"]
#[allow(dead_code)]
mod peer;
#[path = "stage.rs"]
#[allow(dead_code)]
mod stage;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use weir::net::{Datagram, Proto, SendArena};
use weir::peer::negotiate::PeerKeys;
use weir::worker::Input;

use peer::Profiles;
use stage::{PICTURE, Stage, Watch, server};

/// The share by which a figure may grow: builds differ a little in inlining,
/// and hash tables in their seeds.
const TOLERANCE: f64 = 0.02;

/// Handshakes draw random numbers, whose arithmetic takes more or less.
const TOLERANCE_RANDOM: f64 = 0.10;

const BASELINE: &str = "tests/bench/instructions.txt";

fn main() -> ExitCode {
    if callgrind::is_running() {
        count();
        return ExitCode::SUCCESS;
    }
    let write = std::env::args().any(|a| a == "--write");
    let figures = match run() {
        Ok(figures) => figures,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(BASELINE);
    if write {
        let text: String = figures
            .iter()
            .map(|(name, value)| format!("{name} {value:.0}\n"))
            .collect();
        std::fs::write(&file, text).expect("the file can be written");
    }
    let known = read(&std::fs::read_to_string(&file).unwrap_or_default());
    judge(&figures, &known)
}

fn read(text: &str) -> BTreeMap<String, f64> {
    text.lines()
        .filter_map(|line| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        })
        .collect()
}

/// Runs this program under callgrind and reads what it counted.
fn run() -> Result<BTreeMap<String, f64>, String> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let folder = own.with_file_name(format!("callgrind-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    let out = folder.join("out");
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--instr-atstart=no", "-q"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(&own)
        .arg("--bench")
        .status()
        .map_err(|e| format!("valgrind is needed (apt-get install valgrind): {e}"))?;
    if !status.success() {
        return Err(format!("the counted run failed: {status}"));
    }
    let mut sums: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .map_err(|e| e.to_string())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
        let after = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key))
                .map(str::trim)
        };
        let Some(label) = after("desc: Trigger: Client Request:") else {
            continue;
        };
        let (Some((name, units)), Some(total)) = (label.split_once(' '), after("totals:")) else {
            return Err(format!("an unreadable count: {label}"));
        };
        let (units, total): (f64, f64) = match (units.parse(), total.parse()) {
            (Ok(units), Ok(total)) => (units, total),
            _ => return Err(format!("an unreadable count: {label}")),
        };
        let sum = sums.entry(name.to_owned()).or_default();
        *sum = (sum.0 + units, sum.1 + total);
    }
    let keep = std::env::var_os("WEIR_KEEP_CALLGRIND").is_some();
    if keep {
        println!("kept in {}", folder.display());
    } else {
        let _ = std::fs::remove_dir_all(&folder);
    }
    Ok(sums
        .into_iter()
        .map(|(name, (units, total))| (name, total / units))
        .collect())
}

/// Prints the figures beside the known ones.
fn judge(figures: &BTreeMap<String, f64>, known: &BTreeMap<String, f64>) -> ExitCode {
    let (mut passed, mut failed) = (0, 0);
    println!(
        "instructions{:>28} {:>10} {:>8}",
        "counted", "known", "change"
    );
    for (name, value) in figures {
        let tolerance = if name.starts_with("connect") {
            TOLERANCE_RANDOM
        } else {
            TOLERANCE
        };
        let Some(before) = known.get(name) else {
            println!("{name:<32} {value:>7.0}   not in {BASELINE}");
            failed += 1;
            continue;
        };
        let change = value / before - 1.0;
        let verdict = if change > tolerance {
            failed += 1;
            "  DEARER"
        } else {
            passed += 1;
            if change < -tolerance {
                "  cheaper: write the file anew"
            } else {
                ""
            }
        };
        println!(
            "{name:<32} {value:>7.0} {before:>10.0} {:>+7.1}%{verdict}",
            change * 100.0
        );
    }
    for name in known.keys().filter(|name| !figures.contains_key(*name)) {
        println!("{name:<32} was not counted");
        failed += 1;
    }
    println!("{passed} passed, {failed} failed");
    if failed > 0 {
        println!("If the cost is meant: tests/bench/cost --write, and say why in the commit.");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Counts what `work` does; it returns how many units that was. Counts of one
/// name are added up.
fn counted(name: &str, work: impl FnOnce() -> u64) -> u64 {
    callgrind::start();
    let units = work();
    stop(name, units);
    units
}

fn stop(name: &str, units: u64) {
    let label = CString::new(format!("{name} {units}")).expect("no zero byte");
    callgrind::stop(&label);
}

/// The counted run.
fn count() {
    let mut stage = Stage::new();
    stage.publish();
    for viewers in [10, 100, 1000] {
        stage.views(viewers + 1 - stage.peers.len());
        stage.warm_up();
        video(&mut stage, &format!("video-to-{viewers}"), viewers);
        if viewers == 100 {
            receive(&mut stage);
            sound(&mut stage);
            repair(&mut stage);
        }
    }
    idle(&mut stage);
    let mut stage = Stage::new();
    stage.publish();
    for _ in 0..100 {
        stage.view(Profiles::Sha1, PeerKeys::Ecdsa, &mut ());
    }
    stage.warm_up();
    video(&mut stage, "video-to-100-sha1", 100);
    connect("connect-dimpl", PeerKeys::Ecdsa);
    connect("connect-openssl", PeerKeys::Unknown);
}

/// A counted turn of the core; what comes out is dropped.
fn turn(stage: &mut Stage, name: &str) -> u64 {
    let (now, core) = (stage.now, &mut stage.core);
    let sent = counted(name, || {
        let mut sent = 0;
        core.turn(now, &mut |arena: &mut SendArena| {
            sent += arena.len() as u64;
            arena.clear();
        });
        sent
    });
    core.outputs.events.clear();
    sent
}

/// Fanning a picture out, a packet sent. Its last packet is shorter, as an
/// encoder's is.
fn video(stage: &mut Stage, name: &str, viewers: usize) {
    for _ in 0..3 {
        let picture = stage.picture(false, 300);
        for bytes in &picture {
            stage.deliver(0, bytes, &mut ());
        }
        let sent = turn(stage, name);
        // Now and then a report goes out with them.
        assert!(sent >= (viewers * PICTURE) as u64, "{name}: {sent} sent");
    }
}

/// Fanning a packet of sound out, a packet sent.
fn sound(stage: &mut Stage) {
    for _ in 0..3 {
        let packet = stage.sound();
        stage.deliver(0, &packet, &mut ());
        let sent = turn(stage, "audio-to-100");
        assert!(sent >= 100, "{sent} sent");
    }
}

/// Taking the publisher's packets in, a packet.
fn receive(stage: &mut Stage) {
    for _ in 0..3 {
        let picture = stage.picture(false, 300);
        let (now, remote) = (stage.now, stage.peers[0].address);
        counted("receive", || {
            for bytes in &picture {
                let datagram = Datagram {
                    proto: Proto::Udp,
                    local: server(),
                    remote,
                    waited: Duration::ZERO,
                    bytes,
                };
                stage.core.handle(now, Input::Datagram(datagram));
            }
            PICTURE as u64
        });
        stage.turn(&mut ());
    }
}

/// Answering a NACK by RTX, a packet sent again.
fn repair(stage: &mut Stage) {
    stage.peers[1].watching = true;
    let pictures: Vec<_> = (0..4).map(|_| stage.picture(false, 300)).collect();
    for picture in &pictures {
        stage.forward(picture);
    }
    stage.peers[1].watching = false;
    let video = std::mem::take(&mut stage.peers[1].seen);
    let video: Vec<_> = video.iter().filter(|p| p.size > 600).collect();
    assert_eq!(video.len(), 4 * PICTURE, "all pictures arrive");
    for lost in video.chunks(PICTURE) {
        // RFC 4585 §6.2.1.
        let mut nack = vec![0x81, 205, 0, 3];
        nack.extend(7u32.to_be_bytes());
        nack.extend(lost[0].ssrc.to_be_bytes());
        nack.extend(lost[0].seq.to_be_bytes());
        nack.extend(0b11_1111u16.to_be_bytes());
        let nack = stage.peers[1].seal_rtcp(nack);
        // Fresh pictures have used up the viewer's pace; repairs come behind them.
        stage.now += Duration::from_millis(200);
        stage.turn(&mut ());
        let (now, remote) = (stage.now, stage.peers[1].address);
        let core = &mut stage.core;
        let repairs = counted("repair", || {
            let datagram = Datagram {
                proto: Proto::Udp,
                local: server(),
                remote,
                waited: Duration::ZERO,
                bytes: &nack,
            };
            core.handle(now, Input::Datagram(datagram));
            let mut sent = 0;
            core.turn(now, &mut |arena: &mut SendArena| {
                sent += arena.len() as u64;
                arena.clear();
            });
            sent
        });
        assert_eq!(repairs, PICTURE as u64, "all are sent again");
    }
}

/// A second of all viewers with no media: timers, a receiver report a second
/// and a consent check in five from each; a viewer.
fn idle(stage: &mut Stage) {
    const STEPS: usize = 100;
    stage.now += Duration::from_secs(3);
    stage.turn(&mut ());
    let viewers = stage.peers.len() - 1;
    for step in 0..STEPS {
        stage.now += Duration::from_secs(1) / STEPS as u32;
        let mut arriving = Vec::new();
        for viewer in (1..=viewers).filter(|v| v % STEPS == step) {
            // An empty receiver report (RFC 3550 §6.4.2).
            let mut report = vec![0x80, 201, 0, 1];
            report.extend((viewer as u32).to_be_bytes());
            arriving.push((viewer, stage.peers[viewer].seal_rtcp(report)));
            if viewer % 5 == 0 {
                arriving.push((viewer, stage.check(viewer)));
            }
        }
        let now = stage.now;
        let core = &mut stage.core;
        let peers = &stage.peers;
        counted("idle-viewer-second", || {
            for (viewer, bytes) in &arriving {
                let datagram = Datagram {
                    proto: Proto::Udp,
                    local: server(),
                    remote: peers[*viewer].address,
                    waited: Duration::ZERO,
                    bytes,
                };
                core.handle(now, Input::Datagram(datagram));
            }
            core.turn(now, &mut |arena: &mut SendArena| arena.clear());
            if step == 0 { viewers as u64 } else { 0 }
        });
        core.outputs.events.clear();
    }
}

/// Counts what the core does while somebody joins.
struct Joining(&'static str);

impl Watch for Joining {
    fn begin(&mut self) {
        callgrind::start();
    }

    fn end(&mut self) {
        stop(self.0, 0);
    }
}

/// From a viewer's offer to its connection, a viewer.
fn connect(name: &'static str, keys: PeerKeys) {
    const VIEWERS: usize = 4;
    let mut stage = Stage::new();
    stage.publish();
    stage.view(Profiles::Gcm, keys, &mut ()); // what is made once
    for _ in 0..VIEWERS {
        stage.view(Profiles::Gcm, keys, &mut Joining(name));
    }
    callgrind::start();
    stop(name, VIEWERS as u64);
}
