//! What the monitor gives away once its programs are attached, so that a mistake in its parsers is worth little to whoever
//! finds it: capabilities, new privileges, executing, and other system calls that it never makes.
//!
//! All layers hold for the calling thread and those that it starts later. The wiring therefore calls [`enter`]
//! before it starts any, and [`Report::outside`] counts threads for which that failed. Reading is not restricted: what a
//! monitored process did is looked at in its own root directory and in users' homes.
//!
//! Landlock is no layer of it: a process in a Landlock domain may not look at processes outside of that domain, whatever its
//! capabilities (`hook_ptrace_access_check` in security/landlock/task.c), and `/proc/PID/exe` of others is what this
//! monitor looks at. Where files are written is restricted by the unit (`ProtectSystem=strict`).

mod capabilities;
mod system_calls;

use serde::{Deserialize, Serialize};
use std::{fs, path::PathBuf};
use utoipa::ToSchema;

/// What the sandbox came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Sandbox)]
pub struct Report {
    /// False when it was switched off.
    pub on: bool,
    /// Capabilities that are still held, e.g. `CAP_SYS_PTRACE`.
    pub capabilities: Vec<String>,
    /// `PR_SET_NO_NEW_PRIVS` is set.
    pub no_new_privileges: bool,
    /// What seccomp enforces, in words.
    pub seccomp: String,
    /// Threads that ran before and are not inside.
    pub outside: u64,
}

impl Report {
    /// In one line, for people.
    #[must_use]
    pub fn line(&self) -> String {
        if !self.on {
            return format!("off; {}", held(&self.capabilities));
        }
        let outside = match self.outside {
            0 => String::new(),
            count => format!("; {count} threads are outside"),
        };
        format!("{}; seccomp: {}{outside}", held(&self.capabilities), self.seccomp)
    }
}

fn held(capabilities: &[String]) -> String {
    match capabilities {
        [] => "no capabilities".to_owned(),
        some if some.len() > 16 => format!("{} capabilities", some.len()),
        some => some.join(" "),
    }
}

/// How this process is without a sandbox.
#[must_use]
pub fn off() -> Report {
    Report { capabilities: capabilities::held(), seccomp: "off".into(), ..Report::default() }
}

/// Gives away what is not needed for observing, judging, recording below `writable`, and sending. What the kernel does
/// not support is left out and said in the report.
#[must_use]
pub fn enter(writable: &[PathBuf]) -> Report {
    let outside = threads().saturating_sub(1);
    let bpf_is_privileged = capabilities::bpf_needs_privilege();
    let capabilities = capabilities::keep_needed(bpf_is_privileged, writable);
    let no_new_privileges = nix::sys::prctl::set_no_new_privs().is_ok();
    // The last one, since it may refuse what the others call.
    let seccomp = system_calls::refuse();
    Report { on: true, capabilities, no_new_privileges, seccomp, outside }
}

fn threads() -> u64 {
    fs::read_dir("/proc/self/task").map_or(1, |tasks| tasks.count() as u64)
}

#[cfg(test)]
mod tests;
