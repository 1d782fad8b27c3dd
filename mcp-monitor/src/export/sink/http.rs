//! What all receivers behind HTTP share: one client, gzip, timeouts, and what a status means.

use std::{
    borrow::Cow,
    io::{Read as _, Write as _},
    sync::Arc,
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use jiff::{Timestamp, fmt::rfc2822::DateTimeParser};
use serde::Deserialize;
use ureq::{
    Agent,
    tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig},
};

use super::{Failure, OpenError, shortened};
use crate::export::{
    secret::Revealed,
    tls::{Tls, provider},
};

/// Longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 8 << 20;
/// Longest wait that a receiver may ask for.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// How to reach a receiver.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Whom to trust and who we are.
    #[serde(default)]
    pub tls: Tls,
    /// Bodies are compressed.
    #[serde(default = "yes")]
    pub gzip: bool,
    /// A request takes this long at most.
    #[serde(default = "timeout")]
    pub timeout_seconds: u64,
    /// A secret may travel unencrypted to another host.
    #[serde(default)]
    pub allow_plain_text: bool,
}

impl Default for Http {
    fn default() -> Self {
        Self { tls: Tls::default(), gzip: true, timeout_seconds: timeout(), allow_plain_text: false }
    }
}

fn yes() -> bool {
    true
}

fn timeout() -> u64 {
    30
}

/// A client for one receiver.
pub(super) struct Client {
    agent: Agent,
    url: String,
    gzip: bool,
    headers: Vec<(String, Revealed)>,
    permanent: &'static [u16],
}

/// A receiver's answer with a status of success.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
}

impl Answer {
    /// As text.
    pub(super) fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }
}

impl Client {
    /// A client for requests to `url`.
    pub(super) fn new(url: &str, settings: &Http, secret: bool) -> Result<Self, OpenError> {
        let wrong = |what: &str| OpenError::Settings(format!("url {url:?}: {what}"));
        let uri: ureq::http::Uri = url.parse().map_err(|_| wrong("not a URL"))?;
        let host = uri.host().ok_or_else(|| wrong("has no host"))?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(OpenError::Settings("a URL must not hold a user or password".into()));
        }
        let mut tls = TlsConfig::builder().unversioned_rustls_crypto_provider(provider());
        match uri.scheme_str() {
            Some("https") => {
                let roots = settings.tls.authorities()?;
                let roots = roots.iter().map(|one| Certificate::from_der(one).to_owned()).collect();
                tls = tls.root_certs(RootCerts::Specific(Arc::new(roots)));
                tls = tls.client_cert(client_certificate(&settings.tls)?);
            }
            Some("http") if !secret || settings.allow_plain_text || is_local(host) => {}
            Some("http") => {
                return Err(wrong(
                    "would send a secret unencrypted; use https, or set `allow_plain_text: true`",
                ));
            }
            _ => return Err(wrong("neither http nor https")),
        }
        let agent = Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            // A redirect would take secrets to where nobody configured.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("mcp-monitor/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(Duration::from_secs(settings.timeout_seconds.clamp(1, 600))))
            .build()
            .new_agent();
        Ok(Self {
            agent,
            url: url.trim_end_matches('/').to_owned(),
            gzip: settings.gzip,
            headers: Vec::new(),
            permanent: &[],
        })
    }

    /// Statuses after which the receiver's protocol forbids to try again, beside those that nobody tries again.
    pub(super) fn with_permanent(mut self, permanent: &'static [u16]) -> Self {
        self.permanent = permanent;
        self
    }

    /// A header of every request.
    pub(super) fn with_header(mut self, name: &str, value: Revealed) -> Self {
        self.headers.push((name.to_owned(), value));
        self
    }

    /// One request. `Ok` is a status of success.
    pub(super) fn post(
        &self,
        path: &str,
        content_type: &str,
        body: &[u8],
        headers: &[(&str, &str)],
    ) -> Result<Answer, Failure> {
        let mut request = self.agent.post(format!("{}{path}", self.url)).header("content-type", content_type);
        for (name, value) in &self.headers {
            request = request.header(name, value.expose());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let compressed;
        let sent = if self.gzip {
            request = request.header("content-encoding", "gzip");
            compressed = gzip(body)?;
            &compressed[..]
        } else {
            body
        };
        let mut response = request.send(sent).map_err(Failure::later)?;
        let status = response.status().as_u16();
        let after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry_after(value, Timestamp::now()));
        let mut body = Vec::new();
        let read = response.body_mut().as_reader().take(ANSWER_BYTES_MAX).read_to_end(&mut body);
        let why = || format!("status {status}: {}", shortened(&String::from_utf8_lossy(&body)));
        match status {
            _ if self.permanent.contains(&status) => Err(Failure::Never { why: why() }),
            200..=299 => {
                read.map_err(|error| Failure::later(format!("the answer broke off: {error}")))?;
                Ok(Answer { bytes: body })
            }
            // What is wrong here is the set-up and not what was sent: it waits until somebody repairs it.
            300..=399 | 401..=405 | 407 | 408 | 421 | 425 | 429 | 500..=599 => {
                Err(Failure::Later { why: why(), after })
            }
            _ => Err(Failure::Never { why: why() }),
        }
    }
}

fn client_certificate(tls: &Tls) -> Result<Option<ClientCert>, OpenError> {
    let Some((chain, _)) = tls.identity()? else { return Ok(None) };
    let chain: Vec<_> = chain.iter().map(|one| Certificate::from_der(one).to_owned()).collect();
    let Some(path) = &tls.key else { return Ok(None) };
    let key = PrivateKey::from_pem(&std::fs::read(path)?)
        .map_err(|_| OpenError::Settings(format!("{}: holds no private key in PEM", path.display())))?;
    Ok(Some(ClientCert::new_with_certs(&chain, key)))
}

pub(super) fn is_local(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn gzip(body: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body)?;
    Ok(encoder.finish()?)
}

/// `Retry-After` in seconds or as a date, bounded.
fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let wait = if let Ok(seconds) = value.trim().parse::<u64>() {
        Duration::from_secs(seconds)
    } else {
        let date = DateTimeParser::new().parse_timestamp(value.trim()).ok()?;
        Duration::try_from(date.duration_since(now)).ok()?
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        let wait = |value| retry_after(value, now);
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("Fri, 20 Nov 2026 12:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(wait("Fri, 20 Nov 2026 11:00:00 GMT"), None);
        assert_eq!(wait("99999999999"), Some(RETRY_AFTER_MAX));
        assert_eq!(wait("soon"), None);
    }

    #[test]
    fn secrets_travel_encrypted_or_not_at_all() {
        let open = |url: &str, secret| Client::new(url, &Http::default(), secret).map(|_| ());
        assert!(open("http://siem.example/x", true).is_err());
        assert!(open("http://siem.example/x", false).is_ok());
        assert!(open("http://127.0.0.1:8088", true).is_ok());
        assert!(open("http://[::1]:8088", true).is_ok());
        assert!(open("http://127.0.0.1.example", true).is_err());
        assert!(open("https://user:password@siem.example", false).is_err());
        assert!(open("ftp://siem.example", false).is_err());
    }
}
