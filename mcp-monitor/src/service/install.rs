//! The service onto a host that systemd runs, and off it again: `mcp-monitor install --systemd`, `mcp-monitor uninstall`.
//!
//! Promises: what is there already is left as it is, so that a second time changes nothing; a configuration that somebody
//! changed is never overwritten; what was recorded is removed only when that is asked for by name; with `dry_run`
//! nothing is touched.

use std::{
    env, fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// The unit, as packages install it.
pub const UNIT: &str = include_str!("../../../deploy/systemd/mcp-monitor.service");
/// The group that may read.
pub const SYSUSERS: &str = include_str!("../../../deploy/systemd/mcp-monitor.sysusers.conf");
/// Directories.
pub const TMPFILES: &str = include_str!("../../../deploy/systemd/mcp-monitor.tmpfiles.conf");
/// The commented configuration.
pub const CONFIGURATION: &str = include_str!("../../../deploy/config.yaml");

/// Name of the unit.
const SERVICE: &str = "mcp-monitor.service";
/// Where the program is put when it is not in a place of the system's own.
const PROGRAM: &str = "/usr/local/bin/mcp-monitor";
/// Where packages put the program; the unit names this place.
const PACKAGED_PROGRAM: &str = "/usr/bin/mcp-monitor";
/// Where packages put the unit.
const PACKAGED_UNITS: [&str; 2] =
    ["/usr/lib/systemd/system/mcp-monitor.service", "/lib/systemd/system/mcp-monitor.service"];
const UNIT_PLACE: &str = "/etc/systemd/system/mcp-monitor.service";
const CONFIGURATION_PLACE: &str = "/etc/mcp-monitor/config.yaml";
/// What holds records, or may.
const RECORDED: [&str; 2] = ["/var/lib/mcp-monitor", "/var/log/mcp-monitor"];
const GROUP: &str = "mcp-monitor";

/// Why it is not installed, or not removed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A package has done it.
    #[error(
        "{0} is there: a package has installed the service; remove or upgrade it with dpkg, apt, rpm or dnf"
    )]
    Packaged(String),
    /// Another init, or none.
    #[error(
        "this host is not run by systemd (there is no /run/systemd/system); start `mcp-monitor run` by its own means"
    )]
    NoSystemd,
    /// A file.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A command.
    #[error("`{command}` failed: {reason}")]
    Command {
        /// What was run.
        command: String,
        /// What it said.
        reason: String,
    },
}

/// How to install or remove.
#[derive(Clone, Debug)]
pub struct Installer {
    /// The file system of the host; `/`, or the directory of one that is being prepared.
    pub root: PathBuf,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Start the service now.
    pub start: bool,
    /// Remove records, configuration and group as well.
    pub purge: bool,
}

/// What was done, one line each.
pub type Done = Vec<String>;

impl Installer {
    /// Puts program, unit, group, directories and configuration there, and starts the service.
    pub fn install(&self) -> Result<Done, InstallError> {
        self.refuse_packaged()?;
        if self.is_here() && !Path::new("/run/systemd/system").exists() {
            return Err(InstallError::NoSystemd);
        }
        let mut done = Done::new();
        let (program, other_program) = self.program(&mut done)?;
        let unit = UNIT.replace(PACKAGED_PROGRAM, &program);
        let other_unit = self.put(UNIT_PLACE, unit.as_bytes(), 0o644, &mut done)?;
        self.put("/etc/sysusers.d/mcp-monitor.conf", SYSUSERS.as_bytes(), 0o644, &mut done)?;
        self.put("/etc/tmpfiles.d/mcp-monitor.conf", TMPFILES.as_bytes(), 0o644, &mut done)?;
        if self.at(CONFIGURATION_PLACE).exists() {
            done.push(format!("keep     {CONFIGURATION_PLACE}"));
        } else {
            self.put(CONFIGURATION_PLACE, CONFIGURATION.as_bytes(), 0o600, &mut done)?;
        }
        self.run("systemd-sysusers", &["mcp-monitor.conf"], &mut done)?;
        self.run("systemd-tmpfiles", &["--create", "mcp-monitor.conf"], &mut done)?;
        if self.is_here() {
            self.run("systemctl", &["daemon-reload"], &mut done)?;
        }
        self.run("systemctl", &["enable", SERVICE], &mut done)?;
        if self.start && self.is_here() {
            // One that runs goes on with the new program; one that does not is started.
            let verb = if other_program || other_unit { "restart" } else { "start" };
            self.run("systemctl", &[verb, SERVICE], &mut done)?;
        }
        Ok(done)
    }

    /// Stops the service and removes what [`Installer::install`] put there.
    pub fn uninstall(&self) -> Result<Done, InstallError> {
        self.refuse_packaged()?;
        let mut done = Done::new();
        if self.at(UNIT_PLACE).exists() {
            self.run("systemctl", &["disable", SERVICE], &mut done)?;
            if self.is_here() {
                self.run("systemctl", &["stop", SERVICE], &mut done)?;
            }
        }
        for path in
            [UNIT_PLACE, "/etc/sysusers.d/mcp-monitor.conf", "/etc/tmpfiles.d/mcp-monitor.conf", PROGRAM]
        {
            self.remove(path, &mut done)?;
        }
        if self.is_here() && Path::new("/run/systemd/system").exists() {
            self.run("systemctl", &["daemon-reload"], &mut done)?;
        }
        let unchanged =
            fs::read(self.at(CONFIGURATION_PLACE)).is_ok_and(|there| there == CONFIGURATION.as_bytes());
        if self.purge || unchanged {
            self.remove(CONFIGURATION_PLACE, &mut done)?;
        } else if self.at(CONFIGURATION_PLACE).exists() {
            done.push(format!("keep     {CONFIGURATION_PLACE}, which was changed; --purge removes it"));
        }
        for path in RECORDED {
            self.records(path, &mut done)?;
        }
        for directory in ["/etc/mcp-monitor/expectations.d", "/etc/mcp-monitor"] {
            self.directory(directory, &mut done)?;
        }
        if self.purge && self.has_group() {
            self.delete_group(&mut done)?;
        }
        Ok(done)
    }

    /// True for the host that this program runs on.
    fn is_here(&self) -> bool {
        self.root == Path::new("/")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn refuse_packaged(&self) -> Result<(), InstallError> {
        match PACKAGED_UNITS.iter().find(|place| self.at(place).exists()) {
            Some(place) => Err(InstallError::Packaged((*place).to_owned())),
            None => Ok(()),
        }
    }

    /// Where the unit finds the program: where it runs from, if that is a place of the system's own; else a copy.
    /// And whether that copy is a new one.
    fn program(&self, done: &mut Done) -> Result<(String, bool), InstallError> {
        let here = env::current_exe().map_err(failed("the running program"))?;
        if self.is_here() && [PACKAGED_PROGRAM, PROGRAM].iter().any(|place| here == Path::new(place)) {
            return Ok((here.display().to_string(), false));
        }
        let bytes = fs::read(&here).map_err(failed(here.display()))?;
        let changed = self.put(PROGRAM, &bytes, 0o755, done)?;
        Ok((PROGRAM.to_owned(), changed))
    }

    /// Writes a file as a whole; true when that changed anything.
    fn put(&self, path: &str, bytes: &[u8], mode: u32, done: &mut Done) -> Result<bool, InstallError> {
        let place = self.at(path);
        let same = |data: fs::Metadata| data.is_file() && data.permissions().mode() & 0o7777 == mode;
        if fs::symlink_metadata(&place).is_ok_and(same) && fs::read(&place).is_ok_and(|there| there == bytes)
        {
            done.push(format!("same     {path}"));
            return Ok(false);
        }
        done.push(format!("write    {path}"));
        if self.dry_run {
            return Ok(true);
        }
        let wrong = failed(place.display());
        if let Some(parent) = place.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(&wrong)?;
        }
        let parent = place.parent().unwrap_or(Path::new("/"));
        let mut new = tempfile::NamedTempFile::new_in(parent).map_err(&wrong)?;
        new.write_all(bytes).map_err(&wrong)?;
        new.as_file().set_permissions(fs::Permissions::from_mode(mode)).map_err(&wrong)?;
        new.as_file().sync_all().map_err(&wrong)?;
        new.persist(&place).map_err(|error| wrong(error.error))?;
        Ok(true)
    }

    fn remove(&self, path: &str, done: &mut Done) -> Result<(), InstallError> {
        let place = self.at(path);
        if fs::symlink_metadata(&place).is_err() {
            return Ok(());
        }
        done.push(format!("remove   {path}"));
        if self.dry_run { Ok(()) } else { fs::remove_file(&place).map_err(failed(place.display())) }
    }

    /// A directory of records: removed when that is asked for, or when nothing is in it.
    fn records(&self, path: &str, done: &mut Done) -> Result<(), InstallError> {
        let place = self.at(path);
        if !self.purge {
            let filled = fs::read_dir(&place).is_ok_and(|mut entries| entries.next().is_some());
            if filled {
                done.push(format!("keep     {path}, what was recorded; --purge removes it"));
                return Ok(());
            }
            return self.directory(path, done);
        }
        // A link is no directory of ours.
        if fs::symlink_metadata(&place).is_ok_and(|data| data.is_dir()) {
            done.push(format!("remove   {path}, what was recorded"));
            if !self.dry_run {
                fs::remove_dir_all(&place).map_err(failed(place.display()))?;
            }
        }
        Ok(())
    }

    /// A directory of ours, with what an administrator put there only when that is asked for.
    fn directory(&self, path: &str, done: &mut Done) -> Result<(), InstallError> {
        let place = self.at(path);
        if !fs::symlink_metadata(&place).is_ok_and(|data| data.is_dir()) {
            return Ok(());
        }
        let removed = match (self.dry_run, self.purge) {
            (true, _) => return Ok(()),
            (false, true) => fs::remove_dir_all(&place),
            (false, false) => fs::remove_dir(&place),
        };
        match removed {
            Ok(()) => done.push(format!("remove   {path}")),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                done.push(format!("keep     {path}, which is not empty; --purge removes it"));
            }
            Err(error) => return Err(failed(place.display())(error)),
        }
        Ok(())
    }

    fn has_group(&self) -> bool {
        let groups = fs::read_to_string(self.at("/etc/group")).unwrap_or_default();
        groups.lines().any(|line| line.split(':').next() == Some(GROUP))
    }

    fn delete_group(&self, done: &mut Done) -> Result<(), InstallError> {
        let mut command = Command::new("groupdel");
        if !self.is_here() {
            command.arg("--prefix").arg(&self.root);
        }
        self.call(command.arg(GROUP), done)
    }

    /// One of systemd's programs, for this host or for the root that is being prepared.
    fn run(&self, program: &str, arguments: &[&str], done: &mut Done) -> Result<(), InstallError> {
        let mut command = Command::new(program);
        if !self.is_here() {
            command.arg(format!("--root={}", self.root.display()));
        }
        self.call(command.args(arguments), done)
    }

    fn call(&self, command: &mut Command, done: &mut Done) -> Result<(), InstallError> {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let shown = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        done.push(format!("run      {shown}"));
        if self.dry_run {
            return Ok(());
        }
        let wrong = |reason: String| InstallError::Command { command: shown.clone(), reason };
        let output = command.stdin(Stdio::null()).output().map_err(|error| wrong(error.to_string()))?;
        if output.status.success() { Ok(()) } else { Err(wrong(said(&output))) }
    }
}

/// How a command ended, and the last it said.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = text.trim().lines().rev().take(3).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    format!("{}: {}", output.status, last.join(" / "))
}

#[allow(clippy::needless_pass_by_value, reason = "as Path::display gives it")]
fn failed(path: impl ToString) -> impl Fn(io::Error) -> InstallError {
    let path = path.to_string();
    move |source| InstallError::File { path: path.clone(), source }
}

#[cfg(test)]
#[path = "install_tests.rs"]
mod tests;
