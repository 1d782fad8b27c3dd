//! Events and findings as lines, those that are held and those that come.

use super::{
    Context, Refusal,
    answer::{Begun, Held, Part, begin, changes, findings as stored_findings, findings_now},
    asked::{Asked, Extent},
};
use crate::{
    control::{
        Filter, Matcher,
        api::Problem,
        hub::{Hub, Published, finding_line, line},
        peer::{Access, Peer},
        source::Gathered,
    },
    event::{Action, Event, Finding},
    render::{
        Origin,
        read::{DROPPED_SCHEMA, Line},
    },
};
use axum::{
    Extension,
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use std::sync::Arc;
use tokio::{sync::broadcast, task::spawn_blocking};
use tokio_stream::{
    StreamExt as _,
    wrappers::{BroadcastStream, ReceiverStream, errors::BroadcastStreamRecvError},
};

const NDJSON: &str = "application/x-ndjson";

/// What processes did, oldest first: from the store, joined with what is not written yet.
#[utoipa::path(get, path = "/v1/events", tag = "lines", params(Filter, Extent), responses(
    (status = 200, description = "One event a line (event.v1.json). An answer that is not whole ends with a line of the \
        schema mcp-monitor/cut/v1, which says why", content_type = NDJSON, body = String),
    (status = 400, description = "The filter is wrong", body = Problem),
    (status = 503, description = "Too many questions at once", body = Problem)))]
pub(super) async fn events(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    asked: Asked,
) -> Result<Response, Refusal> {
    note(&context, &peer, "events", &asked);
    let access = peer.access;
    let (events, live, through, origin) = {
        let state = context.hub.lock();
        let (events, live) = state.events();
        (events, live, state.through(), state.origin.clone())
    };
    let live = |after| {
        asked.follow.then(|| Live {
            lines: live,
            access,
            matcher: asked.matcher.clone(),
            what: What::Events(after),
        })
    };
    let Some(store) = context.hub.pulse.store.get().cloned() else {
        let held = {
            let state = context.hub.lock();
            owned(events, access, |instance| state.uid_of(instance))
        };
        let (matcher, last) = (asked.matcher.clone(), asked.last);
        let lines = spawn_blocking(move || lines_of(&held, &matcher, last, |event| line(event, &origin)));
        return Ok(answer(held_parts(lines.await.map_err(Refusal::failed)?), live(through)));
    };
    let begun = begin(&context, store, &asked, access, Held { events, through }).await?;
    let through = begun.through;
    Ok(answer(ReceiverStream::new(begun.parts(&context)), live(through)))
}

/// What a person should know, as it stands. A finding that is told again, or that somebody dealt with, comes again with
/// the same id: the later line replaces the earlier.
#[utoipa::path(get, path = "/v1/findings", tag = "lines", params(Filter, Extent), responses(
    (status = 200, description = "One finding a line (finding.v1.json)", content_type = NDJSON, body = String),
    (status = 400, description = "The filter is wrong", body = Problem),
    (status = 503, description = "Too many questions at once", body = Problem)))]
pub(super) async fn findings(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    asked: Asked,
) -> Result<Response, Refusal> {
    note(&context, &peer, "findings", &asked);
    let access = peer.access;
    if let Some(store) = context.hub.pulse.store.get().cloned() {
        // Before what there is is read, so that nothing falls in between.
        let changes = asked.follow.then(|| changes(&context, store.clone(), &asked, access));
        let held = held_parts(stored_findings(&context, store, &asked, access).await?);
        return Ok(match changes {
            None => body(held),
            Some(changes) => body(held.chain(ReceiverStream::new(changes))),
        });
    }
    let (held, live, origin) = {
        let state = context.hub.lock();
        let (mut held, live) = state.findings();
        held.retain(|finding| access.sees(Some(finding.process.uid)));
        (held, live, state.origin.clone())
    };
    let (matcher, last) = (asked.matcher.clone(), asked.last);
    let lines = spawn_blocking(move || latest_findings(&held, &origin, &matcher, last));
    let live =
        asked.follow.then(|| Live { lines: live, access, matcher: asked.matcher, what: What::Findings });
    Ok(answer(held_parts(lines.await.map_err(Refusal::failed)?), live))
}

/// Chains that it was asked, where anything is recorded.
pub(super) fn note(context: &Context, peer: &Peer, path: &str, asked: &Asked) {
    if let Some(store) = context.hub.pulse.store.get() {
        let (what, likeness) = asked.in_words(path);
        context.hub.pulse.asked.note(store, peer, &what, &likeness);
    }
}

/// Those of `held` that `access` sees.
pub(super) fn owned(
    held: Vec<Arc<Event>>,
    access: Access,
    uid_of: impl Fn(&str) -> Option<u32>,
) -> Vec<Arc<Event>> {
    if access.sees_all() {
        return held;
    }
    held.into_iter()
        .filter(|event| match event.action {
            Action::Coverage(_) => access.sees(uid_of(&event.workload.instance)),
            _ => access.sees(Some(event.process.uid)),
        })
        .collect()
}

/// The last of `events` that `matcher` asks for, as lines.
pub(super) fn lines_of(
    events: &[Arc<Event>],
    matcher: &Matcher,
    last: usize,
    line: impl Fn(&Event) -> String,
) -> Vec<String> {
    let is_meant = |line: &String| matches!(Line::parse(line), Ok(Line::Event(read)) if matcher.event(&read));
    let mut lines: Vec<_> =
        events.iter().rev().map(|event| line(event)).filter(is_meant).take(last).collect();
    lines.reverse();
    lines
}

/// The same of findings.
fn latest_findings(held: &[Finding], origin: &Origin, matcher: &Matcher, last: usize) -> Vec<String> {
    let is_meant =
        |line: &String| matches!(Line::parse(line), Ok(Line::Finding(read)) if matcher.finding(&read));
    let mut lines: Vec<_> =
        held.iter().rev().map(|finding| finding_line(finding, origin)).filter(is_meant).take(last).collect();
    lines.reverse();
    lines
}

/// Events of a picture at most: they are held together.
const PICTURED_MAX: usize = 16 * 1024;

/// Events that `access` sees as a reader sees them, with findings, for pictures. On a thread that may wait.
pub(super) fn read_all(
    hub: &Hub,
    asked: &Asked,
    access: Access,
    begun: Option<Begun>,
) -> Result<Gathered, Refusal> {
    let mut gathered = Gathered::default();
    let mut take = |text: &str| {
        // What another version wrote is left out.
        if let Ok(line) = Line::parse(text) {
            gathered.take(line, &asked.matcher);
        }
    };
    let (events, findings, origin) = {
        let state = hub.lock();
        let (events, _) = state.events();
        let events = owned(events, access, |instance| state.uid_of(instance));
        (events, state.findings().0, state.origin.clone())
    };
    if let (Some(begun), Some(store)) = (begun, hub.pulse.store.get()) {
        begun.each(&mut take)?;
        for line in findings_now(store, &asked.filter, &asked.matcher, access, PICTURED_MAX)? {
            take(&line);
        }
        return Ok(gathered);
    }
    for event in events {
        take(&line(&event, &origin));
    }
    for finding in findings.iter().filter(|finding| access.sees(Some(finding.process.uid))) {
        take(&finding_line(finding, &origin));
    }
    Ok(gathered)
}

/// The same, with the beginning made.
pub(super) async fn gather(
    context: &Context,
    peer: &Peer,
    path: &str,
    mut asked: Asked,
) -> Result<Gathered, Refusal> {
    note(context, peer, path, &asked);
    let access = peer.access;
    asked.last = asked.last.min(PICTURED_MAX);
    let begun = match context.hub.pulse.store.get().cloned() {
        None => None,
        Some(store) => {
            let held = Held { events: Vec::new(), through: 0 };
            Some(begin(context, store, &asked, access, held).await?)
        }
    };
    let hub = Arc::clone(&context.hub);
    spawn_blocking(move || read_all(&hub, &asked, access, begun)).await.map_err(Refusal::failed)?
}

/// What a follower wants.
enum What {
    /// Events after this one.
    Events(u64),
    Findings,
}

/// What comes from now on.
struct Live {
    lines: broadcast::Receiver<Arc<Published>>,
    access: Access,
    matcher: Matcher,
    what: What,
}

fn held_parts(lines: Vec<String>) -> impl tokio_stream::Stream<Item = Part> {
    tokio_stream::iter(lines.into_iter().map(|line| Ok(Bytes::from(line + "\n"))))
}

fn body(parts: impl tokio_stream::Stream<Item = Part> + Send + 'static) -> Response {
    ([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(parts)).into_response()
}

fn answer(parts: impl tokio_stream::Stream<Item = Part> + Send + 'static, live: Option<Live>) -> Response {
    match live {
        None => body(parts),
        Some(live) => body(parts.chain(following(live))),
    }
}

/// What comes from now on. A reader that is too slow loses lines and is told how many; nobody waits for it.
fn following(Live { lines, access, matcher, what }: Live) -> impl tokio_stream::Stream<Item = Part> {
    BroadcastStream::new(lines).filter_map(move |item| match item {
        Ok(published) => {
            let is_what = match what {
                What::Events(after) => !published.finding && published.number > after,
                What::Findings => published.finding,
            };
            let wanted = is_what
                && access.sees(published.uid)
                && (matcher.wants_all()
                    || match published.read() {
                        Some(Line::Event(event)) => matcher.event(event),
                        Some(Line::Finding(finding)) => matcher.finding(finding),
                        _ => false,
                    });
            wanted.then(|| Ok(Bytes::copy_from_slice(published.line.as_bytes())))
        }
        Err(BroadcastStreamRecvError::Lagged(count)) => {
            Some(Ok(format!("{{\"schema\":\"{DROPPED_SCHEMA}\",\"dropped\":{count}}}\n").into()))
        }
    })
}
