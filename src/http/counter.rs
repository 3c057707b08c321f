//! Counter-offers (draft-ietf-wish-whep, "Server Sends Counter-offer"): a
//! viewer's POST is answered 406 with an offer of the server's own, and the
//! viewer answers it by PATCH.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::App;
use super::auth::Access;
use super::body::require_media_type;
use super::endpoint::{SDP, choose, describe, insert, names, open_session};
use super::problem::Problem;
use super::session::SDP_FRAGMENT;
use crate::control::messages::LayerWish;
use crate::control::{Join, Session};
use crate::peer::negotiate::CounterOffer;

/// Holds a place for the viewer and answers 406 with our offer.
pub(super) async fn offer(
    app: &App,
    room: String,
    join: Join,
    access: &Access,
    client: IpAddr,
    wish: LayerWish,
) -> Result<Response, Problem> {
    let offer = CounterOffer::new(&app.0.control.published_codecs(&room, &join));
    let negotiated = (offer.negotiated().clone(), offer.bundle_mids());
    // It ends with the time that a session has for connecting.
    let valid_until = SystemTime::now() + app.0.config.limits.connect_timeout;
    let caller = (client, app.0.sessions.enter(client)?);
    let opened = open_session(app, (room, join), access, negotiated, caller).await?;
    choose(app, &opened, wish).await?;
    let text = offer.write(&opened.context, &opened.local, &names(&opened));
    app.0.control.await_answer(&opened.session, offer);
    let mut response = (StatusCode::NOT_ACCEPTABLE, text).into_response();
    let headers = response.headers_mut();
    let kind = format!(
        "{SDP}; valid-until=\"{}\"",
        httpdate::fmt_http_date(valid_until)
    );
    insert(headers, header::CONTENT_TYPE, &kind);
    headers.insert("accept-patch", HeaderValue::from_static(SDP));
    describe(app, headers, &opened);
    Ok(response)
}

/// `PATCH` of the answer; what is refused may be tried again while the offer holds.
pub(super) async fn answer(
    app: &App,
    session: &Arc<Session>,
    request: Request,
) -> Result<Response, Problem> {
    require_media_type(
        request.headers(),
        SDP,
        HeaderName::from_static("accept-patch"),
    )?;
    let body = app.read_body(request).await?;
    let _one_at_a_time = session.restarting.lock().await;
    let Some(offer) = session.counter_offer() else {
        // Another PATCH answered it meanwhile.
        return Err(Problem::new(
            super::problem::Kind::UnsupportedMediaType,
            format!("The offer is answered. Send Content-Type: {SDP_FRAGMENT}."),
        ));
    };
    let negotiated = offer.read_answer(&body)?;
    app.0.control.answer(session, negotiated).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert("accept-patch", HeaderValue::from_static(SDP_FRAGMENT));
    insert(headers, header::ETAG, session.tag().as_str());
    Ok(response)
}
