//! The RPM.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rpm::{BuildConfig, CompressionType, FileOptions, Package, PackageBuilder};

use super::Staged;
use crate::places;

/// The time that files of packages carry: the same source makes the same package.
pub(super) const SOURCE_DATE: u32 = 1_767_225_600;

/// Makes the package of what was put together.
pub(super) fn make(staged: &Staged, version: &str, folder: &Path) -> Result<PathBuf> {
    let source = places::workspace()?.join("deploy/rpm");
    let script = |name: &str| {
        let file = source.join(name);
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    };
    let mut builder = PackageBuilder::new(
        "mcp-monitor",
        version,
        "Apache-2.0 OR MIT",
        "x86_64",
        "Host-level monitor of MCP servers and agent runners",
    );
    let config = BuildConfig::default().compression(CompressionType::Gzip).source_date(SOURCE_DATE);
    builder
        .using_config(config)
        .release("1")
        .description("Kernel programs trace what MCP servers and agent runners do to a host; what nobody expected is reported.")
        .post_install_script(script("post.sh")?)
        .pre_uninstall_script(script("preun.sh")?)
        .post_uninstall_script(script("postun.sh")?);
    for entry in &staged.entries {
        let options = FileOptions::new(&entry.path).permissions(entry.mode);
        let options = if entry.configuration { options.config().noreplace() } else { options };
        builder
            .with_file(staged.at(&entry.path), options)
            .with_context(|| format!("cannot put {} into the RPM", entry.path))?;
    }
    let file = folder.join(format!("mcp-monitor-{version}-1.x86_64.rpm"));
    let package = builder.build().context("cannot make the RPM")?;
    package.write_file(&file).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

/// Paths in `file`, with their modes.
pub(super) fn content(file: &Path) -> Result<Vec<(PathBuf, u16)>> {
    let package = Package::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let entries = package.metadata.get_file_entries().context("cannot read the files of the RPM")?;
    Ok(entries.iter().map(|entry| (entry.path(), entry.mode().permissions())).collect())
}
