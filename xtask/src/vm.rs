//! `cargo xtask vm`, and for the other tasks: a command run in a virtual machine on a chosen kernel.
//!
//! A machine starts from an initramfs made here (busybox, the static programs it was given, needed modules) and
//! optionally goes on in a Debian root. It runs one command and ends. It has no network but loopback. Every boot
//! starts clean: nothing it writes outlives it.

mod arguments;
mod boot;
mod console;
mod init;
mod initramfs;
mod modules;
mod root;
mod servers;

pub(crate) use arguments::{Arguments, main};
pub(crate) use boot::{Machine, boot};
pub(crate) use console::{Ended, Report};
