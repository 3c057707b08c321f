//! The floor: what it costs at least to give each viewer its packet, on this
//! machine, at this moment. No WebRTC at all: copy the packet behind a fresh
//! header, seal it with AES-GCM under the viewer's own key, and hand a frame's
//! packets to the kernel with one GSO run for each viewer and `sendmmsg` for all; likewise
//! each packet of sound, which is a message of its own. Who watches several publishers has one
//! address and one key for all, but the frames of each are a run of their own, and leave by
//! themselves: publishers send at different times, and nothing waits here.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::media::{self, audio};
use crate::scenario::types::{Scenario, Tracks};
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
    /// Packets of sound for 100 frames.
    #[serde(default)]
    pub sounds_per_100_frames: usize,
    /// Pictures and sounds of different publishers that each viewer gets.
    #[serde(default)]
    pub tracks: Tracks,
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
    /// Packets of sound for 100 frames.
    pub sounds_per_100_frames: usize,
    /// Bytes of a packet of sound.
    pub sound_bytes: usize,
    /// Pictures and sounds of different publishers that each viewer gets.
    pub tracks: Tracks,
}

impl Work {
    /// Video alone.
    pub fn video(viewers: usize, payload_bytes: usize, burst: usize) -> Self {
        Self {
            viewers,
            payload_bytes,
            burst,
            sounds_per_100_frames: 0,
            sound_bytes: 0,
            tracks: Tracks { audio: 0, video: 1 },
        }
    }

    /// What a scenario's viewers get.
    pub fn of(scenario: &Scenario) -> Self {
        let m = &scenario.media;
        let frame = f64::from(m.kbps) * 1000.0 / 8.0 / m.fps;
        let burst = match m.packets_per_frame {
            0 => (frame / m.payload_bytes as f64).round() as usize,
            packets => packets as usize,
        };
        // A run that the kernel cuts has at most 64 pieces and 64 kB.
        let burst = burst.clamp(1, (60_000 / m.payload_bytes.max(1)).min(60));
        let mut work = Self::video(scenario.viewers() as usize, m.payload_bytes, burst);
        let sound = match &m.audio_file {
            Some(path) => media::audio_from_file(path),
            None => audio::builtin(),
        };
        if m.audio
            && let Ok(sound) = sound
        {
            let bytes: usize = sound.packets.iter().map(Vec::len).sum();
            work.sound_bytes = bytes / sound.packets.len().max(1);
            let frame = 1.0 / m.fps;
            let sounds = 100.0 * frame / sound.interval.as_secs_f64();
            work.sounds_per_100_frames = sounds.round() as usize;
        }
        if !m.silent {
            work.tracks = scenario.tracks_of_each();
        }
        if !m.video {
            // Sound alone: each packet by itself.
            (work.payload_bytes, work.burst) = (work.sound_bytes, 1);
        }
        work
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
    let sender = UdpSocket::bind("127.0.0.1:0")?;
    let mut sockets = Vec::with_capacity(work.viewers);
    let mut all = Vec::with_capacity(work.viewers);
    for i in 0..work.viewers {
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
    let picture = vec![0x5A; work.payload_bytes];
    let sound = vec![0xA5; work.sound_bytes];
    let mut batch = SendBatch::default();
    let mut drain = RecvBatch::new(false);
    let (mut cpu, mut packets, mut due) = (0, 0, 0);
    let end = Instant::now() + time * 10;
    while cpu < time.as_nanos() as u64 && Instant::now() < end {
        // A frame of each publisher, and the sound that falls due with them.
        due += work.sounds_per_100_frames;
        let sounds = due / 100 * work.tracks.audio as usize;
        due %= 100;
        let frames = std::iter::repeat_n((&picture, work.burst), work.tracks.video as usize);
        for (payload, count) in frames.chain(std::iter::repeat_n((&sound, 1), sounds)) {
            let start = thread_cpu_ns();
            batch.clear();
            for viewer in &mut all {
                viewer.write(&mut batch, payload, count)?;
            }
            let sent = batch.send(sender.as_raw_fd())?;
            packets += (sent * count) as u64;
            cpu += thread_cpu_ns() - start;
            for socket in &sockets {
                while drain.recv(socket.as_raw_fd())? > 0 {}
            }
        }
    }
    Ok(Floor {
        cpu_us_per_packet: cpu as f64 / 1000.0 / packets.max(1) as f64,
        packets,
        viewers: work.viewers,
        payload_bytes: work.payload_bytes,
        burst: work.burst,
        sounds_per_100_frames: work.sounds_per_100_frames,
        tracks: work.tracks,
    })
}

impl Viewer {
    /// Appends `count` packets as one run.
    fn write(&mut self, batch: &mut SendBatch, payload: &[u8], count: usize) -> io::Result<()> {
        let run = batch.buffer().len();
        let mut size = 0;
        for i in 0..count {
            let at = batch.buffer().len();
            let number = self.sequence as u16;
            let header = rtp::write(batch.buffer(), i + 1 == count, 96, number, 0, 1, &[]);
            batch.buffer().extend_from_slice(payload);
            let roc = (self.sequence >> 16) as u32;
            if !self.key.seal_rtp(batch.buffer(), at, header, roc) {
                return Err(io::Error::other("sealing failed"));
            }
            self.sequence += 1;
            size = batch.buffer().len() - at;
        }
        let segment = u16::try_from(size).ok().filter(|_| count > 1);
        batch.commit(run, Some(self.to), segment);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_no_less_than_a_seal() {
        let work = Work::video(10, 1100, 6);
        let f = floor(work, &[], Duration::from_millis(50)).unwrap();
        assert!(f.packets >= 60, "{f:?}");
        assert_eq!(f.packets % 6, 0);
        // Sealing alone takes a tenth of a microsecond on the fastest machine.
        assert!(f.cpu_us_per_packet > 0.05, "{f:?}");
    }

    #[test]
    fn sound_is_sent_a_packet_at_a_time() {
        let mut work = Work::video(10, 1100, 6);
        (work.sounds_per_100_frames, work.sound_bytes) = (150, 90);
        work.tracks = Tracks { audio: 1, video: 1 };
        let f = floor(work, &[], Duration::from_millis(50)).unwrap();
        let frames = f.packets as f64 / (10.0 * (6.0 + 1.5));
        // The last frame may lack its sound, or have one more than its share.
        assert!(
            frames > 1.0 && (frames - frames.round()).abs() < 0.2,
            "{f:?}"
        );
    }

    #[test]
    fn who_watches_many_gets_the_packets_of_each() {
        let mut work = Work::video(10, 1100, 6);
        (work.sounds_per_100_frames, work.sound_bytes) = (100, 90);
        work.tracks = Tracks { audio: 3, video: 9 };
        let f = floor(work, &[], Duration::from_millis(50)).unwrap();
        assert_eq!(f.packets % (10 * (9 * 6 + 3)), 0, "{f:?}");
    }

    #[test]
    fn sound_alone_has_a_floor_of_sound() {
        let mut s = Scenario::default();
        (s.media.video, s.media.fps, s.load.viewers) = (false, 50.0, 10);
        let work = Work::of(&s);
        assert_eq!(work.tracks, Tracks { audio: 1, video: 0 });
        let f = floor(work, &[], Duration::from_millis(50)).unwrap();
        assert_eq!((f.burst, f.packets % 10), (1, 0), "{f:?}");
        assert!((20..400).contains(&f.payload_bytes), "{f:?}");
        assert!(f.packets > 100, "{f:?}");
    }

    #[test]
    fn the_work_is_the_scenarios() {
        let mut s = Scenario::default();
        s.media.audio = false;
        (s.media.kbps, s.media.payload_bytes, s.load.viewers) = (1949, 1160, 50);
        let work = Work::of(&s);
        assert_eq!(
            (work.viewers, work.burst, work.payload_bytes),
            (50, 7, 1160)
        );
        assert_eq!(work.sounds_per_100_frames, 0);
        (s.media.audio, s.media.fps) = (true, 30.0);
        let work = Work::of(&s);
        assert_eq!(work.sounds_per_100_frames, 167);
        assert!((20..400).contains(&work.sound_bytes), "{work:?}");
        assert_eq!(work.tracks, Tracks { audio: 1, video: 1 });
        (
            s.load.publishers,
            s.viewer.video_slots,
            s.viewer.audio_slots,
        ) = (5, 9, 3);
        assert_eq!(Work::of(&s).tracks, Tracks { audio: 3, video: 4 });
        (
            s.load.publishers,
            s.viewer.video_slots,
            s.viewer.audio_slots,
        ) = (1, 1, 1);
        s.media.packets_per_frame = 9;
        assert_eq!(Work::of(&s).burst, 9);
        s.media.packets_per_frame = 0;
        s.media.kbps = 100_000;
        assert!(Work::of(&s).burst * 1160 < 65_000);
        s.media.kbps = 1;
        assert_eq!(Work::of(&s).burst, 1);
    }
}
