//! The API of Docker, which Podman offers as well: one question, one bounded answer, over a local socket.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes as Body, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::{net::UnixStream, time::timeout};

use super::{ContainerDetails, kept, labels, names, words};
use crate::{event::BootNs, host::clock::Clock};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of an answer that are read.
const ANSWER_MAX_BYTES: usize = 1024 * 1024;

/// A service that runs containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Engine {
    pub(super) name: String,
    pub(super) socket: PathBuf,
}

/// The part of `GET /containers/ID/json` that is used.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    id: String,
    name: Option<String>,
    created: Option<Timestamp>,
    config: Option<Config>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    image: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
}

impl Engine {
    /// What it knows of the container; `None` when it knows none, or does not answer.
    pub(super) async fn inspect(&self, id: &str) -> Option<ContainerDetails> {
        timeout(PATIENCE, self.ask(id)).await.ok().flatten()
    }

    async fn ask(&self, id: &str) -> Option<ContainerDetails> {
        let stream = UnixStream::connect(&self.socket).await.ok()?;
        let told_by = stream.peer_cred().ok()?.uid();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        // Ends with the sender, and with this thread's runtime at the latest.
        let driver = tokio::spawn(connection);
        let request = Request::get(format!("/containers/{id}/json"))
            .header(header::HOST, "localhost")
            .body(Empty::<Body>::new())
            .ok()?;
        let answer = sender.send_request(request).await.ok()?;
        let body = if answer.status() == StatusCode::OK {
            Limited::new(answer.into_body(), ANSWER_MAX_BYTES)
                .collect()
                .await
                .ok()
                .map(http_body_util::Collected::to_bytes)
        } else {
            None
        };
        driver.abort();
        details(&self.name, told_by, id, &body?)
    }
}

fn details(source: &str, told_by: u32, id: &str, body: &[u8]) -> Option<ContainerDetails> {
    let inspected: Inspected = serde_json::from_slice(body).ok()?;
    // An engine also takes a name or the beginning of an id.
    if inspected.id != id {
        return None;
    }
    let config = inspected.config.unwrap_or_default();
    Some(ContainerDetails {
        id: inspected.id,
        source: source.to_owned(),
        told_by,
        name: inspected.name.map(|name| kept(name.trim_start_matches('/'))),
        image: config.image.as_deref().map(kept),
        labels: labels(config.labels.unwrap_or_default()),
        arguments: words(&config.cmd.unwrap_or_default()),
        environment_names: names(&config.env.unwrap_or_default()),
        created: inspected.created.map(since_boot),
    })
}

/// The moment on the clock of events, as far as the wall clock tells it.
fn since_boot(moment: Timestamp) -> BootNs {
    let age = Timestamp::now().duration_since(moment).as_nanos();
    BootNs(Clock::now().0.saturating_sub(u64::try_from(age).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_told_of_a_container_is_taken_without_values() {
        let id = "ab".repeat(32);
        let body = format!(
            r#"{{"Id": "{id}", "Name": "/weather", "Created": "2026-11-20T14:53:00.123456789Z", "Extra": [1],
                "Config": {{"Image": "mcp/time:1", "Labels": {{"docker-mcp-name": "time"}}, "Cmd": ["--zone", "UTC"],
                "Env": ["API_KEY=sk-verysecret", "PATH=/bin"], "Entrypoint": null}}}}"#
        );
        let found = details("docker", 0, &id, body.as_bytes()).unwrap();
        assert_eq!(found.name.as_deref(), Some("weather"));
        assert_eq!(found.image.as_deref(), Some("mcp/time:1"));
        assert_eq!(found.label(&["docker-mcp-name".to_owned()]), Some("time"));
        assert_eq!(found.environment_names, ["API_KEY", "PATH"]);
        assert_eq!(found.arguments.len(), 2);
        assert!(!format!("{found:?}").contains("verysecret"));
        assert_eq!(details("docker", 0, &"cd".repeat(32), body.as_bytes()), None, "another container");
    }

    proptest! {
        #[test]
        fn any_answer_is_survived(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = details("docker", 0, "x", &body);
        }
    }
}
