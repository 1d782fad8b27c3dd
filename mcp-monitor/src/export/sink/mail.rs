//! E-mail by SMTP: one mail for each batch of findings, in plain text, with the same `Message-ID` when it is sent again.

use std::time::Duration;

use lettre::{
    Message, SmtpTransport, Transport as _,
    message::{Mailbox, header::ContentType},
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, CertificateStore, Identity, Tls as SmtpTls, TlsParameters},
    },
};
use serde::Deserialize;

use super::{Failure, OpenError, Sink, Taken, webhook::batch_id};
use crate::{
    event::Severity,
    export::{
        delivery::Digest,
        record::{Body, Record},
        secret::Secret,
        tls::Tls,
    },
};

/// A conversation takes this long at most.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How the conversation is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// After `STARTTLS`, which must be offered. Port 587.
    #[default]
    Starttls,
    /// From the beginning. Port 465.
    Tls,
    /// Not at all: for a server on this host. Port 25.
    None,
}

/// Settings of `mail`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailSettings {
    /// The server's name.
    pub host: String,
    /// Its port; that of the encryption if absent.
    pub port: Option<u16>,
    /// How the conversation is encrypted.
    #[serde(default)]
    pub encryption: Encryption,
    /// Whom to trust and who we are.
    #[serde(default)]
    pub tls: Tls,
    /// User to log in as.
    pub user: Option<String>,
    /// Password of `user`.
    pub password: Option<Secret>,
    /// Sender.
    pub from: String,
    /// Recipients.
    pub to: Vec<String>,
}

/// See the module.
pub(super) struct Mail {
    from: Mailbox,
    to: Vec<Mailbox>,
    transport: SmtpTransport,
}

fn mailbox(text: &str) -> Result<Mailbox, OpenError> {
    text.parse().map_err(|error| OpenError::Settings(format!("{text:?} is no address: {error}")))
}

impl Mail {
    pub(super) fn open(settings: &MailSettings) -> Result<Self, OpenError> {
        if settings.to.is_empty() {
            return Err(OpenError::Settings("`to` names nobody".into()));
        }
        let local = matches!(settings.host.as_str(), "localhost" | "127.0.0.1" | "::1");
        if settings.encryption == Encryption::None && settings.password.is_some() && !local {
            return Err(OpenError::Settings(
                "a password would travel unencrypted; use starttls or tls".into(),
            ));
        }
        let (tls, port) = match settings.encryption {
            Encryption::Starttls => (SmtpTls::Required(parameters(settings)?), 587),
            Encryption::Tls => (SmtpTls::Wrapper(parameters(settings)?), 465),
            Encryption::None => (SmtpTls::None, 25),
        };
        let mut builder = SmtpTransport::builder_dangerous(&settings.host)
            .port(settings.port.unwrap_or(port))
            .tls(tls)
            .timeout(Some(TIMEOUT));
        match (&settings.user, &settings.password) {
            (Some(user), Some(password)) => {
                let password = password.read()?.expose().to_owned();
                builder = builder.credentials(Credentials::new(user.clone(), password));
            }
            (None, None) => {}
            _ => return Err(OpenError::Settings("`user` and `password` belong together".into())),
        }
        let to = settings.to.iter().map(|to| mailbox(to)).collect::<Result<_, _>>()?;
        Ok(Self { from: mailbox(&settings.from)?, to, transport: builder.build() })
    }

    fn send(&self, id: &str, subject: &str, text: String) -> Result<(), Failure> {
        let mut builder = Message::builder()
            .from(self.from.clone())
            .subject(subject)
            .message_id(Some(format!("<{id}@mcp-monitor.invalid>")))
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        let message = builder.body(text).map_err(|error| Failure::Never { why: error.to_string() })?;
        match self.transport.send(&message) {
            Ok(_) => Ok(()),
            Err(error) => {
                let why = match std::error::Error::source(&error) {
                    Some(source) => format!("{error}: {source}"),
                    None => error.to_string(),
                };
                // Who may send, and to whom, is set up wrongly: it waits until somebody repairs it. What the server
                // refuses of the mail itself never changes.
                match error.status().map(u16::from) {
                    Some(552 | 554 | 555 | 571) => Err(Failure::Never { why }),
                    _ => Err(Failure::later(why)),
                }
            }
        }
    }
}

fn parameters(settings: &MailSettings) -> Result<TlsParameters, OpenError> {
    let wrong = |error: lettre::transport::smtp::Error| OpenError::Settings(error.to_string());
    let mut builder = TlsParameters::builder(settings.host.clone());
    if settings.tls.ca.is_some() {
        builder = builder.certificate_store(CertificateStore::None);
        for authority in settings.tls.authorities()? {
            builder = builder.add_root_certificate(Certificate::from_der(authority.to_vec()).map_err(wrong)?);
        }
    }
    settings.tls.identity()?;
    if let (Some(certificate), Some(key)) = (&settings.tls.certificate, &settings.tls.key) {
        let identity = Identity::from_pem(&std::fs::read(certificate)?, &std::fs::read(key)?);
        builder = builder.identify_with(identity.map_err(wrong)?);
    }
    builder.build_rustls().map_err(wrong)
}

fn paragraph(record: &Record) -> String {
    let parts = record.parts();
    let severity = record.severity().map_or("event", Severity::name);
    let (title, words, advice) = match record.body() {
        Body::Finding(finding) => {
            (finding.title.to_string(), finding.message.to_string(), finding.advice.to_string())
        }
        Body::Event(_) => (parts.sentence(), String::new(), String::new()),
    };
    let advice = if advice.is_empty() { String::new() } else { format!("  What to do: {advice}\n") };
    format!(
        "{severity}: {title}\n  {words}\n  Workload: {} ({})\n  Object: {}\n  Process: {} (pid {})\n  \
         Time: {:.0}, {} times\n{advice}  Id: {}\n",
        parts.workload.name,
        parts.workload.kind,
        parts.object(),
        crate::event::escape(parts.process.program()),
        parts.process.pid,
        record.time(),
        parts.count,
        parts.id,
    )
}

impl Sink for Mail {
    fn deliver(&mut self, records: &[Record]) -> Result<Taken, Failure> {
        let Some(first) = records.first() else { return Ok(Taken::default()) };
        let worst = records.iter().filter_map(Record::severity).max().map_or("events", Severity::name);
        let marked = if records.iter().any(|record| record.parts().test) { "TEST, " } else { "" };
        let what = match (records.len(), first.body()) {
            (1, Body::Finding(finding)) => finding.title.to_string(),
            (count, _) => format!("{count} findings"),
        };
        let subject = format!("[mcp-monitor] {marked}{worst} on {}: {what}", first.parts().host.name);
        let body = records.iter().map(paragraph).collect::<Vec<_>>().join("\n");
        self.send(&batch_id(records), &subject, body)?;
        Ok(Taken::default())
    }

    fn digest(&mut self, digest: &Digest) -> Result<(), Failure> {
        let text = digest.text();
        let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, text.as_bytes()).to_string();
        self.send(&id, "[mcp-monitor] daily digest", text)
    }
}
