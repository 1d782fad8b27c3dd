//! The kernels that the tests boot: Debian's cloud kernels, unpacked into the cache, never installed.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{debian::Suites, places};

/// A kernel line and the Debian suite that carries it.
pub(crate) struct Line {
    /// How people name it, as in `--kernel 6.1`.
    pub(crate) name: &'static str,
    /// What its releases start with.
    release: &'static str,
    suite: &'static str,
}

/// Every kernel line the tests boot, oldest first.
pub(crate) const LINES: &[Line] = &[
    Line { name: "5.10", release: "5.10.", suite: "bullseye" },
    Line { name: "6.1", release: "6.1.", suite: "bookworm" },
    Line { name: "6.12", release: "6.12.", suite: "trixie" },
    Line { name: "7.x", release: "7.", suite: "forky" },
];

/// A kernel that is ready to boot.
#[derive(Clone)]
pub(crate) struct Kernel {
    /// The line it belongs to.
    pub(crate) name: String,
    /// Its bootable image.
    pub(crate) image: PathBuf,
    /// The folder that holds its modules.
    pub(crate) modules: PathBuf,
    /// The Debian version it was built as.
    pub(crate) version: String,
}

impl fmt::Display for Kernel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} (Debian {})", self.name, self.version)
    }
}

/// The line called `name`.
pub(crate) fn line(name: &str) -> Result<&'static Line> {
    LINES.iter().find(|line| line.name == name).with_context(|| {
        let names: Vec<&str> = LINES.iter().map(|line| line.name).collect();
        format!("no kernel line is called {name:?}; there are {}", names.join(", "))
    })
}

impl Line {
    /// The kernel of this line in the cache; the error says why it is not there.
    pub(crate) fn cached(&self) -> Result<Kernel> {
        let folder = self.folder()?;
        let Ok(version) = fs::read_to_string(folder.join("version")) else {
            match fs::read_to_string(self.record()?) {
                Ok(reason) => bail!("could not be had: {}", reason.trim()),
                Err(_) => bail!("not fetched yet; `cargo xtask setup --tests` does that"),
            }
        };
        let release = fs::read_to_string(folder.join("release"))
            .with_context(|| format!("{} is incomplete; remove it and run setup again", folder.display()))?;
        let (version, release) = (version.trim().to_owned(), release.trim());
        let tree = folder.join("tree");
        let modules = first_that_exists(&tree, &["usr/lib/modules", "lib/modules"], release)?;
        let image = match modules.join("vmlinuz") {
            beside if beside.exists() => beside,
            _ => tree.join("boot").join(format!("vmlinuz-{release}")),
        };
        if !image.exists() {
            bail!("{} is missing; remove {} and run setup again", image.display(), folder.display());
        }
        Ok(Kernel { name: self.name.to_owned(), image, modules, version })
    }

    /// Downloads the newest kernel of this line. A failure is recorded, so that tests can say why it did not run.
    pub(crate) fn fetch(&self) -> Result<Kernel> {
        let record = self.record()?;
        match self.try_fetch() {
            Ok(()) => {
                let _ = fs::remove_file(record);
                self.cached()
            }
            Err(error) => {
                places::make(&places::cache()?.join("kernels"))?;
                fs::write(&record, format!("{error:#}\n"))
                    .with_context(|| format!("cannot write {}", record.display()))?;
                Err(error)
            }
        }
    }

    fn try_fetch(&self) -> Result<()> {
        let suites = Suites::read(&[self.suite], false)?;
        let named = suites.depends("linux-image-cloud-amd64", "linux-image-")?;
        let Some(package) = named.into_iter().next() else {
            bail!("Debian {} names no kernel for linux-image-cloud-amd64", self.suite);
        };
        let version = suites.field(&package, "Version")?;
        if !version.starts_with(self.release) {
            bail!("Debian {} now has {version}, which is not {}", self.suite, self.name);
        }
        let release = package.trim_start_matches("linux-image-").to_owned();
        // Newer suites keep the image and the modules in packages of their own.
        let mut packages = vec![package.clone()];
        for part in ["linux-binary-", "linux-modules-"] {
            packages.extend(suites.depends(&package, part)?);
        }
        let folder = self.folder()?;
        places::make_empty(&folder)?;
        suites.unpack(&packages, &folder.join("tree"))?;
        for (name, text) in [("release", &release), ("version", &version)] {
            fs::write(folder.join(name), format!("{text}\n"))
                .with_context(|| format!("cannot write in {}", folder.display()))?;
        }
        Ok(())
    }

    fn folder(&self) -> Result<PathBuf> {
        Ok(places::cache()?.join("kernels").join(self.name))
    }

    fn record(&self) -> Result<PathBuf> {
        Ok(places::cache()?.join("kernels").join(format!("{}.unavailable", self.name)))
    }
}

fn first_that_exists(tree: &Path, folders: &[&str], release: &str) -> Result<PathBuf> {
    match folders.iter().map(|folder| tree.join(folder).join(release)).find(|path| path.is_dir()) {
        Some(path) => Ok(path),
        None => bail!("no modules of {release} below {}; remove it and run setup again", tree.display()),
    }
}
