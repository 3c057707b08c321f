//! The HTTP side of a session: POST the offer, later DELETE the resource.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use reqwest::{Certificate, Client, Url};

/// Longer than any server should need; OBS gives up after 8 s.
pub(super) const POST_TIMEOUT: Duration = Duration::from_secs(15);
const MAX_ANSWER: usize = 64 * 1024;

/// Why signalling failed, by kind. The text is the key in reports.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HttpError {
    /// The name has no address.
    Name,
    /// Nobody listens there.
    Refused,
    /// No TCP connection, for another reason.
    Connect,
    /// No TLS, or a certificate that can't be trusted.
    Tls(String),
    /// No answer in time.
    Timeout,
    /// The connection broke, or what came is not HTTP.
    Broken,
    /// A status other than 201.
    Status(u16),
    /// A 201 without what it must carry.
    Answer(String),
    /// An error of an API of the server's own.
    Api(String),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("connect: unknown host"),
            Self::Refused => f.write_str("connect: refused"),
            Self::Connect => f.write_str("connect"),
            Self::Tls(why) => write!(f, "TLS: {why}"),
            Self::Timeout => f.write_str("timeout"),
            Self::Broken => f.write_str("broken"),
            Self::Status(code) => write!(f, "status {code}"),
            Self::Answer(why) => write!(f, "answer: {why}"),
            Self::Api(why) => f.write_str(why),
        }
    }
}

impl From<reqwest::Error> for HttpError {
    fn from(e: reqwest::Error) -> Self {
        if e.is_timeout() {
            return Self::Timeout;
        }
        // The kind is in what the error was made of.
        let mut cause = e.source();
        while let Some(inner) = cause {
            if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
                return Self::Tls(tls.to_string());
            }
            if inner.to_string().contains("dns error") {
                return Self::Name;
            }
            let io = inner.downcast_ref::<io::Error>();
            if io.is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused) {
                return Self::Refused;
            }
            // An I/O error's source is that of the error inside it, so that one is
            // taken out by hand.
            cause = match io.and_then(io::Error::get_ref) {
                Some(custom) => Some(custom),
                None => inner.source(),
            };
        }
        if e.is_connect() {
            Self::Connect
        } else {
            Self::Broken
        }
    }
}

/// How far `https` targets are trusted.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Certificates (PEM) of authorities to trust besides the system's.
    pub authorities: Vec<Certificate>,
    /// Trust any certificate.
    pub anyone: bool,
}

impl Trust {
    /// An HTTP client that trusts so.
    pub(super) fn client(&self, timeout: Duration) -> Result<Client, HttpError> {
        let mut builder = Client::builder().timeout(timeout);
        if self.anyone {
            builder = builder.tls_danger_accept_invalid_certs(true);
        } else if !self.authorities.is_empty() {
            builder = builder.tls_certs_merge(self.authorities.iter().cloned());
        }
        builder
            .build()
            .map_err(|e| HttpError::Answer(format!("generator: {e}")))
    }
}

/// A created session: its resource and the answer.
#[derive(Debug, Clone)]
pub struct Created {
    /// Where to DELETE it; `None` if the server named no place.
    pub resource: Option<Url>,
    /// The token it was made with.
    pub token: Option<String>,
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
    pub fn new(base: Url, token: Option<String>, trust: &Trust) -> Result<Self, HttpError> {
        Ok(Self {
            client: trust.client(POST_TIMEOUT)?,
            base,
            token,
        })
    }

    /// Posts an offer to a path below the base. In the token, `{room}` and
    /// `{publisher}` stand for names, for servers that take the stream from it.
    pub async fn post(
        &self,
        path: &str,
        offer: String,
        name: impl Fn(&str) -> String,
    ) -> Result<Created, HttpError> {
        let token = self.token.as_deref().map(&name);
        self.post_with(&name(path), offer, token.as_deref()).await
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
            .post(url)
            .header(CONTENT_TYPE, "application/sdp")
            .body(offer);
        if let Some(token) = token {
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
            // Relative to where redirections led (RFC 9110 §10.2.2).
            .and_then(|l| response.url().join(l).ok());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(HttpError::Answer("too long".to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        let answer =
            String::from_utf8(body).map_err(|_| HttpError::Answer("not text".to_owned()))?;
        Ok(Created {
            resource,
            token: token.map(str::to_owned),
            answer,
        })
    }

    /// Ends a session. Errors are told, not retried.
    pub async fn delete(&self, resource: Url, token: Option<&str>) -> Result<(), HttpError> {
        let mut request = self.client.delete(resource);
        if let Some(token) = token {
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
