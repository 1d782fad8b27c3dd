//! Where the commands of an expectation's life take recorded events from: the store, the monitor that runs, or files of
//! JSON lines. What did not come with the rest is handed back, since a proposal has to say so.

use std::{
    ops::ControlFlow,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use clap::Args;
use jiff::{SpanRelativeTo, Timestamp, Unit, Zoned};
use tokio::sync::mpsc;

use crate::{
    cli::{
        query::{QueryError, client, say_missed},
        recording, say,
        signals::Signals,
    },
    control::{
        Filter, Source,
        api::Status,
        moment,
        source::{Missed, SourceError, Span, What},
    },
    render::read::{Event, Finding, Line},
};

/// Events that wait to be taken in while a monitor is followed.
const WAITING_MAX: usize = 4096;

/// Where recorded events come from.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Recorded events")]
pub(super) struct Recorded {
    /// A file of JSON lines as `watch -o json` prints them, or - for standard input. May be given several times
    /// [default: the store of this host, else the monitor that runs]
    #[arg(long, short, value_name = "FILE")]
    input: Vec<PathBuf>,
    /// A store's directory, or the file of one of its days.
    #[arg(long, value_name = "DIR|FILE", conflicts_with = "input")]
    store: Option<PathBuf>,
    /// The monitor's socket.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["input", "store"])]
    socket: Option<PathBuf>,
    /// Not before TIME: 7d, "2 days ago", 2026-11-20, today, boot.
    #[arg(long, short = 'S', value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
}

/// What did not come with the rest, in words for a proposal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gaps(pub(super) Vec<String>);

impl Gaps {
    fn add(&mut self, missed: Missed) {
        let rows = [
            (missed.unreadable, "line(s) of the record could not be read"),
            (missed.dropped, "event(s) came faster than they were read"),
            (missed.older, "older event(s) are no longer held"),
        ];
        self.0.extend(
            rows.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")),
        );
    }
}

impl Recorded {
    /// The monitor that runs.
    pub(super) fn of_monitor(socket: Option<PathBuf>) -> Self {
        Self { socket, ..Self::default() }
    }

    /// Files, and not what a monitor of the whole host recorded.
    pub(super) fn is_of_files(&self) -> bool {
        !self.input.is_empty()
    }

    /// Hands every finding, as it last was told, to `take`, the oldest first.
    pub(super) fn each_finding(
        &self,
        mut take: impl FnMut(&Finding) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        let filter = self.filter(None)?;
        for source in self.sources() {
            let missed = source.each(What::Findings, &filter, Span::default(), |line, _| match &line {
                Line::Finding(finding) => take(finding),
                _ => ControlFlow::Continue(()),
            })?;
            say_missed(missed);
        }
        Ok(())
    }

    fn sources(&self) -> Vec<Source> {
        if !self.input.is_empty() {
            let source = |path: &PathBuf| {
                if path.as_os_str() == "-" { Source::StandardInput } else { Source::File(path.clone()) }
            };
            return self.input.iter().map(source).collect();
        }
        if let Some(store) = &self.store {
            return vec![Source::Store(store.clone())];
        }
        if self.socket.is_none() {
            let store = recording::default_directory();
            if crate::store::Reader::open(&store).is_ok() {
                say(&format_args!("from the store {}", store.display()));
                return vec![Source::Store(store)];
            }
        }
        vec![Source::Monitor(client(self.socket.as_ref()))]
    }

    fn filter(&self, workload: Option<&String>) -> Result<Filter, QueryError> {
        let since = self.since.as_deref().map(|text| moment::parse(text, &Zoned::now())).transpose();
        Ok(Filter {
            since: since.map_err(QueryError::Usage)?,
            workload: workload.cloned(),
            ..Filter::default()
        })
    }

    /// Hands every event of `workload`, or of all, to `take`, oldest first.
    pub(super) fn each(
        &self,
        workload: Option<&String>,
        mut take: impl FnMut(&Event),
    ) -> Result<Gaps, QueryError> {
        let filter = self.filter(workload)?;
        let mut gaps = Gaps::default();
        for source in self.sources() {
            if let Source::Monitor(monitor) = &source {
                let status: Status =
                    monitor.get("/v1/status", &Filter::default()).map_err(QueryError::from)?;
                gaps.0.extend(forgotten(&status, filter.since));
            }
            let missed = source.each(What::Events, &filter, Span::default(), |line, _| {
                if let Line::Event(event) = &line {
                    take(event);
                }
                ControlFlow::Continue(())
            })?;
            say_missed(missed);
            gaps.add(missed);
        }
        Ok(gaps)
    }

    /// Hands what `workload` does from now on to `take`, for so long or until Ctrl-C.
    pub(super) fn follow(
        &self,
        workload: &String,
        time: Duration,
        mut take: impl FnMut(&Event),
    ) -> anyhow::Result<Gaps> {
        let monitor = client(self.socket.as_ref());
        let _: Status = monitor.get("/v1/status", &Filter::default()).map_err(QueryError::from)?;
        let filter = self.filter(Some(workload))?;
        let (lines, mut arrived) = mpsc::channel(WAITING_MAX);
        let failure: Arc<Mutex<Option<SourceError>>> = Arc::default();
        let failed = Arc::clone(&failure);
        // Reads with blocking calls; it ends with the process, or with the connection.
        std::thread::Builder::new().name("follow".into()).spawn(move || {
            let span = Span { last: Some(0), follow: true };
            let ended = Source::Monitor(monitor).each(What::Events, &filter, span, |line, _| {
                match lines.blocking_send(line) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            });
            *failed.lock().unwrap_or_else(PoisonError::into_inner) = ended.err();
        })?;
        say(&format_args!(
            "learning what `{workload}` does for {}; Ctrl-C proposes what was seen until then",
            words(time)
        ));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let begun = std::time::Instant::now();
        let mut missed = Missed::default();
        runtime.block_on(async {
            let mut signals = Signals::new()?;
            let end = tokio::time::sleep(time);
            tokio::pin!(end);
            loop {
                tokio::select! {
                    () = &mut end => break,
                    _ = signals.next() => break,
                    line = arrived.recv() => match line {
                        Some(Line::Event(event)) => take(&event),
                        Some(Line::Dropped(count)) => missed.dropped += count,
                        Some(_) => {}
                        None => break,
                    },
                }
            }
            anyhow::Ok(())
        })?;
        let mut gaps = Gaps::default();
        gaps.add(missed);
        let lasted = begun.elapsed();
        if lasted < time {
            gaps.0.push(format!("was learnt for {} of {}", words(lasted), words(time)));
        }
        let failure = failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        match failure {
            Some(error @ SourceError::Ended) => say(&error),
            Some(error) => return Err(QueryError::from(error).into()),
            None => {}
        }
        Ok(gaps)
    }
}

/// What a monitor no longer holds of what is asked for.
fn forgotten(status: &Status, since: Option<Timestamp>) -> Option<String> {
    let events = &status.events;
    let all = events.expected + events.unexpected + events.forbidden + events.unjudged;
    let held = status.control.held;
    let is_all = held >= all || since.is_some_and(|since| since > Timestamp::now() - Duration::from_secs(1));
    (!is_all && !status.control.recorded && held >= crate::control::HELD_MAX as u64).then(|| {
        format!(
            "the monitor holds only its last {held} events; a store (`run --store DIR`) keeps all of them"
        )
    })
}

fn words(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

/// A length of time: `90s`, `2h`, `1d 12h`.
pub(super) fn length(text: &str) -> Result<Duration, String> {
    let help = || format!("{text:?} is no length of time; give one such as 90s, 30m, 2h or 1d");
    let span: jiff::Span = text.parse().map_err(|_| help())?;
    let seconds =
        span.total((Unit::Second, SpanRelativeTo::days_are_24_hours())).map_err(|error| error.to_string())?;
    if seconds >= 1.0 {
        Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
    } else {
        Err(help())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_written_as_people_do() {
        assert_eq!(length("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(length("2h"), Ok(Duration::from_hours(2)));
        assert_eq!(length("1d 12h"), Ok(Duration::from_hours(36)));
        for wrong in ["", "soon", "0s", "-2h", "2026-11-20"] {
            assert!(length(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_monitor_that_forgot_something_says_so() {
        let mut status = Status::default();
        status.events.unjudged = 20_000;
        status.control.held = crate::control::HELD_MAX as u64;
        assert!(forgotten(&status, None).is_some());
        status.control.recorded = true;
        assert!(forgotten(&status, None).is_none(), "it answers from its store");
        status.control.recorded = false;
        status.events.unjudged = 100;
        assert!(forgotten(&status, None).is_none());
    }
}
