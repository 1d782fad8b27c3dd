//! NATS `JetStream`: a message for each record under `SUBJECT.HOST.WORKLOAD.TYPE.VERDICT`, acknowledged by the stream.
//!
//! `Nats-Msg-Id` is the delivery id, so that within the stream's window a record that is sent twice is stored once. The
//! stream is made by whoever owns the server: the monitor needs the right to publish and no other.

use std::{path::PathBuf, time::Duration};

use async_nats::{
    ConnectOptions,
    connection::State,
    jetstream::{Context, ContextBuilder, context::PublishErrorKind, message::PublishMessage},
};
use serde::Deserialize;
use tokio::runtime::{Builder, Runtime};

use super::{Failure, OpenError, Sink, Taken, http::is_local};
use crate::export::{
    format::Format,
    record::{Body, Record},
    secret::{self, Revealed, Secret},
    tls::Tls,
};

/// A connection and each acknowledgement may take this long.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Messages that await their acknowledgement.
const IN_FLIGHT_MAX: usize = 256;

/// Settings of `nats`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsSettings {
    /// `tls://nats.example:4222`, or `nats://` on this host.
    pub url: String,
    /// How subjects begin.
    #[serde(default = "subject")]
    pub subject: String,
    /// The stream that must take them; any that listens if absent.
    pub stream: Option<String>,
    /// How messages look.
    #[serde(default)]
    pub format: Format,
    /// User of `password`.
    pub user: Option<String>,
    /// Password of `user`.
    pub password: Option<Secret>,
    /// A token.
    pub token: Option<Secret>,
    /// The seed of an `NKey`.
    pub nkey: Option<Secret>,
    /// A file of credentials (`.creds`) that others may not read.
    pub credentials: Option<PathBuf>,
    /// Whom to trust and who we are.
    #[serde(default)]
    pub tls: Tls,
    /// A secret may travel unencrypted to another host.
    #[serde(default)]
    pub allow_plain_text: bool,
}

fn subject() -> String {
    "mcp-monitor".into()
}

enum Login {
    None,
    Password(String, Revealed),
    Token(Revealed),
    Nkey(Revealed),
    Credentials(String),
}

/// See the module.
pub(super) struct Nats {
    settings: NatsSettings,
    login: Login,
    connected: Option<Context>,
    // Behind the connection, which lives in it.
    runtime: Runtime,
}

impl Nats {
    pub(super) fn open(settings: &NatsSettings) -> Result<Self, OpenError> {
        let wrong = |what: &str| OpenError::Settings(format!("url {:?}: {what}", settings.url));
        let url: url::Url = settings.url.parse().map_err(|_| wrong("not a URL"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(OpenError::Settings("a URL must not hold a user or password".into()));
        }
        let host = url.host_str().ok_or_else(|| wrong("has no host"))?;
        let login = login(settings)?;
        match url.scheme() {
            "tls" => {
                settings.tls.client()?;
            }
            "nats" if matches!(login, Login::None) || settings.allow_plain_text || is_local(host) => {}
            "nats" => {
                return Err(wrong(
                    "would send a secret unencrypted; use tls, or set `allow_plain_text: true`",
                ));
            }
            _ => return Err(wrong("neither nats nor tls")),
        }
        let token = |text: &str| !text.is_empty() && token(text) == text;
        if !settings.subject.split('.').all(token) || !settings.stream.as_deref().is_none_or(token) {
            return Err(OpenError::Settings(
                "`subject` is made of letters, digits, `-`, `_` and dots between them; `stream` has no dots"
                    .into(),
            ));
        }
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { settings: settings.clone(), login, connected: None, runtime })
    }

    fn options(&self) -> Result<ConnectOptions, Failure> {
        let mut options = ConnectOptions::new()
            .name("mcp-monitor")
            .connection_timeout(TIMEOUT)
            .request_timeout(Some(TIMEOUT))
            .max_reconnects(1);
        if self.settings.url.starts_with("tls:") {
            let config = self.settings.tls.client().map_err(Failure::later)?;
            options = options.tls_client_config(config).require_tls(true);
        }
        Ok(match &self.login {
            Login::None => options,
            Login::Password(user, password) => {
                options.user_and_password(user.clone(), password.expose().into())
            }
            Login::Token(token) => options.token(token.expose().into()),
            Login::Nkey(seed) => options.nkey(seed.expose().into()),
            Login::Credentials(text) => options.credentials(text).map_err(Failure::later)?,
        })
    }
}

fn login(settings: &NatsSettings) -> Result<Login, OpenError> {
    let password = match (&settings.user, &settings.password) {
        (Some(user), Some(password)) => Some(Login::Password(user.clone(), password.read()?)),
        (None, None) => None,
        _ => return Err(OpenError::Settings("`user` and `password` belong together".into())),
    };
    let given = [
        password,
        settings.token.as_ref().map(Secret::read).transpose()?.map(Login::Token),
        settings.nkey.as_ref().map(Secret::read).transpose()?.map(Login::Nkey),
        settings.credentials.as_deref().map(secret::read_lines).transpose()?.map(Login::Credentials),
    ];
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (None, _) => Ok(Login::None),
        (Some(login), None) => Ok(login),
        _ => Err(OpenError::Settings("give one of `password`, `token`, `nkey` and `credentials`".into())),
    }
}

/// A part of a subject: what would be a wildcard or a separator there becomes `_`.
fn token(text: &str) -> String {
    const CHARACTERS_MAX: usize = 64;
    let plain = |one: char| if one.is_ascii_alphanumeric() || "-_".contains(one) { one } else { '_' };
    let token: String = text.chars().take(CHARACTERS_MAX).map(plain).collect();
    if token.is_empty() { "_".into() } else { token }
}

fn subject_of(begin: &str, record: &Record) -> String {
    let parts = record.parts();
    let (kind, verdict) = match record.body() {
        Body::Event(event) => ("event", event.verdict.to_string()),
        Body::Finding(finding) => ("finding", finding.severity.to_string()),
    };
    let [host, workload] = [&parts.host.name, &parts.workload.name].map(|name| token(&name.to_string()));
    format!("{begin}.{host}.{workload}.{kind}.{}", token(&verdict))
}

async fn connect(options: ConnectOptions, url: &str) -> Result<Context, Failure> {
    let client = options.connect(url).await.map_err(Failure::later)?;
    Ok(ContextBuilder::new().timeout(TIMEOUT).max_ack_inflight(IN_FLIGHT_MAX).build(client))
}

/// What came of one message.
enum Sent {
    Stored,
    Rejected(String),
    Later(String),
}

/// Offers a part of a batch and waits for every acknowledgement of it.
async fn offer(context: &Context, settings: &NatsSettings, records: &[Record]) -> Vec<Sent> {
    let mut awaited = Vec::with_capacity(records.len());
    for record in records {
        let mut message = PublishMessage::build()
            .payload(settings.format.line(record).into())
            .message_id(record.delivery_id());
        if let Some(stream) = &settings.stream {
            message = message.expected_stream(stream);
        }
        awaited.push(context.send_publish(subject_of(&settings.subject, record), message).await);
    }
    let mut sent = Vec::with_capacity(records.len());
    for acknowledgement in awaited {
        let acknowledged = match acknowledgement {
            Ok(acknowledgement) => acknowledgement.await.map(|_| ()),
            Err(error) => Err(error),
        };
        sent.push(match acknowledged {
            Ok(()) => Sent::Stored,
            Err(error) => match error.kind() {
                PublishErrorKind::MaxPayloadExceeded => Sent::Rejected(error.to_string()),
                PublishErrorKind::StreamNotFound => {
                    Sent::Later(format!("no stream listens to these subjects: {error}"))
                }
                // The stream itself bounds messages, too: 10054 in JetStream's numbers.
                _ if error.to_string().contains("10054") => Sent::Rejected(error.to_string()),
                _ => Sent::Later(error.to_string()),
            },
        });
    }
    sent
}

impl Sink for Nats {
    fn deliver(&mut self, records: &[Record]) -> Result<Taken, Failure> {
        let gone = |context: &Context| context.client().connection_state() == State::Disconnected;
        if self.connected.as_ref().is_some_and(gone) {
            self.connected = None;
        }
        if self.connected.is_none() {
            let options = self.options()?;
            self.connected = Some(self.runtime.block_on(connect(options, &self.settings.url))?);
        }
        let Some(context) = &self.connected else { return Err(Failure::later("not connected")) };
        let mut taken = Taken::default();
        let mut place = 0;
        for part in records.chunks(IN_FLIGHT_MAX) {
            let sent = self.runtime.block_on(offer(context, &self.settings, part));
            for one in sent {
                match one {
                    Sent::Stored => {}
                    Sent::Rejected(why) => taken.rejected.push((place, why)),
                    Sent::Later(why) => {
                        taken.again.push(place);
                        taken.why = Some(why);
                    }
                }
                place += 1;
            }
            // What comes behind a message that was not taken waits for it.
            if !taken.again.is_empty() {
                taken.again.extend(place..records.len());
                break;
            }
        }
        if taken.again.len() == records.len() {
            return Err(Failure::later(taken.why.unwrap_or_default()));
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::testing;

    #[test]
    fn no_name_makes_a_wildcard_or_another_level() {
        assert_eq!(token("a.b > *\n"), "a_b_____");
        assert_eq!(token(""), "_");
        let record = testing::findings(1).remove(0);
        assert_eq!(subject_of("mcp-monitor", &record), "mcp-monitor.example.filesystem.finding.critical");
    }

    #[test]
    fn settings_that_would_tell_a_secret_are_refused() {
        let open = |text: &str| {
            let settings: NatsSettings = serde_saphyr::from_str(text).unwrap();
            Nats::open(&settings).map(|_| ()).map_err(|error| error.to_string())
        };
        assert!(open("{url: 'nats://nats.example:4222'}").is_ok());
        let told = open("{url: 'nats://nats.example:4222', token: {env: PATH}}").unwrap_err();
        assert!(told.contains("unencrypted"), "{told}");
        assert!(open("{url: 'nats://u:p@nats.example'}").is_err());
        assert!(open("{url: 'nats://127.0.0.1', subject: 'a.>'}").is_err());
        assert!(open("{url: 'nats://127.0.0.1', stream: 'a.b'}").is_err());
        assert!(open("{url: 'nats://127.0.0.1', user: u}").is_err());
    }
}
