//! What a sceptic would ask: that no figure flatters a server, and that no run passes in which
//! something has failed.

mod fake;

use std::io::{BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fake::{Badness, Fake};
use weir_loadtest::report::Report;
use weir_loadtest::run::{self, Plan};
use weir_loadtest::scenario;
use weir_loadtest::signal::client::{Signalling, Trust};

const VIEWERS: u64 = 4;

fn options(more: &[&str]) -> Vec<String> {
    let mut all = vec![
        format!("load.viewers={VIEWERS}"),
        "seconds=3.0".to_owned(),
        "settle-seconds=0.2".to_owned(),
        "media.kbps=600".to_owned(),
        "media.audio=false".to_owned(),
        "viewer.nack=false".to_owned(),
        "viewer.rtx=false".to_owned(),
        // A busy machine must not decide these tests.
        "limits.delay-p99-ms=5000.0".to_owned(),
        "limits.freeze-ms=5000.0".to_owned(),
    ];
    all.extend(more.iter().map(ToString::to_string));
    all
}

fn measure(fake: &Fake, more: &[&str]) -> Report {
    let scenario = scenario::load("broadcast", &options(more)).unwrap();
    let mut plan = Plan::new(scenario, &*fake.url);
    // The server is a part of this process.
    plan.pid = Some(std::process::id());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(run::run(&plan)).unwrap()
}

fn breaks(r: &Report, limit: &str) -> bool {
    let broken = &r.steps[0].limits_broken;
    assert_ne!(r.verdict, "pass", "{}", r.reason);
    broken.iter().any(|l| l.starts_with(limit))
}

/// One of eight viewers looks into every packet, the others into few: it must not be the one
/// whose delay counts.
#[test]
fn delays_are_of_all_viewers_alike() {
    let fake = Fake::start(Badness {
        favour_first: Duration::from_millis(300),
        ..Badness::default()
    });
    // The first that joins is sent to at once, and looks into everything.
    let more = ["load.viewers=8", "viewer.full-check-every=8"];
    let d = measure(&fake, &[&more[..], &["ramp.joins-per-second=5.0"]].concat());
    let d = d.figures.delay_ms;
    assert!(d.p50 >= 299.0, "six of eight wait: {d:?}");
}

#[test]
fn packets_that_are_not_authentic_fail_a_run() {
    let fake = Fake::start(Badness {
        damage_every: 20,
        ..Badness::default()
    });
    let r = measure(&fake, &["viewer.full-check-every=1"]);
    assert!(r.figures.bad_packets > 10, "{:?}", r.figures);
    assert!(breaks(&r, "bad-packets"), "{:?}", r.steps[0].limits_broken);
}

/// A server that sends everything twice is not cheaper by it.
#[test]
fn a_repeated_packet_is_forwarded_once() {
    let fake = Fake::start(Badness {
        repeat_every: 1,
        ..Badness::default()
    });
    let f = measure(&fake, &[]).figures;
    let server = f.server.clone().unwrap();
    assert!(f.duplicates * 3 > f.received_packets, "{f:?}");
    let once = (f.received_packets - f.duplicates) as f64;
    let us = server.cpu_cores * f.seconds * 1e6 / once;
    let told = server.cpu_us_per_forwarded_packet;
    assert!((told / us - 1.0).abs() < 0.02, "{told} {us}");
}

/// Who comes after the time for joins is missing, and its joining is no forwarding.
#[test]
fn who_joins_too_late_is_missing() {
    let fake = Fake::start(Badness {
        answer_delay: Duration::from_secs(4),
        ..Badness::default()
    });
    let more = ["ramp.join-timeout-seconds=2.0", "seconds=4.0"];
    let r = measure(&fake, &more);
    assert!(breaks(&r, "connected-percent"), "{:?}", r.figures);
}

#[test]
fn abuse_reaches_a_server_on_ipv6_below_a_path() {
    let fake = Fake::start_at("[::1]:0", Badness::default());
    let more = [
        "abuse.slow-requests=2",
        "abuse.half-bodies=2",
        "abuse.garbage-requests-per-second=5.0",
        "abuse.garbage-datagrams-per-second=100.0",
    ];
    let f = measure(&fake, &more).figures;
    assert_eq!(f.abuse.get("slow request: open"), Some(&2), "{:?}", f.abuse);
    assert_eq!(f.abuse.get("half body: open"), Some(&2), "{:?}", f.abuse);
    let sent = f.abuse.get("garbage datagram: sent");
    assert!(sent > Some(&50), "{:?}", f.abuse);
    assert!(fake.deeds().garbage > 20, "{:?}", fake.deeds());
}

/// A server of one answer, which is given what it is asked for.
fn answering(answer: impl FnOnce(u16) -> String + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        fake::read_request(&mut reader).unwrap();
        let answer = answer(port);
        reader.get_mut().write_all(answer.as_bytes()).unwrap();
    });
    port
}

/// RFC 9725 §4.5 sends a client on with 307; what is relative is so to where it came (RFC 9110
/// §10.2.2).
#[test]
fn a_resource_is_relative_to_where_the_redirection_led() {
    let second = answering(|_| {
        "HTTP/1.1 201 Created\r\nLocation: sessions/1\r\nContent-Length: 3\r\nConnection: close\r\n\r\nv=0"
            .to_owned()
    });
    let first = answering(move |_| {
        format!(
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:{second}/edge/whep/x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
    });
    let base = reqwest::Url::parse(&format!("http://127.0.0.1:{first}/")).unwrap();
    let client = Signalling::new(base, None, &Trust::default()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let posted = client.post("whep/x", "v=0".to_owned(), str::to_owned);
    let created = runtime.block_on(posted).unwrap();
    let wanted = format!("http://127.0.0.1:{second}/edge/whep/sessions/1");
    assert_eq!(created.resource.unwrap().as_str(), wanted);
}

/// The tool itself, which ends with this value.
struct Tool(Child);

impl Tool {
    fn start(arguments: &[String]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir-loadtest"));
        command.args(arguments).stdin(Stdio::null());
        Self(command.stdout(Stdio::null()).spawn().unwrap())
    }

    fn end(mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn arguments(what: &str, fake: &Fake, json: &std::path::Path, more: &[&str]) -> Vec<String> {
    let mut all = [
        what,
        "broadcast",
        "--quiet",
        "--target",
        &fake.url,
        "--json",
    ]
    .map(str::to_owned)
    .to_vec();
    all.push(json.display().to_string());
    for option in options(more) {
        all.extend(["-o".to_owned(), option]);
    }
    all
}

fn limit_open_files(pid: u32, files: u64) {
    let limit = format!("--nofile={files}:");
    let pid = format!("--pid={pid}");
    let done = Command::new("prlimit").args([pid, limit]).status();
    assert!(done.unwrap().success());
}

/// `poll` refuses more sockets than a process may open: the receiving thread has to end.
#[test]
fn a_generator_that_breaks_down_says_nothing_good() {
    let fake = Fake::start(Badness::default());
    let place = tempfile::tempdir().unwrap();
    let json = place.path().join("r.json");
    let tool = Tool::start(&arguments("run", &fake, &json, &["seconds=8.0"]));
    // When all watch and are measured.
    let begun = Instant::now();
    while fake.deeds().sent < 200 && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_secs(2));
    limit_open_files(tool.0.id(), 1);
    // So that it can write its report.
    std::thread::sleep(Duration::from_secs(1));
    limit_open_files(tool.0.id(), 1024);
    assert_eq!(tool.end(), Some(1));
    let text = std::fs::read_to_string(json).unwrap();
    let report: Report = serde_json::from_str(&text).unwrap();
    assert_eq!(report.verdict, "inconclusive", "{}", report.reason);
    assert!(report.reason.contains("lt-receive-0"), "{}", report.reason);
}

/// A load that can't be tried does not take away what was found before.
#[test]
fn a_search_keeps_what_it_has_found() {
    let fake = Fake::start(Badness::default());
    let place = tempfile::tempdir().unwrap();
    let json = place.path().join("r.json");
    let more = ["media.silent=true", "load.viewers=2", "seconds=0.5"];
    let mut all = vec![
        "-c".to_owned(),
        "ulimit -n 140; exec \"$@\"".to_owned(),
        "sh".to_owned(),
    ];
    all.push(env!("CARGO_BIN_EXE_weir-loadtest").to_owned());
    all.extend(arguments("search", &fake, &json, &more));
    let mut command = Command::new("sh");
    command
        .args(&all)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let tool = Tool(command.spawn().unwrap());
    assert_eq!(tool.end(), Some(1));
    let text = std::fs::read_to_string(json).unwrap();
    let report: Report = serde_json::from_str(&text).unwrap();
    assert_eq!(report.highest_load_held, Some(8), "{}", report.reason);
    assert_eq!(report.verdict, "inconclusive", "{}", report.reason);
    assert!(report.reason.contains("ulimit -n"), "{}", report.reason);
}
