//! Has a shell speak to a terminal, as it does for a reader, and tells its commands' outputs apart.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{FromRawFd as _, OwnedFd},
    process::{Command, Stdio},
    ptr, thread,
};

use anyhow::{Context, Result};

/// What no command prints: it stands before our own words.
const MARK: char = '\u{1e}';
/// A window that no line of the pages is too long for.
const WINDOW: libc::winsize = libc::winsize { ws_row: 50, ws_col: 160, ws_xpixel: 0, ws_ypixel: 0 };

/// All that a shell said.
pub(crate) struct Spoken(String);

impl Spoken {
    /// What the command called `name` printed, and its exit status; nothing if it did not come to its end.
    pub(crate) fn of(&self, name: &str) -> Option<(String, i32)> {
        let (_, rest) = self.0.split_once(&format!("{MARK}begin {name}\n"))?;
        let (output, rest) = rest.split_once(&format!("{MARK}end {name} "))?;
        let status = rest.lines().next()?.parse().ok()?;
        Some((output.to_owned(), status))
    }

    /// Everything, for an error.
    pub(crate) fn all(&self) -> &str {
        &self.0
    }
}

/// `command` for a shell, between the marks of `name`. It runs in the shell itself, so that `cd` and `export` last.
pub(crate) fn marked(name: &str, command: &str) -> String {
    format!("printf '\\036begin {name}\\n'\n{{ {command}\n}} </dev/null; printf '\\036end {name} %d\\n' $?\n")
}

/// Runs `shell` with `script`, its output and errors going to a terminal of its own.
///
/// # Errors
/// No terminal, or no shell, could be had.
pub(crate) fn speak(shell: &mut Command, script: &str) -> Result<Spoken> {
    let (ours, theirs) = pair().context("open a terminal")?;
    let errors = theirs.try_clone().context("open a terminal")?;
    shell.stdin(Stdio::piped()).stdout(theirs).stderr(errors);
    let mut child = shell.spawn().context("start a shell")?;
    // The command keeps its ends of the terminal open, and reading would never end.
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let listener = thread::spawn(move || {
        let (mut ours, mut said, mut piece) = (File::from(ours), Vec::new(), [0; 4096]);
        // When the last writer is gone a terminal answers with EIO.
        while let Ok(length @ 1..) = ours.read(&mut piece) {
            said.extend_from_slice(&piece[..length]);
        }
        String::from_utf8_lossy(&said).replace("\r\n", "\n")
    });
    if let Some(mut stdin) = child.stdin.take() {
        // A shell that ended early is told by what it left undone.
        drop(stdin.write_all(script.as_bytes()));
    }
    child.wait().context("wait for the shell")?;
    let said = listener.join().unwrap_or_default();
    Ok(Spoken(said))
}

/// Both ends of a new terminal.
fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (mut ours, mut theirs, window) = (-1, -1, WINDOW);
    // SAFETY: both descriptors are written before they are read, the window is only read, and no name or mode is asked for.
    let opened = unsafe {
        libc::openpty(&raw mut ours, &raw mut theirs, ptr::null_mut(), ptr::null(), &raw const window)
    };
    if opened != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so both are open and nobody else's.
    unsafe { Ok((OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))) }
}

#[cfg(test)]
mod tests {
    use super::{Command, marked, speak};

    #[test]
    fn each_command_has_its_output_and_status_and_sees_a_terminal() {
        let script =
            marked("0.0", "cd /; test -t 1 && echo yes") + &marked("0.1", "pwd; (exit 3)") + "exit\n";
        let spoken = speak(&mut Command::new("bash"), &(script + &marked("0.2", "true"))).unwrap();
        assert_eq!(spoken.of("0.0"), Some(("yes\n".to_owned(), 0)));
        assert_eq!(spoken.of("0.1"), Some(("/\n".to_owned(), 3)));
        assert_eq!(spoken.of("0.2"), None);
    }
}
