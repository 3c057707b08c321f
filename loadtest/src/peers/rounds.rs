//! Rounds in which every peer has its turn, so that what disturbs this machine
//! disturbs all of them.

use std::time::Duration;

use super::floor::{self, Work};
use super::report::{PeersReport, Round};
use super::{Peer, PeerError};
use crate::report::figures::Machine;
use crate::run::{self, Plan, RunError};
use crate::scenario::types::Scenario;
use crate::scenario::{self, ScenarioError};
use crate::server::Placement;
use crate::signal::client::Trust;
use crate::sys;

/// Name of the pseudo-peer.
pub const FLOOR: &str = "floor";
/// CPU time given to the floor in each round.
const FLOOR_TIME: Duration = Duration::from_secs(2);

/// Why no rounds could be run. Trouble of a single peer is in its rounds.
#[derive(Debug, thiserror::Error)]
pub enum RoundsError {
    /// A peer's definition.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// Its keys and the scenario do not go together.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The machine.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Nothing to run.
    #[error("--serve NAME=COMMAND or --peer NAME is needed")]
    Nobody,
    /// No rounds prove nothing.
    #[error("--rounds must be above 0")]
    NoRounds,
    /// They would be summed up as one.
    #[error("two are called {0}: each needs a name of its own, and {FLOOR} is the floor's")]
    Twice(String),
}

/// What to run.
pub struct Rounds {
    /// The scenario, as file or name.
    pub scenario: String,
    /// Its keys, for all peers.
    pub options: Vec<String>,
    /// How often each has its turn.
    pub rounds: u32,
    /// The servers.
    pub peers: Vec<Peer>,
    /// Measure the floor, too.
    pub floor: bool,
    /// Show progress on the terminal.
    pub progress: bool,
}

enum Turn {
    Floor,
    Peer(Box<Peer>, Box<Scenario>),
}

/// Runs all rounds; `each` is told of every one.
pub fn run(wanted: &Rounds, mut each: impl FnMut(&Round)) -> Result<PeersReport, RoundsError> {
    if wanted.rounds == 0 {
        return Err(RoundsError::NoRounds);
    }
    let mut names = std::collections::BTreeSet::from([FLOOR]);
    if let Some(twice) = wanted.peers.iter().find(|p| !names.insert(&p.name)) {
        return Err(RoundsError::Twice(twice.name.clone()));
    }
    sys::raise_open_files()?;
    let scenario = scenario::load(&wanted.scenario, &wanted.options)?;
    let mut turns = Vec::new();
    let mut versions = std::collections::BTreeMap::new();
    for peer in &wanted.peers {
        let mut options = wanted.options.clone();
        options.extend(peer.options.iter().cloned());
        let own = scenario::load(&wanted.scenario, &options)?;
        versions.extend(peer.version_text().map(|v| (peer.name.clone(), v)));
        turns.push(Turn::Peer(Box::new(peer.clone()), Box::new(own)));
    }
    if wanted.floor {
        turns.push(Turn::Floor);
    }
    if turns.is_empty() {
        return Err(RoundsError::Nobody);
    }
    let placement = Placement::halves(scenario.generator.pin);
    placement.keep_generator()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("lt-http")
        .enable_all()
        .build()?;
    let started_at = sys::realtime_ns() / 1_000_000_000;
    let mut rounds = Vec::new();
    for number in 1..=wanted.rounds {
        for turn in &turns {
            let round = match turn {
                Turn::Floor => floor_round(number, &scenario, &placement),
                Turn::Peer(peer, own) => {
                    let made = peer_round(peer, own, &placement, wanted.progress, &runtime);
                    Round::of(number, &peer.name, made)
                }
            };
            each(&round);
            rounds.push(round);
        }
        // Nobody is always first.
        turns.rotate_left(1);
    }
    Ok(PeersReport {
        scenario: scenario.name.clone(),
        viewers: u64::from(scenario.viewers()),
        started_at,
        machine: Machine::here(),
        placement,
        versions,
        settings: scenario,
        peers: Vec::new(),
        rounds,
    }
    .summed_up())
}

fn floor_round(number: u32, scenario: &Scenario, placement: &Placement) -> Round {
    let measured = floor::floor(Work::of(scenario), &placement.server, FLOOR_TIME);
    let mut round = Round {
        round: number,
        peer: FLOOR.to_owned(),
        ..Round::default()
    };
    match measured {
        Ok(floor) => round.floor = Some(floor),
        Err(e) => round.error = Some(e.to_string()),
    }
    round
}

fn peer_round(
    peer: &Peer,
    scenario: &Scenario,
    placement: &Placement,
    progress: bool,
    runtime: &tokio::runtime::Runtime,
) -> Result<crate::report::Report, String> {
    let running = peer
        .start(&placement.server)
        .map_err(|e: PeerError| e.to_string())?;
    let plan = Plan {
        scenario: scenario.clone(),
        target: running.target.clone(),
        pid: Some(running.server.pid()),
        token: Some(peer.token.clone()).filter(|t| !t.is_empty()),
        trust: Trust::default(),
        placement: placement.clone(),
        progress,
    };
    runtime
        .block_on(run::run(&plan))
        .map_err(|e: RunError| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_prove_nothing_is_refused() {
        let rounds = |names: &[&str], rounds| Rounds {
            scenario: "broadcast".to_owned(),
            options: vec!["generator.pin=false".to_owned()],
            rounds,
            peers: names
                .iter()
                .map(|name| Peer::served(&format!("{name}=false")).unwrap())
                .collect(),
            floor: false,
            progress: false,
        };
        let error = |names: &[&str], n| {
            let made = run(&rounds(names, n), |_| {});
            made.unwrap_err().to_string()
        };
        assert!(error(&["a"], 0).contains("--rounds"));
        // Two of a name would be summed up as one.
        assert!(error(&["a", "b", "a"], 1).contains("two are called a"));
        assert!(error(&["floor"], 1).contains("floor"));
    }
}
