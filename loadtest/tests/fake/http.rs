//! As much of HTTP/1.1 as a WHIP client needs, a connection at a time.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use super::janus::Janus;
use super::{Reply, Request};

pub(super) fn serve(listener: TcpListener, requests: Sender<Request>, stop: Arc<AtomicBool>) {
    listener.set_nonblocking(true).unwrap();
    let janus = Arc::new(Janus::default());
    std::thread::spawn(move || {
        while !stop.load(Ordering::Acquire) {
            match listener.accept() {
                Ok((stream, _)) => {
                    let (requests, janus) = (requests.clone(), Arc::clone(&janus));
                    std::thread::spawn(move || connection(stream, &requests, &janus));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    });
}

/// One request: its method, its path and its body.
pub(super) type Parts = (String, String, String);

/// Reads a request; `None` at the end of the connection.
pub(super) fn read(reader: &mut impl BufRead) -> Option<Parts> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((method, path, String::from_utf8(body).ok()?))
}

fn connection(stream: TcpStream, requests: &Sender<Request>, janus: &Janus) -> Option<()> {
    stream.set_nonblocking(false).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let (method, path, body) = read(&mut reader)?;
        if let Some(path) = path.strip_prefix("/janus") {
            let reply = janus.reply(&method, path, &body, requests)?.to_string();
            let length = reply.len();
            write!(
                writer,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{reply}"
            )
            .ok()?;
            continue;
        }
        if method == "DELETE" {
            write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").ok()?;
            continue;
        }
        let (answer, answered) = channel();
        let request = Request::Offer {
            viewer: path.starts_with("/whep"),
            sdp: body,
            answer,
        };
        requests.send(request).ok()?;
        match answered.recv().ok()? {
            Reply::Answer(sdp) => write!(
                writer,
                "HTTP/1.1 201 Created\r\nContent-Type: application/sdp\r\nLocation: /session/1\r\nContent-Length: {}\r\n\r\n{sdp}",
                sdp.len()
            )
            .ok()?,
            Reply::Refuse => write!(
                writer,
                "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
            )
            .ok()?,
            Reply::Garble => write!(
                writer,
                "HTTP/1.1 201 Created\r\nContent-Type: application/sdp\r\nContent-Length: 6\r\n\r\n<html>"
            )
            .ok()?,
            Reply::HangUp => return None,
        }
    }
}
