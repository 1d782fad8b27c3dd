//! Kafka: a message for each record, with an idempotent producer that waits for all replicas (`acks=all`).
//!
//! Built with the cargo feature `kafka`, since it brings librdkafka, which is C. The key is host and workload, so that
//! what one workload did stays in its order; the header `delivery-id` tells duplicates after a restart.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

use super::{OpenError, Sink};
use crate::export::{format::Format, secret::Secret, tls::Tls};

/// Settings of `kafka`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSettings {
    /// `HOST:PORT` of some brokers.
    pub brokers: Vec<String>,
    /// The topic.
    #[serde(default = "topic")]
    pub topic: String,
    /// How messages look.
    #[serde(default)]
    pub format: Format,
    /// Encrypt, with these authorities and this client certificate.
    pub tls: Option<Tls>,
    /// How to log in.
    pub sasl: Option<Sasl>,
    /// Compression: `none`, `gzip`, `snappy`, `lz4`.
    #[serde(default = "compression")]
    pub compression: Compression,
    /// A secret may travel unencrypted to another host.
    #[serde(default)]
    pub allow_plain_text: bool,
    /// A message that is not acknowledged within this time comes again.
    #[serde(default = "timeout")]
    pub timeout_seconds: u64,
}

/// How to log in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sasl {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// Who.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// Mechanisms of SASL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Mechanism {
    /// The password itself, for TLS alone.
    #[serde(rename = "PLAIN")]
    Plain,
    /// A proof of the password.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// A proof of the password.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// How messages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
}

fn topic() -> String {
    "mcp-monitor".into()
}

fn compression() -> Compression {
    Compression::Gzip
}

fn timeout() -> u64 {
    30
}

/// What librdkafka is told, with the secret apart so that it is never shown.
fn properties(settings: &KafkaSettings) -> Result<BTreeMap<&'static str, String>, OpenError> {
    let wrong = |what: &str| Err(OpenError::Settings(what.to_owned()));
    if settings.brokers.is_empty() || settings.brokers.iter().any(|broker| broker.contains([',', '@', '/'])) {
        return wrong("`brokers` names some of them as HOST:PORT");
    }
    let plain = |one: char| one.is_ascii_alphanumeric() || "-_.".contains(one);
    if settings.topic.is_empty() || settings.topic.len() > 249 || !settings.topic.chars().all(plain) {
        return wrong("`topic` is made of letters, digits, `-`, `_` and `.`");
    }
    let local = settings.brokers.iter().all(|broker| {
        super::http::is_local(broker.rsplit_once(':').map_or(broker.as_str(), |(host, _)| host))
    });
    if settings.sasl.is_some() && settings.tls.is_none() && !local && !settings.allow_plain_text {
        return wrong("a password would travel unencrypted; give `tls`, or set `allow_plain_text: true`");
    }
    let protocol = match (&settings.tls, &settings.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    let milliseconds = settings.timeout_seconds.clamp(1, 600) * 1000;
    let mut properties = BTreeMap::from([
        ("bootstrap.servers", settings.brokers.join(",")),
        ("client.id", "mcp-monitor".into()),
        ("security.protocol", protocol.into()),
        ("acks", "all".into()),
        ("enable.idempotence", "true".into()),
        ("message.timeout.ms", milliseconds.to_string()),
        ("socket.timeout.ms", milliseconds.min(60_000).to_string()),
        // One batch of ours is all that waits.
        ("queue.buffering.max.messages", "100000".into()),
        ("linger.ms", "5".into()),
        ("message.max.bytes", "1000000".into()),
        (
            "compression.type",
            match settings.compression {
                Compression::None => "none",
                Compression::Gzip => "gzip",
                Compression::Snappy => "snappy",
                Compression::Lz4 => "lz4",
            }
            .into(),
        ),
    ]);
    if let Some(tls) = &settings.tls {
        // Read once by our own reader, whose errors name the file and what is wrong with it.
        tls.client()?;
        let shown = |path: &PathBuf| path.display().to_string();
        properties.insert("ssl.ca.location", tls.ca.as_ref().map_or_else(|| "probe".into(), shown));
        if let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) {
            properties.insert("ssl.certificate.location", shown(certificate));
            properties.insert("ssl.key.location", shown(key));
        }
        properties.insert("ssl.endpoint.identification.algorithm", "https".into());
    }
    if let Some(sasl) = &settings.sasl {
        let mechanism = match sasl.mechanism {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        };
        properties.insert("sasl.mechanism", mechanism.into());
        properties.insert("sasl.username", sasl.user.clone());
    }
    Ok(properties)
}

/// This build brings no librdkafka.
#[cfg(not(feature = "kafka"))]
pub(super) fn open(settings: &KafkaSettings) -> Result<Box<dyn Sink>, OpenError> {
    properties(settings)?;
    Err(OpenError::Settings("this build has no Kafka; build it with `cargo build --features kafka`".into()))
}

#[cfg(feature = "kafka")]
pub(super) use with_librdkafka::open;

#[cfg(feature = "kafka")]
mod with_librdkafka {
    use std::{
        sync::{Arc, Mutex, PoisonError},
        time::{Duration, Instant},
    };

    use rdkafka::{
        ClientConfig, ClientContext, Message as _,
        error::{KafkaError, RDKafkaErrorCode},
        message::{DeliveryResult, Header, OwnedHeaders},
        producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig},
    };

    use super::{KafkaSettings, properties};
    use crate::export::{
        format::Format,
        record::Record,
        sink::{Failure, OpenError, Sink, Taken, shortened},
    };

    /// What came of messages, by their place in the batch.
    #[derive(Clone, Default)]
    struct Reports(Arc<Mutex<Vec<(usize, Option<KafkaError>)>>>);

    impl ClientContext for Reports {
        // librdkafka talks on standard error otherwise; what matters is in the reports.
        fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
    }

    impl ProducerContext for Reports {
        type DeliveryOpaque = Box<usize>;

        fn delivery(&self, result: &DeliveryResult<'_>, place: Self::DeliveryOpaque) {
            let error = result.as_ref().err().map(|(error, _)| error.clone());
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push((*place, error));
        }
    }

    /// See the module.
    struct Kafka {
        topic: String,
        format: Format,
        timeout: Duration,
        reports: Reports,
        producer: BaseProducer<Reports>,
    }

    pub(in super::super) fn open(settings: &KafkaSettings) -> Result<Box<dyn Sink>, OpenError> {
        let mut config = ClientConfig::new();
        for (name, value) in properties(settings)? {
            config.set(name, value);
        }
        if let Some(sasl) = &settings.sasl {
            config.set("sasl.password", sasl.password.read()?.expose());
        }
        let reports = Reports::default();
        let producer = config
            .create_with_context(reports.clone())
            .map_err(|error| OpenError::Settings(error.to_string()))?;
        Ok(Box::new(Kafka {
            topic: settings.topic.clone(),
            format: settings.format,
            timeout: Duration::from_secs(settings.timeout_seconds.clamp(1, 600)),
            reports,
            producer,
        }))
    }

    /// What a message is itself to blame for.
    fn is_for_ever(error: &KafkaError) -> bool {
        matches!(
            error.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::MessageSizeTooLarge
                    | RDKafkaErrorCode::InvalidMessageSize
                    | RDKafkaErrorCode::InvalidMessage
                    | RDKafkaErrorCode::InvalidRecord
            )
        )
    }

    impl Sink for Kafka {
        fn deliver(&mut self, records: &[Record]) -> Result<Taken, Failure> {
            self.reports.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
            let mut came: Vec<Option<Result<(), KafkaError>>> = vec![None; records.len()];
            let mut waits = 0;
            for (place, record) in records.iter().enumerate() {
                let parts = record.parts();
                let key = format!("{}|{}", parts.host.id, parts.workload.id);
                let payload = self.format.line(record);
                let kind = if record.is_finding() { "finding" } else { "event" };
                let headers = OwnedHeaders::new()
                    .insert(Header { key: "delivery-id", value: Some(record.delivery_id()) })
                    .insert(Header { key: "type", value: Some(kind) });
                let message = BaseRecord::with_opaque_to(&self.topic, Box::new(place))
                    .key(&key)
                    .payload(&payload)
                    .timestamp(record.time().as_millisecond())
                    .headers(headers);
                match self.producer.send(message) {
                    Ok(()) => waits += 1,
                    Err((error, _)) => {
                        let last = !is_for_ever(&error);
                        came[place] = Some(Err(error));
                        // What comes behind a message that was not taken waits for it.
                        if last {
                            break;
                        }
                    }
                }
            }
            let end = Instant::now() + self.timeout + Duration::from_secs(5);
            let mut reported = 0;
            while reported < waits && Instant::now() < end {
                self.producer.poll(Duration::from_millis(50));
                let mut reports = self.reports.0.lock().unwrap_or_else(PoisonError::into_inner);
                reported += reports.len();
                for (place, error) in reports.drain(..) {
                    came[place] = Some(error.map_or(Ok(()), Err));
                }
            }
            if reported < waits {
                self.producer.purge(PurgeConfig::default().queue().inflight());
                self.producer.poll(Duration::ZERO);
            }
            if let Some((code, why)) = self.producer.client().fatal_error() {
                // Only a new producer can go on; the worker opens one.
                return Err(Failure::later(format!("{code:?}: {why}")));
            }
            let mut taken = Taken::default();
            for (place, one) in came.into_iter().enumerate() {
                match one {
                    Some(Ok(())) => {}
                    Some(Err(error)) if is_for_ever(&error) => {
                        taken.rejected.push((place, shortened(&error.to_string())));
                    }
                    Some(Err(error)) => {
                        taken.again.push(place);
                        taken.why = Some(shortened(&error.to_string()));
                    }
                    None => taken.again.push(place),
                }
            }
            if taken.again.len() == records.len() {
                return Err(Failure::later(taken.why.as_deref().unwrap_or("no acknowledgement in time")));
            }
            Ok(taken)
        }
    }

    #[cfg(test)]
    mod tests {
        use std::collections::HashSet;

        use rdkafka::{
            consumer::{BaseConsumer, Consumer as _},
            message::Headers as _,
            mocking::MockCluster,
            producer::DefaultProducerContext,
            types::{RDKafkaApiKey, RDKafkaRespErr},
        };

        use super::*;
        use crate::export::testing;

        type Cluster = MockCluster<'static, DefaultProducerContext>;

        fn cluster() -> (Cluster, Box<dyn Sink>) {
            let cluster = MockCluster::new(3).unwrap();
            cluster.create_topic("mcp-monitor", 4, 3).unwrap();
            let text = format!(
                "{{brokers: ['{}'], timeout_seconds: 5}}",
                cluster.bootstrap_servers().replace(',', "', '")
            );
            let sink = open(&serde_saphyr::from_str(&text).unwrap()).unwrap();
            (cluster, sink)
        }

        /// Ids of all messages, in the order in which each partition holds them.
        fn read(cluster: &Cluster, count: usize) -> Vec<(i32, String, String)> {
            let consumer: BaseConsumer = ClientConfig::new()
                .set("bootstrap.servers", cluster.bootstrap_servers())
                .set("group.id", "test")
                .set("auto.offset.reset", "earliest")
                .create()
                .unwrap();
            consumer.subscribe(&["mcp-monitor"]).unwrap();
            let (mut found, end) = (Vec::new(), Instant::now() + Duration::from_secs(30));
            while found.len() < count && Instant::now() < end {
                let Some(Ok(message)) = consumer.poll(Duration::from_millis(200)) else { continue };
                let header = message.headers().unwrap().iter().find(|one| one.key == "delivery-id").unwrap();
                let id = String::from_utf8(header.value.unwrap().to_vec()).unwrap();
                let line = String::from_utf8(message.payload().unwrap().to_vec()).unwrap();
                found.push((message.partition(), id, line));
            }
            found
        }

        #[test]
        fn a_broker_that_follows_the_protocol_gets_every_record_once_and_in_order() {
            let (cluster, mut sink) = cluster();
            let records = [testing::events(300), testing::findings(5)].concat();
            assert_eq!(sink.deliver(&records).unwrap(), Taken::default());
            let found = read(&cluster, records.len());
            let ids: Vec<_> = found.iter().map(|(_, id, _)| id.as_str()).collect();
            let sent: Vec<_> = records.iter().map(Record::delivery_id).collect();
            assert_eq!(ids, sent, "one workload is one key is one partition");
            assert_eq!(found.iter().map(|(partition, ..)| partition).collect::<HashSet<_>>().len(), 1);
            assert!(found.iter().zip(&records).all(|((_, _, line), record)| line == record.line()));
        }

        #[test]
        fn a_broker_that_fails_for_a_while_gets_every_record_all_the_same() {
            let (cluster, mut sink) = cluster();
            let errors = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 3];
            cluster.request_errors(RDKafkaApiKey::Produce, &errors);
            let records = testing::events(50);
            assert_eq!(sink.deliver(&records).unwrap(), Taken::default());
            assert_eq!(read(&cluster, 50).len(), 50);
        }

        #[test]
        fn brokers_that_are_away_are_a_reason_to_try_later() {
            let (cluster, mut sink) = cluster();
            for broker in 1..=3 {
                cluster.broker_down(broker).unwrap();
            }
            assert!(matches!(sink.deliver(&testing::events(3)), Err(Failure::Later { .. })));
            for broker in 1..=3 {
                cluster.broker_up(broker).unwrap();
            }
            let again = (0..5).find_map(|_| sink.deliver(&testing::events(3)).ok());
            assert_eq!(again, Some(Taken::default()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Result<BTreeMap<&'static str, String>, String> {
        let settings: KafkaSettings = serde_saphyr::from_str(text).unwrap();
        properties(&settings).map_err(|error| error.to_string())
    }

    #[test]
    fn producers_are_idempotent_and_wait_for_all_replicas() {
        let told = told("{brokers: ['b1:9092', 'b2:9092']}").unwrap();
        assert_eq!(told["bootstrap.servers"], "b1:9092,b2:9092");
        assert_eq!((&told["acks"][..], &told["enable.idempotence"][..]), ("all", "true"));
    }

    #[test]
    fn passwords_travel_encrypted_or_not_at_all() {
        let sasl = "sasl: {mechanism: SCRAM-SHA-512, user: u, password: {env: PATH}}";
        assert!(told(&format!("{{brokers: ['b1:9092'], {sasl}}}")).unwrap_err().contains("unencrypted"));
        let local = told(&format!("{{brokers: ['127.0.0.1:9092'], {sasl}}}")).unwrap();
        assert_eq!(local["security.protocol"], "sasl_plaintext");
        assert!(!local.contains_key("sasl.password"), "the secret stands apart");
        assert!(told("{brokers: []}").is_err());
        assert!(told("{brokers: ['b1:9092'], topic: 'a/b'}").is_err());
    }
}
