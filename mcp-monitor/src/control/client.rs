//! The client of the control socket: one request, an answer or a stream of lines.
//!
//! Blocking, since that is what commands want; the socket's own runtime turns only while somebody reads.

use super::{Filter, server::SOCKET_NAME};
use crate::render::output::printable;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fmt::Display,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{net::UnixStream, runtime::Runtime, time::timeout};

/// How long the monitor may take to begin an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The same while somebody waits at a key.
const HASTY: Duration = Duration::from_millis(700);
/// Bytes that an answer which is no stream may have.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Why there is no answer. Every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "no monitor answers at {path}: {reason}. Start one (`sudo mcp-monitor run`), name its socket (`--socket`), or ask \
         what was recorded (`--store /var/lib/mcp-monitor`) or kept (`mcp-monitor events FILE`)"
    )]
    NoMonitor {
        /// The socket.
        path: String,
        /// Why.
        reason: io::Error,
    },
    /// The monitor does not allow it.
    #[error("the monitor refuses: {0}")]
    Refused(String),
    /// There is no such thing.
    #[error("{0}")]
    Unknown(String),
    /// The question is wrong.
    #[error("{0}")]
    Wrong(String),
    /// Anything else.
    #[error("the monitor at {path} does not answer as it should: {reason}")]
    Failed {
        /// The socket.
        path: String,
        /// Why.
        reason: String,
    },
}

/// A monitor's socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    answer_within: Duration,
}

/// The directory for run-time files: systemd's `RuntimeDirectory=`, else `/run/mcp-monitor`.
#[must_use]
pub fn run_directory() -> PathBuf {
    std::env::var_os("RUNTIME_DIRECTORY").map_or_else(|| "/run/mcp-monitor".into(), PathBuf::from)
}

impl Default for Client {
    fn default() -> Self {
        Self::new(run_directory().join(SOCKET_NAME))
    }
}

impl Client {
    /// The monitor that listens at `socket`.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), answer_within: ANSWER_WITHIN }
    }

    /// The same, for who does without an answer rather than wait.
    #[must_use]
    pub fn hasty(self) -> Self {
        Self { answer_within: HASTY, ..self }
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// One answer.
    pub fn get<Answer: DeserializeOwned>(&self, path: &str, filter: &Filter) -> Result<Answer, ClientError> {
        self.answer(self.request("GET", &with_query(path, filter, &[]), Bytes::new())?)
    }

    /// Tells the monitor to do something.
    pub fn post<Answer: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Answer, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.failed(error))?;
        self.answer(self.request("POST", path, body.into())?)
    }

    /// Lines as they come.
    pub fn lines(
        &self,
        path: &str,
        filter: &Filter,
        more: &[(&str, String)],
    ) -> Result<AnswerBody, ClientError> {
        self.request("GET", &with_query(path, filter, more), Bytes::new())
    }

    fn answer<Answer: DeserializeOwned>(&self, body: AnswerBody) -> Result<Answer, ClientError> {
        let mut bytes = Vec::new();
        body.take(ANSWER_BYTES_MAX as u64).read_to_end(&mut bytes).map_err(|error| self.failed(error))?;
        answer_of(&bytes).map_err(|error| self.failed(error))
    }

    fn failed(&self, reason: impl Display) -> ClientError {
        ClientError::Failed { path: self.socket.display().to_string(), reason: reason.to_string() }
    }

    fn request(&self, method: &str, path: &str, body: Bytes) -> Result<AnswerBody, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| self.failed(error))?;
        let answer = runtime.block_on(async {
            let stream = UnixStream::connect(&self.socket).await.map_err(|reason| {
                ClientError::NoMonitor { path: self.socket.display().to_string(), reason }
            })?;
            let sent = async {
                let (mut sender, connection) =
                    http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.failed(error))?;
                tokio::spawn(connection);
                let request = Request::builder()
                    .method(method)
                    .uri(path)
                    .header("host", "localhost")
                    .header("content-type", "application/json")
                    .body(Full::new(body))
                    .map_err(|error| self.failed(error))?;
                sender.send_request(request).await.map_err(|error| self.failed(error))
            };
            let within = self.answer_within;
            timeout(within, sent)
                .await
                .map_err(|_| self.failed(format_args!("no answer in {} s", within.as_secs_f32())))?
        })?;
        let status = answer.status();
        let body = AnswerBody { runtime, body: answer.into_body(), chunk: Bytes::new() };
        if status.is_success() {
            return Ok(body);
        }
        let mut text = String::new();
        // What cannot be read tells nothing; the status does.
        let _ = body.take(64 * 1024).read_to_string(&mut text);
        let reason = answer_of::<super::api::Problem>(text.as_bytes()).map_or(text, |problem| problem.reason);
        Err(match status {
            StatusCode::FORBIDDEN => ClientError::Refused(reason),
            StatusCode::NOT_FOUND => ClientError::Unknown(reason),
            StatusCode::BAD_REQUEST => ClientError::Wrong(reason),
            _ => self.failed(format!("{status}: {reason}")),
        })
    }
}

/// An answer, in whose texts nothing acts on a terminal: whoever listens at the socket may only say that it is a monitor.
pub(crate) fn answer_of<Answer: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<Answer> {
    serde_json::from_value(printable(serde_json::from_slice(bytes)?))
}

fn with_query(path: &str, filter: &Filter, more: &[(&str, String)]) -> String {
    let mut query = serde_urlencoded::to_string(filter).unwrap_or_default();
    if let Ok(more) = serde_urlencoded::to_string(more)
        && !more.is_empty()
    {
        if !query.is_empty() {
            query.push('&');
        }
        query.push_str(&more);
    }
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// The body of an answer, as it comes.
#[derive(Debug)]
pub struct AnswerBody {
    runtime: Runtime,
    body: Incoming,
    chunk: Bytes,
}

impl Read for AnswerBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.runtime.block_on(self.body.frame()) {
                Some(Ok(frame)) => self.chunk = frame.into_data().unwrap_or_default(),
                // The monitor ended in the middle of its answer.
                Some(Err(error)) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, error)),
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.chunk.len());
        buffer[..count].copy_from_slice(&self.chunk.split_to(count));
        Ok(count)
    }
}
