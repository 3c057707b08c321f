//! Sessions over HTTP: a socket, an offer, a POST, an answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use crate::engine::Seed;
use crate::scenario::types::Scenario;
use crate::signal::client::{HttpError, Signalling};
use crate::signal::janus::{Janus, Room};
use crate::signal::negotiated::{self, Negotiated, Section};
use crate::signal::offer::{Formats, Offer, Sending};
use crate::signal::{Api, Resource, answer, jsep};
use crate::sys;
use crate::wire::transport::{Credentials, Remote, local_fingerprint};

/// What a session needs besides the scenario.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) id: u64,
    /// The room and the publisher by number; names are made of them. A viewer of a whole
    /// room is that publisher's own.
    pub(super) room: u64,
    pub(super) publisher: u64,
    /// `None` for a viewer.
    pub(super) sending: Option<Sending>,
    pub(super) local_ip: IpAddr,
}

impl Wanted {
    /// A path or a token with the names filled in.
    fn name(&self, template: &str) -> String {
        template
            .replace("{room}", &format!("load-{}", self.room))
            .replace("{publisher}", &format!("p{}", self.publisher))
    }
}

/// How a POST went.
pub(super) struct Joined {
    pub(super) wanted: Wanted,
    pub(super) result: Result<(Seed, Option<Resource>), HttpError>,
}

/// Our address on the way to the server, which is what the offer announces.
pub(super) fn local_ip(server: SocketAddr) -> std::io::Result<IpAddr> {
    // Connecting a UDP socket sends nothing: it only picks a route.
    let socket = UdpSocket::bind(any(server.is_ipv6()))?;
    socket.connect(server)?;
    Ok(socket.local_addr()?.ip())
}

fn any(v6: bool) -> SocketAddr {
    let ip = if v6 {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    } else {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    };
    SocketAddr::new(ip, 0)
}

fn socket(scenario: &Scenario, viewer: bool, v6: bool) -> std::io::Result<UdpSocket> {
    let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.bind(&any(v6).into())?;
    socket.set_recv_buffer_size(scenario.generator.socket_buffer)?;
    sys::prepare_socket(&socket, viewer && scenario.generator.gro)?;
    Ok(socket.into())
}

/// Brings one session up as far as signalling goes.
pub(super) async fn join(api: Api, scenario: &Scenario, wanted: Wanted) -> Joined {
    let result = attempt(&api, scenario, &wanted).await;
    Joined { wanted, result }
}

async fn attempt(
    api: &Api,
    scenario: &Scenario,
    wanted: &Wanted,
) -> Result<(Seed, Option<Resource>), HttpError> {
    let own = |e: &dyn std::fmt::Display| HttpError::Answer(format!("generator: {e}"));
    let v6 = wanted.local_ip.is_ipv6();
    let socket = socket(scenario, wanted.sending.is_none(), v6).map_err(|e| own(&e))?;
    let port = socket.local_addr().map_err(|e| own(&e))?.port();
    let credentials = Credentials::random();
    let viewer = &scenario.viewer;
    let (audio, video) = match wanted.sending {
        Some(_) => (1, 1),
        None => (viewer.audio_slots as usize, viewer.video_slots as usize),
    };
    let offer = Offer {
        credentials: &credentials,
        fingerprint: local_fingerprint().map_err(|e| own(&e))?,
        candidate: SocketAddr::new(wanted.local_ip, port),
        audio: if scenario.media.audio { audio } else { 0 },
        video: (scenario.media.video).then_some((scenario.media.codec, video)),
        sending: wanted.sending.as_ref(),
        rtx: if wanted.sending.is_some() {
            scenario.media.rtx
        } else {
            scenario.viewer.rtx
        },
        transport_cc: if wanted.sending.is_some() {
            scenario.media.transport_cc
        } else {
            scenario.viewer.feedback.transport_cc()
        },
        every_codec: wanted.sending.is_none() && scenario.viewer.every_codec,
    };
    let posted_ns = sys::realtime_ns();
    let ((mut remote, formats, negotiated, sections), resource) = match api {
        Api::Whip(client) => whip(client, scenario, wanted, &offer).await?,
        Api::Janus(janus) => videoroom(janus, scenario, wanted, &offer).await?,
    };
    // Our socket reaches one family only.
    remote.candidates.retain(|c| c.is_ipv6() == v6);
    if remote.candidates.is_empty() {
        let family = if v6 { "IPv6" } else { "IPv4" };
        return Err(HttpError::Answer(format!("no {family} candidate")));
    }
    let seed = Seed {
        id: wanted.id,
        socket,
        local: credentials,
        remote,
        formats,
        negotiated,
        sections,
        posted_ns,
        keys: None,
    };
    Ok((seed, resource))
}

fn unusable(e: answer::AnswerError) -> HttpError {
    HttpError::Answer(e.to_string())
}

/// What signalling agrees on.
type Agreement = (Remote, Formats, Negotiated, Vec<Section>);

async fn whip(
    client: &Signalling,
    scenario: &Scenario,
    wanted: &Wanted,
    offer: &Offer<'_>,
) -> Result<(Agreement, Option<Resource>), HttpError> {
    let path = match wanted.sending {
        Some(_) => &scenario.http.whip,
        None => &scenario.http.whep,
    };
    let created = client.post(path, offer.text(), |t| wanted.name(t)).await?;
    let resource = created
        .resource
        .map(|url| Resource::Url(url, created.token));
    let remote = answer::parse(&created.answer).map_err(unusable)?;
    let negotiated = Negotiated::of(&created.answer);
    let sections = negotiated::sections(&created.answer);
    let formats = Formats::offered(offer.rtx);
    Ok(((remote, formats, negotiated, sections), resource))
}

async fn videoroom(
    janus: &Janus,
    scenario: &Scenario,
    wanted: &Wanted,
    offer: &Offer<'_>,
) -> Result<(Agreement, Option<Resource>), HttpError> {
    // Janus numbers rooms and feeds from 1.
    let (room, feed) = (wanted.room + 1, wanted.publisher + 1);
    let (session, agreement) = if wanted.sending.is_some() {
        let room = Room {
            number: room,
            publishers: scenario.load.publishers,
            video: offer.video.map(|(codec, _)| codec),
        };
        let (session, answer) = janus.publish(room, feed, &offer.text()).await?;
        let remote = answer::parse(&answer).map_err(unusable)?;
        let negotiated = Negotiated::of(&answer);
        let formats = Formats::offered(false);
        (session, (remote, formats, negotiated, Vec::new()))
    } else {
        let answer = |text: &str| {
            let agreed = jsep::answer(text, offer).map_err(unusable)?;
            Ok(((agreed.remote, agreed.formats), agreed.text))
        };
        let (session, (remote, formats)) = janus.watch(room, feed, answer).await?;
        // Our answer takes none of the features that have keys here.
        let negotiated = Negotiated::default();
        (session, (remote, formats, negotiated, Vec::new()))
    };
    Ok((agreement, Some(Resource::Janus(session))))
}
