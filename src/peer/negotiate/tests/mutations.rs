//! No text makes reading panic, run long, or lead to an answer that others
//! can't read.

use super::*;

/// A small deterministic generator (xorshift), so that a failure repeats.
struct Random(u64);

impl Random {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize
    }

    fn below(&mut self, limit: usize) -> usize {
        self.next() % limit.max(1)
    }
}

/// Reads text every way.
fn try_all(text: &str) {
    syntax::check_against_library(text);
    try_as(Direction::Publish, text);
    try_as(Direction::View, text);
    if let Err(e) = fragment::read(text) {
        assert!(!e.to_string().is_empty());
    }
}

/// Reads an offer; when it is accepted, its answer has to be sound.
fn try_as(direction: Direction, text: &str) -> bool {
    let policy = Policy {
        data_channels: true,
        max_view_video: 3,
        max_view_audio: 2,
    };
    let accepted = match read_offer(text, direction, &policy) {
        Ok(accepted) => accepted,
        Err(e) => {
            assert!(matches!(e.status(), 400 | 422));
            assert!(!e.to_string().is_empty());
            return false;
        }
    };
    let text = accepted.answer(&context(), &local(&accepted), &names());
    assert!(text.len() <= MAX_ANSWER);
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
    assert!(
        accepted
            .negotiated
            .media
            .iter()
            .all(|m| !m.codecs.is_empty())
    );
    let m_lines = text.lines().filter(|l| l.starts_with("m=")).count();
    assert_eq!(m_lines, accepted.lines.len());
    let read = sdp_types::Session::parse(text.as_bytes());
    assert!(read.is_ok(), "{read:?}\n{text}");
    true
}

#[test]
fn mutated_offers_never_panic() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut accepted = 0;
    for round in 0..20_000 {
        let (_, direction, sdp) = OFFERS[round % OFFERS.len()];
        let mut lines: Vec<String> = sdp.split_inclusive('\n').map(str::to_owned).collect();
        for _ in 0..=random.below(4) {
            let at = random.below(lines.len());
            match random.below(8) {
                0 => {
                    lines.remove(at);
                }
                1 => {
                    let copy = lines[at].clone();
                    lines.insert(random.below(lines.len()), copy);
                }
                2 => {
                    let to = random.below(lines.len());
                    lines.swap(at, to);
                }
                3 => {
                    let (_, _, other) = OFFERS[random.below(OFFERS.len())];
                    let other: Vec<&str> = other.split_inclusive('\n').collect();
                    lines.insert(at, other[random.below(other.len())].to_owned());
                }
                4 => {
                    let cut = random.below(lines[at].len());
                    lines[at].truncate(cut);
                }
                5 => {
                    let number = [
                        "0",
                        "65535",
                        "4294967296",
                        "-1",
                        "",
                        "999999999999999999999",
                    ];
                    let number = number[random.below(number.len())];
                    let digit = lines[at].find(|c: char| c.is_ascii_digit());
                    if let Some(start) = digit {
                        lines[at].replace_range(start..=start, number);
                    }
                }
                _ => {
                    let byte = random.below(lines[at].len());
                    let new = [' ', ';', ':', '=', '/', '~', ',', '\u{e9}', '\0', 'x', '9'];
                    let new = new[random.below(new.len())];
                    let mut chars: Vec<char> = lines[at].chars().collect();
                    if let Some(c) = chars.get_mut(byte) {
                        *c = new;
                    }
                    lines[at] = chars.into_iter().collect();
                }
            }
            if lines.is_empty() {
                lines.push(String::new());
            }
        }
        let text = lines.concat();
        accepted += usize::from(try_as(direction, &text));
        if round % 8 == 0 {
            try_all(&text);
        }
    }
    // Most mutations hit what doesn't matter: both outcomes were exercised.
    assert!((2_000..19_000).contains(&accepted), "{accepted}");
}

#[test]
fn truncated_offers_never_panic() {
    for (_, _, sdp) in OFFERS {
        for end in (0..sdp.len()).step_by(17) {
            try_all(&sdp[..end]);
        }
    }
}

#[test]
fn random_text_never_panics() {
    let mut random = Random(7);
    for _ in 0..5_000 {
        let text: String = (0..random.below(200))
            .map(|_| match random.below(6) {
                0 => '\n',
                1 => '=',
                2 => ['v', 'm', 'a', 'o', 's', 't', 'c'][random.below(7)],
                3 => char::from((random.below(95) + 32) as u8),
                4 => char::from(random.below(256) as u8),
                _ => char::from_u32(random.below(0x11_0000) as u32).unwrap_or(' '),
            })
            .collect();
        try_all(&text);
        try_all(&format!("v=0\r\n{text}"));
    }
}

/// Texts made so that careless reading would take quadratic time or memory.
#[test]
fn hostile_lists_are_read_within_bounds() {
    let base = offer("chromium-vp8-simulcast3");
    let filler = "a=rid:x send\r\na=rtpmap:1 x/1\r\n".repeat(1500);
    // What is looked for stands behind the filler, or is not there at all.
    let base = &base.replace("a=mid:1\r\n", &format!("{filler}a=mid:1\r\n"));
    let long = |piece: &str, n: usize| piece.repeat(n);
    let rids: String = (0..10_000).map(|n| format!("{n};")).collect();
    let texts = [
        base.replace(" 96 97 ", &format!(" {} 96 97 ", long("2 ", 30_000))),
        base.replace("BUNDLE 0 1", &format!("BUNDLE {} 0 1", long("q ", 30_000))),
        base.replace("send l;m;h", &format!("send {rids}")),
        base.to_owned() + "a=ssrc-group:FID " + &long("1 ", 30_000),
        base.to_owned() + "a=extmap:3 " + &long("z", 60_000),
        base.to_owned() + &long("m=video 9 UDP/TLS/RTP/SAVPF 96\r\n", 60),
        base.to_owned() + &long("m=video 9 UDP/TLS/RTP/SAVPF 96\r\n", 70),
        base.to_owned() + &long("a=x\r\n", 900),
        long("v=0\r\n", 20_000),
    ];
    for text in &texts {
        assert!(text.len() <= 128 * 1024, "the size limit would hide it");
        let started = std::time::Instant::now();
        try_all(text);
        assert!(
            started.elapsed().as_millis() < 1_000,
            "{:?}",
            started.elapsed()
        );
    }
}
