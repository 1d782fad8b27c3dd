//! Debian packages read without touching the host's apt: own lists, own cache, own state, no root needed.
//!
//! Used for things that must be a certain version whatever the host is (kernels, QEMU) and are only unpacked, never
//! installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{command, places};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Where suites go when the mirrors drop them.
const ARCHIVE: &str = "http://archive.debian.org/debian";

/// One or more suites of Debian with an apt state of their own.
pub(crate) struct Suites {
    folder: PathBuf,
    /// Whether packages that the host has installed count as there.
    on_host: bool,
}

impl Suites {
    /// Reads the package lists of `suites` from this machine's mirror, or from Debian's archive when it dropped them.
    pub(crate) fn read(suites: &[&str], on_host: bool) -> Result<Self> {
        if !Path::new(KEYRING).exists() {
            bail!(
                "Debian's signing keys are missing ({KEYRING}); install them with \
                 `sudo apt-get install debian-archive-keyring`"
            );
        }
        let folder = places::cache()?.join("apt").join(suites.join("+"));
        let this = Self { folder, on_host };
        for part in ["state/lists/partial", "cache/archives/partial"] {
            places::make(&this.folder.join(part))?;
        }
        fs::write(this.folder.join("status"), "").context("cannot write an empty package status")?;
        let mirror = mirror();
        let mut refused = Vec::new();
        for base in [mirror.as_str(), ARCHIVE] {
            let lines: Vec<String> = suites
                .iter()
                .map(|suite| format!("deb [arch=amd64 signed-by={KEYRING}] {base} {suite} main\n"))
                .collect();
            fs::write(this.folder.join("sources.list"), lines.concat())
                .with_context(|| format!("cannot write in {}", this.folder.display()))?;
            match command::capture(this.apt("apt-get").args(["-o", "APT::Update::Error-Mode=any", "update"]))
            {
                Ok(_) => return Ok(this),
                Err(error) => refused.push(format!("{error:#}")),
            }
        }
        bail!("cannot read the package lists of Debian {}: {}", suites.join(" and "), refused.join("; "))
    }

    /// A field of the newest version of `package`.
    pub(crate) fn field(&self, package: &str, field: &str) -> Result<String> {
        let shown = command::capture(self.apt("apt-cache").args(["--no-all-versions", "show", package]))?;
        let start = format!("{field}: ");
        match shown.lines().find_map(|line| line.strip_prefix(&start)) {
            Some(value) => Ok(value.to_owned()),
            None => bail!("Debian's entry of {package} has no {field}"),
        }
    }

    /// The names that `package` depends on and that start with `prefix`.
    pub(crate) fn depends(&self, package: &str, prefix: &str) -> Result<Vec<String>> {
        let depends = self.field(package, "Depends")?;
        let names = depends.split([',', '|']).filter_map(|one| one.split_whitespace().next());
        Ok(names.filter(|name| name.starts_with(prefix)).map(str::to_owned).collect())
    }

    /// Downloads exactly `packages` and unpacks them below `into`.
    pub(crate) fn unpack(&self, packages: &[String], into: &Path) -> Result<()> {
        let downloads = self.folder.join("download");
        places::make_empty(&downloads)?;
        command::capture(self.apt("apt-get").arg("download").args(packages).current_dir(&downloads))?;
        unpack_all(&downloads, into)?;
        places::make_empty(&downloads)
    }

    /// Downloads `package` of suite `release` with all the host lacks for it, and unpacks that below `into`.
    pub(crate) fn unpack_with_needs(&self, package: &str, release: &str, into: &Path) -> Result<()> {
        command::capture(self.apt("apt-get").args([
            "-o",
            "Debug::NoLocking=1",
            "install",
            "--yes",
            "--no-install-recommends",
            "--download-only",
            "--reinstall",
            "--target-release",
            release,
            package,
        ]))?;
        let archives = self.folder.join("cache/archives");
        unpack_all(&archives, into)?;
        places::make_empty(&archives)
    }

    /// apt's `program` with this state instead of the host's.
    fn apt(&self, program: &str) -> Command {
        let folder = self.folder.display();
        let status = if self.on_host { "/var/lib/dpkg/status".into() } else { format!("{folder}/status") };
        let mut command = Command::new(program);
        for option in [
            format!("Dir::State={folder}/state"),
            format!("Dir::State::status={status}"),
            format!("Dir::Cache={folder}/cache"),
            format!("Dir::Etc::SourceList={folder}/sources.list"),
            "Dir::Etc::SourceParts=-".into(),
            "Dir::Etc::Preferences=-".into(),
            "Dir::Etc::PreferencesParts=-".into(),
            "APT::Architecture=amd64".into(),
            "APT::Architectures=amd64".into(),
            "APT::Default-Release=".into(),
            "APT::Sandbox::User=".into(),
            "Acquire::Languages=none".into(),
            // Suites that were archived keep an expired date; their signature is still checked.
            "Acquire::Check-Valid-Until=false".into(),
        ] {
            command.args(["-o", &option]);
        }
        command.env("LC_ALL", "C");
        command
    }
}

/// Unpacks every package in `folder` below `into`.
fn unpack_all(folder: &Path, into: &Path) -> Result<()> {
    places::make(into)?;
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let file = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if file.extension().is_some_and(|extension| extension == "deb") {
            command::capture(Command::new("dpkg-deb").arg("--extract").arg(&file).arg(into))?;
        }
    }
    Ok(())
}

/// The mirror of Debian that this machine is set up with, else the one for everybody.
pub(crate) fn mirror() -> String {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.filter_map(|entry| entry.ok().map(|entry| entry.path())));
    }
    let mut texts = files.iter().filter_map(|file| fs::read_to_string(file).ok());
    texts.find_map(|text| mirror_in(&text)).unwrap_or_else(|| "http://deb.debian.org/debian".to_owned())
}

/// The first address in an apt sources file that is a mirror of Debian itself.
fn mirror_in(sources: &str) -> Option<String> {
    let lines = sources.lines().filter(|line| !line.trim_start().starts_with('#'));
    let addresses = lines.flat_map(str::split_whitespace).filter(|word| word.starts_with("http"));
    addresses.map(|word| word.trim_end_matches('/')).find(|word| word.ends_with("/debian")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::mirror_in;

    #[test]
    fn finds_the_mirror_in_both_formats() {
        let new = "Types: deb\n# http://old.example/debian\nURIs: http://deb.debian.org/debian-security\n\
                   URIs: http://mirror.example/debian/\n";
        assert_eq!(mirror_in(new).as_deref(), Some("http://mirror.example/debian"));
        let old = "deb [arch=amd64] https://ftp.example/debian bookworm main\n";
        assert_eq!(mirror_in(old).as_deref(), Some("https://ftp.example/debian"));
        assert_eq!(mirror_in("deb http://archive.ubuntu.com/ubuntu noble main\n"), None);
    }
}
