//! The HTTP side of a session: POST the offer, later DELETE the resource.

use std::fmt;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use reqwest::{Client, Url};

/// Longer than any server should need; OBS gives up after 8 s.
const POST_TIMEOUT: Duration = Duration::from_secs(15);
const MAX_ANSWER: usize = 64 * 1024;

/// Why signalling failed, by kind. The text is the key in reports.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HttpError {
    /// No TCP connection.
    Connect,
    /// No answer in time.
    Timeout,
    /// The connection broke, or what came is not HTTP.
    Broken,
    /// A status other than 201.
    Status(u16),
    /// A 201 without what it must carry.
    Answer(String),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect"),
            Self::Timeout => f.write_str("timeout"),
            Self::Broken => f.write_str("broken"),
            Self::Status(code) => write!(f, "status {code}"),
            Self::Answer(why) => write!(f, "answer: {why}"),
        }
    }
}

impl From<reqwest::Error> for HttpError {
    fn from(e: reqwest::Error) -> Self {
        if e.is_timeout() {
            Self::Timeout
        } else if e.is_connect() {
            Self::Connect
        } else {
            Self::Broken
        }
    }
}

/// A created session: its resource and the answer.
#[derive(Debug, Clone)]
pub struct Created {
    /// Where to DELETE it; `None` if the server named no place.
    pub resource: Option<Url>,
    /// The answer.
    pub answer: String,
}

/// Talks to one server.
#[derive(Debug, Clone)]
pub struct Signalling {
    client: Client,
    base: Url,
    token: Option<String>,
}

impl Signalling {
    /// A client of the server at `base`, with a bearer token for every request.
    pub fn new(base: Url, token: Option<String>) -> Result<Self, HttpError> {
        Ok(Self {
            client: Client::builder().timeout(POST_TIMEOUT).build()?,
            base,
            token,
        })
    }

    /// Posts an offer to a path below the base.
    pub async fn post(&self, path: &str, offer: String) -> Result<Created, HttpError> {
        self.post_with(path, offer, None).await
    }

    /// The same with a token of its own.
    pub async fn post_with(
        &self,
        path: &str,
        offer: String,
        token: Option<&str>,
    ) -> Result<Created, HttpError> {
        let url = self
            .base
            .join(path.trim_start_matches('/'))
            .map_err(|_| HttpError::Answer("bad endpoint".to_owned()))?;
        let mut request = self
            .client
            .post(url.clone())
            .header(CONTENT_TYPE, "application/sdp")
            .body(offer);
        if let Some(token) = token.or(self.token.as_deref()) {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let mut response = request.send().await?;
        let status = response.status().as_u16();
        if status != 201 {
            return Err(HttpError::Status(status));
        }
        let resource = response
            .headers()
            .get(LOCATION)
            .and_then(|l| l.to_str().ok())
            .and_then(|l| url.join(l).ok());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(HttpError::Answer("too long".to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        let answer =
            String::from_utf8(body).map_err(|_| HttpError::Answer("not text".to_owned()))?;
        Ok(Created { resource, answer })
    }

    /// Ends a session. Errors are told, not retried.
    pub async fn delete(&self, resource: Url) -> Result<(), HttpError> {
        let mut request = self.client.delete(resource);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = request.send().await?;
        if response.status().is_success() {
            Ok(())
        } else {
            Err(HttpError::Status(response.status().as_u16()))
        }
    }
}
