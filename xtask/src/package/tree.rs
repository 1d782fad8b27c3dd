//! The files of a package below a folder, as they will lie below `/`.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};

use crate::{command, places};

/// For whom; places differ a little.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Debian and its like.
    Deb,
    /// Fedora and its like.
    Rpm,
}

/// One file.
pub(crate) struct Entry {
    /// Where it will lie, from `/`.
    pub(crate) path: String,
    /// Its permissions.
    pub(crate) mode: u16,
    /// An administrator may change it, and keeps the change.
    pub(crate) configuration: bool,
}

/// Files that were put together.
pub(crate) struct Staged {
    /// What stands for `/`.
    pub(crate) root: PathBuf,
    /// All of them, sorted.
    pub(crate) entries: Vec<Entry>,
}

impl Staged {
    /// Puts everything together in a folder of its own below `folder`.
    pub(crate) fn new(program: &Path, folder: &Path, kind: Kind) -> Result<Self> {
        let root = folder.join(match kind {
            Kind::Deb => "deb",
            Kind::Rpm => "rpm",
        });
        places::make_empty(&root)?;
        let mut this = Self { root, entries: Vec::new() };
        let top = places::workspace()?;
        let read = |path: &str| fs::read(top.join(path)).with_context(|| format!("cannot read {path}"));

        this.program(program)?;
        this.put(
            "/usr/lib/systemd/system/mcp-monitor.service",
            0o644,
            &read("deploy/systemd/mcp-monitor.service")?,
        )?;
        this.put(
            "/usr/lib/sysusers.d/mcp-monitor.conf",
            0o644,
            &read("deploy/systemd/mcp-monitor.sysusers.conf")?,
        )?;
        this.put(
            "/usr/lib/tmpfiles.d/mcp-monitor.conf",
            0o644,
            &read("deploy/systemd/mcp-monitor.tmpfiles.conf")?,
        )?;
        this.put("/etc/mcp-monitor/config.yaml", 0o600, &read("deploy/config.yaml")?)?;
        this.manual(program)?;
        let zsh = match kind {
            Kind::Deb => "/usr/share/zsh/vendor-completions/_mcp-monitor",
            Kind::Rpm => "/usr/share/zsh/site-functions/_mcp-monitor",
        };
        for (shell, path) in [
            ("bash", "/usr/share/bash-completion/completions/mcp-monitor"),
            ("zsh", zsh),
            ("fish", "/usr/share/fish/vendor_completions.d/mcp-monitor.fish"),
        ] {
            let script = command::capture(Command::new(program).args(["completions", shell]))?;
            this.put(path, 0o644, script.as_bytes())?;
        }
        let document = "/usr/share/doc/mcp-monitor";
        let licences = [&read("LICENSE-APACHE")?[..], b"\n\n", &read("LICENSE-MIT")?].concat();
        this.put(&format!("{document}/copyright"), 0o644, &licences)?;
        this.put(&format!("{document}/README.md"), 0o644, &read("README.md")?)?;
        for name in ["deployment.md", "sinks.md", "privacy.md", "integrity.md"] {
            this.put(&format!("{document}/{name}"), 0o644, &read(&format!("docs/{name}"))?)?;
        }
        this.entries.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(this)
    }

    /// The program without what only a debugger reads.
    fn program(&mut self, program: &Path) -> Result<()> {
        let path = "/usr/bin/mcp-monitor";
        self.put(path, 0o755, &[])?;
        let place = self.at(path);
        command::capture(Command::new("strip").arg("--strip-debug").arg("-o").arg(&place).arg(program))?;
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot change {}", place.display()))
    }

    /// Manual pages, compressed as distributions want them.
    fn manual(&mut self, program: &Path) -> Result<()> {
        let pages = self.root.with_extension("man");
        places::make_empty(&pages)?;
        command::run(Command::new(program).args(["man", "--directory"]).arg(&pages))?;
        for entry in fs::read_dir(&pages).with_context(|| format!("cannot list {}", pages.display()))? {
            let page = entry.context("cannot list manual pages")?;
            let name = page.file_name().to_string_lossy().into_owned();
            // Without a time: the same source makes the same package.
            let mut packed = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
            packed.write_all(&fs::read(page.path()).context("cannot read a manual page")?)?;
            self.put(&format!("/usr/share/man/man1/{name}.gz"), 0o644, &packed.finish()?)?;
        }
        fs::remove_dir_all(&pages).with_context(|| format!("cannot remove {}", pages.display()))
    }

    /// Where `path` lies now.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn put(&mut self, path: &str, mode: u16, bytes: &[u8]) -> Result<()> {
        let place = self.at(path);
        places::make(place.parent().unwrap_or(&self.root))?;
        fs::write(&place, bytes).with_context(|| format!("cannot write {}", place.display()))?;
        fs::set_permissions(&place, fs::Permissions::from_mode(mode.into()))
            .with_context(|| format!("cannot change {}", place.display()))?;
        self.entries.push(Entry { path: path.to_owned(), mode, configuration: path.starts_with("/etc/") });
        Ok(())
    }
}
