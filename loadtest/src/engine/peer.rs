//! What publishers and viewers have in common: a socket and a connection on it.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;

use crate::signal::negotiated::{Negotiated, Section};
use crate::signal::offer::Formats;
use crate::wire::srtp::Srtp;
use crate::wire::transport::{Event, Failure, Remote, Transport};
use crate::wire::{Kind, classify};

/// A session as signalling leaves it.
pub struct Seed {
    /// Its number, of all sessions of the run.
    pub id: u64,
    /// Its socket, bound and not connected.
    pub socket: UdpSocket,
    /// Our ICE credentials.
    pub local: crate::wire::transport::Credentials,
    /// The server's end.
    pub remote: Remote,
    /// Payload types of what comes.
    pub formats: Formats,
    /// What the answer took of the offer.
    pub negotiated: Negotiated,
    /// The sections that a viewer receives in; empty for one of each kind.
    pub sections: Vec<Section>,
    /// When its POST was begun, nanoseconds of `CLOCK_REALTIME`.
    pub posted_ns: u64,
    /// Keys (ours, the server's) that were agreed on elsewhere, on a connected
    /// socket: there is no ICE and no DTLS then.
    pub keys: Option<(Srtp, Srtp)>,
}

/// A socket, its ICE and DTLS, and its keys once there are any.
pub(super) struct Peer {
    pub(super) id: u64,
    pub(super) socket: UdpSocket,
    pub(super) transport: Transport,
    pub(super) posted_ns: u64,
    pub(super) send: Option<Srtp>,
    pub(super) receive: Option<Srtp>,
    attached: bool,
    /// Without ICE and DTLS; `Some(true)` once that was told.
    bare: Option<bool>,
}

impl Peer {
    pub(super) fn new(seed: Seed, now: Instant) -> Self {
        let bare = seed.keys.is_some().then_some(false);
        let (send, receive) = seed.keys.unzip();
        Self {
            id: seed.id,
            socket: seed.socket,
            transport: Transport::new(seed.local, seed.remote, now),
            posted_ns: seed.posted_ns,
            send,
            receive,
            attached: bare.is_some(),
            bare,
        }
    }

    /// Takes a datagram that is not media. `Connected` once the keys are there.
    pub(super) fn control(
        &mut self,
        now: Instant,
        from: SocketAddr,
        data: &[u8],
    ) -> Result<Option<Event>, Failure> {
        let event = match classify(data) {
            Kind::Stun => self.transport.handle_stun(now, from, data)?,
            Kind::Dtls => self.transport.handle_dtls(now, from, data)?,
            _ => None,
        };
        Ok(self.after(event))
    }

    /// Runs the timers of the connection.
    pub(super) fn tick(&mut self, now: Instant) -> Result<Option<Event>, Failure> {
        if let Some(told) = &mut self.bare {
            return Ok((!std::mem::replace(told, true)).then_some(Event::Connected));
        }
        if now < self.transport.deadline() {
            return Ok(None);
        }
        let event = self.transport.handle_timeout(now)?;
        Ok(self.after(event))
    }

    fn after(&mut self, event: Option<Event>) -> Option<Event> {
        if event == Some(Event::Connected)
            && let Some((send, receive)) = self.transport.take_keys()
        {
            self.send = Some(send);
            self.receive = Some(receive);
        }
        self.flush();
        event
    }

    /// Sends what the connection has to say. A refused datagram is as good as
    /// one lost: everything here is repeated.
    pub(super) fn flush(&mut self) {
        while let Some((to, datagram)) = self.transport.outgoing.pop_front() {
            let _ = if self.attached {
                self.socket.send(&datagram)
            } else {
                self.socket.send_to(&datagram, to)
            };
        }
        if !self.attached
            && let Some(to) = self.transport.selected()
        {
            self.attached = self.socket.connect(to).is_ok();
        }
    }

    /// Seals and sends RTCP.
    pub(super) fn send_rtcp(&mut self, plain: &[u8]) -> io::Result<()> {
        if let Some(sealed) = self.send.as_mut().and_then(|s| s.seal_rtcp(plain)) {
            self.socket.send(&sealed)?;
        }
        Ok(())
    }

    pub(super) fn close(&mut self) {
        self.transport.close();
        self.flush();
    }
}
