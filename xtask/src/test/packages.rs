//! The packages: what is in them, and that the Debian one goes into a root of its own and out again without a trace.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use super::count::Count;
use crate::{command, package, places};

/// Files that both packages must have, with their modes.
const HELD: &[(&str, u16)] = &[
    ("/etc/mcp-monitor/config.yaml", 0o600),
    ("/usr/bin/mcp-monitor", 0o755),
    ("/usr/lib/systemd/system/mcp-monitor.service", 0o644),
    ("/usr/lib/sysusers.d/mcp-monitor.conf", 0o644),
    ("/usr/lib/tmpfiles.d/mcp-monitor.conf", 0o644),
    ("/usr/share/bash-completion/completions/mcp-monitor", 0o644),
    ("/usr/share/fish/vendor_completions.d/mcp-monitor.fish", 0o644),
    ("/usr/share/man/man1/mcp-monitor.1.gz", 0o644),
    ("/usr/share/man/man1/mcp-monitor-run.1.gz", 0o644),
    ("/usr/share/doc/mcp-monitor/copyright", 0o644),
];

/// All of it.
pub(super) fn all() -> Result<Count> {
    let folder = places::target()?.join("package/test");
    places::make_empty(&folder)?;
    let program = package::program()?;
    let mut count = Count::default();
    let deb = package::deb(&program, package::VERSION, &folder)?;
    let rpm = package::rpm(&program, package::VERSION, &folder)?;
    count += told("the Debian package holds what it should", deb_content(&deb));
    count += told("the RPM holds what it should", rpm_content(&rpm));
    count += told("the same source makes the same Debian package", reproducible(&program, &folder, &deb));
    if !command::is_root() {
        println!("not run: installing into a root of its own: needs root");
        count += Count::skipped();
    } else if command::find("systemctl").is_none() || command::find("systemd-sysusers").is_none() {
        println!("not run: installing into a root of its own: needs systemctl and systemd-sysusers");
        count += Count::skipped();
    } else {
        count += told("the Debian package goes in and out without a trace", in_and_out(&deb, &folder));
    }
    places::make_empty(&folder)?;
    Ok(count)
}

fn told(name: &str, outcome: Result<()>) -> Count {
    match outcome {
        Ok(()) => {
            println!("ok      {name}");
            Count::passed()
        }
        Err(error) => Count::failed(name, format!("{error:#}")),
    }
}

fn deb_content(deb: &Path) -> Result<()> {
    let listed = command::capture(Command::new("dpkg-deb").arg("--contents").arg(deb))?;
    for (path, mode) in HELD {
        let suffix = format!(" .{path}");
        let Some(line) = listed.lines().find(|line| line.ends_with(&suffix)) else { bail!("no {path}") };
        let shown = line.split_whitespace().next().unwrap_or_default();
        ensure!(shown == letters(*mode), "{path} has {shown}");
        ensure!(line.contains("root/root"), "{path} does not belong to root: {line}");
    }
    let field = |name: &str| command::capture(Command::new("dpkg-deb").arg("--field").arg(deb).arg(name));
    ensure!(field("Version")?.trim() == package::VERSION, "another version");
    let kept = command::capture(Command::new("dpkg-deb").arg("--info").arg(deb).arg("conffiles"))?;
    ensure!(kept.trim() == "/etc/mcp-monitor/config.yaml", "kept files: {kept}");
    Ok(())
}

fn rpm_content(rpm: &Path) -> Result<()> {
    let content = package::rpm_content(rpm)?;
    for (path, mode) in HELD {
        let Some((_, found)) = content.iter().find(|(there, _)| there == Path::new(path)) else {
            bail!("no {path}")
        };
        ensure!(found == mode, "{path} has {found:o}");
    }
    let Some(program) = command::find("rpm") else {
        println!("not run: reading the RPM by rpm itself: no rpm on this host");
        return Ok(());
    };
    let listed = command::capture(Command::new(program).args(["-qlp", "--nosignature"]).arg(rpm))?;
    let listed: BTreeSet<&Path> = listed.lines().map(Path::new).collect();
    ensure!(content.iter().all(|(path, _)| listed.contains(path.as_path())), "rpm lists {listed:?}");
    Ok(())
}

fn reproducible(program: &Path, folder: &Path, deb: &Path) -> Result<()> {
    let read = |file: &Path| fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    let first = read(deb)?;
    let again = package::deb(program, package::VERSION, folder)?;
    ensure!(read(&again)? == first, "two runs differ");
    Ok(())
}

/// dpkg works on a root that holds nothing but its own lists; the maintainer scripts run outside of it, told where it is.
fn in_and_out(deb: &Path, folder: &Path) -> Result<()> {
    let root = folder.join("root");
    for directory in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "etc", "tmp"] {
        places::make(&root.join(directory))?;
    }
    for (file, text) in [
        ("var/lib/dpkg/status", ""),
        ("var/lib/dpkg/available", ""),
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
        ("etc/group", "root:x:0:\n"),
        ("etc/shadow", "root:*:1:::::\n"),
        ("etc/gshadow", "root:*::\n"),
    ] {
        fs::write(root.join(file), text).with_context(|| format!("cannot write {file}"))?;
    }
    let before = files(&root)?;
    let dpkg = || {
        let mut dpkg = Command::new("dpkg");
        dpkg.arg(format!("--root={}", root.display())).arg("--force-script-chrootless");
        dpkg
    };
    command::capture(dpkg().arg("--install").arg(deb))?;
    let installed = files(&root)?;
    for (path, _) in HELD {
        ensure!(installed.contains(Path::new(path.trim_start_matches('/'))), "{path} is not installed");
    }
    let wanted = "etc/systemd/system/multi-user.target.wants/mcp-monitor.service";
    ensure!(installed.contains(Path::new(wanted)), "the service is not enabled");
    let group = fs::read_to_string(root.join("etc/group")).context("cannot read the group file")?;
    ensure!(group.contains("mcp-monitor:"), "there is no group");
    ensure!(root.join("var/lib/mcp-monitor").is_dir(), "there is no store");
    fs::write(root.join("var/lib/mcp-monitor/findings.db"), "x").context("cannot write in the store")?;

    command::capture(dpkg().args(["--remove", "mcp-monitor"]))?;
    ensure!(root.join("etc/mcp-monitor/config.yaml").exists(), "removing took the configuration");
    ensure!(root.join("var/lib/mcp-monitor/findings.db").exists(), "removing took what was recorded");
    ensure!(!root.join("usr/bin/mcp-monitor").exists(), "removing left the program");

    command::capture(dpkg().args(["--purge", "mcp-monitor"]))?;
    let after = files(&root)?;
    let left: Vec<_> = after.difference(&before).collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    ensure!(
        !root.join("etc/mcp-monitor").exists() && !root.join("var/lib/mcp-monitor").exists(),
        "directories are left"
    );
    let group = fs::read_to_string(root.join("etc/group")).context("cannot read the group file")?;
    ensure!(!group.contains("mcp-monitor:"), "the group is left");
    Ok(())
}

/// Files below `root`, without those that dpkg and the group's tools keep for themselves.
fn files(root: &Path) -> Result<BTreeSet<PathBuf>> {
    let found = command::capture(Command::new("find").args([".", "-not", "-type", "d"]).current_dir(root))?;
    let own = |path: &str| {
        let tools = [".pwd.lock", "group-", "gshadow-"].iter().any(|name| path == format!("./etc/{name}"));
        tools || path.starts_with("./var/lib/dpkg/") || path.starts_with("./var/log/dpkg")
    };
    Ok(found
        .lines()
        .filter(|path| !own(path))
        .map(|path| PathBuf::from(path.trim_start_matches("./")))
        .collect())
}

/// `0o644` as `ls` shows it.
fn letters(mode: u16) -> String {
    let bits = (0..9).rev().map(|bit| mode >> bit & 1 == 1);
    let letters = bits.zip("rwxrwxrwx".chars()).map(|(set, letter)| if set { letter } else { '-' });
    std::iter::once('-').chain(letters).collect()
}
