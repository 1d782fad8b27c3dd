//! Which workloads there are: what client configurations declare, and what runs.
//!
//! [`declared`] reads the configurations of MCP clients and says which servers they name.
//! [`live`] says which running processes are servers and agents, declared or not.
//! [`containers`] asks what is known of a container.

pub mod containers;
pub mod declared;
pub mod live;
