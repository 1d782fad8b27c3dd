//! What the host says about what the sensor saw: who a process is, whose a segment is, who listens where.
//!
//! [`attribute`] is the stage: a decoded record goes in, an event comes out. The rest serves it: [`process`] is the
//! table of processes, [`script`] finds the script behind an interpreter, [`procfs`] answers for what no record
//! told, [`users`] and [`container`] give names, [`dns`] reads answers,
//! [`sockets`] says who resolves names and [`listeners`] who listens,
//! [`relief`] turns counts into events, [`segment`] knows which segment belongs to which workload, [`unit`] names services, [`clock`]
//! tells the time, and [`kernel`] and [`kernel_checks`] say what the kernel offers. Foreign files are read bounded and leniently; nothing here panics on them.

mod action;
pub mod attribute;
pub mod clock;
pub mod container;
pub mod dns;
mod identifier;
pub mod kernel;
pub mod kernel_checks;
pub mod listeners;
pub mod pods;
pub mod process;
pub mod procfs;
mod read;
pub mod relief;
pub mod script;
pub mod segment;
pub mod sockets;
pub mod unit;
pub mod users;
