//! What an authenticated caller may do.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::claims::{Claims, TrackSource};
use crate::config::StreamKey;
use crate::units::MediaKind;

/// The caller is known but may not do this (403).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this needs {needs}")]
pub struct Denied {
    /// What would be needed.
    pub needs: &'static str,
}

impl Denied {
    /// The value of `WWW-Authenticate` in the 403 (RFC 6750 §3.1).
    pub fn www_authenticate(&self) -> String {
        format!("Bearer realm=\"weir\", error=\"insufficient_scope\", error_description=\"{self}\"")
    }
}

/// Who calls, and what they may do.
#[derive(Debug, Clone, PartialEq)]
pub struct Access {
    /// The only identity they act as; `None`: any.
    pub identity: Option<String>,
    /// The only room they act in; `None`: any.
    pub room: Option<String>,
    /// They may publish.
    pub publish: bool,
    /// The only sources they may publish; empty: all.
    pub sources: Vec<TrackSource>,
    /// They may watch.
    pub subscribe: bool,
    /// They may send data messages.
    pub publish_data: bool,
    /// They manage the room: end any session, publish as any identity.
    pub admin: bool,
    /// They may create rooms where `rooms.auto_create` is off.
    pub create: bool,
    /// They may see the list of rooms.
    pub list: bool,
    /// Others don't see them.
    pub hidden: bool,
    /// Their name for people, as the token says; often empty.
    pub name: String,
    /// Their metadata, as the token says; often empty.
    pub metadata: String,
    /// Their attributes, as the token says; often none.
    pub attributes: BTreeMap<String, String>,
}

impl Access {
    /// Everything, as on an open server.
    pub fn everything() -> Self {
        Self {
            identity: None,
            room: None,
            publish: true,
            sources: Vec::new(),
            subscribe: true,
            publish_data: true,
            admin: true,
            create: true,
            list: true,
            hidden: false,
            name: String::new(),
            metadata: String::new(),
            attributes: BTreeMap::new(),
        }
    }

    pub(super) fn stream_key(key: &StreamKey) -> Self {
        Self {
            identity: key.identity.clone(),
            room: Some(key.room.clone()),
            publish: key.publish,
            subscribe: key.subscribe,
            publish_data: key.publish,
            admin: false,
            list: false,
            ..Self::everything()
        }
    }

    /// LiveKit's rules: publishing and watching need `roomJoin` and are then
    /// allowed unless the token says otherwise; data goes with publishing.
    pub(super) fn token(claims: Claims) -> Self {
        let grant = claims.video;
        let publish = grant.room_join && grant.can_publish.unwrap_or(true);
        Self {
            identity: (!claims.sub.is_empty()).then_some(claims.sub),
            room: (!grant.room.is_empty()).then_some(grant.room),
            publish,
            sources: grant.can_publish_sources,
            subscribe: grant.room_join && grant.can_subscribe.unwrap_or(true),
            publish_data: grant.room_join && grant.can_publish_data.unwrap_or(publish),
            admin: grant.room_admin,
            create: grant.room_create,
            list: grant.room_list,
            hidden: grant.hidden,
            name: claims.name,
            metadata: claims.metadata,
            attributes: claims.attributes,
        }
    }

    /// The identity to publish as: the one the request names, else the caller's own.
    pub fn publisher_identity<'a>(&'a self, asked: Option<&'a str>) -> Option<&'a str> {
        asked.or(self.identity.as_deref())
    }

    /// The same rights for a viewer that says who it is. A token's own identity is the only
    /// one that its bearer may name, unless they manage the room.
    pub fn named(self: Arc<Self>, identity: Option<String>) -> Result<Arc<Self>, Denied> {
        match (identity, &self.identity) {
            (None, _) => Ok(self),
            (Some(named), Some(own)) if named == *own => Ok(self),
            (Some(_), Some(_)) if !self.admin => Err(Denied {
                needs: "a token of that participant (sub)",
            }),
            (Some(named), _) => Ok(Arc::new(Self {
                identity: Some(named),
                ..Self::clone(&self)
            })),
        }
    }

    /// Publishing in `room` as `identity`, and taking over from or ending
    /// whoever publishes there under that identity.
    pub fn may_publish(&self, room: &str, identity: &str) -> Result<(), Denied> {
        self.in_room(room)?;
        if !self.publish {
            return Err(Denied {
                needs: "permission to publish (roomJoin and canPublish)",
            });
        }
        match &self.identity {
            Some(own) if own != identity && !self.admin => Err(Denied {
                needs: "a token of that participant (sub)",
            }),
            _ => Ok(()),
        }
    }

    /// Publishing audio or video at all, as far as `canPublishSources` goes.
    pub fn may_publish_kind(&self, kind: MediaKind) -> Result<(), Denied> {
        let of_kind = |source: &TrackSource| match kind {
            MediaKind::Audio => matches!(
                source,
                TrackSource::Microphone | TrackSource::ScreenShareAudio
            ),
            MediaKind::Video => matches!(source, TrackSource::Camera | TrackSource::ScreenShare),
        };
        if self.sources.is_empty() || self.sources.iter().any(of_kind) {
            return Ok(());
        }
        Err(Denied {
            needs: match kind {
                MediaKind::Audio => "permission to publish sound (canPublishSources)",
                MediaKind::Video => "permission to publish pictures (canPublishSources)",
            },
        })
    }

    /// Watching `room` or anybody in it.
    pub fn may_subscribe(&self, room: &str) -> Result<(), Denied> {
        self.in_room(room)?;
        if self.subscribe {
            return Ok(());
        }
        Err(Denied {
            needs: "permission to watch (roomJoin and canSubscribe)",
        })
    }

    /// Sending data messages in `room`.
    pub fn may_publish_data(&self, room: &str) -> Result<(), Denied> {
        self.in_room(room)?;
        if self.publish_data {
            return Ok(());
        }
        Err(Denied {
            needs: "permission to send data (roomJoin and canPublishData)",
        })
    }

    /// Managing `room`: seeing all of it and ending any of its sessions.
    pub fn may_administer(&self, room: &str) -> Result<(), Denied> {
        self.in_room(room)?;
        if self.admin {
            return Ok(());
        }
        Err(Denied {
            needs: "permission to manage the room (roomAdmin)",
        })
    }

    /// Creating rooms where that is not open to all who come.
    pub fn may_create_room(&self, room: &str) -> Result<(), Denied> {
        self.in_room(room)?;
        if self.create || self.admin {
            return Ok(());
        }
        Err(Denied {
            needs: "permission to create rooms (roomCreate)",
        })
    }

    /// Seeing the list of all rooms.
    pub fn may_list(&self) -> Result<(), Denied> {
        if self.list {
            return Ok(());
        }
        Err(Denied {
            needs: "permission to list rooms (roomList)",
        })
    }

    fn in_room(&self, room: &str) -> Result<(), Denied> {
        match &self.room {
            Some(own) if own != room => Err(Denied {
                needs: "a token for that room",
            }),
            _ => Ok(()),
        }
    }
}
