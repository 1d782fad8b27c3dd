//! `sinks:` of the configuration, read strictly: an unknown key is an error with its line and column.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use super::{
    filter::Filter,
    heartbeat::{INTERVAL_SECONDS, INTERVAL_SECONDS_MIN},
    redact::Redact,
    sink::{
        self, OpenError, elasticsearch::ElasticsearchSettings, file::FileSettings,
        journald::JournaldSettings, kafka::KafkaSettings, loki::LokiSettings, mail::MailSettings,
        nats::NatsSettings, otlp::OtlpSettings, slack::SlackSettings, splunk::SplunkSettings,
        stdout::StdoutSettings, syslog::SyslogSettings, webhook::WebhookSettings,
    },
};

/// Where the configuration stands unless somebody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/mcp-monitor/config.yaml";
/// Largest configuration.
const BYTES_MAX: u64 = 1 << 20;
/// Most sinks.
const SINKS_MAX: usize = 32;

/// The configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where findings and events go.
    #[serde(default)]
    pub sinks: Vec<SinkConfig>,
}

/// Once a day, what was not worth a message of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Digest {
    /// Once a day.
    Daily,
    /// Never.
    Off,
}

/// One sink. Exactly one kind of receiver.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinkConfig {
    /// What it is called in `sinks status`.
    pub name: String,
    /// Send events, too, and not findings alone.
    #[serde(default)]
    pub events: bool,
    /// Only these.
    #[serde(default)]
    pub filter: Filter,
    /// What is taken out before anything leaves.
    #[serde(default)]
    pub redact: Redact,
    /// Events beyond so many a second, by their own time, are dropped and counted. Findings never are.
    pub events_per_second: Option<u32>,
    /// Records of one request at most.
    pub batch: Option<usize>,
    /// Seconds between two signs of life; 0 for none. 300 unless told, and none to slack and mail.
    pub heartbeat_seconds: Option<u64>,
    /// Findings below the filter's severity in one message a day. The default of slack and mail.
    pub digest: Option<Digest>,
    file: Option<FileSettings>,
    stdout: Option<StdoutSettings>,
    syslog: Option<SyslogSettings>,
    webhook: Option<WebhookSettings>,
    slack: Option<SlackSettings>,
    splunk: Option<SplunkSettings>,
    elasticsearch: Option<ElasticsearchSettings>,
    loki: Option<LokiSettings>,
    journald: Option<JournaldSettings>,
    mail: Option<MailSettings>,
    otlp: Option<OtlpSettings>,
    nats: Option<NatsSettings>,
    kafka: Option<KafkaSettings>,
}

/// A receiver with its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File(FileSettings),
    /// Standard output.
    Stdout(StdoutSettings),
    /// Syslog.
    Syslog(SyslogSettings),
    /// A webhook.
    Webhook(WebhookSettings),
    /// Slack.
    Slack(SlackSettings),
    /// Splunk.
    Splunk(SplunkSettings),
    /// Elasticsearch, `OpenSearch`.
    Elasticsearch(ElasticsearchSettings),
    /// Loki.
    Loki(LokiSettings),
    /// journald.
    Journald(JournaldSettings),
    /// E-mail.
    Mail(MailSettings),
    /// OpenTelemetry.
    Otlp(OtlpSettings),
    /// NATS.
    Nats(NatsSettings),
    /// Kafka.
    Kafka(KafkaSettings),
}

impl Kind {
    /// The word in the configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Stdout(_) => "stdout",
            Self::Syslog(_) => "syslog",
            Self::Webhook(_) => "webhook",
            Self::Slack(_) => "slack",
            Self::Splunk(_) => "splunk",
            Self::Elasticsearch(_) => "elasticsearch",
            Self::Loki(_) => "loki",
            Self::Journald(_) => "journald",
            Self::Mail(_) => "mail",
            Self::Otlp(_) => "otlp",
            Self::Nats(_) => "nats",
            Self::Kafka(_) => "kafka",
        }
    }

    /// True for receivers that people read as it comes.
    #[must_use]
    pub fn is_for_people(&self) -> bool {
        matches!(self, Self::Slack(_) | Self::Mail(_))
    }
}

impl SinkConfig {
    /// Time between two signs of life; `None` for none.
    #[must_use]
    pub fn heartbeat(&self) -> Option<Duration> {
        let default = || match self.kind() {
            Ok(kind) if kind.is_for_people() => 0,
            _ => INTERVAL_SECONDS,
        };
        let seconds = self.heartbeat_seconds.unwrap_or_else(default);
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }

    /// Its receiver.
    pub fn kind(&self) -> Result<Kind, OpenError> {
        let kinds = [
            self.file.clone().map(Kind::File),
            self.stdout.clone().map(Kind::Stdout),
            self.syslog.clone().map(Kind::Syslog),
            self.webhook.clone().map(Kind::Webhook),
            self.slack.clone().map(Kind::Slack),
            self.splunk.clone().map(Kind::Splunk),
            self.elasticsearch.clone().map(Kind::Elasticsearch),
            self.loki.clone().map(Kind::Loki),
            self.journald.clone().map(Kind::Journald),
            self.mail.clone().map(Kind::Mail),
            self.otlp.clone().map(Kind::Otlp),
            self.nats.clone().map(Kind::Nats),
            self.kafka.clone().map(Kind::Kafka),
        ];
        let mut given = kinds.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(kind), None) => Ok(kind),
            _ => Err(OpenError::Settings(
                "exactly one of file, stdout, journald, syslog, webhook, slack, mail, splunk, elasticsearch, loki, otlp, \
                 nats and kafka must stand here"
                    .into(),
            )),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file.
    #[error("{path}: cannot be read: {source}")]
    File {
        /// Which.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Not the YAML that is expected.
    #[error("{path}: {message}")]
    Syntax {
        /// Which file.
        path: String,
        /// What and where.
        message: String,
    },
    /// A sink that cannot be.
    #[error("{path}: sink {sink:?}: {message}")]
    Sink {
        /// Which file.
        path: String,
        /// Which sink.
        sink: String,
        /// What is wrong.
        message: String,
    },
}

impl Config {
    /// Directories of the files that sinks write.
    pub fn directories(&self) -> impl Iterator<Item = PathBuf> {
        let files = self.sinks.iter().filter_map(|sink| sink.file.as_ref());
        files.map(|file| match file.path.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => directory.to_owned(),
            _ => PathBuf::from("."),
        })
    }

    /// Reads the file at `path` and checks each sink, without sending anything.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let failed = |source| ConfigError::File { path: name.clone(), source };
        if fs::metadata(path).map_err(failed)?.len() > BYTES_MAX {
            return Err(failed(io::Error::other("it is larger than any configuration")));
        }
        Self::parse(&name, &fs::read_to_string(path).map_err(failed)?)
    }

    /// Reads `text`, called `name` in errors.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let config: Self = serde_saphyr::from_str(text)
            .map_err(|error| ConfigError::Syntax { path: name.to_owned(), message: error.to_string() })?;
        let mut names = BTreeSet::new();
        let wrong = |sink: &SinkConfig, message: String| ConfigError::Sink {
            path: name.to_owned(),
            sink: sink.name.clone(),
            message,
        };
        for sink in &config.sinks {
            let plain = |one: char| one.is_ascii_alphanumeric() || "-_.".contains(one);
            if sink.name.is_empty() || sink.name.starts_with('.') || !sink.name.chars().all(plain) {
                return Err(wrong(sink, "a name is made of letters, digits, `-`, `_` and `.`".into()));
            }
            if !names.insert(&sink.name) {
                return Err(wrong(sink, "another sink has this name".into()));
            }
            if sink.batch == Some(0) || sink.events_per_second == Some(0) {
                return Err(wrong(sink, "`batch` and `events_per_second` are at least 1".into()));
            }
            if sink.heartbeat_seconds.is_some_and(|seconds| seconds > 0 && seconds < INTERVAL_SECONDS_MIN) {
                let told = format!("`heartbeat_seconds` is 0 or at least {INTERVAL_SECONDS_MIN}");
                return Err(wrong(sink, told));
            }
            sink.kind().map_err(|error| wrong(sink, error.to_string()))?;
            sink.filter.check().map_err(|message| wrong(sink, message))?;
            sink.redact.compile().map_err(|message| wrong(sink, message))?;
        }
        if config.sinks.len() > SINKS_MAX {
            return Err(ConfigError::Syntax {
                path: name.to_owned(),
                message: format!("more than {SINKS_MAX} sinks"),
            });
        }
        Ok(config)
    }

    /// Opens every sink once and closes it: secrets, certificates and files are there.
    pub fn check(&self, name: &str) -> Result<(), ConfigError> {
        for sink in &self.sinks {
            sink::open(sink).map_err(|error| ConfigError::Sink {
                path: name.to_owned(),
                sink: sink.name.clone(),
                message: error.to_string(),
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Config::parse("config.yaml", text).unwrap_err().to_string()
    }

    #[test]
    fn a_configuration_of_every_kind_is_read() {
        let config = Config::parse("config.yaml", include_str!("../../tests/data/sinks.yaml")).unwrap();
        let kinds: Vec<_> = config.sinks.iter().map(|sink| sink.kind().unwrap().name()).collect();
        assert_eq!(
            kinds,
            [
                "file",
                "stdout",
                "syslog",
                "webhook",
                "slack",
                "splunk",
                "elasticsearch",
                "loki",
                "journald",
                "mail",
                "otlp",
                "nats",
                "kafka"
            ]
        );
        assert!(Config::parse("config.yaml", "").unwrap().sinks.is_empty());
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let text = "sinks:\n  - name: a\n    file: {path: /tmp/a, fromat: cef}\n";
        let told = error(text);
        assert!(told.contains("fromat") && told.contains("line 3"), "{told}");
        let told = error("sinks:\n  - name: a\n    file: {path: /a}\n    stdout: {}\n");
        assert!(told.contains("\"a\"") && told.contains("exactly one"), "{told}");
        let told = error("sinks:\n  - {name: a, stdout: {}}\n  - {name: a, stdout: {}}\n");
        assert!(told.contains("another sink"), "{told}");
        let told = error("sinks:\n  - {name: ../a, stdout: {}}\n");
        assert!(told.contains("letters"), "{told}");
        let told = error("sinks:\n  - {name: a, stdout: {}, filter: {rules: [secret-raed]}}\n");
        assert!(told.contains("secret-read"), "{told}");
        let told = error("sinks:\n  - {name: a, stdout: {}, redact: {patterns: ['(']}}\n");
        assert!(told.contains("pattern"), "{told}");
    }
}
