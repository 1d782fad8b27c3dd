//! Delivery's place in the wiring: sinks read the store while it is written.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use crate::{
    export::{
        Config, Delivery,
        delivery::{DIRECTORY, DeliveryError, Talk},
        stored::Stored,
    },
    service::sandbox,
};

/// How long the end waits for what is under way.
const END_WITHIN: Duration = Duration::from_secs(5);

/// The running sinks, if there are any.
#[derive(Clone, Default)]
pub(super) struct Sinks(Arc<Mutex<Option<Delivery>>>);

impl Sinks {
    /// Starts the sinks of `config`, which read the store in `store`.
    pub(super) fn start(config: Option<&Config>, store: Option<&PathBuf>) -> Result<Self, DeliveryError> {
        let (Some(config), Some(store)) = (config, store) else { return Ok(Self::default()) };
        let delivery = start(config, store)?;
        Ok(Self(Arc::new(Mutex::new(Some(delivery)))))
    }

    /// Reads the configuration again and goes on with its sinks, or with those before when it has mistakes. On a thread
    /// of its own: the sinks before end first, and no receiver may hold up the way of events.
    pub(super) fn reload(
        &mut self,
        configuration: Option<&Path>,
        store: Option<&PathBuf>,
        sandbox: &sandbox::Report,
    ) {
        let (Some(configuration), Some(store)) = (configuration, store) else { return };
        let (sinks, configuration, store) = (self.clone(), configuration.to_owned(), store.clone());
        let sandbox = sandbox.clone();
        let reload = move || match sinks.replace(&configuration, &store, &sandbox) {
            Ok(count) => say(&format!("{}: {count} sink(s) in force", configuration.display())),
            Err(error) => say(&format!("{error}. The sinks before stay in force")),
        };
        if let Err(error) = thread::Builder::new().name("reload".into()).spawn(reload) {
            say(&format!("the configuration is not read again: no thread for it: {error}"));
        }
    }

    fn replace(
        &self,
        configuration: &Path,
        store: &Path,
        sandbox: &sandbox::Report,
    ) -> Result<usize, Box<dyn std::error::Error>> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let config = Config::read(configuration)?;
        if sandbox.on
            && let Some(outside) = config.directories().find(|directory| !allowed(directory, sandbox))
        {
            return Err(format!(
                "{}: a sink writes below {}, where this monitor has given up writing at its start; restart it",
                configuration.display(),
                outside.display()
            )
            .into());
        }
        // Two of one name would share a cursor.
        if let Some(before) = running.take() {
            before.stop(END_WITHIN);
        }
        *running = Some(start(&config, store)?);
        Ok(config.sinks.len())
    }

    /// Ends them: what is not delivered comes at the next start.
    pub(super) fn stop(self) {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(delivery) = running {
            delivery.stop(END_WITHIN);
        }
    }
}

fn allowed(directory: &Path, sandbox: &sandbox::Report) -> bool {
    sandbox.writable.iter().any(|one| directory.starts_with(one))
}

fn start(config: &Config, store: &Path) -> Result<Delivery, DeliveryError> {
    let talk: Talk = Arc::new(say);
    let source = || Ok(Box::new(Stored::new(store.to_owned())) as Box<dyn crate::export::source::Source>);
    Delivery::start(config, &store.join(DIRECTORY), source, &talk)
}

fn say(line: &str) {
    eprintln!("mcp-monitor: {line}");
}
