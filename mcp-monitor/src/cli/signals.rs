//! Signals to the monitor itself.

use nix::unistd::{getpgrp, tcgetpgrp};
use std::{fs::File, io};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Ctrl-C. The terminal sends it to COMMAND as well.
    Interrupt,
    /// `kill`, a closed terminal, the end of a session.
    End,
    /// `kill -HUP` of a monitor that has no terminal: expectations and configuration are to be read again.
    Reload,
}

/// Listens from its creation on; nothing that arrives earlier than the first question is missed.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    quit: Signal,
    /// Asked at the start: a terminal that hangs up is gone when its signal comes.
    has_terminal: bool,
}

impl Signals {
    /// Begins to listen. Needs a tokio runtime.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            has_terminal: has_terminal(),
        })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.interrupt.recv() => Wish::Interrupt,
            _ = self.quit.recv() => Wish::Interrupt,
            _ = self.terminate.recv() => Wish::End,
            _ = self.hang_up.recv() => if self.has_terminal { Wish::End } else { Wish::Reload },
        }
    }
}

/// True when this process belongs to a terminal, whose end it is told of by the signal that otherwise means a reload.
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// True when Ctrl-C at the terminal reaches our process group, and COMMAND in it.
pub(super) fn is_foreground() -> bool {
    File::open("/dev/tty").is_ok_and(|terminal| tcgetpgrp(&terminal) == Ok(getpgrp()))
}
