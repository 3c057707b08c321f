//! A WHIP and WHEP server on another implementation (str0m), whose way out is a
//! bad link of known badness: it loses, repeats, delays and reorders exactly the
//! packets it is told to.

// Each test program uses a part of it.
#![allow(dead_code)]

mod http;
mod janus;
mod session;

use std::net::{IpAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use str0m::Input;
use str0m::change::SdpAnswer;
use str0m::media::MediaKind;
use str0m::rtp::RtpPacket;

use session::Session;

/// What is done to the video packets on their way to each viewer, by their
/// count since that viewer's first.
#[derive(Debug, Clone, Copy, Default)]
pub struct Badness {
    /// Lose every n-th packet on the wire.
    pub lose_every: usize,
    /// Send every n-th packet twice.
    pub repeat_every: usize,
    /// Swap every n-th packet with the one after it.
    pub swap_every: usize,
    /// Hold every packet for so long.
    pub delay: Duration,
    /// Leave every n-th packet out before it gets a number, so that no gap shows.
    pub hide_every: usize,
    /// Send nothing more after so many packets.
    pub stop_after: usize,
    /// Refuse every n-th viewer with 503.
    pub refuse_every: usize,
    /// Refuse viewers with 503 while so many are there.
    pub capacity: usize,
    /// Answer NACKs.
    pub repair: bool,
    /// Hold every n-th packet for so long, and no other.
    pub slow: Option<(usize, Duration)>,
    /// Hold every second packet for so long.
    pub shake: Duration,
    /// Hold everything for so long once, after so many packets.
    pub stall: Option<(usize, Duration)>,
    /// Say in sender reports that audio is so much earlier than it is.
    pub audio_shift: Duration,
    /// Change to the other of two encodings after so many frames, again and again.
    pub switch_every: usize,
    /// Send every n-th packet once more under a number of its own.
    pub double_every: usize,
    /// Answer every n-th viewer with something that is no SDP.
    pub garble_every: usize,
    /// Answer viewers so much later.
    pub answer_delay: Duration,
    /// Close the connection of every n-th viewer without an answer.
    pub hang_up_every: usize,
    /// Damage the payload of every n-th packet after it was sealed.
    pub damage_every: usize,
    /// Hold every packet for so long, but those to the first two viewers.
    pub favour_first: Duration,
}

/// Viewers that [`Badness::favour_first`] spares: two that come at once come in any order.
const FAVOURED: usize = 2;

/// What was really done, of all viewers together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Deeds {
    /// Packets lost on the wire.
    pub lost: u64,
    /// Packets sent twice.
    pub repeated: u64,
    /// Pairs swapped.
    pub swapped: u64,
    /// Packets that never got a number.
    pub hidden: u64,
    /// Video packets that went out, repeats included.
    pub sent: u64,
    /// Packets sent again under a number of their own.
    pub doubled: u64,
    /// Retransmissions that went out.
    pub repairs: u64,
    /// Changes of the encoding.
    pub switches: u64,
    /// Keyframe requests of viewers.
    pub keyframe_requests: u64,
    /// Video packets of publishers that came in, each once.
    pub published: u64,
    /// The highest loss that an egress had by transport-wide feedback, percent.
    pub feedback_loss: f32,
    /// The mean loss of video by receiver reports, percent, and how many said so.
    pub report_loss: (f32, u32),
    /// Datagrams that are neither STUN, DTLS, RTP nor RTCP.
    pub garbage: u64,
}

/// A running server. It ends with this value.
pub struct Fake {
    /// Its base URL.
    pub url: String,
    deeds: Arc<Mutex<Deeds>>,
    video: Arc<Mutex<Vec<Payload>>>,
    stop: Arc<AtomicBool>,
}

/// A video packet as the first publisher sent it.
#[derive(Debug, Clone)]
pub struct Payload {
    /// Its extended sequence number.
    pub number: u64,
    /// The last of its frame.
    pub marker: bool,
    /// The payload, decrypted by another implementation.
    pub bytes: Vec<u8>,
}

/// What is said to an offer.
pub(crate) enum Reply {
    Answer(String),
    Refuse,
    Garble,
    HangUp,
}

pub(crate) enum Request {
    Offer {
        viewer: bool,
        sdp: String,
        answer: mpsc::Sender<Reply>,
    },
    /// Make a viewer and offer to it, as Janus does.
    Invite { offer: mpsc::Sender<(u64, String)> },
    /// Its answer.
    Accept { session: u64, sdp: String },
}

impl Fake {
    /// Starts one.
    pub fn start(badness: Badness) -> Self {
        Self::start_at("127.0.0.1:0", badness)
    }

    /// Starts one at an address.
    pub fn start_at(address: &str, badness: Badness) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let ip = listener.local_addr().unwrap().ip();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, requests) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        http::serve(listener, sender, Arc::clone(&stop));
        let deeds = Arc::new(Mutex::new(Deeds::default()));
        let video = Arc::new(Mutex::new(Vec::new()));
        let fake = Self {
            url,
            deeds: Arc::clone(&deeds),
            video: Arc::clone(&video),
            stop: Arc::clone(&stop),
        };
        std::thread::spawn(move || media(ip, badness, &requests, &deeds, &video, &stop));
        fake
    }

    /// The video of publishers so far.
    pub fn video(&self) -> Vec<Payload> {
        self.video.lock().unwrap().clone()
    }

    /// What it has done so far.
    pub fn deeds(&self) -> Deeds {
        *self.deeds.lock().unwrap()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn media(
    ip: IpAddr,
    badness: Badness,
    requests: &mpsc::Receiver<Request>,
    deeds: &Mutex<Deeds>,
    video: &Mutex<Vec<Payload>>,
    stop: &AtomicBool,
) {
    let mut sessions: Vec<Session> = Vec::new();
    let (mut viewers, mut last) = (0, 0);
    while !stop.load(Ordering::Acquire) {
        while let Ok(request) = requests.try_recv() {
            match request {
                Request::Offer {
                    viewer,
                    sdp,
                    answer,
                } => {
                    viewers += usize::from(viewer);
                    let there = sessions.iter().filter(|s| s.viewer).count();
                    let full = viewer && badness.capacity > 0 && there >= badness.capacity;
                    let every = |n: usize| viewer && n > 0 && viewers.is_multiple_of(n);
                    let bad = if full || every(badness.refuse_every) {
                        Some(Reply::Refuse)
                    } else if every(badness.garble_every) {
                        Some(Reply::Garble)
                    } else if every(badness.hang_up_every) {
                        Some(Reply::HangUp)
                    } else {
                        None
                    };
                    let reply = bad.unwrap_or_else(|| match Session::answer(ip, viewer, &sdp) {
                        Some((mut session, text)) => {
                            session.favoured = viewers <= FAVOURED;
                            sessions.push(session);
                            Reply::Answer(text)
                        }
                        None => Reply::Refuse,
                    });
                    let delay = if viewer {
                        badness.answer_delay
                    } else {
                        Duration::ZERO
                    };
                    std::thread::spawn(move || {
                        std::thread::sleep(delay);
                        // Who has hung up needs no answer.
                        let _ = answer.send(reply);
                    });
                }
                Request::Invite { offer } => {
                    last += 1;
                    let (session, text) = Session::invite(ip, last);
                    sessions.push(session);
                    offer.send((last, text)).unwrap();
                }
                Request::Accept { session, sdp } => {
                    let session = sessions.iter_mut().find(|s| s.id == session).unwrap();
                    let pending = session.invitation.take().unwrap();
                    let answer = SdpAnswer::from_sdp_string(&sdp).unwrap();
                    session
                        .rtc
                        .sdp_api()
                        .accept_answer(pending, answer)
                        .unwrap();
                }
            }
        }
        let now = Instant::now();
        let mut packets: Vec<(MediaKind, RtpPacket)> = Vec::new();
        let mut keyframe_wanted = false;
        let mut deeds = deeds.lock().unwrap();
        for s in &mut sessions {
            s.receive(now, &mut deeds);
            if now >= s.deadline {
                s.rtc.handle_input(Input::Timeout(now)).unwrap();
            }
            s.release(now);
            keyframe_wanted |= s.drain(&badness, &mut deeds, &mut packets);
        }
        let video_packets = packets.iter().filter(|(kind, _)| *kind == MediaKind::Video);
        video.lock().unwrap().extend(video_packets.map(|(_, p)| {
            deeds.published += 1;
            Payload {
                number: *p.seq_no,
                marker: p.header.marker,
                bytes: p.payload.to_vec(),
            }
        }));
        for s in sessions.iter_mut().filter(|s| s.viewer && s.connected) {
            for (kind, packet) in &packets {
                s.forward(*kind, packet, &badness, &mut deeds);
            }
            keyframe_wanted |= s.drain(&badness, &mut deeds, &mut Vec::new());
        }
        deeds.keyframe_requests += u64::from(keyframe_wanted);
        drop(deeds);
        if keyframe_wanted {
            for s in sessions.iter_mut().filter(|s| !s.viewer) {
                s.ask_for_keyframe();
            }
        }
        sessions.retain(|s| s.rtc.is_alive());
        if packets.is_empty() {
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}

/// Reads an HTTP request; `None` when none comes.
pub fn read_request(reader: &mut impl std::io::BufRead) -> Option<(String, String, String)> {
    http::read(reader)
}
