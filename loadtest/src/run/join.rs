//! Sessions over HTTP: a socket, an offer, a POST, an answer.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use reqwest::Url;
use socket2::{Domain, Protocol, Socket, Type};

use crate::engine::Seed;
use crate::scenario::types::Scenario;
use crate::signal::answer;
use crate::signal::client::{HttpError, Signalling};
use crate::signal::offer::{Offer, Sending};
use crate::sys;
use crate::wire::transport::{Credentials, local_fingerprint};

/// What a session needs besides the scenario.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) id: u64,
    pub(super) room: String,
    pub(super) publisher: String,
    /// `None` for a viewer.
    pub(super) sending: Option<Sending>,
    pub(super) local_ip: IpAddr,
}

/// How a POST went.
pub(super) struct Joined {
    pub(super) wanted: Wanted,
    pub(super) result: Result<(Seed, Option<Url>), HttpError>,
}

/// Our address on the way to the server, which is what the offer announces.
pub(super) fn local_ip(server: SocketAddr) -> std::io::Result<IpAddr> {
    // Connecting a UDP socket sends nothing: it only picks a route.
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(server)?;
    Ok(socket.local_addr()?.ip())
}

fn socket(scenario: &Scenario, viewer: bool) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from(([0, 0, 0, 0], 0)).into())?;
    socket.set_recv_buffer_size(scenario.generator.socket_buffer)?;
    sys::prepare_socket(&socket, viewer && scenario.generator.gro)?;
    Ok(socket.into())
}

/// Posts one session.
pub(super) async fn join(signalling: Signalling, scenario: &Scenario, wanted: Wanted) -> Joined {
    let result = attempt(&signalling, scenario, &wanted).await;
    Joined { wanted, result }
}

async fn attempt(
    signalling: &Signalling,
    scenario: &Scenario,
    wanted: &Wanted,
) -> Result<(Seed, Option<Url>), HttpError> {
    let own = |e: &dyn std::fmt::Display| HttpError::Answer(format!("generator: {e}"));
    let socket = socket(scenario, wanted.sending.is_none()).map_err(|e| own(&e))?;
    let port = socket.local_addr().map_err(|e| own(&e))?.port();
    let credentials = Credentials::random();
    let offer = Offer {
        credentials: &credentials,
        fingerprint: local_fingerprint().map_err(|e| own(&e))?,
        candidate: SocketAddr::new(wanted.local_ip, port),
        audio: scenario.media.audio,
        video: scenario.media.video.then_some(scenario.media.codec),
        sending: wanted.sending.as_ref(),
        rtx: scenario.viewer.rtx,
    }
    .text();
    let posted_ns = sys::realtime_ns();
    let place = |path: &str| {
        path.replace("{room}", &wanted.room)
            .replace("{publisher}", &wanted.publisher)
    };
    let created = if wanted.sending.is_some() {
        signalling.post(&place(&scenario.http.whip), offer).await?
    } else {
        signalling.post(&place(&scenario.http.whep), offer).await?
    };
    let remote = answer::parse(&created.answer).map_err(|e| HttpError::Answer(e.to_string()))?;
    let seed = Seed {
        id: wanted.id,
        socket,
        local: credentials,
        remote,
        posted_ns,
    };
    Ok((seed, created.resource))
}
