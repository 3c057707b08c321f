//! A small WHIP and WHEP client over real UDP, on str0m: it publishes
//! synthetic media or watches, and notes what it sees on the wire.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::media::{Direction, MediaKind, Rid, Simulcast, SimulcastLayer};
use str0m::{Candidate, IceConnectionState, RtcConfig};

use crate::media::{Codec, ParameterSets};
use engine::{Engine, Filter, Sender};

#[path = "engine.rs"]
mod engine;

/// Where clients are, unless they say otherwise.
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// How often the client's thread looks at its socket.
const TICK: Duration = Duration::from_millis(2);

/// One m-line.
#[derive(Debug, Clone)]
pub struct Track {
    pub codec: Codec,
    /// Simulcast layers with their picture sizes.
    pub layers: Vec<(&'static str, (u16, u16))>,
    /// A RID that is sent but was never negotiated.
    pub stray_rid: Option<&'static str>,
    pub sets: ParameterSets,
    pub faults: Faults,
}

/// What a publisher may do wrong.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// A keyframe every so many pictures, and none on request.
    pub deaf: Option<u32>,
    /// It does not begin with one.
    pub late: bool,
    /// A layer that is announced and never sent.
    pub dead_layer: Option<&'static str>,
    /// How many thousandths its timestamps gain.
    pub clock: u32,
}

impl Track {
    pub fn new(codec: Codec) -> Self {
        Self {
            codec,
            layers: Vec::new(),
            stray_rid: None,
            sets: ParameterSets::Always,
            faults: Faults::default(),
        }
    }
}

/// What arrived as RTP.
#[derive(Debug, Clone)]
pub struct Packet {
    pub kind: MediaKind,
    pub ssrc: u32,
    pub sequence: u64,
    pub timestamp: u32,
    pub payload: Arc<[u8]>,
}

/// What the client has seen.
#[derive(Debug, Default)]
pub struct Seen {
    pub connected: bool,
    /// The peer closed DTLS.
    pub closed: bool,
    pub ice: Option<IceConnectionState>,
    pub packets: Vec<Packet>,
    pub keyframe_requests: usize,
    pub channels_open: usize,
    /// DTLS ClientHellos that came from the server.
    pub client_hellos: usize,
    /// DTLS alerts that came from the server.
    pub alerts: usize,
    /// SRTCP datagrams from the server: first packet type, its length as the
    /// header tells, and the datagram's length.
    pub rtcp: Vec<(u8, usize, usize)>,
    /// STUN datagrams from the server to the present socket.
    pub stun: usize,
}

impl Seen {
    /// Packets of one kind.
    pub fn of(&self, kind: MediaKind) -> Vec<&Packet> {
        self.packets.iter().filter(|p| p.kind == kind).collect()
    }

    pub fn video(&self) -> Vec<&Packet> {
        self.of(MediaKind::Video)
    }
}

/// A client with a thread of its own, which ends when it is dropped.
pub struct Client {
    engine: Arc<Mutex<Engine>>,
    filter: Arc<Filter>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// The offer; a test may send it in an altered form.
    pub offer: String,
    pending: Option<SdpPendingOffer>,
    answer: String,
}

impl Client {
    /// A client that will publish these tracks.
    pub fn publisher(tracks: &[Track]) -> Self {
        Self::new(tracks, Direction::SendOnly, false, LOCALHOST)
    }

    /// A client that will watch these codecs.
    pub fn viewer(codecs: &[Codec]) -> Self {
        let tracks: Vec<Track> = codecs.iter().copied().map(Track::new).collect();
        Self::new(&tracks, Direction::RecvOnly, false, LOCALHOST)
    }

    /// A client that watches what it is offered, and has these codecs; see
    /// [`Client::answer`]. Its own offer has one section that nobody needs.
    pub fn answerer(codecs: &[Codec]) -> Self {
        let mut client = Self::viewer(codecs);
        client.pending = None;
        let mut engine = lock(&client.engine);
        let mut rtc = config(codecs.iter().copied()).build(Instant::now());
        rtc.add_local_candidate(Candidate::host(engine.address, "udp").expect("a candidate"));
        engine.rtc = rtc;
        engine.kinds.clear();
        drop(engine);
        client
    }

    /// Answers the server's offer.
    pub fn answer(&self, offer: &str) -> String {
        let offer = SdpOffer::from_sdp_string(offer).expect("an offer that parses");
        let answer = lock(&self.engine).rtc.sdp_api().accept_offer(offer);
        answer.expect("an offer that fits").to_sdp_string()
    }

    /// A client that offers a data channel too.
    pub fn with_channel(tracks: &[Track]) -> Self {
        Self::new(tracks, Direction::SendOnly, true, LOCALHOST)
    }

    /// A client with an address of IPv6 alone, that publishes or watches.
    pub fn over_ipv6(tracks: &[Track], publishes: bool) -> Self {
        let direction = if publishes {
            Direction::SendOnly
        } else {
            Direction::RecvOnly
        };
        Self::new(tracks, direction, false, Ipv6Addr::LOCALHOST.into())
    }

    fn new(tracks: &[Track], direction: Direction, channel: bool, ip: IpAddr) -> Self {
        let mut rtc = config(tracks.iter().map(|t| t.codec)).build(Instant::now());
        let (socket, address) = socket(ip);
        rtc.add_local_candidate(Candidate::host(address, "udp").expect("a candidate"));
        let mut kinds = Vec::new();
        let mut senders = Vec::new();
        let mut changes = rtc.sdp_api();
        for track in tracks {
            let kind = match track.codec {
                Codec::Opus => MediaKind::Audio,
                Codec::Vp8 | Codec::H264 => MediaKind::Video,
            };
            let simulcast = (!track.layers.is_empty()).then(|| {
                let mut simulcast = Simulcast::new();
                for (rid, _) in &track.layers {
                    simulcast.add_send_layer(SimulcastLayer::new(rid));
                }
                simulcast
            });
            let mid = changes.add_media(kind, direction, Some("test".into()), None, simulcast);
            kinds.push((mid, kind));
            let layers: Vec<(Option<Rid>, (u16, u16))> = if track.layers.is_empty() {
                vec![(None, (640, 480))]
            } else {
                let layers = track.layers.iter();
                layers
                    .map(|(rid, size)| (Some((*rid).into()), *size))
                    .collect()
            };
            for (rid, size) in layers {
                senders.push(Sender {
                    mid,
                    rid,
                    track: track.clone(),
                    size,
                    pt: None,
                    sequence: 1000,
                    timestamp: 90_000,
                    number: 0,
                    next: Instant::now(),
                    key_wanted: true,
                    sets_sent: false,
                });
            }
        }
        if channel {
            changes.add_channel("test".into());
        }
        let (offer, pending) = changes.apply().expect("an offer");
        let engine = Arc::new(Mutex::new(Engine {
            rtc,
            socket,
            address,
            kinds,
            senders,
            publishing: direction == Direction::SendOnly,
            seen: Seen::default(),
        }));
        let filter = Arc::new(Filter::default());
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (engine, filter, stop) = (engine.clone(), filter.clone(), stop.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    lock(&engine).turn(&filter);
                    std::thread::sleep(TICK);
                }
            }
        });
        Self {
            engine,
            filter,
            stop,
            thread: Some(thread),
            offer: offer.to_sdp_string(),
            pending: Some(pending),
            answer: String::new(),
        }
    }

    /// The offer as a client writes it that gathers nothing: without candidates.
    pub fn offer_without_candidates(&self) -> String {
        let lines = self.offer.split_inclusive("\r\n");
        lines
            .filter(|line| !line.starts_with("a=candidate") && !line.starts_with("a=end-of-cand"))
            .collect()
    }

    /// Takes the answer; media begins when the connection is up.
    pub fn accept(&mut self, answer: &str) {
        self.answer = answer.to_owned();
        let pending = self.pending.take().expect("an offer that waits");
        let mut engine = lock(&self.engine);
        let answer = SdpAnswer::from_sdp_string(answer).expect("an answer that parses");
        engine
            .rtc
            .sdp_api()
            .accept_answer(pending, answer)
            .expect("an answer that fits");
        engine.prepare();
    }

    /// Begins an ICE restart on a new socket, and returns the fragment for the PATCH.
    pub fn begin_restart(&mut self) -> String {
        let mut engine = lock(&self.engine);
        let (socket, address) = socket(engine.address.ip());
        let mut changes = engine.rtc.sdp_api();
        let credentials = changes.ice_restart(false);
        let (_, pending) = changes.apply().expect("an offer");
        self.pending = Some(pending);
        engine.socket = socket;
        engine.address = address;
        format!(
            "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n",
            credentials.ufrag, credentials.pass
        )
    }

    /// Takes the server's fragment: the answer again, with its new credentials.
    pub fn finish_restart(&mut self, fragment: &str) {
        let value = |name: &str| {
            let prefix = format!("a={name}:");
            let line = fragment.lines().find(|line| line.starts_with(&prefix));
            line.expect("credentials").to_owned()
        };
        let (ufrag, pwd) = (value("ice-ufrag"), value("ice-pwd"));
        let answer: String = self
            .answer
            .lines()
            .map(|line| match line {
                line if line.starts_with("a=ice-ufrag:") => format!("{ufrag}\r\n"),
                line if line.starts_with("a=ice-pwd:") => format!("{pwd}\r\n"),
                line => format!("{line}\r\n"),
            })
            .collect();
        let pending = self.pending.take().expect("a restart that waits");
        let mut engine = lock(&self.engine);
        let parsed = SdpAnswer::from_sdp_string(&answer).expect("an answer that parses");
        engine
            .rtc
            .sdp_api()
            .accept_answer(pending, parsed)
            .expect("an answer that fits");
        let candidate = Candidate::host(engine.address, "udp").expect("a candidate");
        engine.rtc.add_local_candidate(candidate);
        engine.seen.stun = 0;
    }

    /// The client's UDP address.
    pub fn address(&self) -> SocketAddr {
        lock(&self.engine).address
    }

    /// Holds back STUN: media only, as from a client that answers no checks.
    pub fn send_no_stun(&self) {
        self.filter.no_stun.store(true, Ordering::Relaxed);
    }

    /// Holds everything back, as if the client had gone.
    pub fn send_nothing(&self) {
        self.filter.nothing.store(true, Ordering::Relaxed);
    }

    /// Loses every `n`th RTP packet on its way out.
    pub fn lose_every(&self, n: usize) {
        *lock(&self.filter.drop_rtp) = (n, 0);
    }

    /// Closes the connection with DTLS `close_notify`.
    pub fn close(&self) {
        lock(&self.engine).rtc.close().expect("a goodbye");
    }

    /// Looks at what was seen.
    pub fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&lock(&self.engine).seen)
    }

    /// Waits until `what` holds; false when it does not within `limit`.
    pub async fn until(&self, limit: Duration, what: impl Fn(&Seen) -> bool) -> bool {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if self.seen(&what) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.seen(&what)
    }

    /// Waits for the connection.
    #[track_caller]
    pub fn connected(&self) -> impl Future<Output = ()> + '_ {
        let place = std::panic::Location::caller();
        async move {
            let up = self
                .until(Duration::from_secs(10), |seen| seen.connected)
                .await;
            assert!(up, "not connected at {place}: {:?}", self.seen(|s| s.ice));
        }
    }

    /// Waits until `n` more video packets have arrived.
    pub async fn more_video(&self, n: usize, limit: Duration) -> bool {
        let before = self.seen(|seen| seen.video().len());
        self.until(limit, |seen| seen.video().len() >= before + n)
            .await
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn config(codecs: impl Iterator<Item = Codec>) -> RtcConfig {
    let config = RtcConfig::new().clear_codecs().set_rtp_mode(true);
    codecs.fold(config, |config, codec| match codec {
        Codec::Opus => config.enable_opus(true, false),
        Codec::Vp8 => config.enable_vp8(true),
        Codec::H264 => config.enable_h264(true),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn socket(ip: IpAddr) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((ip, 0)).expect("a port");
    socket.set_nonblocking(true).expect("non-blocking");
    let address = socket.local_addr().expect("an address");
    (socket, address)
}
