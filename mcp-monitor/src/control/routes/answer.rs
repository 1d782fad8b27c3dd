//! Answers put together from the store and from what is not there yet, page by page, so that the longest history takes no
//! more memory than a page and the slowest reader stops nobody.

use super::{
    Context, Refusal,
    asked::Asked,
    lines::{lines_of, owned},
};
use crate::{
    control::{
        Filter, Matcher,
        hub::Hub,
        peer::Access,
        stored::{self, Bounds, History},
    },
    event::Event,
    render::read::CUT_SCHEMA,
    store::{StoreError, Writer},
};
use axum::body::Bytes;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::mpsc, task::spawn_blocking, time::timeout};

/// How long the beginning of the last lines is looked for.
const SEARCH_BUDGET: Duration = Duration::from_secs(10);
/// How long a question waits for its turn.
const TURN_WITHIN: Duration = Duration::from_secs(20);
/// How long a reader may read nothing before its answer ends.
const READ_WITHIN: Duration = Duration::from_mins(2);
/// Pages that wait for a reader.
const PAGES_AHEAD: usize = 2;
/// Bytes of findings that are gathered.
const FINDING_BYTES_MAX: usize = 24 << 20;
/// How often it is looked whether findings changed.
const CHANGES_EVERY: Duration = Duration::from_millis(250);

/// A part of an answer: whole lines.
pub(super) type Part = Result<Bytes, std::convert::Infallible>;

/// Where an answer about events stands when it begins.
pub(super) struct Begun {
    history: History,
    /// What will be rows later, or never.
    rest: Vec<String>,
    /// Why it is not whole.
    cut: Option<String>,
    /// Events with a number up to this one are in it, or were lost.
    pub(super) through: u64,
}

/// What is held in memory, as of the moment when following began.
pub(super) struct Held {
    pub(super) events: Vec<Arc<Event>>,
    /// The last event of all.
    pub(super) through: u64,
}

fn only_uid(access: Access) -> Option<u32> {
    match access {
        Access::All | Access::Read => None,
        Access::Own(uid) => Some(uid),
    }
}

/// Begins an answer: what was given to the store is written, and what of it is meant is about to be read.
pub(super) async fn begin(
    context: &Context,
    store: Writer,
    asked: &Asked,
    access: Access,
    held: Held,
) -> Result<Begun, Refusal> {
    let place = turn(context).await?;
    let (hub, filter, matcher) = (Arc::clone(&context.hub), asked.filter.clone(), asked.matcher.clone());
    let (last, follow) = (asked.last, asked.follow);
    let begun = spawn_blocking(move || {
        let _place = place;
        begin_now(&hub, &store, &filter, &matcher, access, last, follow, held)
    });
    Ok(begun.await.map_err(Refusal::failed)??)
}

#[allow(clippy::too_many_arguments, reason = "one caller, which has them apart")]
fn begin_now(
    hub: &Hub,
    store: &Writer,
    filter: &Filter,
    matcher: &Matcher,
    access: Access,
    last: usize,
    follow: bool,
    held: Held,
) -> Result<Begun, StoreError> {
    let directory = store.directory();
    let open = |last| {
        let bounds = Bounds { only_uid: only_uid(access), last: Some(last), budget: SEARCH_BUDGET };
        History::open(directory, filter, matcher, bounds)
    };
    let (rest, through, cut, history) = match store.seam(!follow && may_be_expected(filter)) {
        Ok(mut seam) => {
            let waiting = std::mem::take(&mut seam.waiting).into_iter().map(Arc::new).collect();
            let state = hub.lock();
            let waiting = owned(waiting, access, |instance| state.uid_of(instance));
            let origin = state.origin.clone();
            drop(state);
            let rest = lines_of(&waiting, matcher, last, |event| seam.line(event, &origin));
            let history = open(last.saturating_sub(rest.len()))?;
            (rest, seam.offered, None, history)
        }
        Err(error) => {
            // Memory stands in for what the store could not take.
            let mut history = open(last)?;
            let newest = history.newest()?;
            let state = hub.lock();
            let origin = state.origin.clone();
            let newer: Vec<_> = held
                .events
                .into_iter()
                .filter(|event| newest.is_none_or(|newest| origin.time(event.boot_ns) > newest))
                .collect();
            let newer = owned(newer, access, |instance| state.uid_of(instance));
            drop(state);
            let rest = lines_of(&newer, matcher, last, |event| crate::control::hub::line(event, &origin));
            let why = format!("{error}; what is not recorded comes from memory, and not all of it");
            (rest, held.through, Some(why), history)
        }
    };
    let cut = cut.or_else(|| {
        history.is_cut.then(|| "the search took too long and was ended; narrow the question".to_owned())
    });
    Ok(Begun { history, rest, cut, through })
}

/// True when expected repeats may be asked for, which alone wait in memory to be put together.
fn may_be_expected(filter: &Filter) -> bool {
    let asks = filter.verdict.as_ref().is_none_or(|verdict| verdict.contains("expected"));
    asks && filter.rule.is_none() && filter.severity.is_none() && filter.state.is_none()
}

async fn turn(context: &Context) -> Result<tokio::sync::OwnedSemaphorePermit, Refusal> {
    match timeout(TURN_WITHIN, Arc::clone(&context.places).acquire_owned()).await {
        Ok(Ok(place)) => Ok(place),
        _ => Err(Refusal::busy("too many questions are asked at once. Try again")),
    }
}

impl Begun {
    /// Hands the answer over as it is read.
    pub(super) fn parts(self, context: &Context) -> mpsc::Receiver<Part> {
        let (parts, receiver) = mpsc::channel(PAGES_AHEAD);
        let context = context.clone();
        tokio::spawn(async move {
            // A reader that is gone, or does not read, has its answer ended; nobody is left to be told.
            let _ = self.hand_over(&context, &parts).await;
        });
        receiver
    }

    async fn hand_over(self, context: &Context, parts: &mpsc::Sender<Part>) -> Option<()> {
        let Self { mut history, rest, mut cut, .. } = self;
        loop {
            let Ok(place) = turn(context).await else {
                cut = Some("too many questions were asked at once".to_owned());
                break;
            };
            let read = spawn_blocking(move || {
                let _place = place;
                (history.page(), history)
            });
            let (page, again) = read.await.ok()?;
            history = again;
            match page {
                Ok(Some(lines)) => send(parts, &lines).await?,
                Ok(None) => break,
                Err(error) => {
                    cut = Some(error.to_string());
                    break;
                }
            }
        }
        send(parts, &rest).await?;
        if let Some(reason) = cut {
            send(parts, &[cut_line(&reason)]).await?;
        }
        Some(())
    }

    /// Hands each line to `take`, on a thread that may wait.
    pub(super) fn each(mut self, mut take: impl FnMut(&str)) -> Result<(), StoreError> {
        while let Some(lines) = self.history.page()? {
            for line in &lines {
                take(line);
            }
        }
        for line in &self.rest {
            take(line);
        }
        Ok(())
    }
}

/// The line that tells that an answer is not whole.
fn cut_line(reason: &str) -> String {
    serde_json::json!({ "schema": CUT_SCHEMA, "reason": reason }).to_string()
}

async fn send(parts: &mpsc::Sender<Part>, lines: &[String]) -> Option<()> {
    if lines.is_empty() {
        return Some(());
    }
    let mut text = String::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    timeout(READ_WITHIN, parts.send(Ok(text.into()))).await.ok()?.ok()
}

/// Findings as they stand.
pub(super) async fn findings(
    context: &Context,
    store: Writer,
    asked: &Asked,
    access: Access,
) -> Result<Vec<String>, Refusal> {
    let place = turn(context).await?;
    let (filter, matcher, last) = (asked.filter.clone(), asked.matcher.clone(), asked.last);
    let found = spawn_blocking(move || {
        let _place = place;
        findings_now(&store, &filter, &matcher, access, last)
    });
    Ok(found.await.map_err(Refusal::failed)??)
}

/// The same on a thread that may wait.
pub(super) fn findings_now(
    store: &Writer,
    filter: &Filter,
    matcher: &Matcher,
    access: Access,
    last: usize,
) -> Result<Vec<String>, StoreError> {
    let stopped = store.seam(false).err();
    let bounds = Bounds { only_uid: only_uid(access), last: Some(last), budget: SEARCH_BUDGET };
    let (mut lines, is_cut) =
        stored::findings(store.directory(), filter, matcher, bounds, FINDING_BYTES_MAX)?;
    if let Some(error) = stopped {
        lines.push(cut_line(&error.to_string()));
    } else if is_cut {
        lines.push(cut_line("older findings are left out; narrow the question"));
    }
    Ok(lines)
}

/// Findings as they change from now on, whoever changes them.
pub(super) fn changes(
    context: &Context,
    store: Writer,
    asked: &Asked,
    access: Access,
) -> mpsc::Receiver<Part> {
    let (parts, receiver) = mpsc::channel(PAGES_AHEAD);
    let (context, filter, matcher) = (context.clone(), asked.filter.clone(), asked.matcher.clone());
    let mut through = store.finding_changes();
    let place: PathBuf = store.directory().to_owned();
    tokio::spawn(async move {
        let mut clock = tokio::time::interval(CHANGES_EVERY);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = clock.tick() => {}
                () = parts.closed() => return,
            }
            let known = store.finding_changes();
            if known <= through {
                continue;
            }
            let (place, filter, matcher) = (place.clone(), filter.clone(), matcher.clone());
            let Ok(turn) = turn(&context).await else { continue };
            let read = spawn_blocking(move || {
                let _turn = turn;
                stored::changed_findings(
                    Path::new(&place),
                    &filter,
                    &matcher,
                    only_uid(access),
                    through,
                    known,
                )
            });
            // What cannot be read now is read the next time.
            let Ok(Ok((lines, now))) = read.await else { continue };
            through = now;
            if send(&parts, &lines).await.is_none() {
                return;
            }
        }
    });
    receiver
}
