//! Counter-offers (draft-ietf-wish-whep): a viewer's place is held while it
//! writes its answer to an offer of ours.

use std::sync::Arc;

use super::error::ControlError;
use super::messages::Command;
use super::open::check_codecs;
use super::session::{Session, SessionCodecs};
use super::{Control, Join, open_key};
use crate::codec::Codec;
use crate::peer::negotiate::{CounterOffer, Negotiated};
use crate::units::MediaKind;

impl Control {
    /// The codecs of what a viewer would see now, those that arrive first.
    pub fn published_codecs(&self, room: &str, join: &Join) -> Vec<Codec> {
        let publisher = self.0.rooms().published(room, join);
        let codecs = publisher.map(|p| p.codecs()).unwrap_or_default();
        [MediaKind::Video, MediaKind::Audio]
            .into_iter()
            .flat_map(|kind| codecs.kind(kind).possible().to_vec())
            .collect()
    }

    /// Notes the offer that a session was made; it is open until it is answered
    /// or never connects.
    pub fn await_answer(&self, session: &Session, offer: CounterOffer) {
        session.set_counter_offer(Some(Arc::new(offer)));
    }

    /// A viewer's answer: its session begins. What is refused may be tried again.
    pub async fn answer(
        &self,
        session: &Arc<Session>,
        negotiated: Negotiated,
    ) -> Result<(), ControlError> {
        let key = open_key(session)?;
        let codecs = SessionCodecs::of(&negotiated);
        if let Some(publisher) = self.0.rooms().watched(session) {
            check_codecs(&publisher.codecs(), &codecs)?;
        }
        let remote = negotiated.ice.clone();
        let negotiated = Box::new(negotiated);
        self.ask(key, |request| Command::Answer {
            request,
            key,
            negotiated,
        })
        .await?;
        session.answered(remote, codecs);
        Ok(())
    }
}
