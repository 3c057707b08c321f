//! What is chosen for slots of some ladders, wishes and estimates.

use super::*;
use crate::codec::Cell;

const KB: u64 = 1000;

fn rung(encoding: u8, layers: (u8, u8), size: (u16, u16), kbits: u64) -> Rung {
    Rung {
        encoding,
        cell: Cell::new(layers.0, layers.1),
        spatial: layers.0,
        temporal: layers.1,
        bitrate: Bitrate(kbits * KB),
        size: Some(size),
        frame_rate: 30.0,
    }
}

/// Three simulcast encodings.
fn simulcast() -> Vec<Rung> {
    vec![
        rung(2, (0, 0), (320, 180), 150),
        rung(0, (0, 0), (640, 360), 500),
        rung(1, (0, 0), (1280, 720), 1700),
    ]
}

/// Two spatial layers of three temporal ones.
fn svc() -> Vec<Rung> {
    let mut all = Vec::new();
    for (spatial, size, rates) in [
        (0, (640, 360), [200, 300, 400]),
        (1, (1280, 720), [800, 1200, 1600]),
    ] {
        for (temporal, rate) in (0..).zip(rates) {
            all.push(rung(0, (spatial, temporal), size, rate));
        }
    }
    all
}

fn request(steps: Steps) -> Request {
    Request {
        kind: MediaKind::Video,
        priority: 0,
        steps,
        current: None,
        paused: false,
        may_gain: true,
    }
}

fn audio(kbits: u64) -> Request {
    let step = Step {
        rung: 0,
        cost: Bitrate(kbits * KB),
    };
    Request {
        kind: MediaKind::Audio,
        ..request(SmallVec::from_slice(&[step]))
    }
}

fn all(rungs: &[Rung]) -> Request {
    request(steps(rungs, &LayerWish::default(), None, None))
}

fn kbits(value: u64) -> Option<Bitrate> {
    Some(Bitrate(value * KB))
}

#[test]
fn the_best_that_fits_is_chosen_and_never_nothing() {
    let rungs = simulcast();
    for (estimate, choice) in [
        (None, 2),
        (kbits(5000), 2),
        (kbits(1960), 2),
        (kbits(1900), 1), // 1700 needs 1955 to be taken
        (kbits(580), 1),
        (kbits(560), 0),
        (kbits(180), 0),
        (kbits(100), 0), // too little, but no black picture
        (kbits(46), 0),
    ] {
        let plan = allocate(estimate, &[all(&rungs)]);
        assert_eq!(plan.choices[0], Some(choice), "{estimate:?}");
    }
    // Below the floor sound is what is left.
    let plan = allocate(kbits(60), &[audio(40), all(&rungs)]);
    assert_eq!(plan.choices[..], [Some(0), None]);
    let mut paused = all(&rungs);
    paused.paused = true;
    let plan = allocate(kbits(140), &[audio(40), paused.clone()]);
    assert_eq!(
        plan.choices[1], None,
        "it returns a little later than it went"
    );
    let plan = allocate(kbits(170), &[audio(40), paused.clone()]);
    assert_eq!(plan.choices[1], Some(0));
    // Unless it has just gone; but not when it fits whole.
    paused.may_gain = false;
    let plan = allocate(kbits(170), &[audio(40), paused.clone()]);
    assert_eq!(plan.choices[1], None);
    let plan = allocate(kbits(230), &[audio(40), paused]);
    assert_eq!(plan.choices[1], Some(0));
}

#[test]
fn keeping_is_cheaper_than_gaining() {
    let rungs = simulcast();
    for (has, estimate, may_gain, choice) in [
        (1, 1900, true, 1),
        (2, 1900, true, 2),
        (2, 1620, true, 2), // 95 % of 1700 is 1615
        (2, 1610, true, 1),
        (0, 1960, true, 2),
        (0, 1960, false, 0),
        (1, 1960, false, 1),
        (1, 480, false, 1),
        (1, 400, false, 0),
    ] {
        let mut request = all(&rungs);
        request.current = Some(has);
        request.may_gain = may_gain;
        let plan = allocate(kbits(estimate), &[request]);
        assert_eq!(plan.choices[0], Some(choice), "has {has}, {estimate} kb/s");
    }
}

#[test]
fn audio_goes_first_and_temporal_layers_before_spatial_ones() {
    let rungs = svc();
    let choice = |estimate| {
        let request = all(&rungs);
        let plan = allocate(kbits(estimate), &[audio(50), request.clone()]);
        assert_eq!(plan.choices[0], Some(0));
        let rung = request.steps[plan.choices[1].unwrap()].rung;
        let rung = rungs[usize::from(rung)];
        (rung.spatial, rung.temporal)
    };
    assert_eq!(choice(2000), (1, 2));
    assert_eq!(choice(1800), (1, 1));
    assert_eq!(choice(1300), (1, 0));
    assert_eq!(choice(900), (0, 2));
    assert_eq!(choice(450), (0, 1));
    assert_eq!(choice(100), (0, 0));
}

#[test]
fn slots_share_by_priority_and_equals_in_turns() {
    let rungs = simulcast();
    let mut first = all(&rungs);
    let second = all(&rungs);
    let plan = allocate(kbits(1300), &[second.clone(), first.clone()]);
    assert_eq!(plan.choices[..], [Some(1), Some(1)]);
    let plan = allocate(kbits(2300), &[second.clone(), first.clone()]);
    assert_eq!(
        plan.choices[..],
        [Some(1), Some(1)],
        "no two of the largest"
    );
    let plan = allocate(kbits(2500), &[second.clone(), first.clone()]);
    assert_eq!(plan.choices[..], [Some(2), Some(1)]);
    first.priority = 1;
    let plan = allocate(kbits(2200), &[second, first]);
    assert_eq!(plan.choices[..], [Some(0), Some(2)]);
}

#[test]
fn a_probe_aims_at_the_next_step() {
    let rungs = simulcast();
    let target = |estimate, has| {
        let mut request = all(&rungs);
        request.current = Some(has);
        let plan = allocate(estimate, &[audio(50), request]);
        plan.probe_target.map(|b| b.0 / KB)
    };
    assert_eq!(target(None, 2), None);
    assert_eq!(target(kbits(5000), 2), None, "nothing better is there");
    assert_eq!(target(kbits(800), 1), Some(50 + 1955));
    assert_eq!(target(kbits(300), 0), Some(50 + 575));
    // Where the estimate reaches the target, the step is taken.
    let mut request = all(&rungs);
    request.current = Some(1);
    let plan = allocate(kbits(2005), &[audio(50), request]);
    assert_eq!(plan.choices[1], Some(2));
}

#[test]
fn a_wish_limits_the_choices() {
    let sizes = |wish: LayerWish, rid| -> Vec<u16> {
        let rungs = simulcast();
        let steps = steps(&rungs, &wish, rid, None);
        let rung = |s: &Step| rungs[usize::from(s.rung)];
        steps.iter().map(|s| rung(s).size.unwrap().0).collect()
    };
    let shown = |w, h| LayerWish {
        max_size: Some((w, h)),
        ..LayerWish::default()
    };
    assert_eq!(sizes(LayerWish::default(), None), [320, 640, 1280]);
    assert_eq!(sizes(LayerWish::default(), Some(0)), [640]);
    assert_eq!(sizes(LayerWish::default(), Some(9)), [320, 640, 1280]);
    assert_eq!(sizes(shown(640, 360), None), [320, 640]);
    assert_eq!(sizes(shown(641, 400), None), [320, 640, 1280]);
    assert_eq!(sizes(shown(100, 100), None), [320]);
    assert_eq!(sizes(shown(9999, 9999), None), [320, 640, 1280]);
    // A tall box shows a wide picture no wider than itself.
    assert_eq!(sizes(shown(640, 4000), None), [320, 640]);
}

#[test]
fn a_wish_for_layers_takes_just_these() {
    let layers = |wish: LayerWish| -> Vec<(u8, u8)> {
        let rungs = svc();
        let steps = steps(&rungs, &wish, None, None);
        let rung = |s: &Step| rungs[usize::from(s.rung)];
        steps
            .iter()
            .map(|s| (rung(s).spatial, rung(s).temporal))
            .collect()
    };
    let wish = |f: fn(&mut LayerWish)| {
        let mut wish = LayerWish::default();
        f(&mut wish);
        wish
    };
    assert_eq!(
        layers(wish(|w| w.spatial = Some(0))),
        [(0, 0), (0, 1), (0, 2)]
    );
    assert_eq!(layers(wish(|w| w.temporal = Some(1))), [(0, 1), (1, 1)]);
    assert_eq!(
        layers(wish(|w| w.max_temporal = Some(1))),
        [(0, 0), (0, 1), (1, 0), (1, 1)]
    );
    assert_eq!(
        layers(wish(|w| (w.max_spatial, w.temporal) = (Some(0), Some(0)))),
        [(0, 0)]
    );
}

#[test]
fn what_costs_more_than_something_better_is_left_out() {
    let mut rungs = svc();
    rungs[2].bitrate = Bitrate(900 * KB); // (0,2) dearer than (1,0)
    let left = steps(&rungs, &LayerWish::default(), None, None);
    let numbers: Vec<u8> = left.iter().map(|s| s.rung).collect();
    assert_eq!(numbers, [0, 1, 3, 4, 5]);
    let current = rungs[2];
    let left = steps(&rungs, &LayerWish::default(), None, Some(&current));
    assert_eq!(left.len(), 6, "what flows may go on");
}

#[test]
fn what_is_not_measured_is_taken_only_without_a_limit() {
    let mut rungs = simulcast();
    rungs[2].bitrate = Bitrate(0);
    assert_eq!(allocate(None, &[all(&rungs)]).choices[0], Some(2));
    assert_eq!(allocate(kbits(9000), &[all(&rungs)]).choices[0], Some(1));
}

#[test]
fn a_layer_lost_soon_after_it_was_taken_is_waited_for_longer_each_time() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut steady = Steadiness::default();
    assert!(steady.may_gain(start));
    steady.lost(at(0));
    assert!(!steady.may_gain(at(2)));
    assert!(steady.may_gain(at(3)));
    steady.gained(at(3));
    assert!(!steady.may_gain(at(3)));
    steady.lost(at(5));
    assert!(!steady.may_gain(at(14)) && steady.may_gain(at(15)));
    steady.gained(at(15));
    steady.lost(at(16));
    assert!(!steady.may_gain(at(35)) && steady.may_gain(at(36)));
    // A layer that held for a while was no mistake.
    steady.gained(at(36));
    steady.lost(at(60));
    assert!(steady.may_gain(at(63)));
}

#[test]
fn a_layer_that_was_left_out_for_a_moment_is_no_failure() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut steady = Steadiness::default();
    steady.gained(start);
    steady.hold(at(2));
    assert!(!steady.may_gain(at(4)) && steady.may_gain(at(5)));
    steady.lost(at(6));
    steady.hold(at(7));
    assert!(
        !steady.may_gain(at(15)) && steady.may_gain(at(16)),
        "not sooner"
    );
}
