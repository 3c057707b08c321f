//! How joiners and viewers that lost their way come to a keyframe.

use std::time::{Duration, Instant};

use super::*;
use crate::units::Bitrate;

const FRAMES: u32 = 30;

/// A segment of so many seconds at 3 Mb/s.
fn segment(seconds: u64) -> Segment {
    let arrival = Instant::now();
    Segment {
        first: 1,
        end: 1 + seconds * 320,
        packets: (seconds * 320) as usize,
        bytes: (seconds * 375_000) as usize,
        timestamp: 0,
        arrival,
        edge: (arrival + Duration::from_secs(seconds), 0),
    }
}

fn pacer(estimate: Option<u64>) -> Pacer {
    let mut pacer = Pacer::default();
    pacer.refill(Instant::now(), estimate.map(Bitrate));
    pacer
}

struct Case {
    need: Need,
    seconds: u64,
    estimate: Option<u64>,
    reaction: Reaction,
    past: bool,
    next: Option<u64>,
}

impl Case {
    /// How far the replay goes, when there is one, and whether the publisher is asked.
    fn plan(&self) -> (Option<Reach>, bool) {
        let plan = plan(&Circumstances {
            need: self.need,
            segment: (self.seconds > 0).then(|| segment(self.seconds)),
            pictures: self.seconds as u32 * FRAMES,
            pacer: &pacer(self.estimate),
            live: 375_000,
            reaction: self.reaction,
            past: self.past,
            next: self.next.map(Duration::from_secs),
        });
        (plan.replay.map(|r| r.reach), plan.ask)
    }
}

const JOIN: Case = Case {
    need: Need::Join,
    seconds: 5,
    estimate: None,
    reaction: Reaction::Ignores,
    past: false,
    next: Some(5),
};

#[test]
fn a_joiner_is_given_the_backlog_where_requests_are_ignored() {
    assert_eq!(JOIN.plan(), (Some(Reach::Edge), false));
    let none = Case { seconds: 0, ..JOIN };
    assert_eq!(none.plan(), (None, true));
}

#[test]
fn a_publisher_that_reacts_is_asked_unless_the_backlog_is_short() {
    for reaction in [Reaction::Reacts, Reaction::Unknown] {
        let long = Case { reaction, ..JOIN };
        assert_eq!(long.plan(), (Some(Reach::Edge), true));
    }
    let short = Case {
        seconds: 1,
        estimate: Some(20_000_000),
        reaction: Reaction::Reacts,
        ..JOIN
    };
    assert_eq!(short.plan(), (Some(Reach::Edge), false));
}

#[test]
fn a_narrow_path_gets_a_picture_and_waits_for_the_next_keyframe() {
    // 7.5 Mb/s of pace beside 3 Mb/s of live video: 9 s of it take 6 s.
    let narrow = Case {
        seconds: 9,
        estimate: Some(3_000_000),
        next: Some(1),
        ..JOIN
    };
    assert_eq!(narrow.plan(), (Some(Reach::Keyframe), true));
    // But not when the next keyframe is further off than that.
    let rare = Case {
        next: Some(8),
        ..narrow
    };
    assert_eq!(rare.plan(), (Some(Reach::Edge), false));
    let hopeless = Case {
        estimate: Some(1_000_000),
        ..rare
    };
    assert_eq!(hopeless.plan(), (Some(Reach::Keyframe), true));
}

#[test]
fn nobody_is_shown_again_what_he_has_seen() {
    let wide = Some(100_000_000);
    for reaction in [Reaction::Reacts, Reaction::Unknown, Reaction::Ignores] {
        for seconds in [1, 5] {
            for need in [Need::Join, Need::Switch, Need::Rescue, Need::Recover] {
                let past = Case {
                    need,
                    seconds,
                    estimate: wide,
                    reaction,
                    past: true,
                    ..JOIN
                };
                let (replay, asks) = past.plan();
                // A switch has pictures meanwhile; who has none waits no longer than he has to.
                let stands = reaction == Reaction::Ignores && need != Need::Switch;
                assert_eq!(replay.is_some(), stands, "{need:?} {reaction:?}");
                assert!(asks || stands);
            }
        }
    }
}

#[test]
fn who_is_late_switches_to_a_newer_keyframe_that_is_kept() {
    let switch = Case {
        need: Need::Switch,
        seconds: 1,
        estimate: Some(100_000_000),
        ..JOIN
    };
    assert_eq!(switch.plan(), (Some(Reach::Edge), false));
    let slow = Case {
        estimate: Some(4_000_000),
        ..switch
    };
    assert_eq!(slow.plan(), (None, true));
}

#[test]
fn a_lost_viewer_is_helped_from_the_cache_where_the_publisher_does_not_help() {
    let recover = Case {
        need: Need::Recover,
        ..JOIN
    };
    assert_eq!(recover.plan(), (Some(Reach::Edge), false));
    let reacts = Case {
        need: Need::Recover,
        reaction: Reaction::Reacts,
        ..JOIN
    };
    assert_eq!(reacts.plan(), (None, true));
    let unknown = Case {
        reaction: Reaction::Unknown,
        ..reacts
    };
    assert_eq!(unknown.plan(), (Some(Reach::Edge), true));
    let soon = Case {
        need: Need::Recover,
        next: Some(0),
        ..JOIN
    };
    assert_eq!(soon.plan(), (None, true));
}
