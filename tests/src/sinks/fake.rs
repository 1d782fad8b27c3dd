//! Receivers that speak as the real ones are documented to, and that misbehave when told so.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use flate2::read::GzDecoder;
use serde_json::{Value, json};

/// What a fake does with its first request; the others it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// Takes it.
    Good,
    /// 503, three times.
    Busy,
    /// 429 with `Retry-After: 2`.
    Slowly,
    /// Takes it and closes before the answer.
    HalfClosed,
    /// Answers what is no HTTP.
    Garbage,
    /// Answers 200 with what is no answer of such a receiver.
    Nonsense,
    /// Answers after three seconds.
    Slow,
    /// 401, once: somebody repairs the token.
    Unauthorized,
    /// Refuses `event-1` for ever, in its own way.
    Poison,
    /// Of each document apart: 429 for `event-2` once, 400 for `event-1`, 409 for `event-3`.
    Partial,
}

/// Which receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Webhook,
    Slack,
    Splunk,
    Elasticsearch,
    Loki,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) path: String,
    pub(crate) body: String,
    pub(crate) at: Instant,
    pub(crate) taken: bool,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// A running fake.
#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Fake {
    pub(crate) fn start(kind: Kind, first: First) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let requests = Arc::new(Mutex::new(Vec::new()));
        let fake = Self { url, requests };
        let (kept, count) = (Arc::clone(&fake.requests), Arc::new(AtomicUsize::new(0)));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, count) = (Arc::clone(&kept), Arc::clone(&count));
                thread::spawn(move || serve(stream, kind, first, &kept, &count));
            }
        });
        Ok(fake)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().map(|requests| requests.clone()).unwrap_or_default()
    }

    /// Bodies of what was taken, one behind the other.
    pub(crate) fn taken(&self) -> String {
        self.requests()
            .into_iter()
            .filter(|request| request.taken)
            .map(|request| request.body + "\n")
            .collect()
    }
}

fn serve(mut stream: TcpStream, kind: Kind, first: First, kept: &Mutex<Vec<Request>>, count: &AtomicUsize) {
    while let Ok(Some((head, path, body))) = read(&mut stream) {
        let number = count.fetch_add(1, Ordering::SeqCst);
        let (answer, taken) = answer(kind, first, number, &body);
        let request = Request { head, path, body, at: Instant::now(), taken };
        if let Ok(mut kept) = kept.lock() {
            kept.push(request);
        }
        if first == First::Slow && number == 0 {
            thread::sleep(Duration::from_secs(3));
        }
        let Some(answer) = answer else { return };
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// The answer, `None` to close, and whether the request counts as taken.
fn answer(kind: Kind, first: First, number: usize, body: &str) -> (Option<String>, bool) {
    let good = || match kind {
        Kind::Webhook | Kind::Loki => http(204, "", ""),
        Kind::Slack => http(200, "", "ok"),
        Kind::Splunk => http(200, "", r#"{"text":"Success","code":0}"#),
        Kind::Elasticsearch => http(200, "", &bulk(body, |_| 201)),
    };
    match first {
        First::Busy if number < 3 => (Some(http(503, "", r#"{"text":"Server is busy","code":9}"#)), false),
        First::Slowly if number == 0 => (Some(http(429, "Retry-After: 2\r\n", "")), false),
        First::HalfClosed if number == 0 => (None, true),
        First::Garbage if number == 0 => (Some("\u{1}\u{2}garbage\r\n\r\n".repeat(20)), false),
        First::Nonsense if number == 0 => (Some(http(200, "", "<html>a proxy's page</html>")), false),
        First::Unauthorized if number == 0 => {
            (Some(http(401, "", r#"{"text":"Invalid authorization","code":3}"#)), false)
        }
        First::Poison if body.contains("event-1\"") => {
            let at = body.lines().position(|line| line.contains("event-1\"")).unwrap_or(0);
            let text = match kind {
                Kind::Splunk => {
                    json!({"text": "Invalid data format", "code": 6, "invalid-event-number": at}).to_string()
                }
                _ => "this is no good".to_owned(),
            };
            (Some(http(400, "", &text)), false)
        }
        First::Partial => {
            let answer = bulk(body, |document| match document {
                _ if document.contains("event-1\"") => 400,
                _ if document.contains("event-2\"") && number == 0 => 429,
                _ if document.contains("event-3\"") => 409,
                _ => 201,
            });
            (Some(http(200, "", &answer)), true)
        }
        _ => (Some(good()), true),
    }
}

/// The answer of `_bulk`, with the status of each document.
fn bulk(body: &str, status: impl Fn(&str) -> u16) -> String {
    let lines: Vec<_> = body.lines().collect();
    let items: Vec<Value> = lines
        .chunks(2)
        .map(|pair| {
            let status = status(pair.get(1).copied().unwrap_or_default());
            match status {
                201 => json!({"create": {"status": 201, "result": "created"}}),
                other => {
                    json!({"create": {"status": other, "error": {"type": "refused", "reason": "as told"}}})
                }
            }
        })
        .collect();
    json!({"took": 1, "errors": true, "items": items}).to_string()
}

fn http(status: u16, headers: &str, body: &str) -> String {
    let length = if status == 204 { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("HTTP/1.1 {status} Told\r\n{headers}{length}\r\n{body}")
}

/// One request; `None` at the end of the connection.
pub(crate) fn read(stream: &mut TcpStream) -> Result<Option<(String, String, String)>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let find = |name: &str| {
                head.lines().find_map(|line| {
                    let (key, value) = line.split_once(':')?;
                    key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
                })
            };
            let length: usize = find("content-length").context("no length")?.parse()?;
            if bytes.len() >= end + 4 + length {
                let body = &bytes[end + 4..end + 4 + length];
                let body = if find("content-encoding").as_deref() == Some("gzip") {
                    let mut text = String::new();
                    GzDecoder::new(body).read_to_string(&mut text)?;
                    text
                } else {
                    String::from_utf8(body.to_vec())?
                };
                let path = head.split_whitespace().nth(1).unwrap_or_default().to_owned();
                return Ok(Some((head, path, body)));
            }
        }
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&buffer[..read]);
    }
}
