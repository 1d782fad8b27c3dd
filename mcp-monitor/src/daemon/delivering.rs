//! Delivery's place in the wiring: sinks read the store while it is written.

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::export::{
    Config, Delivery,
    delivery::{DIRECTORY, DeliveryError, Talk},
    stored::Stored,
};

/// How long the end waits for what is under way.
const END_WITHIN: Duration = Duration::from_secs(5);

/// The running sinks, if there are any.
#[derive(Default)]
pub(super) struct Sinks(Option<Delivery>);

impl Sinks {
    /// Starts the sinks of `config`, which read the store in `store`.
    pub(super) fn start(config: Option<&Config>, store: Option<&PathBuf>) -> Result<Self, DeliveryError> {
        let (Some(config), Some(store)) = (config, store) else { return Ok(Self::default()) };
        let talk: Talk = Arc::new(|line: &str| eprintln!("mcp-monitor: {line}"));
        let source = || Ok(Box::new(Stored::new(store.clone())) as Box<dyn crate::export::source::Source>);
        Delivery::start(config, &store.join(DIRECTORY), source, &talk).map(|delivery| Self(Some(delivery)))
    }

    /// Ends them: what is not delivered comes at the next start.
    pub(super) fn stop(self) {
        if let Some(delivery) = self.0 {
            delivery.stop(END_WITHIN);
        }
    }
}
