//! The Debian package, put together by dpkg-deb.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::Staged;
use crate::{command, places};

/// Maintainer scripts, below `deploy/debian`.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// Makes the package of what was put together.
pub(super) fn make(staged: &Staged, version: &str, folder: &Path) -> Result<PathBuf> {
    let source = places::workspace()?.join("deploy/debian");
    let control = staged.root.join("DEBIAN");
    places::make(&control)?;
    let read = |name: &str| {
        let file = source.join(name);
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    };
    let write = |name: &str, text: &str, mode: u32| {
        let file = control.join(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(mode))
            .with_context(|| format!("cannot change {}", file.display()))
    };
    let mut bytes = 0;
    for entry in &staged.entries {
        bytes += fs::metadata(staged.at(&entry.path)).context("cannot look at a staged file")?.len();
    }
    let text = read("control")?
        .replace("Version: VERSION", &format!("Version: {version}"))
        .replace("KIBIBYTES", &bytes.div_ceil(1024).to_string());
    write("control", &text, 0o644)?;
    let kept = staged.entries.iter().filter(|entry| entry.configuration);
    let kept: String = kept.flat_map(|entry| [entry.path.as_str(), "\n"]).collect();
    write("conffiles", &kept, 0o644)?;
    for script in SCRIPTS {
        write(script, &read(script)?, 0o755)?;
    }
    let file = folder.join(format!("mcp-monitor_{version}_amd64.deb"));
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "-Zxz", "-z1", "--build"]).arg(&staged.root).arg(&file);
    // The same source makes the same package.
    command::capture(build.env("SOURCE_DATE_EPOCH", super::rpm::SOURCE_DATE.to_string()))?;
    Ok(file)
}
