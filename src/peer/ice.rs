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
    /// Ours and the peer's before a restart that is not complete.
    former: Option<Box<(IceCredentials, IceCredentials)>>,
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
            former: None,
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
    /// until the peer nominates one under the new ones. Until then its checks of that way under the former
    /// ones are answered, too (RFC 7675 §5.1): it may not know the new ones yet, and never will
    /// where our reply is lost.
    pub fn restart(&mut self, local: IceCredentials, remote: IceCredentials) {
        let local = std::mem::replace(&mut self.local, local);
        let remote = std::mem::replace(&mut self.remote, remote);
        if let Some(selected) = &mut self.path {
            selected.nominated = false;
            // Of several restarts that did not get so far, the first knows what the peer uses.
            self.former.get_or_insert_with(|| Box::new((local, remote)));
        }
    }

    /// The password that goes with the user name of a request, for its answer.
    pub fn password(&self, request: &StunView<'_>) -> &str {
        match &self.former {
            Some(former) if is_for(request, &former.0, &former.1) => &former.0.pwd,
            _ => &self.local.pwd,
        }
    }

    /// Judges a binding request that came over `path`.
    pub fn check(&mut self, now: Instant, path: Path, request: &StunView<'_>) -> CheckOutcome {
        let is_present = is_for(request, &self.local, &self.remote);
        // Under the former credentials only the way in use is checked.
        let is_former = !is_present
            && self.path() == Some(path)
            && self
                .former
                .as_ref()
                .is_some_and(|former| is_for(request, &former.0, &former.1));
        if !(is_present || is_former)
            || !request.verify_integrity(self.password(request).as_bytes())
        {
            return CheckOutcome::NotAuthentic;
        }
        if !request.unknown_required().is_empty() {
            return CheckOutcome::UnknownAttribute;
        }
        if request.claims_controlled() {
            return CheckOutcome::RoleConflict;
        }
        if is_former {
            if let Some(selected) = &mut self.path {
                selected.refreshed = now;
            }
            return CheckOutcome::Authentic { moved: false };
        }
        let moved = self.follow(now, path, request.nominates(), request.priority());
        if moved || request.nominates() {
            self.former = None; // the restart is complete
        }
        CheckOutcome::Authentic { moved }
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

/// A request has the user name of these credentials (RFC 8445 §7.2.2).
fn is_for(request: &StunView<'_>, local: &IceCredentials, remote: &IceCredentials) -> bool {
    request.ufrags() == Some((local.ufrag.as_bytes(), remote.ufrag.as_bytes()))
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

    #[test]
    fn former_credentials_hold_for_the_way_in_use_until_a_restart_is_complete() {
        use crate::net::stun::tests::check;
        const NOMINATE: [u16; 2] = [0x0024, 0x0025];
        let now = Instant::now();
        let mut ice = agent();
        let generations = ["local", "second", "third"];
        let password = |name: &str| format!("{name}-0123456789-0123456789");
        let ask = |ice: &mut IceLite, name: &str, port, parts: &[u16]| {
            let username = format!("{name}:remote");
            let bytes = check(username.as_bytes(), password(name).as_bytes(), parts);
            let request = StunView::parse(&bytes).expect("well-formed");
            let outcome = ice.check(now, path(port), &request);
            if outcome != CheckOutcome::NotAuthentic {
                assert_eq!(ice.password(&request), password(name));
            }
            outcome
        };
        let restart = |ice: &mut IceLite, name: &str| {
            let local = IceCredentials {
                ufrag: name.into(),
                pwd: password(name),
            };
            ice.restart(local, ice.remote().clone());
        };
        let (stays, moves) = [false, true]
            .map(|moved| CheckOutcome::Authentic { moved })
            .into();
        assert_eq!(ask(&mut ice, "local", 1, &NOMINATE), moves);
        restart(&mut ice, generations[1]);
        restart(&mut ice, generations[2]);
        assert_eq!(ask(&mut ice, "local", 1, &NOMINATE), stays);
        // They lead nowhere else, and what was never in use leads nowhere.
        assert_eq!(
            ask(&mut ice, "local", 2, &NOMINATE),
            CheckOutcome::NotAuthentic
        );
        assert_eq!(
            ask(&mut ice, "second", 1, &NOMINATE),
            CheckOutcome::NotAuthentic
        );
        assert_eq!(ask(&mut ice, "third", 2, &NOMINATE[..1]), stays);
        assert_eq!(ask(&mut ice, "local", 1, &[]), stays);
        assert_eq!(ask(&mut ice, "third", 2, &NOMINATE), moves);
        assert_eq!(ice.path(), Some(path(2)));
        for port in [1, 2] {
            assert_eq!(
                ask(&mut ice, "local", port, &NOMINATE),
                CheckOutcome::NotAuthentic
            );
        }
        // The way may stay the same.
        restart(&mut ice, "local");
        assert_eq!(ask(&mut ice, "third", 2, &[]), stays);
        assert_eq!(ask(&mut ice, "local", 2, &NOMINATE), stays);
        assert_eq!(ask(&mut ice, "third", 2, &[]), CheckOutcome::NotAuthentic);
    }

    #[test]
    fn what_never_had_a_way_has_no_former_credentials() {
        let mut ice = agent();
        let fresh = agent();
        ice.restart(fresh.local().clone(), fresh.remote().clone());
        assert!(ice.former.is_none());
    }
}
