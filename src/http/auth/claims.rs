//! The claims of LiveKit's access tokens, as its server SDKs write them.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// A token's payload.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// The API key whose secret signs the token.
    #[serde(default)]
    pub iss: String,
    /// The participant's identity.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub sub: String,
    /// End of validity, seconds since 1970; a token without one is refused.
    #[serde(default, deserialize_with = "seconds")]
    pub exp: u64,
    /// Start of validity, seconds since 1970.
    #[serde(
        default,
        deserialize_with = "optional_seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub nbf: Option<u64>,
    /// The participant's name for people.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub name: String,
    /// Whatever the application wants its participants to know.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub metadata: String,
    /// The same, by name.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub attributes: BTreeMap<String, String>,
    /// What the token allows.
    #[serde(default, deserialize_with = "null_as_default")]
    pub video: VideoGrant,
}

/// What a token allows. Absent `can...` fields allow, other absent fields don't.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VideoGrant {
    /// The room; empty: whichever is asked for.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub room: String,
    /// Join the room, to publish and watch as the fields below say.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_false"
    )]
    pub room_join: bool,
    /// Manage the room and its participants.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_false"
    )]
    pub room_admin: bool,
    /// Create and delete rooms.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_false"
    )]
    pub room_create: bool,
    /// See the list of rooms.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_false"
    )]
    pub room_list: bool,
    /// Record the room.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_false"
    )]
    pub room_record: bool,
    /// Publish tracks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub can_publish: Option<bool>,
    /// Watch and hear others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub can_subscribe: Option<bool>,
    /// Send data messages; absent: as `can_publish`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub can_publish_data: Option<bool>,
    /// The only sources that may be published; empty: all.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub can_publish_sources: Vec<TrackSource>,
    /// Change one's own metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub can_update_own_metadata: Option<bool>,
    /// Others don't see the participant.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_false"
    )]
    pub hidden: bool,
    /// The participant records the room.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_false"
    )]
    pub recorder: bool,
    /// The participant is an agent.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_false"
    )]
    pub agent: bool,
}

/// Where a track comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackSource {
    /// A camera.
    Camera,
    /// A microphone.
    Microphone,
    /// A screen or window.
    ScreenShare,
    /// The sound of a screen or window.
    ScreenShareAudio,
    /// A source this server does not know.
    #[serde(other)]
    Unknown,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Some SDKs write `null` for what was not set.
fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A NumericDate may have a fraction (RFC 7519 §2).
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    // `as` saturates: a negative date is 0, which has passed.
    f64::deserialize(deserializer).map(|date| date as u64)
}

fn optional_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.map(|date| date as u64))
}
