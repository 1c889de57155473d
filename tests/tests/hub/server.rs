//! A small HTTP server on loopback that serves one repository as the hub does, and misbehaves when
//! told to.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub(crate) const REPO: &str = "tiny/model";
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Request {
    fn range_start(&self) -> Option<usize> {
        let range = self.headers.get("range")?.strip_prefix("bytes=")?;
        range.strip_suffix('-')?.parse().ok()
    }
}

/// An answer, and how it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The connection breaks after so many bytes of the body.
    pub(crate) cut: Option<usize>,
    /// A pause after every 8 KiB of the body.
    pub(crate) pause: Duration,
}

impl Answer {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            cut: None,
            pause: Duration::ZERO,
        }
    }

    pub(crate) fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// May change the right answer to a request; the number counts the requests of this path from 0.
pub(crate) type Mischief = dyn Fn(&Request, usize, Answer) -> Answer + Send + Sync;

pub(crate) struct Server {
    address: SocketAddr,
    log: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Serves these files until the test ends.
    pub(crate) fn start(files: BTreeMap<String, Vec<u8>>, mischief: Box<Mischief>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let log: Arc<Mutex<Vec<Request>>> = Arc::default();
        let shared = Arc::new((files, mischief, Arc::clone(&log)));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, shared) = (stream.unwrap(), Arc::clone(&shared));
                std::thread::spawn(move || {
                    let (files, mischief, log) = &*shared;
                    // A client that goes away is its own affair.
                    let _ = serve(&stream, address.port(), files, mischief, log);
                });
            }
        });
        Self { address, log }
    }

    pub(crate) fn honest(files: BTreeMap<String, Vec<u8>>) -> Self {
        Self::start(files, Box::new(|_, _, answer| answer))
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    /// The requests whose path contains this.
    pub(crate) fn requests_for(&self, part: &str) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.path.contains(part));
        requests
    }
}

fn serve(
    stream: &TcpStream,
    port: u16,
    files: &BTreeMap<String, Vec<u8>>,
    mischief: &Mischief,
    log: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or(Ok(String::new()))?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else {
            break;
        };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let request = Request { path, headers };
    let number = {
        let mut log = log.lock().unwrap();
        log.push(request.clone());
        log.iter()
            .filter(|other| other.path == request.path)
            .count()
            - 1
    };
    send(
        stream,
        mischief(&request, number, answer(&request, port, files)),
    )
}

fn send(mut stream: &TcpStream, answer: Answer) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", answer.body.len()));
    stream.write_all(head.as_bytes())?;
    let end = answer.cut.unwrap_or(usize::MAX).min(answer.body.len());
    for part in answer.body[..end].chunks(8 << 10) {
        stream.write_all(part)?;
        stream.flush()?;
        std::thread::sleep(answer.pause);
    }
    Ok(())
}

/// What the hub would say.
fn answer(request: &Request, port: u16, files: &BTreeMap<String, Vec<u8>>) -> Answer {
    let path = request.path.as_str();
    let resolve = format!("/{REPO}/resolve/{COMMIT}/");
    if path.starts_with(&format!("/api/models/{REPO}/revision/")) {
        return Answer::new(200, listing(files).to_string());
    }
    if let Some(name) = path.strip_prefix(&resolve) {
        // Large files lie on another host, small ones at another address of this one.
        let place = match is_large(name) {
            true => format!("http://localhost:{port}/content/{name}"),
            false => format!("/content/{name}"),
        };
        let status = if is_large(name) { 302 } else { 307 };
        return Answer::new(status, "").with_header("location", place);
    }
    let Some(bytes) = path
        .strip_prefix("/content/")
        .and_then(|name| files.get(name))
    else {
        return Answer::new(404, "").with_header("x-error-code", "RepoNotFound");
    };
    match request.range_start() {
        Some(start) if start >= bytes.len() => Answer::new(416, ""),
        Some(start) => {
            let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
            Answer::new(206, &bytes[start..]).with_header("content-range", range)
        }
        None => Answer::new(200, bytes.as_slice()),
    }
}

fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".bin")
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

pub(crate) fn listing(files: &BTreeMap<String, Vec<u8>>) -> Value {
    let sibling = |(name, bytes): (&String, &Vec<u8>)| {
        let hash = sha256(bytes);
        let mut entry = json!({"rfilename": name, "size": bytes.len(), "blobId": &hash[..40]});
        if is_large(name) {
            entry["lfs"] = json!({"sha256": hash, "size": bytes.len(), "pointerSize": 135});
        }
        entry
    };
    json!({"id": REPO, "sha": COMMIT, "siblings": files.iter().map(sibling).collect::<Vec<_>>()})
}
