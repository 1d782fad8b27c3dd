//! The steps that install programs for the tests: Debian packages, node, uv.

use std::{ffi::OsString, path::PathBuf, process::Command};

use anyhow::{Result, anyhow};

use super::{Found, Mode, quietly};
use crate::{command, places};

/// What the tests use, each with the package that carries it.
const PROGRAMS: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("strace", "strace"),
    ("gcc", "gcc"),
    ("tar", "tar"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
    ("mke2fs", "e2fsprogs"),
    ("debootstrap", "debootstrap"),
    ("python3", "python3"),
    ("git", "git"),
    ("rsyslogd", "rsyslog"),
    ("aiosmtpd", "python3-aiosmtpd"),
    ("openssl", "openssl"),
    ("strip", "binutils"),
];
/// Oldest node that the real servers run on.
const OLDEST_NODE: u32 = 20;

/// System packages, found by the programs they bring.
pub(super) fn debian(mode: Mode) -> Found {
    let absent = || {
        let mut names: Vec<&str> = PROGRAMS
            .iter()
            .filter(|(program, _)| command::find(program).is_none())
            .map(|(_, package)| *package)
            .collect();
        if !std::path::Path::new("/usr/lib/x86_64-linux-gnu/libc.a").exists() {
            names.push("libc6-dev");
        }
        names
    };
    let missing = absent();
    if missing.is_empty() {
        return Found::There(format!("{} programs and the C library", PROGRAMS.len()));
    }
    let why = anyhow!("not installed: {}", missing.join(" "));
    if mode == Mode::Check {
        return Found::missing(why, repair(&missing));
    }
    match install(&missing) {
        Ok(()) if absent().is_empty() => Found::Installed(missing.join(" ")),
        Ok(()) => Found::missing(anyhow!("still without: {}", absent().join(" ")), repair(&missing)),
        Err(failed) => Found::missing(anyhow!("{why}; {failed:#}"), repair(&missing)),
    }
}

/// What agents work with: a Docker daemon with a program to put into an image, Podman, an SSH server, gh. Without one of them
/// what needs it is reported as not run.
pub(super) fn agents_tools(mode: Mode) -> Found {
    const TOOLS: &[(&str, &str)] = &[
        ("dockerd", "docker.io"),
        ("busybox", "busybox-static"),
        ("podman", "podman"),
        ("sshd", "openssh-server"),
        ("gh", "gh"),
    ];
    let absent = || {
        let lacks = |(program, _): &&(&str, &str)| command::find(program).is_none();
        TOOLS.iter().filter(lacks).map(|(_, package)| *package).collect::<Vec<_>>()
    };
    let missing = absent();
    if missing.is_empty() {
        return Found::There(format!("{} programs", TOOLS.len()));
    }
    let why = anyhow!("not installed: {}", missing.join(" "));
    if mode == Mode::Check {
        return Found::lacking(why, repair(&missing));
    }
    match install(&missing) {
        Ok(()) if absent().is_empty() => Found::Installed(missing.join(" ")),
        Ok(()) => Found::lacking(anyhow!("still without: {}", absent().join(" ")), repair(&missing)),
        Err(failed) => Found::lacking(anyhow!("{why}; {failed:#}"), repair(&missing)),
    }
}

/// A compiler for 32-bit programs, which some evasions need; without it those are reported as not run.
pub(super) fn multilib(mode: Mode) -> Found {
    let there = || std::path::Path::new("/usr/lib32/libc.a").exists();
    let packages = ["gcc-multilib"];
    if there() {
        return Found::There("gcc -m32".into());
    }
    let why = anyhow!("gcc cannot build 32-bit programs");
    if mode == Mode::Check {
        return Found::lacking(why, repair(&packages));
    }
    match install(&packages) {
        Ok(()) if there() => Found::Installed("gcc -m32".into()),
        Ok(()) => Found::lacking(why, repair(&packages)),
        Err(failed) => Found::lacking(anyhow!("{why}; {failed:#}"), repair(&packages)),
    }
}

/// The compiler of libFuzzer, which comes as C++; without it fuzzing is reported as not run.
pub(super) fn cxx(mode: Mode) -> Found {
    let packages = ["g++"];
    if let Some(compiler) = command::find("c++") {
        return Found::There(compiler.display().to_string());
    }
    let why = anyhow!("no C++ compiler, which libFuzzer is built with");
    if mode == Mode::Check {
        return Found::lacking(why, repair(&packages));
    }
    match install(&packages) {
        Ok(()) if command::find("c++").is_some() => Found::Installed("g++".into()),
        Ok(()) => Found::lacking(why, repair(&packages)),
        Err(failed) => Found::lacking(anyhow!("{why}; {failed:#}"), repair(&packages)),
    }
}

/// Receivers that the tests send to. Unpacked among the checkout's tools and not installed: nothing of them is started,
/// and syslog-ng would push rsyslog off the host.
const RECEIVERS: &[(&str, &str)] = &[
    ("prometheus", "usr/bin/promtool"),
    ("nats-server", "usr/sbin/nats-server"),
    ("syslog-ng-core", "usr/sbin/syslog-ng"),
    ("rsyslog-gnutls", "usr/lib/x86_64-linux-gnu/rsyslog/lmnsd_gtls.so"),
];

/// Prometheus, nats-server, syslog-ng and rsyslog's TLS; without one of them its cases are reported as not run.
pub(super) fn receivers(mode: Mode) -> Found {
    let absent = || {
        let folder = places::tools()?.join("debian");
        let there = |file: &str| folder.join(file).exists() || std::path::Path::new("/").join(file).exists();
        let absent = RECEIVERS.iter().filter(|(_, file)| !there(file)).map(|(package, _)| *package);
        Ok::<Vec<&str>, anyhow::Error>(absent.collect())
    };
    let repair_command = "cargo xtask setup --tests";
    match absent() {
        Ok(missing) if missing.is_empty() => {
            Found::There(format!("{} of Debian's packages", RECEIVERS.len()))
        }
        Ok(missing) if mode == Mode::Check => {
            Found::lacking(anyhow!("not unpacked: {}", missing.join(" ")), repair_command)
        }
        Ok(missing) => match unpack(&missing).and_then(|()| absent()) {
            Ok(left) if left.is_empty() => Found::Installed(missing.join(" ")),
            Ok(left) => Found::lacking(anyhow!("still without: {}", left.join(" ")), repair_command),
            Err(failed) => Found::lacking(failed, repair_command),
        },
        Err(failed) => Found::lacking(failed, repair_command),
    }
}

/// Unpacks packages with the libraries that the host lacks for them.
fn unpack(packages: &[&str]) -> Result<()> {
    let folder = places::tools()?.join("debian");
    let archives = folder.join("archives");
    places::make(&archives)?;
    let mut names: Vec<String> = packages.iter().map(|package| (*package).to_owned()).collect();
    if packages.contains(&"syslog-ng-core") {
        let mut simulate = Command::new("apt-get");
        simulate.args(["install", "--simulate", "--no-install-recommends", "syslog-ng-core"]);
        let told = command::capture(&mut simulate)?;
        let more = told.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
        names.extend(more.map(str::to_owned));
    }
    let download = || quietly(Command::new("apt-get").arg("download").args(&names).current_dir(&archives));
    // Lists that are absent or too old make the first attempt fail.
    download().or_else(|_| quietly(command::as_root("apt-get").arg("update")).and_then(|()| download()))?;
    for archive in std::fs::read_dir(&archives)? {
        quietly(Command::new("dpkg").arg("--extract").arg(archive?.path()).arg(&folder))?;
    }
    Ok(std::fs::remove_dir_all(&archives)?)
}

/// What librdkafka is built with; without it the Kafka sink is reported as not run.
pub(crate) fn has_kafka_libraries() -> bool {
    ["/usr/include/openssl/ssl.h", "/usr/include/zlib.h"]
        .iter()
        .all(|path| std::path::Path::new(path).exists())
        && command::find("make").is_some()
        && command::find("c++").is_some()
}

/// Headers of OpenSSL and zlib.
pub(super) fn kafka(mode: Mode) -> Found {
    let packages = ["libssl-dev", "zlib1g-dev", "make", "g++"];
    if has_kafka_libraries() {
        return Found::There("OpenSSL, zlib, make".into());
    }
    let why = anyhow!("librdkafka cannot be built");
    if mode == Mode::Check {
        return Found::lacking(why, repair(&packages));
    }
    match install(&packages) {
        Ok(()) if has_kafka_libraries() => Found::Installed(packages.join(" ")),
        Ok(()) => Found::lacking(why, repair(&packages)),
        Err(failed) => Found::lacking(why, format!("{} ({failed:#})", repair(&packages))),
    }
}

/// Node with npm: the host's, else Debian's; a newer one among the checkout's tools when that is too old.
pub(super) fn node(mode: Mode) -> Found {
    let version = || {
        let printed = tool("node").and_then(|node| command::capture(Command::new(node).arg("--version")))?;
        let printed = printed.trim().to_owned();
        let major = printed.trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok());
        Ok::<(String, u32), anyhow::Error>((printed, major.unwrap_or(0)))
    };
    if let Ok((version, major)) = version()
        && major >= OLDEST_NODE
        && tool("npm").is_ok()
    {
        return Found::There(version);
    }
    let repair_command = repair(&["nodejs", "npm"]);
    if mode == Mode::Check {
        return Found::missing(anyhow!("no node {OLDEST_NODE} or newer with npm"), repair_command);
    }
    let installed = (|| {
        if command::find("npm").is_none() {
            install(&["nodejs", "npm"])?;
        }
        if version().is_ok_and(|(_, major)| major >= OLDEST_NODE) {
            return Ok(());
        }
        // The npm package `node` carries the program itself.
        let folder = places::tools()?.join("node");
        places::make(&folder)?;
        quietly(
            Command::new("npm")
                .args(["install", "--no-fund", "--no-audit", "--prefix"])
                .arg(folder)
                .arg("node@22"),
        )
    })();
    match installed.and_then(|()| version()) {
        Ok((version, _)) => Found::Installed(version),
        Err(why) => Found::missing(why, repair_command),
    }
}

/// uv with uvx, in a Python environment of its own when the host has none.
pub(super) fn uv(mode: Mode) -> Found {
    let version = || tool("uvx").and_then(|uvx| command::capture(Command::new(uvx).arg("--version")));
    if let Ok(version) = version() {
        return Found::There(version.trim().to_owned());
    }
    let repair = "python3 -m pip install uv";
    if mode == Mode::Check {
        return Found::missing(anyhow!("no uvx"), repair);
    }
    let installed = (|| {
        if quietly(Command::new("python3").args(["-c", "import ensurepip"])).is_err() {
            install(&["python3-venv"])?;
        }
        let folder = places::tools()?.join("uv");
        quietly(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        quietly(Command::new(folder.join("bin/pip")).args(["install", "--quiet", "uv"]))
    })();
    match installed.and_then(|()| version()) {
        Ok(version) => Found::Installed(version.trim().to_owned()),
        Err(why) => Found::missing(why, repair),
    }
}

/// PATH with the programs that setup put among the checkout's tools, for the tests to find.
pub(crate) fn search_path() -> Result<OsString> {
    let host = std::env::var_os("PATH").unwrap_or_default();
    let folders = own_folders()?.into_iter().chain(std::env::split_paths(&host));
    Ok(std::env::join_paths(folders)?)
}

fn own_folders() -> Result<Vec<PathBuf>> {
    let tools = places::tools()?;
    let folders = ["node/node_modules/node/bin", "uv/bin", "debian/usr/bin", "debian/usr/sbin"]
        .map(|folder| tools.join(folder));
    // uv's folder also has a `python3` and `pip`; they are the host's own python, so shadowing them is harmless.
    Ok(folders.into_iter().filter(|folder| folder.is_dir()).collect())
}

/// Where the tests will find `program`.
fn tool(program: &str) -> Result<PathBuf> {
    let own = own_folders()?.into_iter().map(|folder| folder.join(program)).find(|file| file.is_file());
    own.or_else(|| command::find(program)).ok_or_else(|| anyhow!("no {program}"))
}

fn repair(packages: &[&str]) -> String {
    let sudo = if command::is_root() { "" } else { "sudo " };
    format!("{sudo}apt-get install --no-install-recommends {}", packages.join(" "))
}

fn install(packages: &[&str]) -> Result<()> {
    if command::find("apt-get").is_none() {
        return Err(anyhow!("this host has no apt-get; install them by its own means"));
    }
    let attempt = || {
        let mut command = command::as_root("env");
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300"]);
        command.args(["install", "--yes", "--no-install-recommends"]).args(packages);
        quietly(&mut command)
    };
    // Lists that are absent or too old make the first attempt fail.
    attempt().or_else(|_| {
        let updated = quietly(command::as_root("apt-get").arg("update"));
        attempt().map_err(|error| match updated {
            Ok(()) => error,
            Err(update) => anyhow!("{error:#}; {update:#}"),
        })
    })
}
