//! The floor: what it costs at least to give each viewer its packet, on this
//! machine, at this moment. No WebRTC at all: copy the packet behind a fresh
//! header, seal it with AES-GCM under the viewer's own key, and hand a frame's
//! packets to the kernel with one GSO run for each viewer and `sendmmsg` for all.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::sys::{RecvBatch, SendBatch, thread_cpu_ns};
use crate::wire::rtp;
use crate::wire::srtp::{Profile, Srtp};

/// Packets of one frame, which leave together.
const FRAME_PACKETS: usize = 6;

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
}

struct Viewer {
    to: SocketAddrV4,
    key: Srtp,
    sequence: u64,
}

/// Does the work for so many viewers for about `time` of CPU and tells its cost.
/// The receiving sockets are drained on the same thread and that time is left out.
pub fn floor(viewers: usize, payload_bytes: usize, time: Duration) -> io::Result<Floor> {
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
            for i in 0..FRAME_PACKETS {
                let at = batch.buffer().len();
                let last = i + 1 == FRAME_PACKETS;
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
        packets += (sent * FRAME_PACKETS) as u64;
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
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_no_less_than_a_seal() {
        let f = floor(10, 1100, Duration::from_millis(50)).unwrap();
        assert!(f.packets >= 60, "{f:?}");
        assert_eq!(f.packets % FRAME_PACKETS as u64, 0);
        // Sealing alone takes a tenth of a microsecond on the fastest machine.
        assert!(f.cpu_us_per_packet > 0.05, "{f:?}");
    }
}
