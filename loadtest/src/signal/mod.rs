//! Bringing sessions up: WHIP (RFC 9725) and WHEP over HTTP, and the API of a
//! server that has neither.

pub mod answer;
pub mod client;
pub mod janus;
pub mod jsep;
pub mod negotiated;
pub mod offer;

use client::{HttpError, Signalling};
use janus::Janus;

/// How a server is talked to.
#[derive(Debug, Clone)]
pub enum Api {
    /// WHIP and WHEP.
    Whip(Signalling),
    /// Janus's VideoRoom plugin.
    Janus(Janus),
}

/// What stands for a session on the server, to end it by.
#[derive(Debug)]
pub enum Resource {
    /// To be DELETEd, with this token.
    Url(reqwest::Url, Option<String>),
    /// To be destroyed.
    Janus(janus::Session),
}

impl Api {
    /// Ends a session. Errors are told, not retried.
    pub async fn end(&self, resource: Resource) -> Result<(), HttpError> {
        match (self, resource) {
            (Self::Whip(client), Resource::Url(url, token)) => {
                client.delete(url, token.as_deref()).await
            }
            (Self::Janus(janus), Resource::Janus(session)) => janus.close(session).await,
            // Each server's sessions are made by its own client.
            (Self::Whip(_), Resource::Janus(_)) | (Self::Janus(_), Resource::Url(..)) => Ok(()),
        }
    }
}
