//! The local API and its client: what people and programs ask of a running monitor or a stream of lines.

pub mod api;
pub mod client;
pub mod filter;
mod hub;
pub mod metrics;
pub mod moment;
pub mod orders;
#[cfg(test)]
mod parity_tests;
pub mod peer;
pub mod publish;
mod query_log;
mod routes;
pub mod server;
pub mod source;
mod stored;

pub use filter::{Filter, FilterError, Matcher};
pub use hub::EVENTS_MAX as HELD_MAX;
pub use publish::{Freshness, Publisher};
pub use server::Server;
pub use source::Source;
