//! The local API and its client: what people and programs ask of a running monitor or a stream of lines.

pub mod api;
pub mod client;
pub mod filter;
pub mod moment;
pub mod server;
pub mod source;

pub use filter::{Filter, FilterError, Matcher};
pub use source::Source;
