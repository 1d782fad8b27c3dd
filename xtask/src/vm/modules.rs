//! Kernel modules with what they need, in the order to load them, read from the modules themselves.
//!
//! Every module names its needs in its `.modinfo` section, so no `depmod` has to have run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

/// A module, unpacked.
pub(super) struct Module {
    name: String,
    /// Its file's content.
    pub(super) bytes: Vec<u8>,
}

impl Module {
    /// What its file is called in the machine.
    pub(super) fn file_name(&self) -> String {
        format!("{}.ko", self.name)
    }
}

/// `wanted` and all they need, each after its needs; modules that are part of this kernel's image are left out.
pub(super) fn with_needs(folder: &Path, wanted: &[String]) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    collect(&folder.join("kernel"), &mut files)?;
    let builtin = fs::read_to_string(folder.join("modules.builtin")).unwrap_or_default();
    let builtin: BTreeSet<String> = builtin.lines().filter_map(|line| name_of(Path::new(line))).collect();
    let mut search = Search { files, builtin, seen: BTreeSet::new(), found: Vec::new() };
    for name in wanted {
        search.add(name)?;
    }
    Ok(search.found)
}

struct Search {
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
    seen: BTreeSet<String>,
    found: Vec<Module>,
}

impl Search {
    fn add(&mut self, name: &str) -> Result<()> {
        let name = name.replace('-', "_");
        if self.builtin.contains(&name) || !self.seen.insert(name.clone()) {
            return Ok(());
        }
        let Some(file) = self.files.get(&name) else {
            bail!("it has no module {name}, neither as a file nor in its image");
        };
        let bytes = unpacked(file)?;
        for need in needs(&bytes) {
            self.add(&need)?;
        }
        self.found.push(Module { name, bytes });
        Ok(())
    }
}

fn collect(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if let Some(name) = name_of(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// The name of the module in `file`, as `lsmod` shows it.
fn name_of(file: &Path) -> Option<String> {
    let (name, packing) = file.file_name()?.to_str()?.split_once(".ko")?;
    (packing.is_empty() || packing.starts_with('.')).then(|| name.replace('-', "_"))
}

fn unpacked(file: &Path) -> Result<Vec<u8>> {
    let unpacker = match file.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return fs::read(file).with_context(|| format!("cannot read {}", file.display())),
    };
    let output = Command::new(unpacker).args(["-dc"]).arg(file).output();
    let output = output.with_context(|| format!("cannot start {unpacker} to unpack {}", file.display()))?;
    if !output.status.success() {
        bail!(
            "{unpacker} cannot unpack {}: {}",
            file.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(output.stdout)
}

/// The modules that the module in `bytes` says it needs.
fn needs(bytes: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    // The first string of a section has no zero byte of the same section before it, but always one of the padding.
    let Some(start) = bytes.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value: Vec<u8> =
        bytes.iter().skip(start + KEY.len()).take_while(|byte| **byte != 0).copied().collect();
    let value = String::from_utf8_lossy(&value).into_owned();
    value.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{name_of, needs};

    #[test]
    fn reads_needs_and_names() {
        assert_eq!(needs(b"\0license=GPL\0depends=virtio,virtio_ring\0x"), ["virtio", "virtio_ring"]);
        assert!(needs(b"\0depends=\0").is_empty());
        assert_eq!(name_of(Path::new("kernel/net/a-b.ko.xz")).as_deref(), Some("a_b"));
        assert_eq!(name_of(Path::new("modules.dep")), None);
    }
}
