use super::*;

fn at(start: Instant, millis: u64) -> Instant {
    start + Duration::from_millis(millis)
}

/// Sends all that may leave each millisecond; bytes by millisecond.
fn drain(pacer: &mut Pacer, start: Instant, millis: u64, rate: Option<Bitrate>) -> Vec<usize> {
    (0..millis)
        .map(|ms| {
            pacer.refill(at(start, ms), rate);
            let mut sent = 0;
            while pacer.is_open() {
                pacer.spend(1200);
                sent += 1200;
            }
            sent
        })
        .collect()
}

#[test]
fn an_ordinary_picture_leaves_at_once() {
    let start = Instant::now();
    // 4 Mb/s at 25 pictures a second are 20 KB a picture.
    let rate = Some(Bitrate(4_000_000));
    let mut pacer = Pacer::default();
    for picture in 0..100u64 {
        pacer.refill(at(start, picture * 40), rate);
        for _ in 0..17 {
            assert!(pacer.is_open(), "picture {picture}");
            pacer.spend(1200);
        }
    }
}

#[test]
fn a_burst_is_spread_at_two_and_a_half_times_the_estimate() {
    let start = Instant::now();
    let mut pacer = Pacer::default();
    let sent = drain(&mut pacer, start, 1000, Some(Bitrate(4_000_000)));
    let total: usize = sent.iter().sum();
    // 1.25 MB in a second, and the bucket's 50 KB at once.
    assert!((1_250_000..1_320_000).contains(&total), "{total}");
    assert!(sent[0] >= 50_000 && sent[0] < 53_000, "{}", sent[0]);
    let second: usize = sent[500..].iter().sum();
    assert!((610_000..640_000).contains(&second), "{second}");
}

#[test]
fn a_timer_lets_several_packets_leave() {
    let start = Instant::now();
    let rate = Some(Bitrate(4_000_000));
    let mut pacer = Pacer::default();
    pacer.refill(start, rate);
    while pacer.is_open() {
        pacer.spend(1200);
    }
    let wait = pacer.opens_in();
    assert!((5..=7).contains(&wait.as_millis()), "{wait:?}");
    pacer.refill(start + wait, rate);
    let mut sent = 0;
    while pacer.is_open() {
        pacer.spend(1200);
        sent += 1;
    }
    assert!((5..=7).contains(&sent), "{sent}");
}

#[test]
fn sound_goes_before_pictures_those_before_repairs_and_those_before_padding() {
    let start = Instant::now();
    let rate = Some(Bitrate(1_600_000));
    let mut pacer = Pacer::default();
    pacer.refill(start, rate);
    let mut left = [0; 3];
    for _ in 0..30 {
        left[0] += usize::from(pacer.is_open());
        left[1] += usize::from(pacer.has_left_for_repairs());
        left[2] += usize::from(pacer.has_left_for_padding());
        pacer.spend(1000);
    }
    // 4 Mb/s for 40 ms are 20 KB.
    assert_eq!(left, [20, 10, 5]);
    // Sound of 10 KB has left beyond the empty bucket: pictures come next, as it fills.
    let mut order = Vec::new();
    for ms in 1..120 {
        pacer.refill(at(start, ms), rate);
        let open = [
            pacer.is_open(),
            pacer.has_left_for_repairs(),
            pacer.has_left_for_padding(),
        ];
        if order.last() != Some(&open) {
            order.push(open);
        }
    }
    let wanted = [
        [false, false, false],
        [true, false, false],
        [true, true, false],
        [true, true, true],
    ];
    assert_eq!(order, wanted);
    let mut pacer = Pacer::default();
    pacer.refill(start, rate);
    pacer.spend(20_000);
    let wait = pacer.repairs_in();
    pacer.refill(start + wait, rate);
    assert!(pacer.has_left_for_repairs(), "after {wait:?}");
}

#[test]
fn the_unknown_path_is_tried_ever_faster_until_it_loses() {
    let start = Instant::now();
    let mut pacer = Pacer::default();
    let mut rates = Vec::new();
    for ms in 0..500 {
        pacer.note_behind(at(start, ms), true);
        rates.push(pacer.rate() * 8 / 1_000_000);
    }
    assert_eq!((rates[0], rates[119], rates[120]), (12, 12, 24));
    assert_eq!((rates[240], rates[499]), (48, 192));
    pacer.note_loss(at(start, 500));
    assert_eq!(pacer.rate() * 8, 96_000_000);
    pacer.note_behind(at(start, 600), false);
    // What was learned stays.
    assert_eq!(pacer.rate() * 8, 96_000_000);
    pacer.note_loss(at(start, 700));
    assert_eq!(pacer.rate() * 8, 96_000_000, "not behind: no burst of ours");
}

#[test]
fn what_a_path_took_for_long_enough_is_where_the_next_burst_begins() {
    let start = Instant::now();
    let mut pacer = Pacer::default();
    for ms in 0..300 {
        pacer.note_behind(at(start, ms), true);
    }
    assert_eq!(pacer.rate() * 8, 48_000_000);
    pacer.note_behind(at(start, 300), false);
    assert_eq!(pacer.rate() * 8, 24_000_000);
    pacer.note_behind(at(start, 400), true);
    pacer.note_behind(at(start, 410), false);
    assert_eq!(pacer.rate() * 8, 24_000_000);
}

#[test]
fn an_estimate_ends_the_trying() {
    let start = Instant::now();
    let mut pacer = Pacer::default();
    for ms in 0..300 {
        pacer.refill(at(start, ms), None);
        pacer.note_behind(at(start, ms), true);
    }
    assert_eq!(pacer.rate() * 8, 48_000_000);
    pacer.refill(at(start, 300), Some(Bitrate(1_000_000)));
    assert_eq!(pacer.rate() * 8, 2_500_000);
    pacer.note_behind(at(start, 310), true);
    assert_eq!(pacer.rate() * 8, 2_500_000);
}

#[test]
fn nobody_falls_behind_for_ever() {
    let start = Instant::now();
    let mut pacer = Pacer::default();
    let estimate = Some(Bitrate(300_000));
    pacer.refill(start, estimate);
    assert_eq!(pacer.rate() * 8, 750_000);
    for ms in 0..1300 {
        pacer.note_behind(at(start, ms), true);
    }
    assert_eq!(pacer.rate() * 8, 6_000_000);
    pacer.note_behind(at(start, 1300), false);
    assert_eq!(pacer.rate() * 8, 750_000);
}

#[test]
fn a_tight_path_gets_no_bursts() {
    let start = Instant::now();
    let mut pacer = Pacer::default();
    pacer.refill(start, Some(Bitrate(300_000)));
    pacer.note_tight(start, true);
    assert_eq!(pacer.rate() * 8, 750_000, "no queue confirms it");
    for delay in [100, 10] {
        pacer.note_queue(start, Some(Duration::from_millis(delay)));
    }
    pacer.note_tight(start, true);
    let mut rates = Vec::new();
    for estimate in [300_000, 40_000] {
        pacer.refill(start, Some(Bitrate(estimate)));
        for ms in 0..2000 {
            pacer.note_behind(at(start, ms), true);
        }
        rates.push(pacer.rate() * 8);
    }
    assert_eq!(rates, [300_000, 100_000]);
    pacer.note_tight(at(start, 31_000), true);
    assert_eq!(pacer.rate() * 8, 600_000, "no queue of late");
}

#[test]
fn a_long_queue_on_the_path_ends_bursts_until_it_is_short() {
    let start = Instant::now();
    let mut pacer = Pacer::default();
    pacer.refill(start, Some(Bitrate(1_000_000)));
    let rates: Vec<u64> = [10, 79, 84, 200, 400, 60, 32, 29, 60]
        .into_iter()
        .map(|delay| {
            pacer.note_queue(start, Some(Duration::from_millis(delay)));
            for ms in 0..1000 {
                pacer.note_behind(at(start, ms), pacer.queue.is_some());
            }
            pacer.rate() * 8 / 10_000
        })
        .collect();
    assert_eq!(rates, [250, 250, 79, 50, 40, 85, 92, 250, 250]);
    // Where only reports tell of the path, nothing is known of its queue.
    pacer.note_queue(start, Some(Duration::from_millis(100)));
    pacer.note_queue(start, None);
    assert_eq!(pacer.rate() * 8, 2_500_000);
}

#[test]
fn the_time_of_a_backlog_is_foreseen() {
    let mut pacer = Pacer::default();
    // 12, 24, 48, 96 Mb/s for 120 ms each are 2.7 MB.
    let time = pacer.time_for(2_700_000, 0).unwrap();
    assert!((470..490).contains(&time.as_millis()), "{time:?}");
    pacer.refill(Instant::now(), Some(Bitrate(2_000_000)));
    let time = pacer.time_for(625_000, 312_500).unwrap();
    assert_eq!(time.as_millis(), 2000);
    assert_eq!(pacer.time_for(1, 625_000), None);
}
