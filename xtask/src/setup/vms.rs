//! The steps that virtual machines need: busybox, QEMU and kernels, all unpacked into the cache.

use std::{fs, path::PathBuf};

use anyhow::{Result, anyhow, bail};

use super::{Found, Mode};
use crate::{debian::Suites, kernels, places, qemu::Qemu};

const REPAIR: &str = "cargo xtask setup --tests";

/// The one program that a machine's first file system consists of.
pub(super) fn busybox(mode: Mode) -> Found {
    match busybox_program() {
        Ok(_) => Found::There("unpacked".into()),
        Err(why) if mode == Mode::Check => Found::missing(why, REPAIR),
        Err(_) => match fetch_busybox() {
            Ok(_) => Found::Installed("unpacked".into()),
            Err(why) => Found::missing(why, REPAIR),
        },
    }
}

/// A QEMU that emulates soundly.
pub(super) fn qemu(mode: Mode) -> Found {
    let described = |qemu: &Qemu| format!("{} at {}", qemu.version, qemu.place().display());
    match Qemu::find() {
        Ok(found) => Found::There(described(&found)),
        Err(why) if mode == Mode::Check => Found::missing(why, REPAIR),
        Err(why) => match codename().and_then(|codename| Qemu::fetch(&codename)) {
            Ok(found) => Found::Installed(described(&found)),
            Err(failed) => {
                let repair =
                    "sudo apt-get install --no-install-recommends qemu-system-x86 (version 8 or newer)";
                Found::missing(anyhow!("{why:#}; {failed:#}"), repair)
            }
        },
    }
}

/// The kernel of line `name`. Tests say which they could not run, so one that cannot be had does not stop setup.
pub(super) fn kernel(name: &str, mode: Mode) -> Found {
    let line = match kernels::line(name) {
        Ok(line) => line,
        Err(why) => return Found::lacking(why, REPAIR),
    };
    match line.cached() {
        Ok(kernel) => Found::There(kernel.version),
        Err(why) if mode == Mode::Check => Found::lacking(why, REPAIR),
        Err(_) => match line.fetch() {
            Ok(kernel) => Found::Installed(kernel.version),
            Err(why) => Found::lacking(why, REPAIR),
        },
    }
}

/// The unpacked busybox.
pub(crate) fn busybox_program() -> Result<PathBuf> {
    let folder = places::cache()?.join("busybox");
    let program =
        ["bin/busybox", "usr/bin/busybox"].map(|name| folder.join(name)).into_iter().find(|at| at.is_file());
    match program {
        Some(program) => Ok(program),
        None => bail!("no static busybox in the cache; run `{REPAIR}`"),
    }
}

fn fetch_busybox() -> Result<PathBuf> {
    // Any suite's will do: it is one program without dependencies.
    let suites = Suites::read(&["bookworm"], false)?;
    suites.unpack(&["busybox-static".to_owned()], &places::cache()?.join("busybox"))?;
    busybox_program()
}

/// The code name of the host's Debian release.
fn codename() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.map(|value| value.trim_matches('"').to_owned()).unwrap_or_default()
    };
    match (value("ID").as_str(), value("VERSION_CODENAME")) {
        ("debian", codename) if !codename.is_empty() => Ok(codename),
        (id, _) => bail!("only Debian's backports can be unpacked, and this host is {id:?}"),
    }
}
