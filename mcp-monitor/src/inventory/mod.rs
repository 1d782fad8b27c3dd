//! Which workloads there are: what client configurations declare, and what runs.
//!
//! [`declared`] reads the configurations of MCP clients and says which servers they name.

pub mod declared;
