//! Drives flows over one shared path and measures.

use std::time::{Duration, Instant};

use super::flow::{Datagram, Flow};
use super::rival::{Bulk, Constant};
use crate::link::{Conditions, Link};

/// The path at a time since the start.
pub type Schedule = fn(seconds: f64) -> Conditions;

/// Who shares the path.
#[derive(Debug, Clone, Copy)]
pub enum Rival {
    /// Another flow of the same controller.
    Same,
    /// A bulk transfer over TCP.
    Bulk,
    /// A flow of so many bits per second.
    Constant(f64),
}

#[derive(Debug, Clone)]
pub struct Scenario {
    pub name: &'static str,
    pub seconds: u32,
    pub path: Schedule,
    /// The most that media ever wants, bits per second.
    pub most: f64,
    /// A second flow joins at this second.
    pub second: Option<(u32, Rival)>,
    /// Shares count from this many seconds after it.
    pub settle: u32,
    /// The capacity steps up at this second: recovery is timed from here.
    pub recovers_from: Option<u32>,
}

/// What a run showed.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// Media delivered, as a share of what path and media allow.
    pub utilisation: f64,
    /// Of the datagrams, milliseconds in the path's queue.
    pub queue_p95: f64,
    /// Seconds from the step up until media flows at 80 % of what it can.
    pub recovery: Option<f64>,
    /// Share of the first flow while both run.
    pub fairness: Option<f64>,
    /// Share of datagrams lost, random losses included.
    pub loss: f64,
}

/// The start does not count.
const WARM_UP: f64 = 5.0;

const TICK: Duration = Duration::from_millis(1);

pub fn run(
    scenario: &Scenario,
    seed: u64,
    make: &dyn Fn(Instant, f64, u64) -> Box<dyn Flow>,
) -> Figures {
    let start = Instant::now();
    let mut flows: Vec<Box<dyn Flow>> = vec![make(start, scenario.most, seed)];
    let mut link = Link::new((scenario.path)(0.0), seed);
    let mut back = Link::new((scenario.path)(0.0), seed + 1);
    let mut forward: Vec<(Instant, usize, Datagram)> = Vec::new();
    let mut backward: Vec<(Instant, usize, Vec<u8>)> = Vec::new();
    let mut waits: Vec<f64> = Vec::new();
    let (mut sent, mut possible) = (0u64, 0.0);
    let mut marks: Vec<Vec<u64>> = Vec::new();
    let steps = scenario.seconds * 1000;
    let trace = std::env::var_os("WEIR_TRACE").is_some();
    for step in 0..steps {
        let now = start + TICK * step;
        let seconds = f64::from(step) / 1000.0;
        link.conditions = (scenario.path)(seconds);
        back.conditions = Conditions {
            rate: None,
            ..link.conditions
        };
        if let Some((_, rival)) = scenario.second.filter(|(at, _)| step == at * 1000) {
            flows.push(match rival {
                Rival::Same => make(now, scenario.most, seed + 100),
                Rival::Bulk => Box::new(Bulk::new(now)),
                Rival::Constant(rate) => Box::new(Constant::new(now, rate)),
            });
        }
        let mut out = Vec::new();
        for (index, flow) in flows.iter_mut().enumerate() {
            flow.send(now, &mut out);
            for datagram in out.drain(..) {
                sent += 1;
                if seconds >= WARM_UP {
                    waits.push(link.waiting(now).as_secs_f64() * 1000.0);
                }
                for at in link.send(now, datagram.size) {
                    forward.push((at, index, datagram.clone()));
                }
            }
        }
        forward.sort_by_key(|(at, _, _)| *at);
        let due = forward.partition_point(|(at, _, _)| *at <= now);
        for (at, index, datagram) in forward.drain(..due) {
            flows[index].arrive(at, datagram);
        }
        let mut reports = Vec::new();
        for (index, flow) in flows.iter_mut().enumerate() {
            flow.report(now, &mut reports);
            for report in reports.drain(..) {
                for at in back.send(now, report.len()) {
                    backward.push((at, index, report.clone()));
                }
            }
        }
        backward.sort_by_key(|(at, _, _)| *at);
        let due = backward.partition_point(|(at, _, _)| *at <= now);
        for (_, index, report) in backward.drain(..due) {
            flows[index].hear(now, &report);
        }
        if step % 100 == 0 {
            marks.push(flows.iter().map(|f| f.delivered()).collect());
            if trace {
                let waiting = link.waiting(now).as_millis();
                let estimates: Vec<i64> =
                    flows.iter().map(|f| f.estimate() as i64 / 1000).collect();
                eprintln!("{seconds:6.1} {estimates:?} kb/s, queue {waiting} ms");
            }
        }
        if seconds >= WARM_UP {
            let media = scenario.most * flows.len() as f64;
            possible += link.conditions.rate.map_or(media, |r| media.min(r as f64)) / 1000.0;
        }
    }
    let delivered = |from: usize, to: usize, flow: usize| {
        let at = |mark: usize| marks[mark].get(flow).copied().unwrap_or(0);
        (at(to) - at(from)) as f64 * 8.0
    };
    let last = marks.len() - 1;
    let total: f64 = (0..flows.len())
        .map(|flow| delivered((WARM_UP * 10.0) as usize, last, flow))
        .sum();
    let fairness = scenario.second.map(|(at, _)| {
        let from = (at + scenario.settle) as usize * 10;
        let (one, two) = (delivered(from, last, 0), delivered(from, last, 1));
        one / (one + two)
    });
    let recovery = scenario.recovers_from.map(|at| {
        let from = at as usize * 10;
        let rate = (scenario.path)(f64::from(at) + 1.0)
            .rate
            .map_or(f64::MAX, |r| r as f64);
        let goal = 0.8 * scenario.most.min(rate);
        (from..last - 5)
            .find(|mark| delivered(*mark, mark + 5, 0) / 0.5 >= goal)
            .map_or(f64::from(scenario.seconds - at), |mark| {
                (mark - from) as f64 / 10.0
            })
    });
    waits.sort_by(f64::total_cmp);
    Figures {
        utilisation: total / possible,
        queue_p95: waits[waits.len() * 95 / 100],
        recovery,
        fairness,
        loss: link.lost as f64 / sent as f64,
    }
}
