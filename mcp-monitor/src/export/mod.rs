//! Findings and events on their way to the tools that a security team already runs.
//!
//! - [`record`]: one line of the contract, read back, with the id that receivers tell duplicates by
//! - [`format`]: how it is written for a receiver: native JSON, OCSF, ECS, CEF, RFC 5424
//! - [`sink`]: one attempt at one kind of receiver
//! - [`delivery`]: a thread and a cursor for each sink; retries, quarantine, counters
//! - [`source`]: what is read from, and can be read again; [`stored`]: the store as such
//! - [`config`]: `sinks:` of the configuration, with [`filter`], [`redact`], [`secret`] and [`tls`]
//!
//! A receiver that is away costs nothing but the time until it is back: what waits, waits in the store.

pub mod config;
pub mod delivery;
pub mod filter;
pub mod format;
pub mod heartbeat;
pub mod record;
pub mod redact;
pub mod secret;
pub mod sink;
pub mod source;
pub mod stored;
pub mod synthetic;
#[cfg(test)]
pub(crate) mod testing;
pub mod tls;

pub use config::{Config, SinkConfig};
pub use delivery::Delivery;
pub use record::{Record, RecordError};
