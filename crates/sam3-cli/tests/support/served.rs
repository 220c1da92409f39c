//! `sam3 serve` as a process, and requests to it over a socket.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{text, trained};

/// A server that is ended with its test.
pub struct Served {
    child: Child,
    pub address: String,
    /// Reads what it says, which would stop it where nobody did.
    said: Option<JoinHandle<String>>,
}

impl Served {
    /// Of the trained miniature, on any free port.
    pub fn start(more: &[&str]) -> Self {
        Self::of(&trained().checkpoint, more)
    }

    /// Of a checkpoint.
    pub fn of(checkpoint: &Path, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sam3"));
        let fixed = [
            "serve",
            "--compute",
            "f32",
            "--device",
            "cpu",
            "--checkpoint-path",
            text(checkpoint),
        ];
        command
            .args(fixed)
            .args(["--listen", "127.0.0.1:0", "--json"])
            .args(more);
        let mut child = command
            .env_remove("SAM3_TOKEN")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let started: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let address = started["url"]
            .as_str()
            .unwrap()
            .strip_prefix("http://")
            .unwrap()
            .to_owned();
        let mut stderr = child.stderr.take().unwrap();
        let said = thread::spawn(move || {
            let mut said = String::new();
            stderr.read_to_string(&mut said).unwrap();
            said
        });
        let served = Self {
            child,
            address,
            said: Some(said),
        };
        let end = Instant::now() + Duration::from_secs(60);
        while !served.ask("GET", "/ready", "", b"").starts_with("HTTP/1.1 200") {
            assert!(Instant::now() < end, "it is not ready");
            thread::sleep(Duration::from_millis(20));
        }
        served
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    pub fn send(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> TcpStream {
        let mut stream = self.connect();
        let (host, length) = (&self.address, body.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        stream
    }

    /// The JSON of an answer of this status.
    #[track_caller]
    pub fn json(&self, method: &str, path: &str, body: impl AsRef<[u8]>, status: u16) -> Value {
        let body = body.as_ref();
        let kind = match body.first() {
            Some(b'{') => "Content-Type: application/json\r\n",
            _ => "",
        };
        let answer = self.ask(method, path, kind, body);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{method} {path}: {answer}"
        );
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        match body {
            "" => Value::Null,
            body => serde_json::from_str(body).unwrap(),
        }
    }

    /// The whole answer, head and body.
    pub fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> String {
        let mut answer = String::new();
        self.send(method, path, headers, body)
            .read_to_string(&mut answer)
            .unwrap();
        answer
    }

    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for its end; its exit code and what it said.
    pub fn end(mut self) -> (Option<i32>, String) {
        let said = self.said.take().unwrap().join().unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
