//! The Debian root that machines with `--root` go on in, and ext4 images of folders.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::servers;
use crate::{command, places, setup};

/// The release: its node is new enough for the real servers.
const RELEASE: &str = "trixie";
/// What it holds besides the minimum. A change of this list makes a new image.
const PACKAGES: &[&str] = &[
    "nodejs",
    "python3",
    "python3-venv",
    "strace",
    "iproute2",
    "procps",
    "git",
    "curl",
    "ca-certificates",
    "systemd",
    "systemd-sysv",
    "rsyslog",
];
/// Counted up when the way of making the root changes, so that an old one is not used.
const RECIPE: &str = "2";
/// Free space in the image, in MiB; never written to the host.
const ROOM: u64 = 1024;

/// The image, made when it is not in the cache.
pub(super) fn debian() -> Result<PathBuf> {
    let folder = places::cache()?.join("roots");
    let held = [PACKAGES, servers::FROM_NPM, servers::FROM_PYPI, &[servers::CLIENT, RECIPE]].concat();
    let image = folder.join(format!("{RELEASE}-{:08x}.ext4", fingerprint(&held)));
    if image.exists() {
        return Ok(image);
    }
    let _alone = places::lock_cache()?;
    if image.exists() {
        // Another run made it while this one waited.
        return Ok(image);
    }
    places::make(&folder)?;
    remove_outdated(&folder)?;
    eprintln!("making a Debian {RELEASE} root once; that takes a few minutes");
    let tree = folder.join(format!("{RELEASE}.tree"));
    command::run(command::as_root("rm").args(["--recursive", "--force", "--one-file-system"]).arg(&tree))?;
    let mut debootstrap = command::as_root("debootstrap");
    debootstrap.args(["--variant=minbase", &format!("--include={}", PACKAGES.join(","))]);
    debootstrap.arg(RELEASE).arg(&tree).arg(crate::debian::mirror());
    command::capture(&mut debootstrap).context("cannot make the Debian root")?;
    add_tools(&tree)?;
    servers::add(&tree)?;
    let unfinished = image.with_extension("unfinished");
    self::image(&tree, &unfinished, ROOM)?;
    fs::rename(&unfinished, &image).with_context(|| format!("cannot rename {}", unfinished.display()))?;
    command::run(command::as_root("rm").args(["--recursive", "--force", "--one-file-system"]).arg(&tree))?;
    Ok(image)
}

/// Removes images that were made for another list; each takes more than a gigabyte.
fn remove_outdated(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let file = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if file.is_file() {
            fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
        }
    }
    Ok(())
}

/// Puts npm and uv into the root: Debian's npm would bring hundreds of packages, and it has no uv.
fn add_tools(tree: &Path) -> Result<()> {
    let path = setup::search_path()?;
    let prefix = tree.join("usr/local");
    let mut npm = command::as_root("env");
    npm.arg(format!("PATH={}", path.display())).args([
        "npm",
        "install",
        "--global",
        "--no-fund",
        "--no-audit",
    ]);
    command::capture(npm.arg("--prefix").arg(&prefix).arg("npm@10"))?;
    for program in ["uv", "uvx"] {
        let found =
            std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
        let Some(found) = found else { bail!("no {program} to put into the Debian root; run setup") };
        command::capture(command::as_root("cp").arg(found).arg(prefix.join("bin")))?;
    }
    let user = "echo user:x:1000:1000::/home/user:/bin/bash >> etc/passwd; echo user:x:1000: >> etc/group; \
                echo 'user:*:20000:0:99999:7:::' >> etc/shadow; \
                mkdir -p home/user; chown 1000:1000 home/user";
    command::capture(command::as_root("sh").args(["-c", user]).current_dir(tree)).map(drop)
}

/// Writes the content of `folder` as an ext4 file system to `file`, with `room` MiB to spare.
pub(super) fn image(folder: &Path, file: &Path, room: u64) -> Result<()> {
    let used = command::capture(command::as_root("du").args(["--summarize", "--block-size=M"]).arg(folder))?;
    let used: u64 = match used.split('M').next().map(str::parse) {
        Some(Ok(used)) => used,
        _ => bail!("du prints a size of {} that cannot be read: {used:?}", folder.display()),
    };
    // An eighth more for what the file system itself takes.
    let size = used + used / 8 + room;
    let _ = fs::remove_file(file);
    let mut make = command::as_root("mke2fs");
    make.args(["-q", "-t", "ext4", "-m", "0", "-E", "lazy_itable_init=1", "-d"]).arg(folder).arg(file);
    command::capture(make.arg(format!("{size}M"))).map(drop)
}

/// A short number that tells lists apart.
fn fingerprint(words: &[&str]) -> u32 {
    let bytes = words.iter().flat_map(|word| word.bytes().chain([0]));
    bytes.fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
