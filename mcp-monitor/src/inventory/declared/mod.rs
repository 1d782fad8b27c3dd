//! Which MCP servers the clients' configuration files declare, for whom, where, and whether they may run.
//!
//! Configuration files are foreign text and their owners may be hostile: they are read bounded, no value of an
//! environment variable and no secret in an argument or an address leaves the parser, and a file that cannot be read
//! becomes a [`Warning`] while the rest works.

mod address;
mod build;
mod document;
mod entry;
mod extract;
pub mod grants;
pub mod homes;
mod inventory;
mod model;
mod pattern;
mod place;
mod scan;
#[cfg(test)]
mod scan_tests;
mod table;
mod template;

pub use inventory::{DeclaredHealth, DeclaredInventory};
pub use model::{
    Approval, ApprovalState, ClientId, Declarations, DeclaredId, DeclaredServer, Place, Scope, Transport,
    Warning,
};
pub use pattern::{ArgumentPattern, Variable};
pub use scan::{Home, Scanner, Sources, WorkingFolder};
pub use table::{ADDITIONS, Clients, ClientsError};
