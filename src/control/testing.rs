//! A worker without media for tests: it answers commands as told.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use super::messages::{Command, Event, Refusal, Reply, WorkerSnapshot};
use super::{CommandSink, Control, ControlSettings, QueueFull, Scope, WorkerLink};
use crate::codec::Codec;
use crate::peer::negotiate::{
    AnswerContext, Direction, Feedback, Fingerprint, IceCredentials, LocalTransport, MediaSection,
    Negotiated, NegotiatedCodec, PeerKeys, SignalledSsrc,
};
use crate::units::{SessionKey, WorkerId};

/// Everything in the overview.
pub(crate) const ALL: Scope<'static> = Scope {
    room: None,
    viewing: true,
};

/// How the fake worker treats requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Does as it is asked.
    Willing,
    /// Refuses with this.
    Refusing(Refusal),
    /// Its queue is full.
    Full,
    /// Takes commands and says nothing.
    Silent,
}

/// A fake worker and what it was told.
pub(crate) struct FakeWorker {
    id: WorkerId,
    events: mpsc::Sender<(WorkerId, Event)>,
    state: Mutex<State>,
}

struct State {
    mood: Mood,
    slots: u32,
    log: Vec<Command>,
    open: HashSet<SessionKey>,
}

impl FakeWorker {
    pub fn set_mood(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    /// The commands so far, snapshots left out.
    pub fn log(&self) -> Vec<Command> {
        let state = self.state.lock().unwrap();
        let told = state.log.iter();
        told.filter(|c| !matches!(c, Command::Snapshot { .. }))
            .cloned()
            .collect()
    }

    /// Says something unasked.
    pub fn say(&self, event: Event) {
        self.events.try_send((self.id, event)).unwrap();
    }

    pub fn open_sessions(&self) -> usize {
        self.state.lock().unwrap().open.len()
    }
}

impl CommandSink for FakeWorker {
    fn send(&self, command: Command) -> Result<(), QueueFull> {
        let mut state = self.state.lock().unwrap();
        if state.mood == Mood::Full {
            return Err(QueueFull);
        }
        state.log.push(command.clone());
        if state.mood == Mood::Silent {
            return Ok(());
        }
        let reply = |request, reply| self.say(Event::Reply { request, reply });
        match (command, state.mood) {
            (Command::Open(open), Mood::Refusing(refusal)) => {
                reply(open.request, Reply::Refused(refusal));
            }
            (Command::RestartIce { request, .. }, Mood::Refusing(refusal)) => {
                reply(request, Reply::Refused(refusal));
            }
            (Command::Open(open), _) => {
                let key = SessionKey {
                    worker: self.id,
                    slot: state.slots,
                    generation: 0,
                };
                state.slots += 1;
                state.open.insert(key);
                let ssrcs = open.negotiated.media.iter().map(|_| SignalledSsrc {
                    ssrc: 1000 + key.slot,
                    rtx: None,
                });
                let local = LocalTransport {
                    ice: IceCredentials {
                        ufrag: format!("server{}", key.slot),
                        pwd: "serverserverserverserver".into(),
                    },
                    ssrcs: ssrcs.collect(),
                };
                reply(open.request, Reply::Opened { key, local });
            }
            (Command::RestartIce { request, .. }, _) => {
                let ice = IceCredentials {
                    ufrag: format!("again{}", request.0),
                    pwd: "againagainagainagainagain".into(),
                };
                reply(request, Reply::Restarted { ice });
            }
            (Command::Close { key, reason }, _) => {
                if state.open.remove(&key) {
                    self.say(Event::Closed { key, reason });
                }
            }
            (Command::Snapshot { request }, _) => {
                reply(request, Reply::Snapshot(Box::<WorkerSnapshot>::default()));
            }
            (Command::Answer { request, .. }, Mood::Refusing(refusal)) => {
                reply(request, Reply::Refused(refusal));
            }
            (Command::Answer { request, .. }, _) => reply(request, Reply::Answered),
            (Command::ChooseLayers { request, .. }, Mood::Refusing(refusal)) => {
                reply(request, Reply::Refused(refusal));
            }
            (Command::ChooseLayers { request, .. }, _) => reply(request, Reply::LayersChosen),
        }
        Ok(())
    }
}

/// A control plane over `count` fake workers, with its pump running.
pub(crate) fn control_with(
    count: u8,
    settings: ControlSettings,
) -> (Control, Vec<Arc<FakeWorker>>) {
    let (sender, receiver) = mpsc::channel(1024);
    let workers: Vec<Arc<FakeWorker>> = (0..count)
        .map(|id| {
            Arc::new(FakeWorker {
                id: WorkerId(id),
                events: sender.clone(),
                state: Mutex::new(State {
                    mood: Mood::Willing,
                    slots: 0,
                    log: Vec::new(),
                    open: HashSet::new(),
                }),
            })
        })
        .collect();
    let links = workers
        .iter()
        .map(|worker| WorkerLink {
            id: worker.id,
            sink: worker.clone(),
            context: Arc::new(AnswerContext::new(
                &Fingerprint {
                    algorithm: "sha-256".into(),
                    bytes: vec![7; 32],
                },
                &["192.0.2.1:7882".parse().unwrap()],
                &[],
            )),
        })
        .collect();
    let control = Control::new(links, settings);
    tokio::spawn(control.clone().run(receiver));
    (control, workers)
}

/// A negotiation of one section a codec list.
pub(crate) fn negotiated(direction: Direction, sections: &[&[Codec]]) -> Negotiated {
    let section = |(index, codecs): (usize, &&[Codec])| MediaSection {
        mid: index.to_string(),
        index,
        kind: codecs[0].kind(),
        codecs: codecs
            .iter()
            .zip(96..)
            .map(|(codec, pt)| NegotiatedCodec {
                pt,
                rtx_pt: None,
                red_pt: None,
                codec: *codec,
                channels: 1,
                fmtp: "".into(),
                feedback: Feedback::default(),
            })
            .collect(),
        extensions: Vec::new(),
        rids: Vec::new(),
        layer_ssrcs: Vec::new(),
        ssrcs: Vec::new(),
        rtcp_rsize: false,
        mixed_extensions: false,
    };
    Negotiated {
        direction,
        ice: IceCredentials {
            ufrag: "client".into(),
            pwd: "clientclientclientclient".into(),
        },
        fingerprint: Fingerprint {
            algorithm: "sha-256".into(),
            bytes: vec![9; 32],
        },
        peer_keys: PeerKeys::Ecdsa,
        dtls_active: false,
        media: sections.iter().enumerate().map(section).collect(),
        data: None,
    }
}
