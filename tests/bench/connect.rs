//! What a viewer costs that joins, waits and watches: CPU from its offer to its
//! connection (SDP, ICE, DTLS, keys; not HTTP), and memory.
//!
//! ```text
//! cargo bench --bench connect
//! ```
#![allow(unsafe_code, missing_docs)]

#[path = "peer.rs"]
#[allow(dead_code)]
mod peer;
#[path = "stage.rs"]
#[allow(dead_code)]
mod stage;

use std::time::Duration;

use weir::net::SendArena;
use weir::net::sys::thread_cpu_time;
use weir::peer::negotiate::PeerKeys;

use peer::Profiles;
use stage::{Stage, Watch};

const VIEWERS: usize = 300;

/// Bytes that are allocated, by whatever language.
fn allocated() -> i64 {
    // SAFETY: it only reads the allocator's own numbers.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd) as i64
}

/// CPU and memory of the core's steps.
#[derive(Default)]
struct Meter {
    cpu: Duration,
    bytes: i64,
    begun: Option<(Duration, i64)>,
    memory: bool,
}

impl Watch for Meter {
    fn begin(&mut self) {
        let bytes = if self.memory { allocated() } else { 0 };
        self.begun = Some((thread_cpu_time(), bytes));
    }

    fn end(&mut self) {
        let now = thread_cpu_time();
        if let Some((cpu, bytes)) = self.begun.take() {
            self.cpu += now - cpu;
            if self.memory {
                self.bytes += allocated() - bytes;
            }
        }
    }
}

/// Microseconds of CPU a viewer: the median.
fn cpu(keys: PeerKeys) -> f64 {
    let mut stage = Stage::new();
    stage.publish();
    let mut micros: Vec<f64> = (0..VIEWERS)
        .map(|_| {
            let mut meter = Meter::default();
            stage.view(Profiles::Gcm, keys, &mut meter);
            meter.cpu.as_secs_f64() * 1e6
        })
        .collect();
    micros.sort_by(f64::total_cmp);
    micros[micros.len() / 2]
}

/// Bytes a connected viewer holds before media, and with it.
fn memory(keys: PeerKeys) -> (i64, i64) {
    let mut stage = Stage::new();
    stage.publish();
    let mut meter = Meter {
        memory: true,
        ..Meter::default()
    };
    for _ in 0..VIEWERS {
        stage.view(Profiles::Gcm, keys, &mut meter);
    }
    let idle = meter.bytes / VIEWERS as i64;
    for second in 0..4 {
        for n in 0..30 {
            let picture = stage.picture(second == 0 && n == 0, 300);
            // What the track keeps of the publisher's is no viewer's.
            for bytes in &picture {
                stage.deliver(0, bytes, &mut ());
            }
            let now = stage.now;
            meter.begin();
            // What is sent is dropped at once: it is no viewer's either.
            stage
                .core
                .turn(now, &mut |arena: &mut SendArena| arena.clear());
            stage.core.outputs.events.clear();
            meter.end();
        }
    }
    (idle, meter.bytes / VIEWERS as i64)
}

fn main() {
    println!("DTLS       µs to connect   kB idle   kB active");
    for (name, keys) in [("dimpl", PeerKeys::Ecdsa), ("OpenSSL", PeerKeys::Unknown)] {
        let (idle, active) = memory(keys);
        println!(
            "{name:<10} {:>13.0} {:>9.1} {:>11.1}",
            cpu(keys),
            idle as f64 / 1e3,
            active as f64 / 1e3
        );
    }
}
