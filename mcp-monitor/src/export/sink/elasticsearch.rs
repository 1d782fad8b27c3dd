//! Elasticsearch and `OpenSearch` by `_bulk`: `create` with our own id, so that a batch sent twice is there once.
//!
//! The answer of status 200 tells of each document: `409` is there already, `429` and `5xx` come again, others are
//! quarantined.

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

/// Settings of `elasticsearch`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ElasticsearchSettings {
    /// Of the cluster, e.g. `https://elastic.example:9200`.
    pub url: String,
    /// Data stream or index.
    #[serde(default = "index")]
    pub index: String,
    /// An API key, as Kibana shows it in base64.
    pub api_key: Option<Secret>,
    /// `USER:PASSWORD`.
    pub basic: Option<Secret>,
    /// How documents look.
    #[serde(default = "ecs")]
    pub format: Format,
    /// How to reach it.
    #[serde(default)]
    pub http: Http,
}

fn index() -> String {
    "logs-mcp_monitor-default".into()
}

fn ecs() -> Format {
    Format::Ecs
}

/// See the module.
pub(super) struct Elasticsearch {
    path: String,
    format: Format,
    client: Client,
}

#[derive(Deserialize)]
struct Answer {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    create: Outcome,
}

#[derive(Deserialize)]
struct Outcome {
    status: u16,
    #[serde(default)]
    error: Value,
}

impl Elasticsearch {
    pub(super) fn open(settings: &ElasticsearchSettings) -> Result<Self, OpenError> {
        let plain = |one: char| one.is_ascii_alphanumeric() || "-_.".contains(one);
        if settings.index.is_empty() || !settings.index.chars().all(plain) {
            return Err(OpenError::Settings(format!("index {:?} is no name of an index", settings.index)));
        }
        if settings.format == Format::Cef {
            return Err(OpenError::Settings("elasticsearch takes JSON: native, ocsf or ecs".into()));
        }
        let authorization = match (&settings.api_key, &settings.basic) {
            (Some(_), Some(_)) => {
                return Err(OpenError::Settings("give `api_key` or `basic`, not both".into()));
            }
            (Some(key), None) => Some(Revealed::prefixed("ApiKey ", &key.read()?)),
            (None, Some(basic)) => Some(basic.read()?.basic()),
            (None, None) => None,
        };
        let mut client = Client::new(&settings.url, &settings.http, authorization.is_some())?;
        if let Some(authorization) = authorization {
            client = client.with_header("authorization", authorization);
        }
        Ok(Self { path: format!("/{}/_bulk", settings.index), format: settings.format, client })
    }

    /// The document; a data stream wants `@timestamp` in each.
    fn document(&self, record: &Record) -> Value {
        let mut document = self.format.value(record);
        if let Value::Object(fields) = &mut document {
            fields.entry("@timestamp").or_insert_with(|| record.time().to_string().into());
        }
        document
    }
}

impl Sink for Elasticsearch {
    fn deliver(&mut self, records: &[Record]) -> Result<Taken, Failure> {
        let mut body = String::new();
        for record in records {
            body.push_str(&json!({"create": {"_id": record.delivery_id()}}).to_string());
            body.push('\n');
            body.push_str(&self.document(record).to_string());
            body.push('\n');
        }
        let answer = self.client.post(&self.path, "application/x-ndjson", body.as_bytes(), &[])?;
        let items = serde_json::from_slice::<Answer>(&answer.bytes)
            .map_err(|_| Failure::later(format!("no answer of a cluster: {}", shortened(&answer.text()))))?
            .items;
        if items.len() != records.len() {
            let told =
                format!("the answer tells of {} documents, and {} were sent", items.len(), records.len());
            return Err(Failure::later(told));
        }
        let mut taken = Taken::default();
        for (place, Item { create: Outcome { status, error } }) in items.into_iter().enumerate() {
            let why = || format!("status {status}: {}", shortened(&error.to_string()));
            match status {
                200..=299 | 409 => {}
                408 | 429 | 500..=599 => {
                    taken.why = Some(why());
                    taken.again.push(place);
                }
                _ => taken.rejected.push((place, why())),
            }
        }
        Ok(taken)
    }
}
