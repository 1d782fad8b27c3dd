//! mcp-monitor: what MCP servers and agent runners really do to a host, and whether that was expected.
//!
//! The way of an event: [`sensor`] → [`host`] → [`expectation`] → [`finding`] → [`render`]; [`daemon`] wires the
//! stages and [`cli`] is what a person calls. Arrows point one way; [`event`] is the ground.

pub mod audit;
pub mod cli;
pub mod control;
pub mod daemon;
pub mod event;
pub mod expectation;
pub mod export;
pub mod finding;
pub mod host;
pub mod inventory;
pub mod render;
pub mod sensor;
pub mod service;
pub mod store;
