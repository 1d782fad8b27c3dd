//! The store: everything that was recorded, kept so that it can be asked and so that a change shows.
//!
//! # What is where
//!
//! | file of the store's directory | holds |
//! |---|---|
//! | `events-YYYY-MM-DD.db` (`-2`, `-3` … when a day is very large) | the events recorded on one UTC day; unlinked as a whole when it is too old |
//! | `findings.db` | findings and their states, the journal of acts, anchors of the days, sinks' cursors; outlives the days |
//! | `signing.key`, `signing.pub` | the ed25519 key of the checkpoints, made at the first start |
//! | `in-flight` | how far the running monitor has come, so that the gap of a killed one can be counted |
//!
//! The directory has mode 0700, files 0600. Each is an `SQLite` database in WAL mode: readers read while the daemon
//! writes.
//!
//! # Writing
//!
//! [`Writer`] is a handle that can be cloned: [`Writer::event`] and [`Writer::finding`] put into a bounded queue and
//! never block; what does not fit is counted ([`Writer::take_losses`]). One thread empties it. [`Writer::act`] records
//! what an operator did (acknowledge, suppress, pause, query …), carries out what concerns findings, and returns
//! when it is on the disk.
//!
//! # Reading
//!
//! [`Reader::open`] takes the store's directory or the path of one day's file, and needs no daemon. A [`Query`] is
//! a [`Filter`] with an [`Order`], a limit, a budget of time, and a [`Cursor`] to go on from. To follow: ask with
//! [`Order::OldestFirst`] from [`Reader::end`], then again and again from the [`Page::next`] of the answer.
//! [`Matcher`] answers the same filter for a JSON line that comes from elsewhere.
//!
//! Every row is the event's JSON line as [`crate::render::json`] made it; nothing else renders events.
//!
//! ```text
//! Writer: Clone + Send + Sync
//!   fn event(&self, event: Event)                    never blocks; what does not fit is counted
//!   fn finding(&self, finding: &Finding)             new or repeated
//!   fn act(&self, actor: Actor, act: Act) -> Result<ActReceipt, StoreError>    blocks until it is on the disk
//!   fn status(&self) -> Status
//!   fn directory(&self) -> &Path                     for Reader::open
//!
//! Reader: Send, one connection each; opened anew for each request or kept by one thread
//!   fn open(place: &Path) -> Result<Reader, StoreError>
//!   fn events(&mut self, query: &Query) -> Result<Page, StoreError>
//!   fn event(&mut self, id: &str) -> Result<Option<Row>, StoreError>
//!   fn end(&mut self) -> Result<Cursor, StoreError>
//!   fn counts(&mut self, filter: &Filter, by: CountBy) -> Result<Vec<Count>, StoreError>
//!   fn traffic(&mut self, filter: &Filter) -> Result<Vec<Traffic>, StoreError>
//!   fn touches(&mut self, filter: &Filter) -> Result<Vec<Touch>, StoreError>    with Filter::path: who else touched it
//!   fn processes(&mut self, filter: &Filter) -> Result<Vec<ProcessRow>, StoreError>
//!   fn workloads(&mut self, filter: &Filter) -> Result<Vec<WorkloadRow>, StoreError>
//!   fn findings(&mut self, filter: &FindingFilter) -> Result<Vec<FindingRow>, StoreError>
//!   fn finding(&mut self, id: &str) -> Result<Option<FindingRow>, StoreError>   id or an unambiguous beginning
//!   fn status(&mut self) -> Result<Status, StoreError>
//!
//! Matcher: the same filter for a JSON line from elsewhere
//!   fn new(filter: &Filter) -> Result<Matcher, StoreError>
//!   fn matches(&self, line: &str) -> bool            false for what is no event line
//! ```
//!
//! # Invariants
//!
//! - A row is written once and never changed. Expected repeats are put together before they become a row.
//! - Row `n` is chained to row `n - 1` by SHA-256, across files; the ends of the chain are signed ([`chain`]).
//! - The writer's memory is bounded: the queue by number and bytes, caches by number.
//! - A full disk loses events, and counts them; it loses no finding that was in the queue, and ends by itself.

pub mod act;
mod batch;
pub mod chain;
mod columns;
pub mod error;
mod files;
#[cfg(test)]
mod integrity_tests;
pub mod journal;
#[cfg(test)]
mod life_tests;
mod matcher;
mod pseudonym;
pub mod query;
mod queue;
mod reader;
mod roll_up;
mod schema;
mod segment;
pub mod settings;
pub mod status;
#[cfg(test)]
mod tests;
pub mod verify;
mod wanted;
pub mod writer;

pub use act::{Act, ActReceipt, Actor};
pub use error::StoreError;
pub use matcher::Matcher;
pub use query::{
    Count, CountBy, Cursor, Filter, FindingFilter, FindingRow, Order, Page, ProcessFilter, ProcessRow, Query,
    Row, Touch, Traffic, VerdictCounts, WorkloadRow,
};
pub use reader::Reader;
pub use settings::Settings;
pub use status::{Day, Recording, Status};
pub use wanted::Wanted;
pub use writer::{Gap, Seam, Store, StoreLosses, Writer};
