//! What people and programs read: events, findings and the closing summary as lines for a terminal or as JSON.
//!
//! Everything that stems from a monitored process is hostile text and leaves this room escaped
//! ([`crate::event::Bytes::escaped`]): one event is one line, whatever its names contain.

pub mod explain;
pub mod human;
pub mod inventory;
pub mod json;
mod object;
pub mod origin;
pub mod output;
#[cfg(test)]
mod pictures_tests;
pub mod read;
pub mod report;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
pub(crate) mod story;
pub mod stream;
pub mod summary;
pub(crate) mod text;
pub mod timeline;
pub mod tree;
pub mod workloads;

pub use origin::Origin;
pub use stream::{Format, Stream, StreamError};
pub use summary::{Loss, Summary, Tally};

/// Path, address or name of an action's object, in full and escaped.
#[must_use]
pub fn object_of(action: &crate::event::Action) -> String {
    object::of_action(action)
}
