//! The desk that a page is tried at: a host as its reader would have it, in a mount namespace of this program's own.
//!
//! The places that the pages name are those of the documentation (`/etc/mcp-monitor`, `/run/mcp-monitor`,
//! `/var/lib/mcp-monitor`, a home `/home/ann`), empty at the beginning of each page, and nothing of it is left on the host.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use mcp_monitor_tests::world;

/// Whose desk it is: somebody with a home of their own. The tests are root and cannot come back once they are not, so that
/// this user has root's number; servers count as declared only for the user whose configuration declares them.
const OWNER: &str = "ann";
/// What the pages may fill, and what a page finds empty.
const PLACES: &[&str] = &["/etc/mcp-monitor", "/run/mcp-monitor", "/var/lib/mcp-monitor", "/home"];
/// `sudo` as the pages use it, for a test that is root already.
const SUDO: &str = "#!/bin/sh\nexec \"$@\"\n";

/// See the module.
pub(crate) struct Desk {
    programs: PathBuf,
    examples: PathBuf,
    made: Vec<&'static str>,
    _scratch: tempfile::TempDir,
}

impl Desk {
    /// Leaves the host's mounts and prepares what all pages share.
    ///
    /// # Errors
    /// Not root, or a place that cannot be prepared.
    pub(crate) fn prepare(monitor: &Path, examples: &Path) -> Result<Self> {
        let scratch = tempfile::tempdir_in("/var/tmp").context("make a scratch folder")?;
        let programs = scratch.path().join("bin");
        fs::create_dir_all(&programs)?;
        let sudo = programs.join("sudo");
        fs::write(&sudo, SUDO)?;
        fs::set_permissions(&sudo, fs::Permissions::from_mode(0o755))?;
        std::os::unix::fs::symlink(monitor, programs.join("mcp-monitor"))?;
        let users = scratch.path().join("passwd");
        let owner = format!("{OWNER}:x:0:0::/home/{OWNER}:/bin/bash\n");
        fs::write(&users, owner + &fs::read_to_string("/etc/passwd")?)?;
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755))?;

        let mut made = Vec::new();
        for place in PLACES {
            if !Path::new(place).exists() {
                fs::create_dir_all(place).with_context(|| format!("make {place}"))?;
                made.push(*place);
            }
        }
        // SAFETY: no memory is passed; this program has one thread here, and the mounts of the host stay as they are.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
            return Err(io::Error::last_os_error()).context("leave the host's mounts; is this root?");
        }
        mount(&["--make-rprivate", "/"])?;
        mount(&["--bind".as_ref(), users.as_os_str(), "/etc/passwd".as_ref()])?;
        Ok(Self { programs, examples: examples.to_owned(), made, _scratch: scratch })
    }

    /// Clears the desk for the next page, and puts the owner's things on it.
    ///
    /// # Errors
    /// A mount or a file that cannot be made.
    pub(crate) fn clear(&self) -> Result<()> {
        for place in PLACES {
            // What the last page left goes with its file system; before the first page there is none.
            drop(Command::new("umount").args(["--lazy", place]).stderr(Stdio::null()).status());
            mount(&["-t", "tmpfs", "-o", "mode=0755", "tmpfs", place])?;
        }
        let home = Self::home();
        for folder in [".ssh", "notes", "servers"] {
            fs::create_dir_all(home.join(folder))?;
        }
        fs::write(home.join(".ssh/id_rsa"), world::secret_text())?;
        fs::write(home.join("notes/ferry.txt"), "The ferry leaves at nine.\n")?;
        for example in fs::read_dir(&self.examples).context("read the examples")? {
            let path = example?.path();
            if let (true, Some(name)) = (path.extension().is_some_and(|end| end == "py"), path.file_name()) {
                fs::copy(&path, home.join("servers").join(name))?;
            }
        }
        fs::copy(self.examples.join("claude.json"), home.join(".claude.json"))?;
        Ok(())
    }

    /// The owner's home.
    pub(crate) fn home() -> PathBuf {
        Path::new("/home").join(OWNER)
    }

    /// A shell at the desk that reads what it is to do from standard input, and is ended with all it started when it
    /// takes longer than `deadline`.
    pub(crate) fn shell(&self, deadline: Duration) -> Command {
        let mut shell = Command::new("timeout");
        let path = std::env::var("PATH").unwrap_or_default();
        shell.args(["--signal=TERM", "--kill-after=10", &deadline.as_secs().to_string()]);
        shell.args(["bash", "--noprofile", "--norc"]).current_dir(Self::home());
        shell.env("PATH", format!("{}:{path}", self.programs.display())).env("HOME", Self::home());
        shell.env_remove("RUNTIME_DIRECTORY").env("NO_COLOR", "1").env("TERM", "xterm").env_remove("COLUMNS");
        shell
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // The mounts end with this program; the places are made by a program outside, and are removed once it is gone.
        let mut tidy = io::stderr();
        for place in &self.made {
            drop(Command::new("umount").args(["--lazy", place]).stderr(Stdio::null()).status());
            if let Err(error) = fs::remove_dir(place) {
                drop(writeln!(tidy, "docs: cannot remove {place}: {error}"));
            }
        }
    }
}

fn mount<Word: AsRef<std::ffi::OsStr>>(words: &[Word]) -> Result<()> {
    let done = Command::new("mount").args(words).status().context("start mount")?;
    ensure!(done.success(), "mount failed: {done}");
    Ok(())
}
