//! Grafana Loki. Labels are few and of few values (host, workload, type, severity); what tells records apart stands in the
//! line and in structured metadata.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Failure, OpenError, Sink, Taken,
    http::{Client, Http},
};
use crate::{
    event::Severity,
    export::{
        format::Format,
        record::Record,
        secret::{Revealed, Secret},
    },
};

/// Settings of `loki`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LokiSettings {
    /// Of the server, e.g. `https://loki.example:3100`.
    pub url: String,
    /// `X-Scope-OrgID`.
    pub tenant: Option<String>,
    /// `USER:PASSWORD`.
    pub basic: Option<Secret>,
    /// A bearer token.
    pub token: Option<Secret>,
    /// How lines look.
    #[serde(default)]
    pub format: Format,
    /// Send the id of each record as structured metadata (Loki 3, or 2.9 with schema v13).
    #[serde(default)]
    pub structured_metadata: bool,
    /// How to reach it.
    #[serde(default)]
    pub http: Http,
}

/// See the module.
pub(super) struct Loki {
    settings: LokiSettings,
    client: Client,
}

impl Loki {
    pub(super) fn open(settings: &LokiSettings) -> Result<Self, OpenError> {
        let authorization = match (&settings.token, &settings.basic) {
            (Some(_), Some(_)) => {
                return Err(OpenError::Settings("give `token` or `basic`, not both".into()));
            }
            (Some(token), None) => Some(Revealed::prefixed("Bearer ", &token.read()?)),
            (None, Some(basic)) => Some(basic.read()?.basic()),
            (None, None) => None,
        };
        let mut client = Client::new(&settings.url, &settings.http, authorization.is_some())?;
        if let Some(authorization) = authorization {
            client = client.with_header("authorization", authorization);
        }
        if settings.tenant.as_ref().is_some_and(|tenant| tenant.chars().any(|one| !one.is_ascii_graphic())) {
            return Err(OpenError::Settings("`tenant` holds a character that no header can".into()));
        }
        Ok(Self { settings: settings.clone(), client })
    }

    fn body(&self, records: &[Record]) -> Value {
        let mut streams: BTreeMap<[String; 4], Vec<Value>> = BTreeMap::new();
        for record in records {
            let parts = record.parts();
            let labels = [
                parts.host.name.to_string(),
                parts.workload.name.to_string(),
                if record.is_finding() { "finding" } else { "event" }.to_owned(),
                record.severity().map_or("none", Severity::name).to_owned(),
            ];
            // A number is refused, and more digits than nanoseconds too.
            let mut value = vec![
                Value::String(record.time().as_nanosecond().to_string()),
                Value::String(self.settings.format.line(record)),
            ];
            if self.settings.structured_metadata {
                value.push(json!({"delivery_id": record.delivery_id(), "kind": parts.kind.to_string()}));
            }
            streams.entry(labels).or_default().push(Value::Array(value));
        }
        let streams: Vec<_> = streams
            .into_iter()
            .map(|([host, workload, kind, severity], values)| {
                json!({
                    "stream": {
                        "service_name": "mcp-monitor", "host": host, "workload": workload, "type": kind, "severity": severity,
                    },
                    "values": values,
                })
            })
            .collect();
        json!({"streams": streams})
    }
}

impl Sink for Loki {
    fn deliver(&mut self, records: &[Record]) -> Result<Taken, Failure> {
        let body = self.body(records).to_string();
        let tenant: Vec<_> =
            self.settings.tenant.iter().map(|tenant| ("x-scope-orgid", &tenant[..])).collect();
        self.client.post("/loki/api/v1/push", "application/json", body.as_bytes(), &tenant)?;
        Ok(Taken::default())
    }
}
