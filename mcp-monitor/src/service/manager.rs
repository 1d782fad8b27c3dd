//! What is told to the service manager that started this process, by the protocol of `sd_notify(3)`: readiness, reloads,
//! the end, a line of state, and the watchdog's sign of life. Silent where nobody listens.

use sd_notify::NotifyState;
use std::{
    env,
    time::{Duration, Instant},
};

/// The manager's end of the protocol.
#[derive(Debug)]
pub struct Manager {
    /// A sign of life is due this often; half of what the manager waits for.
    sign_every: Option<Duration>,
    signed: Instant,
}

impl Default for Manager {
    fn default() -> Self {
        Self::of_this_process()
    }
}

impl Manager {
    /// The manager that this process's environment names.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self { sign_every: sd_notify::watchdog_enabled().map(|all| all / 2), signed: Instant::now() }
    }

    /// True when somebody listens.
    #[must_use]
    pub fn listens() -> bool {
        env::var_os("NOTIFY_SOCKET").is_some()
    }

    /// What is being done, for `systemctl status`.
    pub fn says(text: &str) {
        tell(&[NotifyState::Status(&line(text))]);
    }

    /// Everything is attached.
    pub fn ready(text: &str) {
        tell(&[NotifyState::Ready, NotifyState::Status(&line(text))]);
    }

    /// Configuration and expectations are read again; [`Manager::ready`] ends that.
    pub fn reloading() {
        // The time tells the manager which reload it is; without a clock it goes without.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
    }

    /// The end has begun.
    pub fn stopping(text: &str) {
        tell(&[NotifyState::Stopping, NotifyState::Status(&line(text))]);
    }

    /// The pipeline has turned: the watchdog is told when it is time. Only the pipeline calls this, so that one that
    /// hangs is restarted, whatever the other threads do.
    pub fn turned(&mut self) {
        let Some(every) = self.sign_every else { return };
        if self.signed.elapsed() >= every {
            self.signed = Instant::now();
            tell(&[NotifyState::Watchdog]);
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    // A manager that is not there any more changes nothing for the monitor.
    let _ = sd_notify::notify(states);
}

/// One line: a second one would be read as another statement.
fn line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn a_message_cannot_state_anything_else() {
        assert_eq!(line("broken\nREADY=1"), "broken READY=1");
    }
}
