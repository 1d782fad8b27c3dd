//! The kernel programs and their loader: which mechanisms observe, where fields lie on this kernel, how records come
//! in, and the orders that go down. Everything that comes up is checked and masked before it leaves this room:
//! [`decode`] turns bytes into typed records and never panics, [`mask`] hides secrets in them, [`sequence`] finds
//! what is missing.

pub mod btf;
pub mod canary;
pub mod decode;
pub mod diagnostics;
pub mod error;
pub mod health;
mod hints;
pub mod load;
pub mod mask;
pub mod offsets;
pub mod orders;
pub mod ring;
pub mod sequence;
#[cfg(test)]
pub(crate) mod testing;
pub mod trial;

pub use diagnostics::Diagnostics;
pub use error::SensorError;
pub use health::{MapFill, ProgramHealth};
pub use load::{Options, Sensor, start, trial};
