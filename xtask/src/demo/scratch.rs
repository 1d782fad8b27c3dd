//! The scratch folder: a home with documents and fake secrets, and what the run writes.

use std::{
    env, fs,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Which files the home gets; none of them is a secret of anyone.
const FILES: &[(&str, u32, &str)] = &[
    ("documents/ferry.txt", 0o644, "The ferry leaves at nine.\n"),
    ("documents/recipes/bread.md", 0o644, "# Bread\nFlour, water, salt and a night.\n"),
    (
        ".ssh/id_rsa",
        0o600,
        "-----BEGIN OPENSSH PRIVATE KEY-----\nbm90IGEga2V5LCBhIGRlbW8=\n-----END OPENSSH PRIVATE KEY-----\n",
    ),
    (".ssh/id_rsa.pub", 0o644, "ssh-rsa bm90IGEga2V5 demo@example.org\n"),
    (".aws/credentials", 0o600, "[default]\naws_access_key_id = DEMO\naws_secret_access_key = not-a-key\n"),
];

/// The folder; removed when dropped, unless it is to be kept.
pub(super) struct Scratch {
    folder: PathBuf,
    keep: bool,
}

impl Scratch {
    /// Makes the folder, readable by the user alone.
    pub(super) fn make(keep: bool) -> Result<Self> {
        let folder = env::temp_dir().join(format!("mcp-monitor-demo-{}", std::process::id()));
        // Fails if it exists: whoever made it could change it below us.
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("cannot make the scratch folder {}", folder.display()))?;
        // The monitor reports paths as the kernel resolves them.
        let folder = folder.canonicalize().with_context(|| format!("cannot resolve {}", folder.display()))?;
        let scratch = Self { folder, keep };
        for (name, mode, text) in FILES {
            scratch.put(&scratch.home().join(name), *mode, text)?;
            scratch.put(&scratch.rehearsal_home().join(name), *mode, text)?;
        }
        Ok(scratch)
    }

    /// The home of the watched run.
    pub(super) fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    /// The home of the unwatched run that fills the package caches.
    pub(super) fn rehearsal_home(&self) -> PathBuf {
        self.folder.join("rehearsal")
    }

    /// Writes a file of the run; where it is.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let file = self.folder.join(name);
        self.put(&file, 0o600, text)?;
        Ok(file)
    }

    fn put(&self, file: &Path, mode: u32, text: &str) -> Result<()> {
        debug_assert!(file.starts_with(&self.folder), "{} is outside the scratch folder", file.display());
        let written = (|| {
            fs::create_dir_all(file.parent().unwrap_or(&self.folder))?;
            let mut open = fs::OpenOptions::new();
            let mut to = open.write(true).create(true).truncate(true).mode(mode).open(file)?;
            std::io::Write::write_all(&mut to, text.as_bytes())
        })();
        written.with_context(|| format!("cannot write {}", file.display()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.keep {
            eprintln!("demo: kept {}", self.folder.display());
        } else if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("demo: cannot remove {}: {error}; remove it by hand", self.folder.display());
        }
    }
}
