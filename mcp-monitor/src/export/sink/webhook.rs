//! A webhook, signed as Standard Webhooks has it: `webhook-id`, `webhook-timestamp`, and in `webhook-signature` the
//! HMAC-SHA256 of `ID.TIMESTAMP.BODY`. The id stays the same when a batch is sent again, also as `idempotency-key`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use serde::Deserialize;
use sha2::Sha256;
use uuid::Uuid;

use super::{
    Failure, OpenError, Sink, Taken,
    http::{Client, Http},
};
use crate::export::{
    format::Format,
    record::Record,
    secret::{Revealed, Secret},
};

/// Settings of `webhook`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// Where.
    pub url: String,
    /// How records look; they are sent as a JSON array.
    #[serde(default)]
    pub format: Format,
    /// What bodies are signed with.
    pub secret: Option<Secret>,
    /// The value of the header `Authorization`.
    pub authorization: Option<Secret>,
    /// How to reach it.
    #[serde(default)]
    pub http: Http,
}

/// See the module.
pub(super) struct Webhook {
    format: Format,
    key: Option<Revealed>,
    client: Client,
}

impl Webhook {
    pub(super) fn open(settings: &WebhookSettings) -> Result<Self, OpenError> {
        let key = settings.secret.as_ref().map(Secret::read).transpose()?;
        let authorization = settings.authorization.as_ref().map(Secret::read).transpose()?;
        let mut client = Client::new(&settings.url, &settings.http, authorization.is_some())?;
        if let Some(authorization) = authorization {
            client = client.with_header("authorization", authorization);
        }
        Ok(Self { format: settings.format, key, client })
    }
}

/// The id of a batch: the same for the same records.
pub(super) fn batch_id(records: &[Record]) -> String {
    let ids = records.iter().map(Record::delivery_id).collect::<Vec<_>>().join("\n");
    Uuid::new_v5(&Uuid::NAMESPACE_OID, ids.as_bytes()).to_string()
}

/// `v1,` and the signature. A key that begins with `whsec_` is base64, as Standard Webhooks has it.
fn signature(key: &str, id: &str, timestamp: &str, body: &[u8]) -> Result<String, Failure> {
    let key = match key.strip_prefix("whsec_") {
        Some(encoded) => {
            STANDARD.decode(encoded).map_err(|_| Failure::later("the secret is no base64 behind whsec_"))?
        }
        None => key.as_bytes().to_vec(),
    };
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(Failure::later)?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

impl Sink for Webhook {
    fn deliver(&mut self, records: &[Record]) -> Result<Taken, Failure> {
        let values: Vec<_> = records.iter().map(|record| self.format.value(record)).collect();
        let body = serde_json::to_vec(&values).map_err(Failure::later)?;
        let id = batch_id(records);
        let timestamp = Timestamp::now().as_second().to_string();
        let signature =
            self.key.as_ref().map(|key| signature(key.expose(), &id, &timestamp, &body)).transpose()?;
        let mut headers =
            vec![("webhook-id", &id[..]), ("webhook-timestamp", &timestamp), ("idempotency-key", &id)];
        if let Some(signature) = &signature {
            headers.push(("webhook-signature", signature));
        }
        self.client.post("", "application/json", &body, &headers)?;
        Ok(Taken::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks specification.
    #[test]
    fn the_signature_is_the_specifications() {
        let made = signature(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(made.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
