//! A measurement wants the machine for itself, and can only ask.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use crate::bpf;

/// How long others' programs are waited for.
const PATIENCE: Duration = Duration::from_secs(40);

/// Goes before other processes of this host with all that is started from here, until this is dropped.
pub(crate) struct Preferred {
    /// Niceness of the session's group before, where the kernel shares processors between sessions.
    session: Option<String>,
}

const SESSION: &str = "/proc/self/autogroup";
const NICENESS: i32 = -15;

impl Preferred {
    /// Failure means a busier measurement, not a wrong one.
    pub(crate) fn ask() -> Self {
        // SAFETY: no memory is passed.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS) };
        let session = fs::read_to_string(SESSION).ok();
        let before = session.and_then(|text| Some(text.trim().rsplit_once("nice ")?.1.to_owned()));
        let _ = fs::write(SESSION, NICENESS.to_string());
        Self { session: before }
    }
}

impl Drop for Preferred {
    fn drop(&mut self) {
        if let Some(session) = &self.session {
            let _ = fs::write(SESSION, session);
        }
    }
}

/// Waits until only `ours` programs are attached to the exit of system calls: others would change every number.
/// Gives up after a while.
pub(crate) fn wait(ours: usize) {
    let begin = Instant::now();
    while !is(ours) && begin.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(100));
    }
}

/// Whether only `ours` programs are attached there.
pub(crate) fn is(ours: usize) -> bool {
    bpf::on_syscall_exit() == ours
}
