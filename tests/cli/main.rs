//! The binary as scripts see it: its exit codes, its ready line, its stop.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A command that sees none of this environment's `WEIR_` variables.
fn weir(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    let ours = |name: &String| name.starts_with("WEIR_") || name.starts_with("LIVEKIT_");
    for (name, _) in std::env::vars().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

fn output(mut command: Command) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

/// A server on free ports, killed when dropped.
struct Server {
    child: Child,
    /// Lines of standard output up to the ready line.
    printed: Vec<String>,
    /// `127.0.0.1:port`.
    http: String,
    udp: String,
}

impl Server {
    fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut all = vec!["--http", "127.0.0.1:0", "--udp-port", "0"];
        all.extend(arguments);
        let mut child = weir(&all)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let stdout = child.stdout.take().expect("standard output");
        let mut printed = Vec::new();
        for line in BufReader::new(stdout).lines() {
            printed.push(line.expect("a line"));
            if printed.last().is_some_and(|l| l.starts_with("weir ready ")) {
                break;
            }
        }
        let ready = printed.last().expect("a ready line");
        let value = |name: &str| {
            let word = ready.split(' ').find_map(|word| word.strip_prefix(name));
            word.unwrap_or_else(|| panic!("{name} in {ready:?}"))
                .to_owned()
        };
        Self {
            http: value("http=http://"),
            udp: value("udp="),
            child,
            printed,
        }
    }

    fn get(&self, path: &str, authorization: &str) -> String {
        let mut stream = TcpStream::connect(&self.http).expect("connects");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n{authorization}\r\n"
        );
        stream.write_all(request.as_bytes()).expect("is sent");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("a response");
        response
    }

    /// Sends a signal and waits for the end: the exit code and standard error.
    fn stop(mut self, signal: &str) -> (Option<i32>, Duration, String) {
        let started = Instant::now();
        let pid = self.child.id().to_string();
        let kill = Command::new("kill").args([signal, &pid]).status();
        assert!(kill.expect("kill runs").success());
        let mut log = String::new();
        let stderr = self.child.stderr.as_mut().expect("standard error");
        stderr.read_to_string(&mut log).expect("the log");
        let status = self.child.wait().expect("it ends");
        (status.code(), started.elapsed(), log)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_starts_without_configuration_serves_and_stops_cleanly() {
    for signal in ["-TERM", "-INT"] {
        let server = Server::start(&["--workers", "2"], &[]);
        assert!(server.get("/healthz", "").starts_with("HTTP/1.1 200"));
        assert!(server.get("/readyz", "").starts_with("HTTP/1.1 200"));
        let ports: Vec<u16> = server
            .udp
            .split([',', '-'])
            .map(|port| port.parse().expect("a port"))
            .collect();
        assert!(ports.len() == 2 && !ports.contains(&0), "{ports:?}");
        let block = server.printed.join("\n");
        assert!(
            block.contains(&format!("http://{}/whip/live", server.http)),
            "{block}"
        );
        let (code, took, log) = server.stop(signal);
        assert_eq!(code, Some(0), "{log}");
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}

#[test]
fn json_logs_leave_one_line_on_standard_output() {
    let server = Server::start(&["--log-format", "json"], &[]);
    assert_eq!(server.printed.len(), 1, "{:?}", server.printed);
    let (code, _, log) = server.stop("-TERM");
    assert_eq!(code, Some(0));
    assert!(!log.is_empty());
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("a JSON line");
        assert!(line["message"].is_string() && line["level"].is_string());
    }
}

#[test]
fn a_token_of_the_command_line_opens_the_api() {
    let keys = format!("weir={SECRET}");
    let server = Server::start(&[], &[("WEIR_AUTH_KEYS", &keys)]);
    assert!(server.get("/api/rooms", "").starts_with("HTTP/1.1 401"));
    let mut command = weir(&["token", "--room", "r", "--identity", "i", "--admin"]);
    command.env("WEIR_AUTH_KEYS", &keys);
    let (code, token, _) = output(command);
    assert_eq!(code, Some(0));
    let authorization = format!("Authorization: Bearer {}\r\n", token.trim());
    let answer = server.get("/api/rooms", &authorization);
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("\"rooms\""),
        "{answer}"
    );
    // What was asked is counted by route, and the metrics hold no room name.
    let metrics = server.get("/metrics", &authorization);
    let counted = metrics.lines().any(|line| {
        line.starts_with("weir_http_requests_total{")
            && line.contains("route=\"/api/rooms\"")
            && line.contains("status=\"401\"")
            && line.ends_with(" 1")
    });
    assert!(counted, "{metrics}");
    let (_, _, log) = server.stop("-TERM");
    assert!(
        !log.contains(SECRET) && !log.contains(token.trim()),
        "{log}"
    );
}

#[test]
fn a_busy_port_is_exit_code_1_and_named() {
    let http = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = http.local_addr().expect("address").to_string();
    let (code, stdout, error) = output(weir(&["--http", &address, "--udp-port", "0"]));
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(
        error.contains(&address) && error.contains("--http"),
        "{error}"
    );

    let udp = UdpSocket::bind("0.0.0.0:0").expect("a port");
    let port = udp.local_addr().expect("address").port().to_string();
    let (code, stdout, error) = output(weir(&[
        "--http",
        "127.0.0.1:0",
        "--workers",
        "1",
        "--udp-port",
        &port,
    ]));
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(
        error.contains(&port) && error.contains("--udp-port"),
        "{error}"
    );
}

#[test]
fn configuration_and_usage_errors_are_exit_code_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bad.toml");
    std::fs::write(&file, "[udp]\nprot = 1\n").expect("a file");
    let file = file.to_str().expect("UTF-8");
    for (arguments, part) in [
        (&["--config", file][..], "bad.toml:2: udp.prot"),
        (&["check", file], "Did you mean udp.port"),
        (&["--http", "0.0.0.0:0"], "auth.mode = \"open\""),
        (&["--workers", "many"], "a whole number"),
        (&["--what"], "--what"),
        (&["token", "--room", "r"], "--identity"),
        (&["token", "--room", "r", "--identity", "i"], "no API key"),
    ] {
        let (code, stdout, error) = output(weir(arguments));
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(error.contains(part), "{arguments:?}: {error}");
    }
}

#[test]
fn check_and_help_are_exit_code_0() {
    let documented = concat!(env!("CARGO_MANIFEST_DIR"), "/config/weir.toml");
    let (code, summary, _) = output(weir(&["check", documented]));
    assert_eq!(code, Some(0));
    assert!(summary.contains("127.0.0.1:8080"), "{summary}");
    for arguments in [&["--help"][..], &["token", "--help"], &["--version"]] {
        assert_eq!(output(weir(arguments)).0, Some(0), "{arguments:?}");
    }
}
