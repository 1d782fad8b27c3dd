//! The steps that building needs: the pinned nightly for the kernel programs, its library sources, the BPF linker.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow, bail};

use super::{Found, Mode, quietly};
use crate::command;

/// The nightly that builds the kernel programs: aya-ebpf 0.2.1 does not compile on nightlies after July 2026, and
/// bpf-linker's LLVM must be as new as the compiler's.
pub(crate) const EBPF_NIGHTLY: &str = "nightly-2026-05-20";
/// The date of the commit that this nightly was built from, as `rustc -vV` prints it.
const EBPF_COMMIT_DATE: &str = "2026-05-19";
/// The last linker version that needs no LLVM installed.
const LINKER_VERSION: &str = "0.10.3";
/// Names an archive with the library sources, for machines where rustup cannot fetch them.
const SOURCES_VARIABLE: &str = "MCP_MONITOR_RUST_SRC";
/// Tells `mcp-monitor/build.rs` which toolchain builds the kernel programs.
const TOOLCHAIN_VARIABLE: &str = "MCP_MONITOR_EBPF_TOOLCHAIN";

/// The rustup name of the installed toolchain that is the pinned nightly.
pub(crate) fn name() -> Result<String> {
    let mut seen = Vec::new();
    for name in [EBPF_NIGHTLY, "nightly"] {
        // Not `rustc +name`: rustup would try to install what is missing.
        match command::capture(Command::new("rustup").args(["run", name, "rustc", "-vV"])) {
            Ok(version) if version.contains(&format!("commit-date: {EBPF_COMMIT_DATE}\n")) => {
                return Ok(name.to_owned());
            }
            Ok(version) => seen.push(format!("{name} is {}", version.lines().next().unwrap_or_default())),
            Err(_) => seen.push(format!("no toolchain {name}")),
        }
    }
    bail!("the nightly of commit date {EBPF_COMMIT_DATE} is not installed ({})", seen.join("; "))
}

/// Makes builds that `command` starts use the pinned nightly for the kernel programs.
pub(crate) fn with_ebpf_toolchain(command: &mut Command) -> &mut Command {
    match name() {
        Ok(name) if env::var_os(TOOLCHAIN_VARIABLE).is_none() => command.env(TOOLCHAIN_VARIABLE, name),
        _ => command,
    }
}

/// The pinned nightly.
pub(super) fn nightly(mode: Mode) -> Found {
    let repair =
        format!("rustup toolchain install {EBPF_NIGHTLY} --profile minimal --component rust-src,clippy");
    let described = |name: &str| format!("{name} (commit date {EBPF_COMMIT_DATE})");
    match name() {
        Ok(name) => Found::There(described(&name)),
        Err(why) if mode == Mode::Check => Found::missing(why, repair),
        Err(why) => {
            let install = ["toolchain", "install", EBPF_NIGHTLY, "--profile", "minimal"];
            let components = ["--component", "rust-src,clippy"];
            match quietly(Command::new("rustup").args(install).args(components)).and_then(|()| name()) {
                Ok(name) => Found::Installed(described(&name)),
                Err(failed) => Found::missing(anyhow!("{why:#}; {failed:#}"), repair),
            }
        }
    }
}

/// The sources of `core`, which is compiled for the BPF target with the kernel programs.
pub(super) fn sources(mode: Mode) -> Found {
    let toolchain = match name() {
        Ok(name) => name,
        Err(why) => return Found::missing(why, "cargo xtask setup"),
    };
    let repair = format!("rustup component add rust-src --toolchain {toolchain}");
    let library = match library(&toolchain) {
        Ok(library) => library,
        Err(why) => return Found::missing(why, repair),
    };
    let core = library.join("core");
    if core.is_dir() {
        return Found::There(format!("of {toolchain}"));
    }
    let absent = anyhow!("{toolchain} has no rust-src");
    if mode == Mode::Check {
        return Found::missing(absent, repair);
    }
    let added =
        quietly(Command::new("rustup").args(["component", "add", "rust-src", "--toolchain", &toolchain]));
    match added {
        Ok(()) if core.is_dir() => Found::Installed("by rustup".into()),
        added => {
            let refused = added.err().map_or_else(String::new, |error| format!("; {error:#}"));
            match from_archive(&library) {
                Ok(from) => Found::Installed(format!("from {}", from.display())),
                Err(error) => Found::missing(anyhow!("{absent}{refused}; {error:#}"), repair),
            }
        }
    }
}

/// The pinned linker of BPF objects.
pub(super) fn linker(mode: Mode) -> Found {
    let repair = format!("cargo install bpf-linker --version {LINKER_VERSION} --locked");
    match linker_version() {
        Ok(version) if version == LINKER_VERSION => return Found::There(version),
        Ok(version) if mode == Mode::Check => {
            return Found::missing(anyhow!("it is {version}, not {LINKER_VERSION}"), repair + " --force");
        }
        Err(why) if mode == Mode::Check => return Found::missing(why, repair),
        Ok(_) | Err(_) => eprintln!("           bpf-linker is being built; that takes a minute"),
    }
    let install = ["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--force", "--quiet"];
    // The toolchain of this checkout is chosen by its file; the linker wants the host's default one or the same.
    match quietly(Command::new("cargo").args(install)).and_then(|()| linker_version()) {
        Ok(version) => Found::Installed(version),
        Err(why) => Found::missing(why, repair),
    }
}

fn linker_version() -> Result<String> {
    let printed = command::capture(Command::new("bpf-linker").arg("--version"))?;
    match printed.split_whitespace().nth(1) {
        Some(version) => Ok(version.to_owned()),
        None => bail!("bpf-linker prints a version that cannot be read: {printed:?}"),
    }
}

/// Where `toolchain` keeps the sources of its libraries.
fn library(toolchain: &str) -> Result<PathBuf> {
    let root =
        command::capture(Command::new("rustup").args(["run", toolchain, "rustc", "--print", "sysroot"]))?;
    Ok(Path::new(root.trim()).join("lib/rustlib/src/rust/library"))
}

/// Unpacks the archive that the environment names to `library`.
fn from_archive(library: &Path) -> Result<PathBuf> {
    let Some(archive) = env::var_os(SOURCES_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from)
    else {
        bail!("{SOURCES_VARIABLE} names no archive to take them from");
    };
    let into = library.parent().context("the toolchain has no folder for sources")?;
    std::fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
    // The archive's top folder has whatever name its maker chose; inside it is `library`.
    let unpack = ["--strip-components=1", "--no-same-owner", "--extract", "--file"];
    quietly(Command::new("tar").args(unpack).arg(&archive).arg("--directory").arg(into))?;
    if !library.join("core").is_dir() {
        bail!("{} has no TOP/library/core inside", archive.display());
    }
    Ok(archive)
}
