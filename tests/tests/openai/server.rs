//! A small HTTP server on loopback that answers requests for completions as the test says.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
}

impl Request {
    /// The prompt's token ids.
    pub(crate) fn input_ids(&self) -> Vec<u32> {
        serde_json::from_value(self.body["prompt"].clone()).unwrap()
    }
}

/// An answer, and how it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    /// What is sent, piece by piece.
    pub(crate) pieces: Vec<Vec<u8>>,
    /// A pause after every piece.
    pub(crate) pause: Duration,
    /// The length that the head promises; none where the end of the connection is the end.
    pub(crate) promised: Option<usize>,
    /// Sent as it is, without a head.
    pub(crate) is_raw: bool,
    /// Whether the last piece is sent again and again, until nobody reads it.
    pub(crate) is_endless: bool,
}

impl Answer {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self {
            status,
            headers: vec![("content-type".into(), "application/json".into())],
            promised: Some(body.len()),
            pieces: vec![body],
            pause: Duration::ZERO,
            is_raw: false,
            is_endless: false,
        }
    }

    /// Bytes in place of HTTP.
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            is_raw: true,
            ..Self::new(0, bytes)
        }
    }

    /// Server-sent events with this data, and no other end than the connection's.
    pub(crate) fn events<T: ToString>(events: impl IntoIterator<Item = T>) -> Self {
        let event = |data: T| format!("data: {}\n\n", data.to_string()).into_bytes();
        Self {
            headers: vec![(
                "content-type".into(),
                "text/event-stream; charset=utf-8".into(),
            )],
            pieces: events.into_iter().map(event).collect(),
            promised: None,
            ..Self::new(200, "")
        }
    }

    /// A whole stream: pieces of a text, its end, the mark of the end.
    pub(crate) fn stream(pieces: &[&str]) -> Self {
        let pieces = pieces.iter().map(|text| event(0, text, None).to_string());
        let end = [event(0, "", Some("stop")).to_string(), "[DONE]".into()];
        Self::events(pieces.chain(end))
    }

    pub(crate) fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// A part of a choice.
pub(crate) fn event(index: usize, text: &str, finish_reason: Option<&str>) -> Value {
    json!({"choices": [{"index": index, "text": text, "finish_reason": finish_reason,
                        "logprobs": null}]})
}

/// Answers a request; the number counts them from 0.
pub(crate) type Script = dyn Fn(&Request, usize) -> Answer + Send + Sync;

#[derive(Default)]
struct Log {
    requests: Mutex<Vec<Request>>,
    num_running: AtomicUsize,
    most_running: AtomicUsize,
    num_deserted: AtomicUsize,
}

pub(crate) struct Server {
    address: SocketAddr,
    log: Arc<Log>,
}

impl Server {
    /// Serves until the test ends.
    pub(crate) fn start(
        script: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let log: Arc<Log> = Arc::default();
        let (shared, script) = (Arc::clone(&log), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, log, script) = (stream.unwrap(), shared.clone(), script.clone());
                std::thread::spawn(move || {
                    if serve(&stream, &*script, &log).is_err() {
                        log.num_deserted.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        Self { address, log }
    }

    /// The address to give to a generator.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.log.requests.lock().unwrap().clone()
    }

    /// The most requests whose answers were prepared at the same time.
    pub(crate) fn most_running(&self) -> usize {
        self.log.most_running.load(Ordering::SeqCst)
    }

    /// Waits until so many answers could not be sent to their end.
    pub(crate) fn wait_until_deserted(&self, times: usize) {
        for _ in 0..20_000 {
            if self.log.num_deserted.load(Ordering::SeqCst) >= times {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("somebody still listens");
    }
}

fn serve(stream: &TcpStream, script: &Script, log: &Log) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length");
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body)?;
    let request = Request {
        path: first.split(' ').nth(1).unwrap_or_default().to_owned(),
        headers,
        body: serde_json::from_slice(&body).unwrap(),
    };
    let number = {
        let mut requests = log.requests.lock().unwrap();
        requests.push(request.clone());
        requests.len() - 1
    };
    // Before anything is sent: a client that has its answer may ask again at once.
    let running = log.num_running.fetch_add(1, Ordering::SeqCst) + 1;
    log.most_running.fetch_max(running, Ordering::SeqCst);
    let answer = script(&request, number);
    log.num_running.fetch_sub(1, Ordering::SeqCst);
    send(stream, &answer)
}

fn send(mut stream: &TcpStream, answer: &Answer) -> std::io::Result<()> {
    if !answer.is_raw {
        let mut head = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", answer.status);
        for (name, value) in &answer.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(length) = answer.promised {
            head.push_str(&format!("content-length: {length}\r\n"));
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
    }
    let last = answer.pieces.last().filter(|_| answer.is_endless);
    let endless = std::iter::repeat_with(|| last).map_while(|last| last);
    for piece in answer.pieces.iter().chain(endless) {
        stream.write_all(piece)?;
        stream.flush()?;
        std::thread::sleep(answer.pause);
    }
    Ok(())
}
