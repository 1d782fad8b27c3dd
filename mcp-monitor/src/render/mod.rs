//! What people and programs read: events, findings and the closing summary as lines for a terminal or as JSON.
//!
//! Everything that stems from a monitored process is hostile text and leaves this room escaped
//! ([`crate::event::Bytes::escaped`]): one event is one line, whatever its names contain.

pub mod human;
pub mod json;
mod object;
pub mod origin;
#[cfg(test)]
mod sample;
pub mod stream;
pub mod summary;
mod text;

pub use origin::Origin;
pub use stream::{Format, Stream, StreamError};
pub use summary::{Loss, Summary, Tally};
