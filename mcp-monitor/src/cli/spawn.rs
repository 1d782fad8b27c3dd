//! Starts COMMAND so that it executes nothing before the monitor has labelled it.
//!
//! [`hold`] forks; the child tells its pid and waits at a pipe until [`Held::release`], or ends when the monitor
//! does. Input, output, terminal, directory and process group are ours, so Ctrl-C reaches COMMAND by itself.

use super::{
    exit_code::Exit,
    identity::{Identity, RunAs},
};
use nix::{
    errno::Errno,
    sys::{
        signal::{SigHandler, Signal, kill, signal},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::{Pid, getpid, setgid, setgroups, setuid},
};
use std::{
    ffi::OsString,
    io::{self, PipeReader, PipeWriter, Read, Write},
    os::{
        fd::{AsRawFd, RawFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex, PoisonError},
    thread,
};
use tokio::sync::oneshot;

/// Why COMMAND does not run.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// It does not exist.
    #[error("{0}: command not found")]
    NotFound(String),
    /// It cannot be executed.
    #[error("{0}: cannot be executed: {1}")]
    NotExecutable(String, #[source] io::Error),
    /// The monitor gave up before it let it go.
    #[error("{0} was not started")]
    Cancelled(String),
    /// Anything else, e.g. no more processes.
    #[error("{0} cannot be started: {1}")]
    Failed(String, #[source] io::Error),
}

impl SpawnError {
    fn new(name: &str, error: io::Error) -> Self {
        let name = crate::event::escape(name.as_bytes());
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT) => Self::NotFound(name),
            Some(Errno::EACCES | Errno::ENOEXEC | Errno::EISDIR | Errno::ENOTDIR | Errno::ELOOP) => {
                Self::NotExecutable(name, error)
            }
            Some(Errno::ECANCELED) => Self::Cancelled(name),
            _ => Self::Failed(name, error),
        }
    }
}

impl From<&SpawnError> for Exit {
    fn from(error: &SpawnError) -> Self {
        match error {
            SpawnError::NotFound(_) => Self::NotFound,
            SpawnError::NotExecutable(..) => Self::NotExecutable,
            SpawnError::Cancelled(_) | SpawnError::Failed(..) => Self::Failed,
        }
    }
}

/// How COMMAND ended, when it does.
pub type Ended = oneshot::Receiver<Result<ExitStatus, SpawnError>>;

/// A child that waits. Dropped, it ends without having executed anything.
#[derive(Debug)]
pub struct Held {
    /// Its process id.
    pub pid: u32,
    /// How it ended.
    pub ended: Ended,
    /// The way to send it signals.
    pub handle: Handle,
    /// The way to let it go.
    pub gate: Gate,
}

/// Lets the child go on. Dropped unused, the child ends.
#[derive(Debug)]
pub struct Gate(PipeWriter);

impl Gate {
    /// Lets the child execute COMMAND.
    pub fn release(mut self) {
        // Fails only when the child is gone, which `ended` tells.
        let _ = self.0.write_all(b"!");
    }
}

/// Sends signals to the child, and to nobody who got its pid later.
#[derive(Clone, Debug)]
pub struct Handle {
    pid: Pid,
    /// True once it may have been reaped.
    gone: Arc<Mutex<bool>>,
}

impl Handle {
    /// Sends `signal` if the child still runs.
    pub fn send(&self, signal: Signal) {
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        if !*gone {
            // Fails only when a set-uid COMMAND became somebody whom we may not signal.
            let _ = kill(self.pid, signal);
        }
    }
}

/// Forks a child that will execute `command` as `run_as`.
pub fn hold(command: &[OsString], run_as: &RunAs) -> Result<Held, SpawnError> {
    let name = command.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default();
    let failed = |error: io::Error| SpawnError::new(&name, error);
    let (mut pid_reader, pid_writer) = io::pipe().map_err(failed)?;
    let (gate_reader, gate_writer) = io::pipe().map_err(failed)?;
    let prepared = prepare(command, run_as, &pid_writer, gate_reader, gate_writer.as_raw_fd());
    let gone = Arc::new(Mutex::new(false));
    let (sender, ended) = oneshot::channel();

    // `Command::spawn` returns only after the exec, hence the thread. It owns the parent's copy of `pid_writer`,
    // so that a failed fork ends the read below.
    let thread_gone = gone.clone();
    let thread_name = name.clone();
    thread::Builder::new()
        .name("command".into())
        .spawn(move || {
            let mut command = prepared;
            let spawned = command.spawn();
            drop(command);
            drop(pid_writer);
            let result = spawned.and_then(|child| wait(child, &thread_gone));
            let _ = sender.send(result.map_err(|error| SpawnError::new(&thread_name, error)));
        })
        .map_err(failed)?;

    let mut pid = [0; 4];
    if let Err(error) = pid_reader.read_exact(&mut pid) {
        return Err(ended.blocking_recv().ok().and_then(Result::err).unwrap_or_else(|| failed(error)));
    }
    let pid = i32::from_ne_bytes(pid);
    Ok(Held {
        pid: pid.unsigned_abs(),
        ended,
        handle: Handle { pid: Pid::from_raw(pid), gone },
        gate: Gate(gate_writer),
    })
}

/// Waits for `child`; after this nobody may signal its pid any more.
fn wait(mut child: Child, gone: &Mutex<bool>) -> io::Result<ExitStatus> {
    let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
    *gone.lock().unwrap_or_else(PoisonError::into_inner) = true;
    child.wait()
}

fn prepare(
    command: &[OsString],
    run_as: &RunAs,
    pid_writer: &PipeWriter,
    gate_reader: PipeReader,
    gate_writer: RawFd,
) -> Command {
    let mut prepared = Command::new(command.first().map_or("".as_ref(), OsString::as_os_str));
    prepared.args(command.iter().skip(1));
    let identity = match run_as {
        RunAs::Unchanged => None,
        RunAs::User(identity) => Some(identity.clone()),
    };
    if let Some(identity) = &identity {
        prepared.env_clear().envs(&identity.environment);
    }
    let pid_writer = pid_writer.as_raw_fd();
    // SAFETY: between fork and exec the closure only makes system calls: no allocation, no lock, no other
    // thread's state. `pid_writer` and `gate_writer` are open in the parent at the fork, since the thread that
    // spawns owns the one and `hold` keeps the other until it has read the pid; `gate_reader` is owned by the
    // closure.
    unsafe { prepared.pre_exec(move || in_child(pid_writer, &gate_reader, gate_writer, identity.as_ref())) };
    prepared
}

/// Runs in the child, before the exec.
fn in_child(
    pid_writer: RawFd,
    gate_reader: &PipeReader,
    gate_writer: RawFd,
    identity: Option<&Identity>,
) -> io::Result<()> {
    // SAFETY: the descriptor is this process's copy of the parent's end, which nobody here uses. While it is
    // open the parent's death would not end the wait below.
    unsafe { libc::close(gate_writer) };
    default_signals()?;
    if let Some(identity) = identity {
        setgroups(&identity.groups)?;
        setgid(identity.gid)?;
        setuid(identity.uid)?;
    }
    let pid = getpid().as_raw().to_ne_bytes();
    // SAFETY: the pointer and length are those of a live array.
    if unsafe { libc::write(pid_writer, pid.as_ptr().cast(), pid.len()) } != 4 {
        return Err(Errno::last().into());
    }
    let mut byte = [0; 1];
    loop {
        match nix::unistd::read(gate_reader, &mut byte) {
            Ok(1) => return Ok(()),
            Err(Errno::EINTR) => {}
            Ok(_) | Err(_) => return Err(Errno::ECANCELED.into()),
        }
    }
}

/// Handlers of the monitor must not run in the waiting child; what is ignored (`nohup`) stays so.
fn default_signals() -> io::Result<()> {
    for number in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        // SAFETY: only dispositions "default" and "ignore" are set, no handler.
        unsafe {
            if matches!(signal(number, SigHandler::SigDfl)?, SigHandler::SigIgn) {
                signal(number, SigHandler::SigIgn)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::process::ExitStatusExt, time::Duration};

    fn command(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    fn shell(script: &str) -> Vec<OsString> {
        command(&["sh", "-c", script])
    }

    #[test]
    fn nothing_is_executed_before_the_release() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ran");
        let held = hold(&shell(&format!("echo $$ > {}", file.display())), &RunAs::Unchanged).unwrap();
        thread::sleep(Duration::from_millis(50));
        assert!(!file.exists());
        let ours = fs::read_link("/proc/self/exe").unwrap();
        assert_eq!(fs::read_link(format!("/proc/{}/exe", held.pid)).unwrap(), ours);
        held.gate.release();
        assert!(held.ended.blocking_recv().unwrap().unwrap().success());
        assert_eq!(fs::read_to_string(&file).unwrap().trim(), held.pid.to_string(), "the same process");
    }

    #[test]
    fn dropped_it_ends() {
        let held = hold(&shell("exit 3"), &RunAs::Unchanged).unwrap();
        drop(held.gate);
        assert!(matches!(held.ended.blocking_recv().unwrap(), Err(SpawnError::Cancelled(_))));
    }

    #[test]
    fn what_it_ends_with_is_told() {
        let end = |words: &[&str]| {
            let held = hold(&command(words), &RunAs::Unchanged).unwrap();
            held.gate.release();
            held.ended.blocking_recv().unwrap()
        };
        assert_eq!(end(&["sh", "-c", "exit 3"]).unwrap().code(), Some(3));
        assert_eq!(end(&["sh", "-c", "kill -9 $$"]).unwrap().signal(), Some(9));
        assert!(
            matches!(end(&["/nonexistent\n"]), Err(SpawnError::NotFound(name)) if name == "/nonexistent\\x0a")
        );
        assert!(matches!(end(&["/etc/passwd"]), Err(SpawnError::NotExecutable(..))));
    }

    #[test]
    fn signals_reach_it() {
        let held = hold(&command(&["sleep", "60"]), &RunAs::Unchanged).unwrap();
        held.gate.release();
        held.handle.send(Signal::SIGTERM);
        assert_eq!(held.ended.blocking_recv().unwrap().unwrap().signal(), Some(15));
        held.handle.send(Signal::SIGTERM);
    }

    #[test]
    fn it_inherits_no_descriptor_and_no_identity_of_root() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("seen");
        fs::write(&file, "").unwrap();
        for path in [directory.path(), &file] {
            nix::unistd::chown(path, Some(65534.into()), Some(65534.into())).unwrap();
        }
        let identity = Identity {
            uid: 65534.into(),
            gid: 65534.into(),
            groups: vec![65534.into(), 7.into()],
            environment: [("PATH".into(), "/usr/bin:/bin".into()), ("HOME".into(), "/scratch".into())].into(),
        };
        let script = format!(
            "{{ id -u; id -g; id -G; echo $HOME; env | wc -l; set -- /proc/$$/fd/*; echo $#; grep -E 'CapEff|NoNewPrivs' /proc/self/status; }} > {}",
            file.display()
        );
        let held = hold(&shell(&script), &RunAs::User(identity)).unwrap();
        held.gate.release();
        assert!(held.ended.blocking_recv().unwrap().unwrap().success());
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[..4], ["65534", "65534", "65534 7", "/scratch"], "{text}");
        // PATH, HOME, and what the shell adds: PWD, maybe OLDPWD and _.
        assert!(lines[4].parse::<u32>().unwrap() <= 5, "{text}");
        // Whatever calls the tests may leave descriptors open on purpose; those and no others go on. Counted without a
        // pipe, of which the shell itself holds the ends for a moment.
        let counted = directory.path().join("counted");
        let plain = format!("{{ set -- /proc/$$/fd/*; echo $#; }} > {}", counted.display());
        assert!(Command::new("sh").args(["-c", &plain]).status().unwrap().success());
        let plain: u32 = fs::read_to_string(&counted).unwrap().trim().parse().unwrap();
        assert!(lines[5].parse::<u32>().unwrap() <= plain, "{plain}: {text}");
        assert_eq!(lines[6..], ["CapEff:\t0000000000000000", "NoNewPrivs:\t0"], "{text}");
    }
}
