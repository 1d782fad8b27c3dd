//! Being taken for somebody else: another name, another comm, arguments that hide what matters.

use std::{fs, os::unix::process::CommandExt, process::Command};

use anyhow::Result;
use mcp_monitor_tests::{act::Act, world::check};

use crate::{
    case::{Case, Context, case},
    files::read_whole,
    process::{acts_of, c_string, in_child, myself},
};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    case("renamed-copy", renamed_copy),
    case("comm-spoof", comm_spoof),
    case("argv0-spoof", argv0_spoof),
    case("argv-padding", argv_padding),
];

/// A copy of the program under a daemon's name.
fn renamed_copy(context: &Context) -> Result<Vec<Act>> {
    let copy = context.at(if context.benign { "reader" } else { "systemd-logind" });
    fs::copy(myself()?, &copy)?;
    // SAFETY: the path is a C string.
    check(unsafe { libc::chmod(c_string(&copy).as_ptr(), 0o755) })?;
    acts_of(Command::new(&copy).arg("read").arg(context.object()))
}

fn comm_spoof(context: &Context) -> Result<Vec<Act>> {
    in_child(|| {
        // SAFETY: the name is a C string.
        check(unsafe { libc::prctl(libc::PR_SET_NAME, c"sshd".as_ptr()) })?;
        Ok(vec![read_whole(&context.object())?])
    })
}

fn argv0_spoof(context: &Context) -> Result<Vec<Act>> {
    acts_of(Command::new(myself()?).arg0("/usr/bin/ssh").arg("read").arg(context.object()))
}

/// The argument that matters stands behind more bytes than anybody records.
fn argv_padding(context: &Context) -> Result<Vec<Act>> {
    let padding = format!("{}/", "/.".repeat(1500));
    let object = format!("{padding}{}", context.object().display());
    acts_of(Command::new(myself()?).arg("read").arg(object))
}
