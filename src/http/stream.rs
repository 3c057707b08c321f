//! A connection that does not wait for ever: for the rest of a request's
//! header, or for the next request.
//!
//! The HTTP engine has one time-out for both; here the wait for a header that
//! has begun is short, and an idle connection may be kept longer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Requests of a connection that are being served; 0 or 1, as they are not pipelined.
#[derive(Debug, Clone, Default)]
pub(super) struct Activity(Arc<AtomicUsize>);

impl Activity {
    /// Marks a request as being served until the guard is dropped.
    pub fn begin(&self) -> Busy {
        self.0.fetch_add(1, Ordering::AcqRel);
        Busy(self.clone())
    }

    fn is_busy(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }
}

/// A request is being served.
#[derive(Debug)]
pub(super) struct Busy(Activity);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A response body that keeps its connection busy until it is sent.
pub(super) struct BusyBody {
    body: Body,
    _busy: Busy,
}

impl BusyBody {
    /// Ties a body to the request it answers.
    pub fn new(body: Body, busy: Busy) -> Self {
        Self { body, _busy: busy }
    }
}

impl HttpBody for BusyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// The next request.
    Idle,
    /// The rest of a header.
    Header,
    /// Nothing: a request is being served, and has time-outs of its own.
    Nothing,
}

/// A stream with those time-outs on its reading half.
pub(super) struct Patient<S> {
    stream: S,
    activity: Activity,
    waiting: Waiting,
    deadline: Pin<Box<Sleep>>,
    header_timeout: Duration,
    idle_timeout: Duration,
}

impl<S> Patient<S> {
    /// Wraps a fresh connection, whose first header is due at once.
    pub fn new(
        stream: S,
        activity: Activity,
        header_timeout: Duration,
        idle_timeout: Duration,
    ) -> Self {
        Self {
            stream,
            activity,
            waiting: Waiting::Header,
            deadline: Box::pin(sleep_until(Instant::now() + header_timeout)),
            header_timeout,
            idle_timeout,
        }
    }

    fn wait_for(&mut self, what: Waiting, time: Duration) {
        self.waiting = what;
        self.deadline.as_mut().reset(Instant::now() + time);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.activity.is_busy() {
            this.waiting = Waiting::Nothing;
        } else if this.waiting == Waiting::Nothing {
            this.wait_for(Waiting::Idle, this.idle_timeout);
        }
        // Looked at also when there is data: a header that trickles in is late all the same.
        if this.waiting != Waiting::Nothing && this.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before && this.waiting == Waiting::Idle {
            this.wait_for(Waiting::Header, this.header_timeout);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, data)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const SHORT: Duration = Duration::from_millis(40);
    const LONG: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_header_that_trickles_in_is_late() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut server = Patient::new(server, Activity::default(), SHORT, LONG);
        let drip = tokio::spawn(async move {
            while client.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let started = Instant::now();
        let error = loop {
            if let Err(error) = server.read_u8().await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() >= SHORT && started.elapsed() < LONG / 10);
        drop(server);
        drip.await.unwrap();
    }

    #[tokio::test]
    async fn an_idle_connection_has_its_own_time() {
        let (mut client, server) = tokio::io::duplex(64);
        let activity = Activity::default();
        let mut server = Patient::new(server, activity.clone(), LONG, SHORT);
        client.write_all(b"a").await.unwrap();
        server.read_u8().await.unwrap();
        let busy = activity.begin();
        // While a request is served, reading waits without limit.
        let read = tokio::time::timeout(SHORT * 3, server.read_u8()).await;
        assert!(read.is_err(), "no time-out of the stream's own");
        drop(busy);
        let idle = tokio::time::timeout(LONG, server.read_u8()).await.unwrap();
        assert_eq!(idle.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
