//! The doctor: what is wrong with a publisher's set-up, in words for whoever
//! runs the encoder. A pure function over what was measured.

use std::time::Duration;

use serde::Serialize;

use crate::control::messages::{EncodingSnapshot, TrackSnapshot};
use crate::units::MediaKind;

/// A viewer that lost its picture waits for a keyframe; longer than this is
/// noticed by everybody.
const LONG_INTERVAL: Duration = Duration::from_secs(4);

/// Without a keyframe for so long, and deaf to requests.
const NO_KEYFRAME: Duration = Duration::from_secs(10);

/// A layer that was silent for so long, while others came, is dead.
const DEAD_AFTER: Duration = Duration::from_secs(5);

/// Half a second in a quarter of an hour: more than crystals are off, and more
/// than players make good unheard.
const DRIFT: f32 = 500.0;

/// Packets that never came: seen and heard by everybody.
const LOSS: f32 = 0.005;
const HEAVY_LOSS: f32 = 0.03;

/// Packets that had to be asked for again.
const REPAIRED_LOSS: f32 = 0.02;

/// Without RTX repairs can't be told from the stream: worth saying with loss only.
const LOSS_WITHOUT_RTX: f32 = 0.01;

/// Players hold back about this much.
const JITTER: Duration = Duration::from_millis(60);
const LATE: f32 = 0.1;

/// How much viewers suffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Viewers do well, but less well than they could.
    Notice,
    /// Some viewers, or all at times, see or hear it.
    Warning,
    /// All viewers see or hear it.
    Error,
}

/// What to change, in the words of each tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// OBS Studio.
    pub obs: &'static str,
    /// The FFmpeg command.
    pub ffmpeg: &'static str,
    /// GStreamer.
    pub gstreamer: &'static str,
    /// A browser's publish page.
    pub browser: &'static str,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// Its name for programs; names are never changed.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The track: `audio` or `video`.
    pub track: &'static str,
    /// The simulcast layer, where it is about one.
    pub rid: Option<String>,
    /// What is wrong, with the measured number.
    pub what: String,
    /// What viewers see or hear.
    pub effect: String,
    /// What to change.
    pub change: Remedy,
}

/// All that is wrong with a publisher, the worst first; empty when it does well.
pub fn diagnose(tracks: &[TrackSnapshot]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for track in tracks {
        for encoding in &track.encodings {
            examine(track, encoding, &mut findings);
        }
        repairs(track, &mut findings);
        dead_layers(track, &mut findings);
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

fn finding(
    code: &'static str,
    severity: Severity,
    track: &TrackSnapshot,
    rid: Option<&String>,
    (what, effect): (String, &str),
    change: Remedy,
) -> Finding {
    Finding {
        code,
        severity,
        track: track.kind.as_str(),
        rid: rid.cloned(),
        what,
        effect: effect.to_owned(),
        change,
    }
}

/// What one encoding shows.
fn examine(track: &TrackSnapshot, encoding: &EncodingSnapshot, findings: &mut Vec<Finding>) {
    let health = &encoding.health;
    let rid = encoding.rid.as_ref();
    let mut add = |code, severity, words, change| {
        findings.push(finding(code, severity, track, rid, words, change));
    };
    if track.kind == MediaKind::Video && encoding.active {
        if health.b_frames {
            add("b_frames", Severity::Error, b_frames(), NO_B_FRAMES);
        }
        if health.parameter_sets_missing {
            let words = (
                "Keyframes come without their parameter sets (SPS and PPS), and none ever came."
                    .to_owned(),
                "A black picture: no decoder can start without them.",
            );
            add(
                "parameter_sets_missing",
                Severity::Error,
                words,
                REPEAT_HEADERS,
            );
        }
        let deaf = health.answers_requests == Some(false);
        let interval = health.own_keyframe_interval.filter(|i| *i > LONG_INTERVAL);
        let overdue = health.keyframe_age.filter(|age| *age > NO_KEYFRAME && deaf);
        let answers = health.answers_requests == Some(true);
        if let Some(time) = interval.filter(|_| !answers).or(overdue) {
            let words = (
                format!("A keyframe comes only every {}.", seconds(time)),
                "Whoever loses the picture waits so long for the next one; a change of layers \
                 takes as long.",
            );
            add(
                "keyframe_interval",
                Severity::Warning,
                words,
                SHORT_INTERVAL,
            );
        }
        let short = health
            .own_keyframe_interval
            .is_some_and(|i| i <= LONG_INTERVAL);
        if deaf && !short {
            let words = (
                "Keyframe requests (PLI) bring no keyframe.".to_owned(),
                "A picture that broke stays broken until the encoder's next keyframe.",
            );
            add(
                "keyframe_requests_ignored",
                Severity::Warning,
                words,
                SHORT_INTERVAL,
            );
        }
    }
    if !encoding.active {
        return; // what was measured before it stopped is over
    }
    let drift = [health.drift_ppm, health.report_drift_ppm]
        .into_iter()
        .flatten()
        .max_by(|a, b| a.abs().total_cmp(&b.abs()))
        .filter(|ppm| ppm.abs() > DRIFT);
    if let Some(ppm) = drift {
        let direction = if ppm > 0.0 { "slow" } else { "fast" };
        let direction = match health.drift_ppm {
            Some(arrival) if arrival.abs() > DRIFT => direction,
            // By its own reports a media clock that gains is fast.
            _ if ppm > 0.0 => "fast",
            _ => "slow",
        };
        let words = (
            format!(
                "Its clock runs {:.1} ms a second too {direction}.",
                ppm.abs() / 1000.0
            ),
            "The delay grows or the player skips, again and again; picture and sound come apart.",
        );
        add("clock_drift", Severity::Warning, words, STEADY_CLOCK);
    }
    if health.unrepaired > LOSS {
        let severity = if health.unrepaired > HEAVY_LOSS {
            Severity::Error
        } else {
            Severity::Warning
        };
        let words = (
            format!(
                "{} of the packets are lost on their way to the server, repairs counted in.",
                percent(health.unrepaired)
            ),
            "Broken pictures, freezes and gaps in the sound, for every viewer.",
        );
        add("uplink_loss", severity, words, BETTER_UPLINK);
    } else if health.missing > REPAIRED_LOSS {
        let words = (
            format!(
                "{} of the packets do not come at first, and have to be sent again.",
                percent(health.missing)
            ),
            "Nothing yet, or short stutters: repairs take a round trip.",
        );
        add("uplink_loss", Severity::Notice, words, BETTER_UPLINK);
    }
    if health.jitter > JITTER || health.late > LATE {
        let words = (
            format!(
                "Pictures or sound arrive unevenly: {} ms jitter, {} of them late.",
                health.jitter.as_millis(),
                percent(health.late)
            ),
            "Players hold more back, so the delay grows; stutters where that is not enough.",
        );
        add("late_frames", Severity::Warning, words, EVEN_PACE);
    }
}

fn b_frames() -> (String, &'static str) {
    (
        "The encoder makes B-frames: pictures are sent in another order than they are shown in."
            .to_owned(),
        "The picture jumps back and forth: browsers show pictures as they come.",
    )
}

/// Whether what is lost can be asked for again.
fn repairs(track: &TrackSnapshot, findings: &mut Vec<Finding>) {
    if track.kind != MediaKind::Video || !track.receiving {
        return;
    }
    let missing = track.encodings.iter().map(|e| e.health.missing);
    if !track.repair.nack {
        let words = (
            "The offer has no NACK, so lost packets can't be asked for again.".to_owned(),
            "Each loss on the way to the server breaks the picture until the next keyframe.",
        );
        findings.push(finding(
            "no_nack",
            Severity::Warning,
            track,
            None,
            words,
            WITH_REPAIR,
        ));
    } else if !track.repair.rtx && missing.fold(0.0, f32::max) > LOSS_WITHOUT_RTX {
        let words = (
            "The offer has no RTX, and packets are lost on the way.".to_owned(),
            "Mostly nothing: packets are sent again as they were, which tells the sender's \
             congestion control less.",
        );
        findings.push(finding(
            "no_rtx",
            Severity::Notice,
            track,
            None,
            words,
            WITH_REPAIR,
        ));
    }
}

/// Simulcast layers that were announced and do not come.
fn dead_layers(track: &TrackSnapshot, findings: &mut Vec<Finding>) {
    let others = |but: usize| {
        let list = track.encodings.iter().enumerate();
        list.filter(move |(at, e)| *at != but && e.active)
            .filter_map(|(_, e)| e.health.receiving_for)
            .max()
    };
    for (at, encoding) in track.encodings.iter().enumerate() {
        let Some(rid) = encoding.rid.as_ref() else {
            continue;
        };
        let silent = encoding.health.silent_for;
        let longest = others(at).unwrap_or_default();
        let dead = !encoding.active && longest.min(silent.unwrap_or(longest)) > DEAD_AFTER;
        if !dead {
            continue;
        }
        let what = match silent {
            None => format!("Layer {rid} was announced and never came."),
            Some(time) => format!("Layer {rid} stopped {} ago.", seconds(time)),
        };
        let words = (
            what,
            "That quality is not to be had: viewers get a smaller or a larger picture than fits.",
        );
        findings.push(finding(
            "dead_layer",
            Severity::Warning,
            track,
            Some(rid),
            words,
            ALL_LAYERS,
        ));
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn percent(share: f32) -> String {
    format!("{:.1} %", share * 100.0)
}

const NO_B_FRAMES: Remedy = Remedy {
    obs: "Settings → Output → Advanced → Streaming: B-frames 0 (x264: x264 options bframes=0, or tune zerolatency).",
    ffmpeg: "-bf 0 (with libx264 also -tune zerolatency or -profile:v baseline).",
    gstreamer: "x264enc bframes=0 tune=zerolatency; nvh264enc bframes=0; vah264enc b-frames=0.",
    browser: "Choose another codec: browsers make no B-frames by themselves.",
};

const REPEAT_HEADERS: Remedy = Remedy {
    obs: "Use x264 or another hardware encoder; x264 options: repeat-headers=1.",
    ffmpeg: "-bsf:v dump_extra=freq=keyframe, or -x264-params repeat-headers=1.",
    gstreamer: "h264parse config-interval=-1, or rtph264pay config-interval=-1.",
    browser: "Choose another codec, or update the browser.",
};

const SHORT_INTERVAL: Remedy = Remedy {
    obs: "Settings → Output → Keyframe Interval: 2 s (0 leaves it to the encoder, up to 250 pictures).",
    ffmpeg: "-g 60 at 30 pictures a second: two seconds' worth of pictures.",
    gstreamer: "x264enc key-int-max=60; vp8enc keyframe-max-dist=60.",
    browser: "Reload the page: browsers make keyframes when they are asked for one.",
};

const WITH_REPAIR: Remedy = Remedy {
    obs: "OBS 30 or newer offers NACK by itself; another plug-in or an old version does not.",
    ffmpeg: "FFmpeg 8.1 or newer answers NACKs (-f whip); older ones do not.",
    gstreamer: "whipclientsink repairs by itself; with webrtcbin set do-nack=true on the transceiver.",
    browser: "Update the browser.",
};

const STEADY_CLOCK: Remedy = Remedy {
    obs: "Settings → Audio: 48 kHz, as the devices in the system's settings; Settings → Video: a whole frame rate.",
    ffmpeg: "-re -readrate_catchup 1 before each file's -i, so that it does not hurry after its start; for devices -use_wallclock_as_timestamps 1.",
    gstreamer: "is-live=true and do-timestamp=true on sources; no sync=false behind files.",
    browser: "Choose another microphone or camera; a slow computer shows as a clock that runs off.",
};

const BETTER_UPLINK: Remedy = Remedy {
    obs: "A lower bitrate (Settings → Output), a cable in place of wireless, nothing else uploading.",
    ffmpeg: "A lower -b:v with -maxrate and -bufsize of the same size; a cable in place of wireless.",
    gstreamer: "A lower bitrate= on the encoder, or whipclientsink with congestion-control=gcc.",
    browser: "Choose a lower bitrate, a cable in place of wireless, nothing else uploading.",
};

const EVEN_PACE: Remedy = Remedy {
    obs: "View → Stats: when frames are missed or skipped, choose a faster preset, a smaller picture or a hardware encoder; else a cable in place of wireless.",
    ffmpeg: "-re before a file's -i; -preset veryfast or faster when speed= is below 1; a cable in place of wireless.",
    gstreamer: "A faster speed-preset=, is-live=true on sources, queues between source and encoder.",
    browser: "Close other programs and tabs, choose a smaller picture or a lower frame rate.",
};

const ALL_LAYERS: Remedy = Remedy {
    obs: "Settings → Stream → Simulcast: as many layers as computer and uplink carry; View → Stats shows overload.",
    ffmpeg: "FFmpeg publishes one layer: offer no simulcast.",
    gstreamer: "One encoder branch for every rid that the offer names.",
    browser: "Browsers stop layers that computer or uplink do not carry: choose a smaller picture, or switch simulcast off.",
};

#[cfg(test)]
#[path = "doctor_tests.rs"]
mod tests;
