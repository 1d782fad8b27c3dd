//! Who runs the demo, and that Ctrl-C ends the run but not its clean-up.

use std::env;

use crate::command;

/// The person for whom client and servers run.
pub(super) struct User {
    /// Whether nobody but root is known, so that the monitor has to be told to run the client as root.
    pub(super) only_root: bool,
}

impl User {
    /// As the environment says. Sudo in front of cargo also makes everything root's: the caches, the scratch folder.
    pub(super) fn of_this_run() -> Self {
        let only_root = command::is_root();
        if only_root && env::var_os("SUDO_UID").is_some() {
            eprintln!(
                "demo: started through sudo, so client and servers run as root; without it they run as you"
            );
        }
        Self { only_root }
    }
}

/// Lets Ctrl-C end our children, who are told by the terminal, while we go on to clean up.
pub(super) fn outlive_interrupts() {
    extern "C" fn nothing(_: libc::c_int) {}
    let handler: extern "C" fn(libc::c_int) = nothing;
    // A handler and not SIG_IGN: the latter would be inherited by the children.
    // SAFETY: the handler does nothing, so it is safe at any point of the program.
    unsafe { libc::signal(libc::SIGINT, handler as *const () as libc::sighandler_t) };
}
