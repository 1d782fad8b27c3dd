//! The wire between mcp-monitor's kernel programs and its agent.
//!
//! Everything that both sides must agree on stands here and nowhere else: the layout of records, map keys and
//! values, limits, the kernel fields that are read, and the table of mechanisms. No dependency, no allocation.
//! All types are plain old data: integers and arrays with explicit padding, so that any bit pattern is valid and
//! the decoder needs no `unsafe` beyond an unaligned read.
#![no_std]

pub mod digest;
pub mod kernel_fields;
pub mod limits;
pub mod loss;
pub mod map;
pub mod mechanism;
#[cfg(feature = "user")]
mod pod;
pub mod record;
