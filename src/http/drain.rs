//! Reads what a handler left of a request's body. A refusal that needs no body
//! (a wrong type, no token, too many requests) may be given while the client
//! still sends; a connection that is closed upon it answers the rest of the
//! body with a reset, which can take the refusal away from the client.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::App;
use super::body::DRAIN_FACTOR;

/// A body whose rest is read and thrown away when it is dropped early.
struct Drained {
    body: Body,
    done: bool,
    /// Bytes and time that the rest may take.
    limit: usize,
    time: Duration,
}

/// Wraps a request's body.
pub(super) fn wrap(app: &App, request: Request) -> Request {
    let http = &app.0.config.http;
    let (limit, time) = (http.body_limit as usize, http.body_timeout);
    let limit = limit.saturating_mul(DRAIN_FACTOR);
    request.map(|body| {
        if body.is_end_stream() {
            return body;
        }
        Body::new(Drained {
            body,
            done: false,
            limit,
            time,
        })
    })
}

impl HttpBody for Drained {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(None | Some(Err(_))) => self.done = true,
            Poll::Ready(Some(Ok(frame))) => {
                let read = frame.data_ref().map_or(0, Bytes::len);
                self.limit = self.limit.saturating_sub(read);
            }
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        if self.done || self.limit == 0 || self.body.is_end_stream() {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return; // the server is being torn down
        };
        let mut body = std::mem::replace(&mut self.body, Body::empty());
        let (mut left, time) = (self.limit, self.time);
        runtime.spawn(tokio::time::timeout(time, async move {
            while let Some(Ok(frame)) = body.frame().await {
                let read = frame.data_ref().map_or(0, Bytes::len);
                match left.checked_sub(read) {
                    Some(rest) => left = rest,
                    None => break,
                }
            }
        }));
    }
}
