//! QEMU: the host's when it is new enough, else one unpacked from Debian's backports.
//!
//! QEMU 7.2, which Debian 12 carries, corrupts the memory of guests under software emulation.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{command, debian::Suites, places};

const PROGRAM: &str = "qemu-system-x86_64";
/// The oldest major version whose emulation is trusted.
const OLDEST: u32 = 8;
/// From this version on, each virtual CPU may have a thread of its own.
const OLDEST_THREADED: u32 = 10;

/// A QEMU that can be started.
pub(crate) struct Qemu {
    program: PathBuf,
    /// The folder it was unpacked in, when it is not the host's.
    unpacked: Option<PathBuf>,
    /// Its version, as it prints it.
    pub(crate) version: String,
    major: u32,
}

impl Qemu {
    /// The QEMU to use; the error says what is missing.
    pub(crate) fn find() -> Result<Self> {
        let mut seen = Vec::new();
        if let Some(program) = command::find(PROGRAM) {
            let host = Self::asked(program, None)?;
            if host.major >= OLDEST {
                return Ok(host);
            }
            seen.push(format!("the host's is {}, which corrupts guests", host.version));
        } else {
            seen.push(format!("the host has no {PROGRAM}"));
        }
        let folder = unpacked()?;
        if folder.join("complete").exists() {
            let found = Self::asked(folder.join("usr/bin").join(PROGRAM), Some(folder))?;
            if found.major >= OLDEST {
                return Ok(found);
            }
            seen.push(format!("the unpacked one is {}", found.version));
        }
        bail!("no QEMU {OLDEST} or newer: {}", seen.join("; "))
    }

    /// Unpacks a new enough QEMU from Debian's backports of `codename` into the cache.
    pub(crate) fn fetch(codename: &str) -> Result<Self> {
        let backports = format!("{codename}-backports");
        let folder = unpacked()?;
        places::make_empty(&folder)?;
        let suites = Suites::read(&[codename, &backports], true)?;
        suites.unpack_with_needs("qemu-system-x86", &backports, &folder)?;
        std::fs::write(folder.join("complete"), "")?;
        Self::find()
    }

    /// A command that starts this QEMU, with the CPUs emulated in the fastest way that is sound.
    pub(crate) fn command(&self) -> Command {
        let mut command = self.bare();
        let threads = if self.major >= OLDEST_THREADED { "multi" } else { "single" };
        command.args(["-accel", &format!("tcg,thread={threads}")]);
        command
    }

    fn bare(&self) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(folder) = &self.unpacked {
            let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];
            let libraries = libraries.map(|library| folder.join(library).display().to_string());
            command.env("LD_LIBRARY_PATH", libraries.join(":"));
            command.env("QEMU_MODULE_DIR", folder.join("usr/lib/x86_64-linux-gnu/qemu"));
            for data in ["usr/share/qemu", "usr/share/seabios"] {
                command.arg("-L").arg(folder.join(data));
            }
        }
        command
    }

    fn asked(program: PathBuf, unpacked: Option<PathBuf>) -> Result<Self> {
        let mut this = Self { program, unpacked, version: String::new(), major: 0 };
        let printed = command::capture(this.bare().arg("--version"))?;
        let version = printed.split_whitespace().nth(3).unwrap_or_default().trim_end_matches(',');
        let Some(major) = version.split('.').next().and_then(|major| major.parse().ok()) else {
            bail!("{} prints a version that cannot be read: {printed:?}", this.program.display());
        };
        (this.version, this.major) = (version.to_owned(), major);
        Ok(this)
    }

    /// Where this QEMU is.
    pub(crate) fn place(&self) -> &Path {
        &self.program
    }
}

fn unpacked() -> Result<PathBuf> {
    Ok(places::cache()?.join("qemu"))
}
