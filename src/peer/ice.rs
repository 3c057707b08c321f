//! The session's ICE agent: lite (RFC 8445 §2.5). It answers authentic
//! connectivity checks and follows the path that the peer nominates; it never
//! checks on its own, so it holds no candidate pairs and no timers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::negotiate::IceCredentials;
use crate::net::path::{Path, Proto};
use crate::net::stun::StunView;

/// A nomination that was not repeated for this long gives way to any other:
/// peers repeat theirs every few seconds at most (RFC 7675: 5 s).
const STALE_NOMINATION: Duration = Duration::from_secs(6);

/// What came of a connectivity check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckOutcome {
    /// Not for these credentials, or its integrity is wrong: no answer.
    NotAuthentic,
    /// The peer believes it is controlled, as we are: answer 487 (RFC 8445 §7.3.1.1).
    RoleConflict,
    /// It demands what is not known here: answer 420 (RFC 8489 §6.3.1).
    UnknownAttribute,
    /// Authentic: answer with success.
    Authentic {
        /// Media goes another way from now on.
        moved: bool,
    },
}

/// See the module's description.
#[derive(Debug)]
pub struct IceLite {
    local: IceCredentials,
    remote: IceCredentials,
    path: Option<Selected>,
}

#[derive(Debug, Clone, Copy)]
struct Selected {
    path: Path,
    nominated: bool,
    priority: u32,
    refreshed: Instant,
}

impl IceLite {
    /// An agent with both sides' credentials.
    pub fn new(local: IceCredentials, remote: IceCredentials) -> Self {
        Self {
            local,
            remote,
            path: None,
        }
    }

    /// Our credentials.
    pub fn local(&self) -> &IceCredentials {
        &self.local
    }

    /// The peer's credentials.
    pub fn remote(&self) -> &IceCredentials {
        &self.remote
    }

    /// Where media goes.
    pub fn path(&self) -> Option<Path> {
        self.path.map(|s| s.path)
    }

    /// Starts over with new credentials (RFC 8445 §9). Media keeps its way
    /// until the peer nominates one under the new ones.
    pub fn restart(&mut self, local: IceCredentials, remote: IceCredentials) {
        self.local = local;
        self.remote = remote;
        if let Some(selected) = &mut self.path {
            selected.nominated = false;
        }
    }

    /// Judges a binding request that came over `path`.
    pub fn check(&mut self, now: Instant, path: Path, request: &StunView<'_>) -> CheckOutcome {
        let ours =
            request.ufrags() == Some((self.local.ufrag.as_bytes(), self.remote.ufrag.as_bytes()));
        if !ours || !request.verify_integrity(self.local.pwd.as_bytes()) {
            return CheckOutcome::NotAuthentic;
        }
        if !request.unknown_required().is_empty() {
            return CheckOutcome::UnknownAttribute;
        }
        if request.claims_controlled() {
            return CheckOutcome::RoleConflict;
        }
        CheckOutcome::Authentic {
            moved: self.follow(now, path, request.nominates(), request.priority()),
        }
    }

    /// RFC 8445 §8.1.1 has the peer nominate one pair; older peers nominate
    /// several aggressively and mean the one of highest priority; browsers
    /// re-nominate at will and stop repeating the former one.
    fn follow(&mut self, now: Instant, path: Path, nominates: bool, priority: Option<u32>) -> bool {
        let priority = priority.unwrap_or(0);
        let Some(selected) = &mut self.path else {
            // Some clients never nominate: the first valid way will do.
            self.path = Some(Selected {
                path,
                nominated: nominates,
                priority,
                refreshed: now,
            });
            return true;
        };
        if selected.path == path {
            selected.nominated = nominates;
            selected.priority = priority;
            selected.refreshed = now;
            return false;
        }
        let stale = now.saturating_duration_since(selected.refreshed) > STALE_NOMINATION;
        let takes_over = if nominates {
            !selected.nominated || stale || priority >= selected.priority
        } else {
            stale
        };
        if takes_over {
            *selected = Selected {
                path,
                nominated: nominates,
                priority,
                refreshed: now,
            };
        }
        takes_over
    }

    /// The way is gone (its TCP connection closed).
    pub fn lost(&mut self, remote: SocketAddr, proto: Proto) {
        if self
            .path
            .is_some_and(|s| s.path.remote == remote && s.path.proto == proto)
        {
            self.path = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent() -> IceLite {
        let credentials = |name: &str| IceCredentials {
            ufrag: name.into(),
            pwd: format!("{name}-0123456789-0123456789"),
        };
        IceLite::new(credentials("local"), credentials("remote"))
    }

    fn path(port: u16) -> Path {
        Path {
            proto: Proto::Udp,
            local: ([127, 0, 0, 1], 7882).into(),
            remote: ([127, 0, 0, 1], port).into(),
        }
    }

    #[test]
    fn the_first_way_serves_until_another_is_nominated() {
        let now = Instant::now();
        let mut ice = agent();
        assert!(ice.follow(now, path(1), false, Some(100)));
        assert!(!ice.follow(now, path(2), false, Some(200)));
        assert_eq!(ice.path(), Some(path(1)));
        assert!(ice.follow(now, path(2), true, Some(50)));
        assert_eq!(ice.path(), Some(path(2)));
    }

    #[test]
    fn a_check_that_demands_the_unknown_moves_nothing() {
        use crate::net::stun::tests::check;
        /// PRIORITY, ICE-CONTROLLED, USE-CANDIDATE.
        const PARTS: [u16; 3] = [0x0024, 0x8029, 0x0025];
        let now = Instant::now();
        let mut ice = agent();
        let password = ice.local.pwd.clone();
        let mut ask = |password: &str, parts: &[u16]| {
            let bytes = check(b"local:remote", password.as_bytes(), parts);
            let request = StunView::parse(&bytes).expect("well-formed");
            (ice.check(now, path(1), &request), ice.path())
        };
        let unknown = [&PARTS[..], &[0x4000]].concat();
        // Nobody without the password learns what is known here (RFC 8489 §6.3).
        assert_eq!(ask("wrong", &unknown), (CheckOutcome::NotAuthentic, None));
        let refused = (CheckOutcome::UnknownAttribute, None);
        assert_eq!(ask(&password, &unknown), refused);
        let optional = [&PARTS[..], &[0xC000]].concat();
        let conflict = (CheckOutcome::RoleConflict, None);
        assert_eq!(ask(&password, &optional), conflict);
    }

    /// Small clients without a full agent leave out what RFC 8445 §7.1.1 asks for.
    #[test]
    fn a_check_without_priority_or_role_is_followed() {
        use crate::net::stun::tests::check;
        // USE-CANDIDATE, PRIORITY.
        for parts in [&[0x0025][..], &[0x0025, 0x0024], &[]] {
            let mut ice = agent();
            let bytes = check(b"local:remote", ice.local.pwd.as_bytes(), parts);
            let request = StunView::parse(&bytes).expect("well-formed");
            let outcome = ice.check(Instant::now(), path(1), &request);
            assert_eq!(outcome, CheckOutcome::Authentic { moved: true });
            assert_eq!(ice.path(), Some(path(1)));
        }
    }

    #[test]
    fn of_aggressive_nominations_the_highest_priority_wins() {
        let now = Instant::now();
        let mut ice = agent();
        ice.follow(now, path(1), true, Some(100));
        assert!(!ice.follow(now, path(2), true, Some(90)));
        assert!(ice.follow(now, path(3), true, Some(110)));
        assert!(!ice.follow(now, path(1), true, Some(100)));
        assert_eq!(ice.path(), Some(path(3)));
    }

    #[test]
    fn a_nomination_that_is_withdrawn_or_stale_gives_way() {
        let now = Instant::now();
        let mut ice = agent();
        ice.follow(now, path(1), true, Some(100));
        ice.follow(now, path(1), false, Some(100)); // a plain ping: no longer nominated
        assert!(ice.follow(now, path(2), true, Some(1)));
        let later = now + STALE_NOMINATION + Duration::from_millis(1);
        assert!(ice.follow(later, path(3), true, Some(0)));
    }

    #[test]
    fn media_keeps_its_way_through_a_restart() {
        let now = Instant::now();
        let mut ice = agent();
        ice.follow(now, path(1), true, Some(100));
        let fresh = agent();
        ice.restart(fresh.local().clone(), fresh.remote().clone());
        assert_eq!(ice.path(), Some(path(1)));
        assert!(ice.follow(now, path(9), true, Some(1)));
    }
}
