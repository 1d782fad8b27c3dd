//! Where things are: the checkout, what cargo builds, and the cache that outlives a checkout.

use std::{
    env,
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// The architecture everything is built and booted for, as rustc names it.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The top of the checkout that cargo started this program from.
pub(crate) fn workspace() -> Result<PathBuf> {
    // Asked at run time: a path compiled in would be wrong as soon as two checkouts share a target directory.
    if let Some(package) = env::var_os("CARGO_MANIFEST_DIR")
        && let Some(top) = Path::new(&package).parent()
    {
        return Ok(top.to_path_buf());
    }
    let here = env::current_dir().context("cannot tell the current directory")?;
    match here.ancestors().find(|folder| folder.join("xtask/Cargo.toml").is_file()) {
        Some(top) => Ok(top.to_path_buf()),
        None => {
            bail!("{} is not inside a checkout of mcp-monitor; run this as `cargo xtask`", here.display())
        }
    }
}

/// The folder cargo builds into.
pub(crate) fn target() -> Result<PathBuf> {
    let top = workspace()?;
    Ok(env::var_os("CARGO_TARGET_DIR").map_or_else(|| top.join("target"), |set| top.join(set)))
}

/// The folder for programs that setup installs and watched clients start. Not the cache: a program that runs from a
/// hidden folder is what the monitor warns of.
pub(crate) fn tools() -> Result<PathBuf> {
    Ok(workspace()?.join("target/tools"))
}

/// The folder that keeps downloaded and prepared things between checkouts.
pub(crate) fn cache() -> Result<PathBuf> {
    if let Some(set) = env::var_os("MCP_MONITOR_CACHE").filter(|value| !value.is_empty()) {
        return std::path::absolute(&set).with_context(|| format!("MCP_MONITOR_CACHE={}", set.display()));
    }
    let base = match env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(set) => PathBuf::from(set),
        None => match env::var_os("HOME") {
            Some(home) => Path::new(&home).join(".cache"),
            None => bail!("no place for the cache: set MCP_MONITOR_CACHE, XDG_CACHE_HOME or HOME"),
        },
    };
    Ok(base.join("mcp-monitor"))
}

/// Waits until no other run of this program changes the cache, and keeps others out until the result is dropped.
pub(crate) fn lock_cache() -> Result<File> {
    let folder = cache()?;
    make(&folder)?;
    let file = folder.join("lock");
    let lock = File::create(&file).with_context(|| format!("cannot write {}", file.display()))?;
    lock.lock().with_context(|| format!("cannot lock {}", file.display()))?;
    Ok(lock)
}

/// Makes `folder` and those above it.
pub(crate) fn make(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))
}

/// Empties `folder`, making it when it is not there.
pub(crate) fn make_empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    make(folder)
}
