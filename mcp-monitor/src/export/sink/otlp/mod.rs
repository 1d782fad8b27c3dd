//! OpenTelemetry logs by OTLP, over HTTP with protobuf or over gRPC: one log record for each finding and event.
//!
//! What the receiver may be offered again is told by the protocol (429, 502, 503, 504; `Unavailable` and the like), and a
//! *partial success* must not be: the receiver says how many it did not keep and not which, so they are counted, and the
//! batch's ids stand in the dead-letter file.

mod encode;
mod grpc;

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use prost::Message as _;
use serde::Deserialize;

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

/// Statuses of OTLP over HTTP that must not be tried again, beside those that nobody tries again.
const PERMANENT: &[u16] = &[500, 501, 505, 506, 507, 508, 510, 511];

/// How requests travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Protobuf in HTTP/1.1, port 4318 as a rule.
    #[default]
    Http,
    /// gRPC, port 4317 as a rule.
    Grpc,
}

/// Settings of `otlp`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtlpSettings {
    /// Of the receiver, without a path: `https://collector.example:4318`.
    pub url: String,
    /// How requests travel.
    #[serde(default)]
    pub protocol: Protocol,
    /// Path of the requests over HTTP; `/v1/logs` if absent.
    pub path: Option<String>,
    /// Headers of every request, e.g. `authorization` or the key of a provider.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// How the body of a log record looks.
    #[serde(default)]
    pub format: Format,
    /// How to reach it.
    #[serde(default)]
    pub http: Http,
}

impl OtlpSettings {
    fn revealed(&self) -> Result<Vec<(String, Revealed)>, OpenError> {
        let headers = self.headers.iter().map(|(name, value)| {
            let plain = |one: char| one.is_ascii_lowercase() || one.is_ascii_digit() || "-_.".contains(one);
            if name.is_empty() || !name.chars().all(plain) || name.ends_with("-bin") {
                return Err(OpenError::Settings(format!(
                    "{name:?} is no name of a header; it must be written in lower case"
                )));
            }
            Ok((name.clone(), value.read()?))
        });
        headers.collect()
    }
}

/// Over HTTP.
struct OverHttp {
    path: String,
    format: Format,
    client: Client,
}

/// Opens either kind.
pub(super) fn open(settings: &OtlpSettings) -> Result<Box<dyn Sink>, OpenError> {
    let headers = settings.revealed()?;
    match settings.protocol {
        Protocol::Grpc => Ok(Box::new(grpc::OverGrpc::open(settings, headers)?)),
        Protocol::Http => {
            let mut client = Client::new(&settings.url, &settings.http, !headers.is_empty())?;
            for (name, value) in headers {
                client = client.with_header(&name, value);
            }
            let path = settings.path.clone().unwrap_or_else(|| "/v1/logs".into());
            if !path.starts_with('/') {
                return Err(OpenError::Settings(format!("path {path:?} does not begin with a slash")));
            }
            Ok(Box::new(OverHttp { path, format: settings.format, client: client.with_permanent(PERMANENT) }))
        }
    }
}

impl Sink for OverHttp {
    fn deliver(&mut self, records: &[Record]) -> Result<Taken, Failure> {
        let body = encode::request(records, self.format).encode_to_vec();
        let answer = self.client.post(&self.path, "application/x-protobuf", &body, &[])?;
        // A receiver may leave the answer empty, which reads as success; a page of a proxy is none.
        let response = ExportLogsServiceResponse::decode(&answer.bytes[..]).map_err(|_| {
            Failure::later(format!("no answer of an OTLP receiver: {}", shortened(&answer.text())))
        })?;
        Ok(partial(response, records.len()))
    }
}

/// What the receiver did not keep.
fn partial(response: ExportLogsServiceResponse, sent: usize) -> Taken {
    let Some(partial) = response.partial_success else { return Taken::default() };
    let refused = usize::try_from(partial.rejected_log_records).unwrap_or(0).min(sent);
    let said = shortened(&partial.error_message);
    let why = (refused > 0).then(|| format!("the receiver did not keep {refused} of {sent}: {said}"));
    Taken { refused, why, ..Taken::default() }
}
