//! Whether a microphone carries speech, from the levels that its packets tell
//! (RFC 6464): a noise floor of its own, and spurts of speech above it.
//!
//! A spurt begins with the first loud packet, so that no syllable is lost, and
//! counts as talk only once there was enough of it, so that a click or a knock
//! does not. The voice-activity bit is not used: browsers set it in silence too.

use std::time::{Duration, Instant};

/// A spurt ends when nothing loud came for this long: longer than the gaps
/// inside words and than the longest packets (120 ms), shorter than a turn of
/// a conversation takes.
pub const GAP: Duration = Duration::from_millis(150);

/// Speech in a spurt after which it counts as talk. Short enough that with the
/// room's tick and a packet's own length a new speaker is known within 300 ms.
const CONFIRMED: Duration = Duration::from_millis(150);

/// Loud is this much above the noise floor.
const MARGIN: f32 = 9.0;

/// Nothing below this is loud: quiet rooms have floors far below.
const QUIETEST: f32 = -55.0;

/// The floor goes no lower, so that a microphone that was muted does not hear
/// its own hiss as speech.
const LOWEST_FLOOR: f32 = -75.0;

/// And no higher: what is well above this is meant to be heard, steady as it
/// may be (music, a tone).
const HIGHEST_FLOOR: f32 = -45.0;

/// Where the floor starts.
const FIRST_FLOOR: f32 = -65.0;

/// How fast the floor follows steady noise upwards, in dB a second: far slower
/// than speech, whose pauses pull it down again.
const FLOOR_RISE: f32 = 6.0;

/// How much of the way down to a quieter packet the floor goes.
const FLOOR_FALL: f32 = 0.3;

/// Silence undoes evidence at this share of the pace at which speech makes it.
const FORGETTING: f32 = 0.75;

/// The loudness of a spurt is averaged over about this much speech, seconds.
const AVERAGING: f32 = 0.4;

/// More than this of a packet's time is not counted: it is a pause (DTX).
const LONGEST_PACKET: f32 = 0.06;

/// Loudness is told anew when it has moved by this much, dB.
const LOUDNESS_NEWS: f32 = 3.0;

/// What a voice does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is said.
    Silent,
    /// Something loud has begun: speech, or a click.
    Onset,
    /// Somebody talks.
    Talking,
}

/// A participant's voice at one moment, as workers tell each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Voice {
    /// What it does.
    pub phase: Phase,
    /// When the present spurt began, or the last one in silence.
    pub begun: Instant,
    /// The newest loud packet of a spurt that is over; of no meaning while one lasts.
    pub last: Instant,
    /// When it last was talking, if it ever was.
    pub talked: Option<Instant>,
    /// Loudness of the spurt in dBov, 0 the loudest.
    pub loudness: f32,
}

impl Voice {
    /// A spurt lasts.
    pub fn is_open(&self) -> bool {
        self.phase != Phase::Silent
    }

    /// How long it has been silent; nothing while a spurt lasts.
    pub fn silence(&self, now: Instant) -> Duration {
        if self.is_open() {
            Duration::ZERO
        } else {
            now.saturating_duration_since(self.last)
        }
    }

    /// The same voice with its spurt ended.
    pub fn closed(self) -> Self {
        Self {
            phase: Phase::Silent,
            ..self
        }
    }
}

/// Follows one microphone. Each packet costs a few operations.
#[derive(Debug)]
pub struct VoiceMeter {
    floor: f32,
    /// Seconds of speech in the spurt, silence taken off.
    evidence: f32,
    voice: Option<Voice>,
    newest: Option<u32>,
    told: Option<Voice>,
}

impl Default for VoiceMeter {
    fn default() -> Self {
        Self {
            floor: FIRST_FLOOR,
            evidence: 0.0,
            voice: None,
            newest: None,
            told: None,
        }
    }
}

impl VoiceMeter {
    /// Takes in a packet's level as on the wire: the lower 7 bits are -dBov,
    /// 127 is silence. `timestamp` runs at `clock_rate`. Returns true when a
    /// spurt begins.
    #[inline]
    pub fn hear(&mut self, now: Instant, timestamp: u32, clock_rate: u32, level: u8) -> bool {
        let step = self.newest.map_or(0, |n| timestamp.wrapping_sub(n) as i32);
        // One that lies far back begins anew: another SSRC has another timestamp
        // to begin with (RFC 3550 §5.1).
        if step < 0 && step.unsigned_abs() <= clock_rate {
            return false; // overtaken: its time has been judged
        }
        self.newest = Some(timestamp);
        // By the publisher's own clock, so that jitter and bursts change nothing.
        let time = match step {
            ..=0 => 0.02,
            step => (step as f32 / clock_rate.max(1) as f32).min(LONGEST_PACKET),
        };
        let level = -f32::from(level & 0x7f);
        let loud = level >= QUIETEST && level > self.floor + MARGIN;
        self.floor = if level < self.floor {
            self.floor + (level - self.floor) * FLOOR_FALL
        } else {
            self.floor + FLOOR_RISE * time
        }
        .clamp(LOWEST_FLOOR, HIGHEST_FLOOR);
        self.settle(now);
        if !loud {
            self.evidence = (self.evidence - time * FORGETTING).max(0.0);
            return false;
        }
        self.evidence += time;
        let talking = self.evidence >= CONFIRMED.as_secs_f32();
        match &mut self.voice {
            Some(voice) if voice.is_open() => {
                voice.loudness += (level - voice.loudness) * (time / AVERAGING).min(1.0);
                voice.last = now;
                if talking || voice.phase == Phase::Talking {
                    voice.phase = Phase::Talking;
                    voice.talked = Some(now);
                }
                false
            }
            _ => {
                self.evidence = time;
                self.voice = Some(Voice {
                    phase: Phase::Onset,
                    begun: now,
                    last: now,
                    talked: self.voice.and_then(|v| v.talked),
                    loudness: level,
                });
                true
            }
        }
    }

    /// Ends a spurt after which nothing loud came, nor anything at all (DTX).
    pub fn settle(&mut self, now: Instant) {
        if let Some(voice) = &mut self.voice
            && voice.is_open()
            && now.saturating_duration_since(voice.last) > GAP
        {
            voice.phase = Phase::Silent;
            self.evidence = 0.0;
        }
    }

    /// The voice, once there was one.
    pub fn voice(&self) -> Option<Voice> {
        self.voice
    }

    /// The voice, when there is something about it to tell since the last call.
    pub fn news(&mut self) -> Option<Voice> {
        let voice = self.voice?;
        let known = self.told.is_some_and(|told| {
            told.phase == voice.phase
                && told.begun == voice.begun
                && (told.loudness - voice.loudness).abs() < LOUDNESS_NEWS
        });
        if known {
            return None;
        }
        self.told = Some(voice);
        self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds 20 ms packets of these levels, each `(dBov, milliseconds)`, and
    /// returns the milliseconds at which the phase changed.
    fn phases(pieces: &[(i32, u64)]) -> Vec<(u64, Phase)> {
        let start = Instant::now();
        let mut meter = VoiceMeter::default();
        let mut changes = Vec::new();
        let mut at = 0;
        let mut phase = Phase::Silent;
        for &(level, length) in pieces {
            for _ in 0..length / 20 {
                let now = start + Duration::from_millis(at);
                meter.hear(now, (at * 48) as u32, 48_000, -level as u8);
                let now = meter.voice().map_or(Phase::Silent, |v| v.phase);
                if now != phase {
                    phase = now;
                    changes.push((at, phase));
                }
                at += 20;
            }
        }
        changes
    }

    #[test]
    fn speech_is_known_at_once_and_talk_soon_after() {
        let changes = phases(&[(-80, 1000), (-30, 1000), (-80, 1000)]);
        assert_eq!(
            changes,
            [
                (1000, Phase::Onset),
                (1140, Phase::Talking),
                (2140, Phase::Silent)
            ]
        );
    }

    #[test]
    fn gaps_inside_words_do_not_end_a_spurt() {
        let word = [(-30, 120), (-80, 80)];
        let speech: Vec<_> = [(-80, 1000)]
            .into_iter()
            .chain((0..10).flat_map(|_| word))
            .chain([(-80, 400)])
            .collect();
        let kinds: Vec<Phase> = phases(&speech).into_iter().map(|(_, p)| p).collect();
        assert_eq!(kinds, [Phase::Onset, Phase::Talking, Phase::Silent]);
    }

    #[test]
    fn a_click_a_knock_and_typing_are_not_talk() {
        let typing: Vec<_> = (0..20).flat_map(|_| [(-35, 20), (-70, 100)]).collect();
        for noise in [vec![(-10, 20)], vec![(-15, 140)], typing] {
            let mut pieces = vec![(-80, 1000)];
            pieces.extend(noise);
            pieces.push((-80, 500));
            let changes = phases(&pieces);
            assert!(
                changes.iter().all(|(_, phase)| *phase != Phase::Talking),
                "{changes:?}"
            );
        }
    }

    #[test]
    fn steady_noise_sinks_into_the_floor_and_speech_above_it_is_heard() {
        let changes = phases(&[(-48, 10_000), (-30, 600), (-48, 2000)]);
        let late: Vec<_> = changes.iter().filter(|(at, _)| *at >= 5_000).collect();
        assert!(
            matches!(
                late[..],
                [
                    (10_000, Phase::Onset),
                    (_, Phase::Talking),
                    (_, Phase::Silent)
                ]
            ),
            "{changes:?}"
        );
    }

    #[test]
    fn a_steady_tone_stays_heard() {
        let changes = phases(&[(-80, 500), (-20, 60_000)]);
        let kinds: Vec<Phase> = changes.into_iter().map(|(_, p)| p).collect();
        assert_eq!(kinds, [Phase::Onset, Phase::Talking]);
    }

    #[test]
    fn silence_without_packets_ends_a_spurt() {
        let start = Instant::now();
        let mut meter = VoiceMeter::default();
        assert!(meter.hear(start, 0, 48_000, 30));
        assert!(meter.news().is_some() && meter.news().is_none());
        meter.settle(start + GAP);
        assert!(meter.news().is_none());
        meter.settle(start + GAP + Duration::from_millis(1));
        assert_eq!(meter.news().map(|v| v.phase), Some(Phase::Silent));
    }

    #[test]
    fn a_burst_of_held_up_packets_counts_with_its_own_time() {
        let start = Instant::now();
        let mut meter = VoiceMeter::default();
        for packet in 0..9u32 {
            meter.hear(start, packet * 960, 48_000, 30);
        }
        assert_eq!(meter.voice().map(|v| v.phase), Some(Phase::Talking));
        // One that was overtaken changes nothing.
        assert!(!meter.hear(start, 960, 48_000, 127));
    }

    #[test]
    fn a_voice_whose_timestamps_begin_anew_is_heard_at_once() {
        let start = Instant::now();
        let mut meter = VoiceMeter::default();
        meter.hear(start, 3_000_000_000, 48_000, 127);
        // The first is overtaken, by a second at most; the others are of another line.
        assert!(!meter.hear(start, 3_000_000_000 - 48_000, 48_000, 30));
        for packet in 0..9u32 {
            meter.hear(start, 1_000_000_000 + packet * 960, 48_000, 30);
        }
        assert_eq!(meter.voice().map(|v| v.phase), Some(Phase::Talking));
    }
}
