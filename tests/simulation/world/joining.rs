//! How clients come into a world: offers, answers and the sessions that are opened for them.

use std::sync::Arc;

use weir::codec::Codec;
use weir::control::messages::{Command, Event, OpenSession, Reply, SessionRole, ViewTarget};
use weir::peer::negotiate::{
    AnswerContext, AnswerNames, CounterOffer, Direction, LocalTransport, Negotiated, Policy,
    read_offer,
};
use weir::units::{ParticipantId, RequestId, RoomId, SessionKey};
use weir::worker::Input;

use super::{ClientId, World, address, core_address};
use crate::client::{Client, Plan};
use crate::link::Link;

impl World {
    pub fn publish(&mut self, worker: u8, room: u64, participant: u64, plan: Plan) -> ClientId {
        let role = SessionRole::Publisher(ParticipantId(participant));
        let identity = format!("p{participant}");
        self.join(worker, room, role, Some(plan), Some(&identity), (1, 1))
    }

    pub fn view(&mut self, worker: u8, room: u64, target: ViewTarget) -> ClientId {
        self.join(
            worker,
            room,
            SessionRole::Viewer(target),
            None,
            None,
            (1, 1),
        )
    }

    /// A viewer of the room with so many audio and video sections; `identity`
    /// is its own, as its token tells.
    pub fn view_room(
        &mut self,
        worker: u8,
        room: u64,
        identity: Option<&str>,
        sections: (usize, usize),
    ) -> ClientId {
        let role = SessionRole::Viewer(ViewTarget::Room);
        self.join(worker, room, role, None, identity, sections)
    }

    fn join(
        &mut self,
        worker: u8,
        room: u64,
        role: SessionRole,
        plan: Option<Plan>,
        identity: Option<&str>,
        sections: (usize, usize),
    ) -> ClientId {
        let index = self.clients.len();
        let address = address(index);
        let direction = match role {
            SessionRole::Publisher(_) => Direction::Publish,
            SessionRole::Viewer(_) => Direction::View,
        };
        let (mut client, mut offer) = Client::new(address, self.now, plan, sections, self.vp9);
        if let Some(text) = self.unsaid {
            let lines = offer.lines().filter(|line| !line.contains(text));
            offer = lines.map(|line| format!("{line}\r\n")).collect();
        }
        if self.plain && direction == Direction::View {
            offer = without_rtx(&offer);
        }
        let policy = Policy {
            max_view_audio: sections.0,
            max_view_video: sections.1,
            ..Policy::default()
        };
        let accepted = read_offer(&offer, direction, &policy).expect("a good offer");
        let negotiated: Negotiated = accepted.negotiated.clone();
        let core = usize::from(worker);
        let open = OpenSession {
            request: RequestId(index as u64),
            room: RoomId(room),
            role,
            identity: identity.map(Arc::from),
            negotiated,
            log_id: Arc::from(format!("client-{index}")),
        };
        self.cores[core].handle(self.now, Input::Command(Command::Open(Box::new(open))));
        self.turn(core);
        let (key, local) = self.opened(index);
        self.ice
            .push((local.ice.clone(), accepted.negotiated.ice.clone()));
        let context = self.context(core);
        let names = AnswerNames {
            session_id: index as u64 + 1,
            stream_id: "stream",
            cname: &format!("client-{index}"),
        };
        client.answer(&accepted.answer(&context, &local, &names));
        let rtx = accepted.negotiated.media.iter().any(|m| m.has_rtx());
        if direction == Direction::View {
            assert_eq!(rtx, !self.plain, "RTX is agreed on unless it is left out");
        }
        client.plain = self.plain;
        if rtx {
            self.nonces.expect_rtx(address);
        }
        self.add(client, key)
    }

    /// A viewer that answers the server's offer, instead of making one (`406` to its POST).
    pub fn view_by_answer(&mut self, worker: u8, room: u64, target: ViewTarget) -> ClientId {
        let index = self.clients.len();
        let core = usize::from(worker);
        let offer = CounterOffer::new(&[Codec::Vp8, Codec::Opus]);
        let open = OpenSession {
            request: RequestId(index as u64),
            room: RoomId(room),
            role: SessionRole::Viewer(target),
            identity: None,
            negotiated: offer.negotiated().clone(),
            log_id: Arc::from(format!("client-{index}")),
        };
        self.cores[core].handle(self.now, Input::Command(Command::Open(Box::new(open))));
        self.turn(core);
        let (key, local) = self.opened(index);
        let names = AnswerNames {
            session_id: index as u64 + 1,
            stream_id: "stream",
            cname: &format!("client-{index}"),
        };
        let sdp = offer.write(&self.context(core), &local, &names);
        let (client, answer) = Client::answering(address(index), self.now, &sdp);
        let negotiated = offer.read_answer(&answer).expect("an answer that fits");
        assert!(negotiated.media.iter().any(|m| m.has_rtx()));
        self.ice.push((local.ice.clone(), negotiated.ice.clone()));
        self.nonces.expect_rtx(address(index));
        let answered = Command::Answer {
            request: RequestId(u64::MAX - 2),
            key,
            negotiated: Box::new(negotiated),
        };
        self.cores[core].handle(self.now, Input::Command(answered));
        self.turn(core);
        let begins = self.events.iter().any(|(_, event)| {
            matches!(event, Event::Reply { request: RequestId(n), reply: Reply::Answered } if *n == u64::MAX - 2)
        });
        assert!(begins, "the answer is taken");
        self.add(client, key)
    }

    fn context(&self, core: usize) -> AnswerContext {
        AnswerContext::new(&self.crypto.fingerprint(), &[core_address(core)], &[])
    }

    /// The session that was opened for a client, and its transport.
    fn opened(&self, index: usize) -> (SessionKey, LocalTransport) {
        self.events
            .iter()
            .rev()
            .find_map(|(_, event)| match event {
                Event::Reply {
                    request,
                    reply: Reply::Opened { key, local },
                } if *request == RequestId(index as u64) => Some((*key, local.clone())),
                _ => None,
            })
            .expect("the session is opened")
    }

    fn add(&mut self, client: Client, key: SessionKey) -> ClientId {
        let index = self.clients.len();
        self.clients.push(client);
        self.keys.push(key);
        let seed = self.seed.wrapping_mul(1000) + index as u64 * 2;
        self.up.push(Link::new(self.links, seed));
        self.down.push(Link::new(self.links, seed + 1));
        self.behind.push(index);
        self.tick_client(index);
        ClientId(index)
    }
}

/// An offer without RTX (RFC 4588): its payload types and their attributes.
fn without_rtx(offer: &str) -> String {
    let lines = offer.lines();
    let types: Vec<&str> = lines
        .clone()
        .filter(|line| line.contains(" rtx/"))
        .filter_map(|line| line.strip_prefix("a=rtpmap:")?.split(' ').next())
        .collect();
    let is_of = |line: &str, kind: &str| {
        let rest = line.strip_prefix(kind).and_then(|r| r.split(' ').next());
        rest.is_some_and(|pt| types.contains(&pt))
    };
    let kept = lines.filter(|line| {
        let kinds = ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"];
        !kinds.iter().any(|kind| is_of(line, kind))
    });
    let kept = kept.map(|line| match line.strip_prefix("m=video ") {
        None => line.to_owned(),
        Some(_) => {
            let words = line.split(' ').enumerate();
            let words = words.filter(|(at, word)| *at < 3 || !types.contains(word));
            words.map(|(_, word)| word).collect::<Vec<_>>().join(" ")
        }
    });
    kept.map(|line| line + "\r\n").collect()
}
