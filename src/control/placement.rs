//! Which worker a new session goes to: a pure function over loads.

/// Loads at which a worker stops taking viewers of its own publishers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlacementSettings {
    /// Sessions on one worker.
    pub spill_sessions: usize,
    /// Share of its core that a worker uses, 0 to 1.
    pub spill_cpu: f32,
}

impl Default for PlacementSettings {
    fn default() -> Self {
        Self {
            spill_sessions: 500,
            spill_cpu: 0.75,
        }
    }
}

/// How busy a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Load {
    /// Sessions that it owns or that are about to open there.
    pub sessions: usize,
    /// Share of a core that it used lately, 0 to 1.
    pub cpu: f32,
}

impl Load {
    /// How near it is to spilling: 1 and above means loaded.
    fn pressure(self, settings: &PlacementSettings) -> f32 {
        let sessions = self.sessions as f32 / settings.spill_sessions.max(1) as f32;
        let cpu = self.cpu / settings.spill_cpu.max(0.01);
        sessions.max(cpu)
    }
}

/// The worker (an index into `loads`) for a new session.
///
/// A room stays together on its `home` worker, because a packet then crosses
/// no thread, until that worker is loaded; then the least loaded one takes
/// over, and packets are sent there once per worker. With no home, the least
/// loaded worker is taken, the lower index first among equals.
pub fn place(loads: &[Load], home: Option<usize>, settings: &PlacementSettings) -> usize {
    if let Some(home) = home
        && let Some(load) = loads.get(home)
        && load.pressure(settings) < 1.0
    {
        return home;
    }
    loads
        .iter()
        .enumerate()
        .min_by(|(_, a), (_, b)| a.pressure(settings).total_cmp(&b.pressure(settings)))
        .map_or(0, |(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: PlacementSettings = PlacementSettings {
        spill_sessions: 10,
        spill_cpu: 0.8,
    };

    fn load(sessions: usize, cpu: f32) -> Load {
        Load { sessions, cpu }
    }

    #[test]
    fn without_a_home_the_least_loaded_worker_is_taken() {
        assert_eq!(place(&[load(3, 0.0), load(1, 0.0)], None, &SETTINGS), 1);
        assert_eq!(place(&[load(1, 0.7), load(5, 0.1)], None, &SETTINGS), 1);
        assert_eq!(place(&[load(1, 0.0), load(1, 0.0)], None, &SETTINGS), 0);
    }

    #[test]
    fn a_room_stays_at_home_until_home_is_loaded() {
        assert_eq!(place(&[load(0, 0.0), load(9, 0.5)], Some(1), &SETTINGS), 1);
        assert_eq!(place(&[load(0, 0.0), load(10, 0.5)], Some(1), &SETTINGS), 0);
        assert_eq!(place(&[load(0, 0.0), load(1, 0.81)], Some(1), &SETTINGS), 0);
    }

    #[test]
    fn when_all_are_loaded_the_least_loaded_one_still_serves() {
        assert_eq!(
            place(&[load(30, 0.0), load(20, 0.9)], Some(0), &SETTINGS),
            1
        );
    }

    #[test]
    fn a_home_that_does_not_exist_is_ignored() {
        assert_eq!(place(&[load(0, 0.0)], Some(7), &SETTINGS), 0);
    }
}
