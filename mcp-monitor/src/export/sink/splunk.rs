//! Splunk's HTTP Event Collector.
//!
//! A batch is JSON objects one behind the other. `200` means accepted. When one event is wrong, its number is told: it
//! is quarantined and the others come again.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Failure, OpenError, Sink, Taken,
    http::{Client, Http},
    shortened,
};
use crate::export::{
    format::Format,
    record::Record,
    secret::{Revealed, Secret},
};

/// Settings of `splunk`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplunkSettings {
    /// Of the collector, e.g. `https://splunk.example:8088`.
    pub url: String,
    /// Its token.
    pub token: Secret,
    /// Index; the token's own if absent.
    pub index: Option<String>,
    /// Source type.
    pub sourcetype: Option<String>,
    /// How events look.
    #[serde(default)]
    pub format: Format,
    /// How to reach it.
    #[serde(default)]
    pub http: Http,
}

/// See the module.
pub(super) struct Splunk {
    settings: SplunkSettings,
    client: Client,
}

#[derive(Deserialize)]
struct Answer {
    code: u32,
    #[serde(default)]
    text: String,
    #[serde(rename = "invalid-event-number")]
    invalid: Option<usize>,
}

impl Splunk {
    pub(super) fn open(settings: &SplunkSettings) -> Result<Self, OpenError> {
        let token = settings.token.read()?;
        let authorization = Revealed::prefixed("Splunk ", &token);
        let client =
            Client::new(&settings.url, &settings.http, true)?.with_header("authorization", authorization);
        Ok(Self { settings: settings.clone(), client })
    }

    fn event(&self, record: &Record) -> Value {
        let parts = record.parts();
        let milliseconds = record.time().as_millisecond();
        let mut event = json!({
            "time": format!("{}.{:03}", milliseconds.div_euclid(1000), milliseconds.rem_euclid(1000)),
            "host": parts.host.name.to_string(),
            "source": "mcp-monitor",
            "sourcetype": self.settings.sourcetype.as_deref().unwrap_or(match self.settings.format {
                Format::Cef => "cef",
                Format::Ocsf | Format::OcsfWithAgents => "ocsf:mcp-monitor",
                _ => "mcp-monitor",
            }),
            "event": self.settings.format.value(record),
            "fields": {
                "delivery_id": record.delivery_id(),
                "workload": parts.workload.name.to_string(),
                "kind": parts.kind.to_string(),
            },
        });
        if let (Some(index), Some(fields)) = (&self.settings.index, event.as_object_mut()) {
            fields.insert("index".into(), index.as_str().into());
        }
        event
    }
}

impl Sink for Splunk {
    fn deliver(&mut self, records: &[Record]) -> Result<Taken, Failure> {
        let mut body = String::new();
        for record in records {
            body.push_str(&self.event(record).to_string());
            body.push('\n');
        }
        let answer = self.client.post("/services/collector/event", "application/json", body.as_bytes(), &[]);
        match answer {
            Ok(answer) => match serde_json::from_slice::<Answer>(&answer.bytes) {
                Ok(Answer { code: 0, .. }) => Ok(Taken::default()),
                Ok(other) => Err(Failure::later(format!("code {}: {}", other.code, shortened(&other.text)))),
                Err(_) => {
                    Err(Failure::later(format!("no answer of a collector: {}", shortened(&answer.text()))))
                }
            },
            Err(Failure::Never { why }) => {
                let told =
                    why.split_once(": ").and_then(|(_, body)| serde_json::from_str::<Answer>(body).ok());
                match told {
                    // The index or the channel: nothing that an event is to blame for.
                    Some(Answer { code: 7 | 10 | 11 | 14, .. }) => Err(Failure::later(why)),
                    Some(Answer { invalid: Some(number), .. }) if number < records.len() => Ok(Taken {
                        rejected: vec![(number, why.clone())],
                        again: (0..records.len()).filter(|place| *place != number).collect(),
                        why: Some(why),
                        ..Taken::default()
                    }),
                    _ => Err(Failure::Never { why }),
                }
            }
            Err(later) => Err(later),
        }
    }
}
