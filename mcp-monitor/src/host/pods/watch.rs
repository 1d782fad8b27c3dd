//! Listing and watching, as the API's own clients do it: a list in pages; a watch from the list's version on, with
//! bookmarks; again from the last version when the stream ends; a new list when that version is too old (410).

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    sync::Arc,
    thread,
    time::Duration,
};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use ureq::{
    Agent, Body,
    http::Response,
    tls::{Certificate, RootCerts, TlsConfig},
};

use super::{
    Cluster, Pods,
    object::{Change, List, Object},
};

/// Pods of one page.
const PAGE: u32 = 250;
/// Bytes of a page or of a line of a watch; a pod has 1.5 MiB at most.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
const LINE_BYTES_MAX: u64 = 4 << 20;
/// The API ends a watch after so long, and it is begun again.
const WATCH_SECONDS: u64 = 290;
/// How long anything else may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// First and longest pause after a failure.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_mins(1));

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    /// The version that was asked for is forgotten: a new list is needed.
    #[error("the version is too old")]
    Gone,
    /// Another status.
    #[error("the API answers {0}{hint}", hint = hint(*.0))]
    Status(u16),
    /// No answer, or half of one.
    #[error("{0}")]
    Other(String),
}

fn hint(status: u16) -> &'static str {
    match status {
        401 | 403 => "; the service account may not list and watch pods: apply rbac.yaml",
        _ => "",
    }
}

/// Watches for ever.
pub(super) struct Watch<Talk> {
    cluster: Cluster,
    pods: Pods,
    talk: Talk,
}

impl<Talk: Fn(&str)> Watch<Talk> {
    pub(super) fn new(cluster: Cluster, pods: Pods, talk: Talk) -> Self {
        Self { cluster, pods, talk }
    }

    /// Ends with the process.
    pub(super) fn run(&self) {
        let pauses = || {
            ExponentialBuilder::default()
                .with_min_delay(PAUSE.0)
                .with_max_delay(PAUSE.1)
                .with_jitter()
                .without_max_times()
                .build()
        };
        let mut pause = pauses();
        let mut failing = false;
        let mut version = None;
        loop {
            match self.once(&mut version) {
                Ok(()) => {
                    if failing {
                        (self.talk)("the pods of this node are known again");
                    }
                    failing = false;
                    pause = pauses();
                }
                Err(error) => {
                    if matches!(error, WatchError::Gone) {
                        version = None;
                    } else if !failing {
                        (self.talk)(&format!(
                            "the pods of this node are not known: {}: {error}",
                            self.cluster.url
                        ));
                        failing = true;
                    }
                    thread::sleep(pause.next().unwrap_or(PAUSE.1));
                }
            }
        }
    }

    /// A list where no version is known, then a watch until it ends.
    pub(super) fn once(&self, version: &mut Option<String>) -> Result<(), WatchError> {
        let agent = self.agent()?;
        let from = match version {
            Some(from) => from,
            None => version.insert(self.list(&agent)?),
        };
        let path = format!(
            "{}&watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={from}",
            self.path()
        );
        let response = self.get(&agent, &path, Duration::from_secs(WATCH_SECONDS + 30))?;
        let mut lines = BufReader::new(response.into_body().into_reader());
        loop {
            let mut line = Vec::new();
            let read = lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
            // The API closes when it likes to; the next watch goes on from the last version.
            if read.map_err(|error| WatchError::Other(error.to_string()))? == 0 {
                return Ok(());
            }
            if !line.ends_with(b"\n") {
                return Err(WatchError::Other("a watch ended within a line".to_owned()));
            }
            let change: Change =
                serde_json::from_slice(&line).map_err(|error| WatchError::Other(error.to_string()))?;
            self.take(change, from)?;
        }
    }

    fn take(&self, change: Change, version: &mut String) -> Result<(), WatchError> {
        let Change { kind, object } = change;
        if kind == "ERROR" {
            return Err(match object.code {
                Some(410) => WatchError::Gone,
                code => WatchError::Status(code.unwrap_or(0)),
            });
        }
        if !object.metadata.resource_version.is_empty() {
            version.clone_from(&object.metadata.resource_version);
        }
        match kind.as_str() {
            "ADDED" | "MODIFIED" => {
                self.put(object);
            }
            "DELETED" => {
                for uid in object.into_pod().map(|(uids, _)| uids).unwrap_or_default() {
                    self.pods.end(&uid);
                }
            }
            // A bookmark has only the version.
            _ => {}
        }
        Ok(())
    }

    /// All pods of the node, page by page; gives the version of the list.
    fn list(&self, agent: &Agent) -> Result<String, WatchError> {
        let mut there = Vec::new();
        let mut next = String::new();
        loop {
            let page = if next.is_empty() { String::new() } else { format!("&continue={}", encoded(&next)) };
            let path = format!("{}&limit={PAGE}{page}", self.path());
            let mut body = Vec::new();
            let response = self.get(agent, &path, ANSWER_WITHIN)?;
            response
                .into_body()
                .into_reader()
                .take(ANSWER_BYTES_MAX)
                .read_to_end(&mut body)
                .map_err(|error| WatchError::Other(error.to_string()))?;
            let list: List =
                serde_json::from_slice(&body).map_err(|error| WatchError::Other(error.to_string()))?;
            for object in list.items {
                there.extend(self.put(object));
            }
            if list.metadata.next.is_empty() {
                self.pods.end_all_but(&there);
                return Ok(list.metadata.resource_version);
            }
            next = list.metadata.next;
        }
    }

    fn put(&self, object: Object) -> Vec<String> {
        let Some((uids, pod)) = object.into_pod() else { return Vec::new() };
        for uid in &uids {
            self.pods.put(uid, pod.clone());
        }
        uids
    }

    fn path(&self) -> String {
        format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{}", encoded(&self.cluster.node))
    }

    fn agent(&self) -> Result<Agent, WatchError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = TlsConfig::builder().unversioned_rustls_crypto_provider(provider);
        if let Some(path) = &self.cluster.authorities {
            let unreadable =
                |error: &dyn std::fmt::Display| WatchError::Other(format!("{}: {error}", path.display()));
            let found = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))?;
            let found: Result<Vec<_>, _> = found.collect();
            let found = found.map_err(|error| unreadable(&error))?;
            let roots = found.iter().map(|one| Certificate::from_der(one).to_owned()).collect();
            tls = tls.root_certs(RootCerts::Specific(Arc::new(roots)));
        }
        Ok(Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            // The token goes to nobody but the cluster's own API.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("mcp-monitor/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(ANSWER_WITHIN))
            .timeout_recv_response(Some(ANSWER_WITHIN))
            .build()
            .new_agent())
    }

    fn get(&self, agent: &Agent, path: &str, within: Duration) -> Result<Response<Body>, WatchError> {
        let mut request =
            agent.get(format!("{}{path}", self.cluster.url)).header("accept", "application/json");
        if let Some(token) = &self.cluster.token {
            let text = fs::read_to_string(token)
                .map_err(|error| WatchError::Other(format!("{}: {error}", token.display())))?;
            request = request.header("authorization", format!("Bearer {}", text.trim()));
        }
        let request = request.config().timeout_recv_body(Some(within)).build();
        let response = request.call().map_err(|error| WatchError::Other(error.to_string()))?;
        match response.status().as_u16() {
            200 => Ok(response),
            410 => Err(WatchError::Gone),
            status => Err(WatchError::Status(status)),
        }
    }
}

/// As a value in a query.
fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
