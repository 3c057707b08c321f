//! Layer selection (draft-ietf-wish-whep-events): `/session/{id}/layer`, and
//! the same wishes as query parameters of the WHEP POST.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderName, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::App;
use super::body::require_media_type;
use super::problem::{Kind, Problem};
use super::session::{authorize, open_session};
use crate::control::messages::LayerWish;
use crate::control::{ControlError, Session};
use crate::peer::negotiate::Direction;

const JSON: &str = "application/json";

/// What a request may say; what it does not say is left to the server.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Selection {
    media_id: Option<MediaId>,
    rid: Option<String>,
    encoding_id: Option<String>,
    spatial_layer_id: Option<u8>,
    temporal_layer_id: Option<u8>,
    max_spatial_layer_id: Option<u8>,
    max_temporal_layer_id: Option<u8>,
    max_width: Option<u32>,
    max_height: Option<u32>,
}

/// A section by its mid, or by its place among the m-lines; some players send
/// the place as a number.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum MediaId {
    Text(String),
    Number(u16),
}

/// The media section and the wish of a layer request; `None` means the first
/// video section.
///
/// # Errors
/// What is wrong with the text, in words for whoever sent it.
pub fn parse(text: &str) -> Result<(Option<String>, LayerWish), String> {
    let selection: Selection = serde_json::from_str(text).map_err(|error| {
        format!(
            "Send a JSON object with mediaId, and rid, spatialLayerId, temporalLayerId, \
             maxSpatialLayerId, maxTemporalLayerId, maxWidth or maxHeight as wanted: {error}."
        )
    })?;
    let media = selection.media_id.as_ref().map(|id| match id {
        MediaId::Text(text) => text.clone(),
        MediaId::Number(number) => number.to_string(),
    });
    Ok((media, selection.wish()?))
}

/// The wish in the query of a WHEP POST; parameters of other meaning are left alone.
///
/// # Errors
/// What is wrong with the query, in words for whoever sent it.
pub fn parse_query(query: &str) -> Result<LayerWish, String> {
    let uri = format!("/?{query}");
    let uri = uri
        .parse()
        .map_err(|_| "The query is not percent-encoded text.".to_owned())?;
    let axum::extract::Query(selection) = axum::extract::Query::<Selection>::try_from_uri(&uri)
        .map_err(|error| {
            use std::error::Error;
            let why = error.source().map(ToString::to_string).unwrap_or_default();
            format!("A query parameter of the layer choice is wrong: {why}.")
        })?;
    selection.wish()
}

impl Selection {
    fn wish(self) -> Result<LayerWish, String> {
        let rid = match (self.rid, self.encoding_id) {
            (Some(rid), Some(other)) if rid != other => {
                return Err("rid and encodingId mean the same; send one of them.".to_owned());
            }
            (rid, encoding_id) => rid.or(encoding_id),
        };
        let side = |name, side: Option<u32>| match side {
            Some(0) => Err(format!("{name} is in pixels, and can't be 0.")),
            Some(side) => Ok(Some(u16::try_from(side).unwrap_or(u16::MAX))),
            None => Ok(None),
        };
        let width = side("maxWidth", self.max_width)?;
        let height = side("maxHeight", self.max_height)?;
        let max_size = (width.is_some() || height.is_some())
            .then(|| (width.unwrap_or(u16::MAX), height.unwrap_or(u16::MAX)));
        Ok(LayerWish {
            rid,
            spatial: self.spatial_layer_id,
            temporal: self.temporal_layer_id,
            max_spatial: self.max_spatial_layer_id,
            max_temporal: self.max_temporal_layer_id,
            max_size,
        })
    }
}

/// `POST` of a choice.
pub(super) async fn choose(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let session = open_session(&app, &id)?;
    authorize(&app, request.headers(), &session)?;
    if session.direction() != Direction::View {
        return Err(Problem::not_found("layer resource: only viewers have one"));
    }
    require_media_type(
        request.headers(),
        JSON,
        HeaderName::from_static("accept-post"),
    )?;
    let body = app.read_body(request).await?;
    let (media, wish) = parse(&body).map_err(|why| Problem::new(Kind::Malformed, why))?;
    let Some(mid) = session.video_mid(media.as_deref()) else {
        return Err(unknown_media(&session, media.as_deref()));
    };
    match app.0.control.choose_layers(&session, mid, wish).await {
        Ok(()) => Ok(StatusCode::OK),
        Err(error) => Err(explain(&app, &session, error).await),
    }
}

/// Applies the wish of a WHEP POST to the first video section. A layer of a
/// publisher that is still awaited is chosen when it comes.
///
/// # Errors
/// The publisher is there and has no such layer.
pub(super) async fn apply(
    app: &App,
    session: &Arc<Session>,
    wish: LayerWish,
) -> Result<(), Problem> {
    let Some(mid) = session.video_mid(None).filter(|_| !wish.is_automatic()) else {
        return Ok(());
    };
    let control = &app.0.control;
    match control
        .choose_layers(session, mid.clone(), wish.clone())
        .await
    {
        Err(ControlError::UnknownLayer) if !control.watches_somebody(session) => {
            session.wish_early(mid, wish);
            Ok(())
        }
        Err(error) => Err(explain(app, session, error).await),
        Ok(()) => Ok(()),
    }
}

/// A refusal, with what there is to choose from.
async fn explain(app: &App, session: &Session, error: ControlError) -> Problem {
    match error {
        ControlError::UnknownMedia => unknown_media(session, None),
        ControlError::UnknownLayer => {
            let report = app.0.control.viewer_report(session, Instant::now()).await;
            let layers = report.unwrap_or_default().layers;
            let mut rids: Vec<&str> = Vec::new();
            for rid in layers.0.values().flatten().filter_map(|l| l.rid.as_deref()) {
                if !rids.contains(&rid) {
                    rids.push(rid);
                }
            }
            let detail = if rids.is_empty() {
                "What is watched has no such layer; it has no simulcast, so name no rid.".to_owned()
            } else {
                format!(
                    "What is watched has no such layer; there are the rids {}.",
                    rids.join(", ")
                )
            };
            Problem::new(Kind::UnknownLayer, detail)
                .member("rids", json!(rids))
                .member("layers", json!(layers))
        }
        other => other.into(),
    }
}

fn unknown_media(session: &Session, wanted: Option<&str>) -> Problem {
    let mids: Vec<&str> = session.video_mids().collect();
    let shown: String = wanted.unwrap_or_default().chars().take(32).collect();
    let detail = if mids.is_empty() {
        "This session has no video section.".to_owned()
    } else {
        format!(
            "This session has no video section {shown:?}; there are {}.",
            mids.join(", ")
        )
    };
    Problem::new(Kind::UnknownLayer, detail).member("mediaIds", json!(mids))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_read_with_all_its_parts() {
        let text = r#"{"mediaId":"1","encodingId":"h","spatialLayerId":2,"temporalLayerId":1,
            "maxSpatialLayerId":2,"maxTemporalLayerId":3,"maxWidth":1280,"maxHeight":720}"#;
        let (media, wish) = parse(text).unwrap();
        assert_eq!(media.as_deref(), Some("1"));
        assert_eq!(
            wish,
            LayerWish {
                rid: Some("h".into()),
                spatial: Some(2),
                temporal: Some(1),
                max_spatial: Some(2),
                max_temporal: Some(3),
                max_size: Some((1280, 720)),
            }
        );
        assert_eq!(parse_query("maxWidth=1280&maxHeight=720&encodingId=h&spatialLayerId=2&temporalLayerId=1&maxSpatialLayerId=2&maxTemporalLayerId=3").unwrap(), wish);
    }

    #[test]
    fn what_is_not_said_is_automatic() {
        for text in [
            "{}",
            r#"{"mediaId":"0"}"#,
            r#"{"mediaId":0,"rid":null}"#,
            r#"{"x":1}"#,
        ] {
            assert!(parse(text).unwrap().1.is_automatic(), "{text}");
        }
        for query in ["", "token=abc", "x", "a=b&c=%20"] {
            assert!(parse_query(query).unwrap().is_automatic(), "{query}");
        }
        // One side alone leaves the other open; screens are never so large.
        let (_, wish) = parse(r#"{"maxHeight":100000}"#).unwrap();
        assert_eq!(wish.max_size, Some((u16::MAX, u16::MAX)));
        assert_eq!(
            parse_query("maxWidth=640").unwrap().max_size,
            Some((640, u16::MAX))
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for text in [
            "",
            "[]",
            "1",
            "\"x\"",
            "{",
            r#"{"rid":1}"#,
            r#"{"spatialLayerId":-1}"#,
            r#"{"spatialLayerId":256}"#,
            r#"{"maxWidth":0}"#,
            r#"{"maxWidth":"640"}"#,
            r#"{"mediaId":[1]}"#,
            r#"{"rid":"a","encodingId":"b"}"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        for query in ["maxWidth=0", "maxWidth=x", "spatialLayerId=", "rid=a&rid=b"] {
            let why = parse_query(query).unwrap_err();
            assert!(why.ends_with('.'), "{query}: {why}");
        }
    }
}
