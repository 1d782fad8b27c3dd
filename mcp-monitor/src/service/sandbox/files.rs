//! Landlock: writing only below the monitor's own directories, executing nothing, listening on no further TCP port.

use landlock::{
    ABI, AccessFs, AccessNet, PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
    RulesetError, RulesetStatus,
};
use std::path::PathBuf;

/// The rights that are known here; a kernel that knows fewer enforces those.
const KNOWN: ABI = ABI::V5;

/// The version of Landlock that this kernel has; `None` without it.
#[must_use]
pub fn abi() -> Option<i32> {
    // SAFETY: without attributes and with this flag the call only asks for the version.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0_usize, 1_u32)
    };
    i32::try_from(version).ok().filter(|version| *version > 0)
}

/// Restricts this thread and its later children. Says in words what came of it.
pub(super) fn restrict(writable: &[PathBuf]) -> String {
    match tried(writable) {
        Ok(RulesetStatus::FullyEnforced) => enforced(""),
        Ok(RulesetStatus::PartiallyEnforced) => enforced(", without what this kernel cannot"),
        Ok(RulesetStatus::NotEnforced) => "not on this kernel".to_owned(),
        Err(error) => format!("failed: {error}"),
    }
}

fn enforced(more: &str) -> String {
    let version = abi().map_or_else(String::new, |version| format!(" (version {version})"));
    format!("writes in own directories only, executes nothing{more}{version}")
}

fn tried(writable: &[PathBuf]) -> Result<RulesetStatus, RulesetError> {
    let write = AccessFs::from_write(KNOWN);
    let mut rules = Ruleset::default()
        .handle_access(write | AccessFs::Execute)?
        .handle_access(AccessNet::BindTcp)?
        .create()?;
    for directory in writable {
        // What is not there cannot be written to; whoever wants to is told by the sink itself.
        if let Ok(place) = PathFd::new(directory) {
            rules = rules.add_rule(PathBeneath::new(place, write))?;
        }
    }
    Ok(rules.restrict_self()?.ruleset)
}
