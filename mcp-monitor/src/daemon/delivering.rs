//! Delivery's place in the wiring: sinks read the store while it is written.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use mcp_monitor_common::mechanism::Tier;

use crate::{
    control::Publisher,
    export::{
        Config, Delivery,
        delivery::{DIRECTORY, DeliveryError, Talk},
        heartbeat::{Life, Pulse},
        stored::Stored,
    },
};

/// How long the end waits for what is under way.
const END_WITHIN: Duration = Duration::from_secs(5);

/// The running sinks, if there are any.
#[derive(Clone)]
pub(super) struct Sinks {
    running: Arc<Mutex<Option<Delivery>>>,
    publisher: Publisher,
    pulse: Pulse,
}

impl Sinks {
    /// Starts the sinks of `config`, which read the store in `store`. `publisher` knows whether the pipeline turns.
    pub(super) fn start(
        config: Option<&Config>,
        store: Option<&PathBuf>,
        publisher: &Publisher,
        tier: Tier,
    ) -> Result<Self, DeliveryError> {
        let (publisher, pulse) = (publisher.clone(), pulse(publisher.clone(), tier));
        let sinks = Self { running: Arc::default(), publisher, pulse };
        if let (Some(config), Some(store)) = (config, store) {
            let delivery = sinks.begin(config, store)?;
            *sinks.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(delivery);
        }
        Ok(sinks)
    }

    fn begin(&self, config: &Config, store: &Path) -> Result<Delivery, DeliveryError> {
        let talk: Talk = Arc::new(say);
        let source = || Ok(Box::new(Stored::new(store.to_owned())) as Box<dyn crate::export::source::Source>);
        let delivery = Delivery::start(config, &store.join(DIRECTORY), source, &talk, Some(&self.pulse))?;
        self.publisher.sinks(delivery.board());
        Ok(delivery)
    }

    /// Reads the configuration again and goes on with its sinks, or with those before when it has mistakes. On a thread
    /// of its own: the sinks before end first, and no receiver may hold up the way of events.
    pub(super) fn reload(&mut self, configuration: Option<&Path>, store: Option<&PathBuf>) {
        let (Some(configuration), Some(store)) = (configuration, store) else { return };
        let (sinks, configuration, store) = (self.clone(), configuration.to_owned(), store.clone());
        let reload = move || {
            let replaced = sinks.replace(&configuration, &store);
            sinks.publisher.reloaded("configuration", replaced.is_ok());
            match replaced {
                Ok(count) => say(&format!("{}: {count} sink(s) in force", configuration.display())),
                Err(error) => say(&format!("{error}. The sinks before stay in force")),
            }
        };
        if let Err(error) = thread::Builder::new().name("reload".into()).spawn(reload) {
            say(&format!("the configuration is not read again: no thread for it: {error}"));
        }
    }

    fn replace(&self, configuration: &Path, store: &Path) -> Result<usize, Box<dyn std::error::Error>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let config = Config::read(configuration)?;
        // Two of one name would share a cursor.
        if let Some(before) = running.take() {
            before.stop(END_WITHIN);
        }
        *running = Some(self.begin(&config, store)?);
        Ok(config.sinks.len())
    }

    /// Ends them: what is not delivered comes at the next start.
    pub(super) fn stop(self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(delivery) = running {
            delivery.stop(END_WITHIN);
        }
    }
}

fn say(line: &str) {
    eprintln!("mcp-monitor: {line}");
}

/// A pipeline that did not turn for so long stands still.
const STILL_AFTER: Duration = Duration::from_secs(10);

/// Looks whether the pipeline has turned since it was last looked at.
fn pulse(publisher: Publisher, tier: Tier) -> Pulse {
    let started = Instant::now();
    let seen = Mutex::new((0, started));
    Arc::new(move || {
        let turns = publisher.turns()?;
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        if turns != seen.0 {
            *seen = (turns, Instant::now());
        }
        (seen.1.elapsed() < STILL_AFTER).then(|| Life {
            tier,
            uptime_seconds: started.elapsed().as_secs(),
            lost: publisher.lost_in_all(),
        })
    })
}
