//! The real binary as a child process, on free ports.

use std::process::Stdio;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// How long the server may take until it serves.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A running server, killed when dropped.
pub struct Server {
    /// `http://127.0.0.1:port`.
    pub base: String,
    http: reqwest::Client,
    child: Child,
    _folder: TempDir,
}

/// A response, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    /// A field's first value; empty when it is missing.
    pub fn field(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// All values of a field.
    pub fn fields(&self, name: &str) -> Vec<&str> {
        let values = self.headers.get_all(name).iter();
        values.filter_map(|value| value.to_str().ok()).collect()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// Checks the status, and that an error explains itself to whoever sent
    /// the request, pages of other origins included.
    #[track_caller]
    pub fn expect(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{} {:?}", self.body, self.headers);
        if status >= 400 {
            assert_eq!(self.field("content-type"), "application/problem+json");
            assert_eq!(self.field("access-control-allow-origin"), "*");
            let problem = self.json();
            assert_eq!(problem["status"], status);
            for member in ["type", "title", "detail"] {
                assert!(
                    problem[member]
                        .as_str()
                        .is_some_and(|text| !text.is_empty()),
                    "{member}: {problem}"
                );
            }
        }
        self
    }

    /// The session's path.
    #[track_caller]
    pub fn location(&self) -> String {
        self.expect(201);
        self.field("location").to_owned()
    }
}

/// An event stream that is being read.
pub struct Events {
    response: reqwest::Response,
    text: String,
}

impl Events {
    /// The next event's name and data; `None` at the end.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let line = block.lines().find_map(|line| line.strip_prefix(name));
                    line.map(|value| value.trim().to_owned())
                };
                let told = field("event:").zip(field("data:"));
                self.text = rest.to_owned();
                match told {
                    Some((name, data)) => {
                        let data = serde_json::from_str(&data).expect("JSON");
                        return Some((name, data));
                    }
                    None => continue, // a comment
                }
            }
            let chunk = self.response.chunk().await.ok().flatten()?;
            self.text
                .push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
        }
    }

    /// Waits for an event of this name whose data are as wanted.
    #[track_caller]
    pub fn until<'a>(
        &'a mut self,
        name: &'a str,
        what: impl Fn(&Value) -> bool + 'a,
    ) -> impl Future<Output = Value> + 'a {
        let place = std::panic::Location::caller();
        async move {
            let mut last = Value::Null;
            let wait = async {
                loop {
                    match self.next().await {
                        Some((told, data)) if told == name => {
                            if what(&data) {
                                return data;
                            }
                            last = data;
                        }
                        Some(_) => {}
                        None => panic!("the stream ended at {place}; last {name}: {last}"),
                    }
                }
            };
            match tokio::time::timeout(Duration::from_secs(10), wait).await {
                Ok(data) => data,
                Err(_) => panic!("no such {name} at {place}"),
            }
        }
    }

    /// Waits for the end; false when the stream goes on for ten seconds.
    pub async fn ended(&mut self) -> bool {
        let end = async { while self.next().await.is_some() {} };
        tokio::time::timeout(Duration::from_secs(10), end)
            .await
            .is_ok()
    }
}

impl Server {
    /// A server with default settings, open.
    pub async fn start() -> Self {
        Self::with("").await
    }

    /// A server with these lines of configuration.
    pub async fn with(configuration: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("weir.toml");
        std::fs::write(&file, configuration).expect("the configuration is written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command
            .arg("--config")
            .arg(&file)
            .args(["--http", "127.0.0.1:0", "--udp-port", "0", "--workers", "1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        if std::env::var_os("WEIR_TEST_LOG").is_none() {
            command.stderr(Stdio::null());
        }
        let mut child = command.spawn().expect("the binary starts");
        let stdout = child.stdout.take().expect("standard output");
        let mut lines = BufReader::new(stdout).lines();
        let ready = async {
            loop {
                let line = lines.next_line().await.expect("output");
                let line = line.expect("the server ended before it was ready");
                if let Some(rest) = line.strip_prefix("weir ready ") {
                    return rest.to_owned();
                }
            }
        };
        let ready = tokio::time::timeout(START_LIMIT, ready)
            .await
            .expect("the ready line");
        // Keep reading, or the server would block on a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let address = ready
            .split_whitespace()
            .find_map(|word| word.strip_prefix("http="))
            .expect("http= in the ready line")
            .trim_start_matches("http://")
            .trim_end_matches('/');
        Self {
            base: format!("http://{address}"),
            http: reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .expect("a client"),
            child,
            _folder: folder,
        }
    }

    /// Sends a request.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let response = self
            .http
            .request(method, format!("{}{path}", self.base))
            .headers(headers)
            .body(body.to_owned())
            .send()
            .await
            .expect("a response");
        Answer {
            status: response.status(),
            headers: response.headers().clone(),
            body: response.text().await.expect("a body"),
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    /// Posts an offer.
    pub async fn post(&self, path: &str, offer: &str) -> Answer {
        let sdp = ("content-type", "application/sdp");
        self.send("POST", path, &[sdp], offer).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], "").await
    }

    /// Sends a fragment, with `If-Match` when it is not empty.
    pub async fn patch(&self, path: &str, if_match: &str, fragment: &str) -> Answer {
        let kind = ("content-type", "application/trickle-ice-sdpfrag");
        let both = [kind, ("if-match", if_match)];
        let fields = if if_match.is_empty() {
            &both[..1]
        } else {
            &both
        };
        self.send("PATCH", path, fields, fragment).await
    }

    /// Asks for events of a viewer's session and reads them.
    pub async fn events(&self, session: &str, names: &str) -> Events {
        let json = ("content-type", "application/json");
        let answer = self
            .send("POST", &format!("{session}/events"), &[json], names)
            .await;
        self.read_events(&answer.location()).await
    }

    /// Reads an event stream.
    pub async fn read_events(&self, path: &str) -> Events {
        let request = self.http.get(format!("{}{path}", self.base));
        let response = request.send().await.expect("a response");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events {
            response,
            text: String::new(),
        }
    }

    /// Chooses layers.
    pub async fn choose(&self, session: &str, choice: &str) -> Answer {
        let json = ("content-type", "application/json");
        self.send("POST", &format!("{session}/layer"), &[json], choice)
            .await
    }

    /// Answers an offer of the server's.
    pub async fn patch_answer(&self, path: &str, answer: &str) -> Answer {
        let sdp = ("content-type", "application/sdp");
        self.send("PATCH", path, &[sdp], answer).await
    }

    /// Rooms of the API.
    pub async fn rooms(&self) -> Vec<Value> {
        let answer = self.get("/api/rooms").await;
        answer.expect(200);
        answer.json()["rooms"].as_array().expect("rooms").clone()
    }

    /// True while the process runs.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks the process to end (SIGTERM) and returns its exit code.
    pub async fn terminate(&mut self) -> Option<i32> {
        let pid = self.child.id().expect("a running process");
        let kill = Command::new("kill").arg(pid.to_string()).status().await;
        assert!(kill.expect("kill runs").success());
        let end = tokio::time::timeout(START_LIMIT, self.child.wait());
        end.await
            .expect("the server ends")
            .expect("a status")
            .code()
    }
}
