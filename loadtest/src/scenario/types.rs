//! A scenario's keys. Every key has a default, so a file says only what matters.

use serde::{Deserialize, Serialize};

use crate::media::VideoCodec;

/// A whole scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scenario {
    /// Shown in reports.
    pub name: String,
    /// Measured seconds of each step, after everyone has joined.
    pub seconds: f64,
    /// Seconds between the last join and the measuring.
    pub settle_seconds: f64,
    /// Who is there.
    pub load: Load,
    /// How they arrive.
    pub ramp: Ramp,
    /// What is published.
    pub media: Media,
    /// How viewers behave.
    pub viewer: ViewerKind,
    /// Coming and going while measuring.
    pub churn: Churn,
    /// Where the endpoints are.
    pub http: Http,
    /// Clients that misbehave over HTTP while measuring.
    pub abuse: Abuse,
    /// How the generator works.
    pub generator: Generator,
    /// What must hold.
    pub limits: Limits,
}

/// Rooms, publishers and viewers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Load {
    /// Rooms.
    pub rooms: u32,
    /// Publishers of each room.
    pub publishers: u32,
    /// Viewer sessions of each publisher. With more than one slot (`viewer.video-slots`,
    /// `viewer.audio-slots`) they are that participant's own and watch the others of its room.
    pub viewers: u32,
}

/// How viewers arrive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ramp {
    /// The form.
    pub shape: Shape,
    /// Joins a second, at most (`linear` and `steps`).
    pub joins_per_second: f64,
    /// Shares of the full load at which to measure (`steps`), in percent.
    pub steps: Vec<f64>,
    /// End the ramp at the first step that breaks a limit.
    pub stop_at_limit: bool,
    /// Seconds a join may take before the step goes on without it.
    pub join_timeout_seconds: f64,
}

/// Form of a ramp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// Everyone joins at the same moment.
    AtOnce,
    /// At an even rate, then one measurement.
    Linear,
    /// At an even rate, with a measurement at each step.
    Steps,
}

/// What each publisher sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Media {
    /// The video codec; leave `video` on to send any.
    pub codec: VideoCodec,
    /// Send video.
    pub video: bool,
    /// Send audio: Opus, one packet each 20 ms.
    pub audio: bool,
    /// A file to send instead of the built-in stream: Annex B or IVF. With
    /// simulcast every encoding is this file.
    pub video_file: Option<String>,
    /// A file to send instead of the built-in tone: Ogg Opus.
    pub audio_file: Option<String>,
    /// Video bits per second, in thousands, of the largest encoding.
    pub kbps: u32,
    /// Frames a second.
    pub fps: f64,
    /// Frames from one keyframe to the next; 0 for no keyframe after the first but
    /// those that are asked for (and those that a file has).
    pub gop_frames: u32,
    /// Largest RTP payload.
    pub payload_bytes: usize,
    /// Make every frame exactly so many packets of `payload-bytes`, whatever `kbps`
    /// says; 0 to follow `kbps`.
    pub packets_per_frame: u32,
    /// Negotiate, but send nothing: what sessions cost by themselves. Viewers are
    /// there once they are connected.
    pub silent: bool,
    /// Simulcast encodings, each half the rate of the next; 1 is no simulcast.
    pub layers: u32,
    /// Offer to send again on a stream of its own (RFC 4588); without it packets are
    /// sent again as they were, as OBS does.
    pub rtx: bool,
    /// Number packets for transport-wide feedback.
    pub transport_cc: bool,
    /// Percent of the packets that publishers leave out on purpose. They send
    /// them when asked for; those that never come count as lost.
    pub drop_percent: f64,
}

/// How viewers behave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ViewerKind {
    /// Video sections of each session, as many participants as it sees at once. One is a
    /// session for one publisher; with more it watches its room, and `{publisher}` in
    /// `http.whep` is whoever it belongs to.
    pub video_slots: u32,
    /// Audio sections of each session; as above.
    pub audio_slots: u32,
    /// Every how many viewers one decrypts and checks all it gets. The others
    /// count by headers and look into one packet of 31.
    pub full_check_every: u32,
    /// Ask again for what is missing (NACK).
    pub nack: bool,
    /// Offer retransmissions on a stream of their own.
    pub rtx: bool,
    /// Offer whatever else Chromium does behind the codecs that are used, so that an
    /// offer is as much to read.
    pub every_codec: bool,
    /// What they tell of the bandwidth.
    pub feedback: Feedback,
    /// Every how many viewers one has the bad link below; 0 for none. The link is
    /// on the way from the server and carries its media only.
    pub bad_link_every: u32,
    /// Percent of the packets the bad link loses.
    pub link_loss_percent: f64,
    /// Milliseconds the bad link takes.
    pub link_delay_ms: f64,
    /// Up to so many milliseconds more, at random; order is kept.
    pub link_jitter_ms: f64,
    /// Percent of the packets that come later than those after them.
    pub link_reorder_percent: f64,
    /// Kilobits a second the bad link lets through; 0 for no bound.
    pub link_kbps: u32,
    /// Milliseconds a packet may wait for the bound before it is lost.
    pub link_queue_ms: f64,
    /// Every how many viewers one stops reading its socket after joining; 0 for none.
    pub stop_reading_every: u32,
}

/// Numbers of tracks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tracks {
    /// Sounds.
    pub audio: u32,
    /// Pictures.
    pub video: u32,
}

/// What viewers tell a server of their bandwidth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feedback {
    /// As browsers: transport-wide feedback if the server takes it, else as `remb`.
    #[default]
    Auto,
    /// The bound of a bad link as REMB.
    Remb,
    /// Nothing but receiver reports.
    None,
}

impl Feedback {
    /// Whether to offer transport-wide feedback.
    pub fn transport_cc(self) -> bool {
        self == Self::Auto
    }
}

/// Coming and going, per second.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Churn {
    /// Viewers that leave, each replaced by a new one.
    pub viewers_per_second: f64,
    /// Publishers that leave and come back.
    pub publishers_per_second: f64,
}

/// How sessions are brought up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApiKind {
    /// WHIP and WHEP.
    Whip,
    /// Janus's VideoRoom over REST; the target is its base, such as
    /// `http://host:8088/janus`.
    Janus,
}

/// Endpoints below the target; `{room}` and `{publisher}` stand for names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Http {
    /// How the server is talked to.
    pub api: ApiKind,
    /// WHIP endpoint.
    pub whip: String,
    /// WHEP endpoint.
    pub whep: String,
    /// POSTs under way at the same time.
    pub concurrency: usize,
}

/// Misbehaviour towards the server by clients that are nobody's viewers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Abuse {
    /// Connections that send a request a byte at a time.
    pub slow_requests: u32,
    /// Connections that send half of a body and wait.
    pub half_bodies: u32,
    /// POSTs a second with a bad token.
    pub bad_tokens_per_second: f64,
    /// Connections a second that send bytes which are no HTTP, or no SDP.
    pub garbage_requests_per_second: f64,
    /// Datagrams a second of noise to where the server takes media.
    pub garbage_datagrams_per_second: f64,
}

/// The generator's own threads and sockets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Generator {
    /// Threads that receive.
    pub receive_threads: usize,
    /// Let the kernel join received datagrams (UDP GRO). Off, because on loopback
    /// it would spare a batching server the work of a real network.
    pub gro: bool,
    /// Microseconds that receive threads rest before they look at their sockets again; 0
    /// to be woken for each datagram. On loopback the sender pays for waking the receiver, which no
    /// network makes it do. Delays are those of the kernel's time-stamps either way.
    pub rest_us: u64,
    /// Bytes of each viewer's receive buffer.
    pub socket_buffer: usize,
    /// Keep the server on the first cores and the generator on the others, when
    /// the tool starts the server and there are at least two.
    pub pin: bool,
}

/// What must hold in each step. A limit that is left out is not checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Percent of the viewers, and of the publishers, that must be connected (viewers must have
    /// decoded a keyframe) before measuring begins, and at its end.
    pub connected_percent: Option<f64>,
    /// Percent of the tracks (a participant's picture or sound for one viewer) that must
    /// have come to their viewers.
    pub tracks_percent: Option<f64>,
    /// Percent of the packets that may be lost.
    pub loss_percent: Option<f64>,
    /// Median delay in milliseconds.
    pub delay_p50_ms: Option<f64>,
    /// 99th percentile of the delay in milliseconds.
    pub delay_p99_ms: Option<f64>,
    /// 99.9th percentile of the delay in milliseconds.
    pub delay_p999_ms: Option<f64>,
    /// 95th percentile of the time from POST to the first keyframe, milliseconds.
    pub join_p95_ms: Option<f64>,
    /// A gap between decodable frames beyond this is a freeze.
    pub freeze_ms: f64,
    /// Freezes that may happen.
    pub freezes: Option<u64>,
    /// Packets that may come twice.
    pub duplicates: Option<u64>,
    /// Packets that may be not authentic or not well-formed.
    pub bad_packets: Option<u64>,
    /// HTTP requests that may fail.
    pub http_errors: Option<u64>,
    /// Server's CPU time for each forwarded packet, microseconds.
    pub cpu_us_per_packet: Option<f64>,
    /// Server's memory for each session, kilobytes.
    pub kilobytes_per_session: Option<f64>,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            name: "unnamed".to_owned(),
            seconds: 10.0,
            settle_seconds: 1.0,
            load: Load::default(),
            ramp: Ramp::default(),
            media: Media::default(),
            viewer: ViewerKind::default(),
            churn: Churn::default(),
            http: Http::default(),
            abuse: Abuse::default(),
            generator: Generator::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connected_percent: None,
            tracks_percent: Some(100.0),
            loss_percent: None,
            delay_p50_ms: None,
            delay_p99_ms: None,
            delay_p999_ms: None,
            join_p95_ms: None,
            freeze_ms: 200.0,
            freezes: None,
            duplicates: None,
            bad_packets: Some(0),
            http_errors: None,
            cpu_us_per_packet: None,
            kilobytes_per_session: None,
        }
    }
}

impl Default for Load {
    fn default() -> Self {
        Self {
            rooms: 1,
            publishers: 1,
            viewers: 10,
        }
    }
}

impl Default for Ramp {
    fn default() -> Self {
        Self {
            shape: Shape::Linear,
            joins_per_second: 100.0,
            steps: Vec::new(),
            stop_at_limit: true,
            join_timeout_seconds: 10.0,
        }
    }
}

impl Default for Media {
    fn default() -> Self {
        Self {
            codec: VideoCodec::H264,
            video: true,
            audio: true,
            video_file: None,
            audio_file: None,
            kbps: 1500,
            fps: 30.0,
            gop_frames: 60,
            payload_bytes: 1150,
            packets_per_frame: 0,
            silent: false,
            layers: 1,
            rtx: true,
            transport_cc: true,
            drop_percent: 0.0,
        }
    }
}

impl Default for ViewerKind {
    fn default() -> Self {
        Self {
            video_slots: 1,
            audio_slots: 1,
            full_check_every: 10,
            nack: true,
            rtx: true,
            every_codec: false,
            feedback: Feedback::Auto,
            bad_link_every: 0,
            link_loss_percent: 0.0,
            link_delay_ms: 0.0,
            link_jitter_ms: 0.0,
            link_reorder_percent: 0.0,
            link_kbps: 0,
            link_queue_ms: 100.0,
            stop_reading_every: 0,
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            api: ApiKind::Whip,
            whip: "whip/{room}".to_owned(),
            whep: "whep/{room}".to_owned(),
            concurrency: 32,
        }
    }
}

impl Default for Generator {
    fn default() -> Self {
        Self {
            receive_threads: 1,
            gro: false,
            rest_us: 500,
            socket_buffer: 1 << 20,
            pin: true,
        }
    }
}

impl Scenario {
    /// Viewers at full load.
    pub fn viewers(&self) -> u32 {
        self.publishers().saturating_mul(self.load.viewers)
    }

    /// Publishers of all rooms.
    pub fn publishers(&self) -> u32 {
        self.load.rooms.saturating_mul(self.load.publishers)
    }

    /// One session watches several participants of its room.
    pub fn watches_rooms(&self) -> bool {
        self.viewer.video_slots > 1 || self.viewer.audio_slots > 1
    }

    /// Participants of whom each viewer is to get sound, and those of whom pictures: all
    /// others of its room as far as it has slots.
    pub fn tracks_of_each(&self) -> Tracks {
        let others = match self.load.publishers {
            publishers if self.watches_rooms() => publishers.saturating_sub(1).max(1),
            _ => 1,
        };
        let of = |sent: bool, slots: u32| {
            if sent && !self.media.silent {
                slots.min(others)
            } else {
                0
            }
        };
        Tracks {
            audio: of(self.media.audio, self.viewer.audio_slots),
            video: of(self.media.video, self.viewer.video_slots),
        }
    }

    /// Viewers at which to measure, in order.
    pub fn step_sizes(&self) -> Vec<u32> {
        let full = self.viewers();
        match self.ramp.shape {
            Shape::Steps if !self.ramp.steps.is_empty() => self
                .ramp
                .steps
                .iter()
                .map(|percent| (f64::from(full) * percent / 100.0).round() as u32)
                .collect(),
            _ => vec![full],
        }
    }
}
