//! From what a workload was seen to do to an expectation that a person can sign.
//!
//! [`Observation`] gathers recorded events ([`observe`]), [`generalise`] makes patterns of paths, [`propose`] writes the
//! text. Promises: the same events give the same text; a directory is opened up only after enough distinct children;
//! secrets, metadata services, places that make code run later and ways out of the lineage are never learnt, only
//! listed; what was not seen is written into the proposal; memory is bounded, and what did not fit is a gap.

pub mod allow;
pub mod draft;
pub mod generalise;
pub mod observe;
pub mod propose;
pub mod replay;
#[cfg(test)]
mod tests;

pub use observe::Observation;
pub use propose::{Thoroughness, propose};
