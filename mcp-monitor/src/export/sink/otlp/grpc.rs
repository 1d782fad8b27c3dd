//! OTLP over gRPC. The client is asynchronous; a runtime of its own turns while a batch is under way.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use tokio::runtime::{Builder, Runtime};
use tonic::{
    Code, Request, Status,
    codec::CompressionEncoding,
    metadata::{Ascii, MetadataKey, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tonic_types::StatusExt as _;

use super::{OtlpSettings, encode, partial};
use crate::export::{
    format::Format,
    record::Record,
    secret::Revealed,
    sink::{
        Failure, OpenError, Sink, Taken,
        http::{RETRY_AFTER_MAX, is_local},
        shortened,
    },
    tls::Tls,
};

/// See the module.
pub(super) struct OverGrpc {
    format: Format,
    client: LogsServiceClient<Channel>,
    metadata: Vec<(MetadataKey<Ascii>, MetadataValue<Ascii>)>,
    timeout: Duration,
    // Behind the client, which lives in it.
    runtime: Runtime,
}

impl OverGrpc {
    pub(super) fn open(settings: &OtlpSettings, headers: Vec<(String, Revealed)>) -> Result<Self, OpenError> {
        let wrong = |what: String| OpenError::Settings(format!("url {:?}: {what}", settings.url));
        if settings.path.is_some() {
            return Err(OpenError::Settings("`path` is for HTTP; gRPC has its own".into()));
        }
        let endpoint =
            Endpoint::from_shared(settings.url.clone()).map_err(|error| wrong(error.to_string()))?;
        let host = endpoint.uri().host().ok_or_else(|| wrong("has no host".into()))?.to_owned();
        let http = &settings.http;
        let timeout = Duration::from_secs(http.timeout_seconds.clamp(1, 600));
        let endpoint = match endpoint.uri().scheme_str() {
            Some("https") => {
                endpoint.tls_config(tls(&http.tls)?).map_err(|error| wrong(error.to_string()))?
            }
            Some("http") if headers.is_empty() || http.allow_plain_text || is_local(&host) => endpoint,
            Some("http") => {
                return Err(wrong(
                    "would send a secret unencrypted; use https, or set `allow_plain_text: true`".into(),
                ));
            }
            _ => return Err(wrong("neither http nor https".into())),
        };
        let endpoint = endpoint.connect_timeout(timeout).timeout(timeout);
        let metadata = headers
            .into_iter()
            .map(|(name, value)| {
                let mut content: MetadataValue<Ascii> = value
                    .expose()
                    .parse()
                    .map_err(|_| OpenError::Settings(format!("the value of {name} is no header's")))?;
                content.set_sensitive(true);
                let key = name.parse().map_err(|_| OpenError::Settings(format!("{name:?} is no header")))?;
                Ok((key, content))
            })
            .collect::<Result<_, OpenError>>()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let channel = {
            let _entered = runtime.enter();
            endpoint.connect_lazy()
        };
        let mut client = LogsServiceClient::new(channel);
        if http.gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        Ok(Self { format: settings.format, client, metadata, timeout, runtime })
    }
}

fn tls(settings: &Tls) -> Result<ClientTlsConfig, OpenError> {
    // Read once by our own reader, whose errors name the file and what is wrong with it.
    settings.client()?;
    let mut tls = ClientTlsConfig::new();
    tls = match &settings.ca {
        Some(path) => tls.ca_certificate(Certificate::from_pem(std::fs::read(path)?)),
        None => tls.with_native_roots(),
    };
    if let (Some(certificate), Some(key)) = (&settings.certificate, &settings.key) {
        tls = tls.identity(Identity::from_pem(std::fs::read(certificate)?, std::fs::read(key)?));
    }
    Ok(tls)
}

/// What a status means, by the specification of OTLP; what only the set-up can be blamed for waits until it is repaired.
fn failure(status: &Status) -> Failure {
    let mut why = format!("{:?}: {}", status.code(), shortened(status.message()));
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        why = format!("{why}: {error}");
        source = error.source();
    }
    let asked = status.get_details_retry_info().and_then(|info| info.retry_delay);
    let after = asked.map(|wait| wait.min(RETRY_AFTER_MAX));
    let transport = std::error::Error::source(status).is_some();
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Failure::Later { why, after },
        // Nothing that a record is to blame for.
        Code::Unauthenticated | Code::PermissionDenied | Code::Unimplemented | Code::NotFound => {
            Failure::Later { why, after }
        }
        // Without a time it says that the request is too large.
        Code::ResourceExhausted if after.is_some() => Failure::Later { why, after },
        // The connection and not the receiver.
        Code::Unknown | Code::Internal if transport => Failure::Later { why, after },
        _ => Failure::Never { why },
    }
}

impl Sink for OverGrpc {
    fn deliver(&mut self, records: &[Record]) -> Result<Taken, Failure> {
        let mut request = Request::new(encode::request(records, self.format));
        for (key, value) in &self.metadata {
            request.metadata_mut().insert(key.clone(), value.clone());
        }
        let Self { runtime, client, timeout, .. } = self;
        // Within the runtime: a clock needs one from its making on.
        let answer = runtime.block_on(async { tokio::time::timeout(*timeout, client.export(request)).await });
        match answer {
            Err(_) => Err(Failure::later(format!("no answer within {} s", timeout.as_secs()))),
            Ok(Err(status)) => Err(failure(&status)),
            Ok(Ok(response)) => Ok(partial(response.into_inner(), records.len())),
        }
    }
}
