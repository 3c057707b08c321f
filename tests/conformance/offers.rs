//! Offers of real clients, and ways to alter them.

pub const OBS: &str = include_str!("../fixtures/offers/obs-32.2-h264.sdp");
pub const OBS_SIMULCAST: &str = include_str!("../fixtures/offers/obs-32.2-h264-simulcast3.sdp");
pub const FFMPEG_PASSIVE: &str = include_str!("../fixtures/offers/ffmpeg-9-passive.sdp");
pub const FFMPEG_ACTIVE: &str = include_str!("../fixtures/offers/ffmpeg-9-active.sdp");
pub const FFMPEG_VIDEO: &str = include_str!("../fixtures/offers/ffmpeg-9-video-only.sdp");
pub const PLAYER: &str = include_str!("../fixtures/offers/chromium-recvonly.sdp");

/// Every publishing offer, with its name.
pub const PUBLISHERS: &[(&str, &str)] = &[
    (
        "chromium-av1",
        include_str!("../fixtures/offers/chromium-av1.sdp"),
    ),
    (
        "chromium-av1-simulcast3",
        include_str!("../fixtures/offers/chromium-av1-simulcast3.sdp"),
    ),
    (
        "chromium-av1-svc",
        include_str!("../fixtures/offers/chromium-av1-svc.sdp"),
    ),
    (
        "chromium-default",
        include_str!("../fixtures/offers/chromium-default.sdp"),
    ),
    (
        "chromium-h264",
        include_str!("../fixtures/offers/chromium-h264.sdp"),
    ),
    (
        "chromium-h264-simulcast3",
        include_str!("../fixtures/offers/chromium-h264-simulcast3.sdp"),
    ),
    (
        "chromium-vp8",
        include_str!("../fixtures/offers/chromium-vp8.sdp"),
    ),
    (
        "chromium-vp8-simulcast3",
        include_str!("../fixtures/offers/chromium-vp8-simulcast3.sdp"),
    ),
    (
        "chromium-vp9",
        include_str!("../fixtures/offers/chromium-vp9.sdp"),
    ),
    (
        "chromium-vp9-svc",
        include_str!("../fixtures/offers/chromium-vp9-svc.sdp"),
    ),
    ("ffmpeg-9-active", FFMPEG_ACTIVE),
    ("ffmpeg-9-passive", FFMPEG_PASSIVE),
    ("ffmpeg-9-video-only", FFMPEG_VIDEO),
    (
        "firefox-av1",
        include_str!("../fixtures/offers/firefox-av1.sdp"),
    ),
    (
        "firefox-av1-simulcast3",
        include_str!("../fixtures/offers/firefox-av1-simulcast3.sdp"),
    ),
    (
        "firefox-default",
        include_str!("../fixtures/offers/firefox-default.sdp"),
    ),
    (
        "firefox-h264",
        include_str!("../fixtures/offers/firefox-h264.sdp"),
    ),
    (
        "firefox-vp8",
        include_str!("../fixtures/offers/firefox-vp8.sdp"),
    ),
    (
        "firefox-vp8-simulcast3",
        include_str!("../fixtures/offers/firefox-vp8-simulcast3.sdp"),
    ),
    (
        "firefox-vp9",
        include_str!("../fixtures/offers/firefox-vp9.sdp"),
    ),
    (
        "firefox-vp9-simulcast3",
        include_str!("../fixtures/offers/firefox-vp9-simulcast3.sdp"),
    ),
    (
        "gst-whipsink-h264",
        include_str!("../fixtures/offers/gst-whipsink-h264.sdp"),
    ),
    (
        "gst-whipsink-vp8",
        include_str!("../fixtures/offers/gst-whipsink-vp8.sdp"),
    ),
    ("obs-32.2-h264", OBS),
    ("obs-32.2-h264-simulcast3", OBS_SIMULCAST),
    (
        "simple-whip-client",
        include_str!("../fixtures/offers/simple-whip-client.sdp"),
    ),
];

/// Every watching offer, with its name.
pub const VIEWERS: &[(&str, &str)] = &[
    ("chromium-recvonly", PLAYER),
    (
        "firefox-recvonly",
        include_str!("../fixtures/offers/firefox-recvonly.sdp"),
    ),
    (
        "gst-whepsrc",
        include_str!("../fixtures/offers/gst-whepsrc.sdp"),
    ),
    (
        "whep-browser-vp8",
        include_str!("../fixtures/offers/whep-browser-vp8.sdp"),
    ),
];

/// The lines of a section or of the session part, without line ends.
#[derive(Debug, Clone)]
pub struct Part<'a>(pub Vec<&'a str>);

impl<'a> Part<'a> {
    /// The values of `a=name:value` lines.
    pub fn values(&self, name: &str) -> Vec<&'a str> {
        let lines = self.0.iter();
        let attributes = lines.filter_map(|line| line.strip_prefix("a="));
        attributes
            .filter_map(|a| a.strip_prefix(name)?.strip_prefix(':'))
            .collect()
    }

    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.values(name).first().copied()
    }

    pub fn has(&self, line: &str) -> bool {
        self.0.contains(&line)
    }

    /// The words of the m-line.
    pub fn m_line(&self) -> Vec<&'a str> {
        let line = self.0.first().and_then(|line| line.strip_prefix("m="));
        line.unwrap_or_default().split(' ').collect()
    }

    pub fn kind(&self) -> &'a str {
        self.m_line()[0]
    }

    pub fn rejected(&self) -> bool {
        self.m_line()[1] == "0"
    }

    pub fn payload_types(&self) -> Vec<&'a str> {
        self.m_line()[3..].to_vec()
    }
}

/// The session part and the sections of a description.
pub fn parts(sdp: &str) -> (Part<'_>, Vec<Part<'_>>) {
    let mut all = vec![Part(Vec::new())];
    for line in sdp.lines() {
        if line.starts_with("m=") {
            all.push(Part(Vec::new()));
        }
        all.last_mut().expect("a part").0.push(line);
    }
    let session = all.remove(0);
    (session, all)
}

/// The offer with every section in this direction.
pub fn directed(offer: &str, direction: &str) -> String {
    let lines = offer.lines().map(|line| match line {
        "a=sendonly" | "a=recvonly" | "a=sendrecv" | "a=inactive" => format!("a={direction}\r\n"),
        line => format!("{line}\r\n"),
    });
    lines.collect()
}

/// The offer without lines that begin so.
pub fn without(offer: &str, beginnings: &[&str]) -> String {
    let lines = offer.split_inclusive("\r\n");
    lines
        .filter(|line| !beginnings.iter().any(|b| line.starts_with(b)))
        .collect()
}

/// The ICE credentials of a description.
pub fn credentials(sdp: &str) -> (String, String) {
    let value = |name: &str| {
        let line = sdp.lines().find_map(|line| line.strip_prefix(name));
        line.expect("credentials").to_owned()
    };
    (value("a=ice-ufrag:"), value("a=ice-pwd:"))
}
