//! The floor: what it costs at least to give each viewer its packet, on this
//! machine, at this moment. No WebRTC at all: copy the packet behind a fresh
//! header, seal it with AES-GCM under the viewer's own key, and hand a frame's
//! packets to the kernel with one GSO run for each viewer and `sendmmsg` for all.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::scenario::types::Scenario;
use crate::sys::{RecvBatch, SendBatch, pin_to, thread_cpu_ns};
use crate::wire::rtp;
use crate::wire::srtp::{Profile, Srtp};

/// What the floor costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Floor {
    /// CPU microseconds for each packet, loopback delivery included.
    pub cpu_us_per_packet: f64,
    /// Packets sent.
    pub packets: u64,
    /// Viewers.
    pub viewers: usize,
    /// Bytes of a packet's payload.
    pub payload_bytes: usize,
    /// Packets of a frame, which leave together.
    #[serde(default)]
    pub burst: usize,
}

/// What the floor is to carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Viewers.
    pub viewers: usize,
    /// Bytes of a packet's payload.
    pub payload_bytes: usize,
    /// Packets of a frame, which leave together.
    pub burst: usize,
}

impl Work {
    /// What a scenario's viewers get.
    pub fn of(scenario: &Scenario) -> Self {
        let m = &scenario.media;
        let frame = f64::from(m.kbps) * 1000.0 / 8.0 / m.fps;
        let burst = match m.packets_per_frame {
            0 => (frame / m.payload_bytes as f64).round() as usize,
            packets => packets as usize,
        };
        Self {
            viewers: scenario.viewers() as usize,
            payload_bytes: m.payload_bytes,
            // A run that the kernel cuts has at most 64 pieces and 64 kB.
            burst: burst.clamp(1, (60_000 / m.payload_bytes.max(1)).min(60)),
        }
    }
}

struct Viewer {
    to: SocketAddrV4,
    key: Srtp,
    sequence: u64,
}

/// Does the work for so many viewers for about `time` of CPU and tells its cost.
/// The receiving sockets are drained on the same thread and that time is left out.
/// It runs on a thread of its own, on these cores (anywhere if empty).
pub fn floor(work: Work, cores: &[usize], time: Duration) -> io::Result<Floor> {
    let cores = cores.to_vec();
    let thread = std::thread::Builder::new()
        .name("lt-floor".to_owned())
        .spawn(move || {
            if !cores.is_empty() {
                pin_to(&cores)?;
            }
            measure(work, time)
        })?;
    thread
        .join()
        .map_err(|_| io::Error::other("the floor's thread failed"))?
}

fn measure(work: Work, time: Duration) -> io::Result<Floor> {
    let Work {
        viewers,
        payload_bytes,
        burst,
    } = work;
    let sender = UdpSocket::bind("127.0.0.1:0")?;
    let mut sockets = Vec::with_capacity(viewers);
    let mut all = Vec::with_capacity(viewers);
    for i in 0..viewers {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let SocketAddr::V4(to) = socket.local_addr()? else {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        };
        let key = [(i % 251) as u8; 16];
        let key = Srtp::new(Profile::Gcm128, &key, &[7; 12])
            .ok_or_else(|| io::Error::other("the cipher is not there"))?;
        sockets.push(socket);
        all.push(Viewer {
            to,
            key,
            sequence: 0,
        });
    }
    let payload = vec![0x5A; payload_bytes];
    let mut batch = SendBatch::default();
    let mut drain = RecvBatch::new(false);
    let (mut cpu, mut packets) = (0, 0);
    let end = Instant::now() + time * 10;
    while cpu < time.as_nanos() as u64 && Instant::now() < end {
        let start = thread_cpu_ns();
        batch.clear();
        for viewer in &mut all {
            let run = batch.buffer().len();
            let mut size = 0;
            for i in 0..burst {
                let at = batch.buffer().len();
                let last = i + 1 == burst;
                let number = viewer.sequence as u16;
                let header = rtp::write(batch.buffer(), last, 96, number, 0, 1, &[]);
                batch.buffer().extend_from_slice(&payload);
                let roc = (viewer.sequence >> 16) as u32;
                if !viewer.key.seal_rtp(batch.buffer(), at, header, roc) {
                    return Err(io::Error::other("sealing failed"));
                }
                viewer.sequence += 1;
                size = batch.buffer().len() - at;
            }
            batch.commit(run, Some(viewer.to), u16::try_from(size).ok());
        }
        let sent = batch.send(sender.as_raw_fd())?;
        packets += (sent * burst) as u64;
        cpu += thread_cpu_ns() - start;
        for socket in &sockets {
            while drain.recv(socket.as_raw_fd())? > 0 {}
        }
    }
    Ok(Floor {
        cpu_us_per_packet: cpu as f64 / 1000.0 / packets.max(1) as f64,
        packets,
        viewers,
        payload_bytes,
        burst,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_no_less_than_a_seal() {
        let work = Work {
            viewers: 10,
            payload_bytes: 1100,
            burst: 6,
        };
        let f = floor(work, &[], Duration::from_millis(50)).unwrap();
        assert!(f.packets >= 60, "{f:?}");
        assert_eq!(f.packets % 6, 0);
        // Sealing alone takes a tenth of a microsecond on the fastest machine.
        assert!(f.cpu_us_per_packet > 0.05, "{f:?}");
    }

    #[test]
    fn the_work_is_the_scenarios() {
        let mut s = Scenario::default();
        (s.media.kbps, s.media.payload_bytes, s.load.viewers) = (1949, 1160, 50);
        let work = Work::of(&s);
        assert_eq!(
            (work.viewers, work.burst, work.payload_bytes),
            (50, 7, 1160)
        );
        s.media.packets_per_frame = 9;
        assert_eq!(Work::of(&s).burst, 9);
        s.media.packets_per_frame = 0;
        s.media.kbps = 100_000;
        assert!(Work::of(&s).burst * 1160 < 65_000);
        s.media.kbps = 1;
        assert_eq!(Work::of(&s).burst, 1);
    }
}
