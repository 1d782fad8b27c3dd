//! Events and findings as lines, those that are held and those that come.

use super::{
    Context, Refusal,
    asked::{Asked, Extent},
};
use crate::{
    control::{
        Filter, Matcher,
        api::Problem,
        hub::{Hub, Published},
        peer::{Access, Peer},
    },
    event::{Action, Event, Finding},
    render::{
        Origin, json,
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
use std::{collections::VecDeque, convert::Infallible, sync::Arc};
use tokio::{sync::broadcast, task::spawn_blocking};
use tokio_stream::{
    StreamExt as _,
    wrappers::{BroadcastStream, errors::BroadcastStreamRecvError},
};

const NDJSON: &str = "application/x-ndjson";

/// What processes did, oldest first.
#[utoipa::path(get, path = "/v1/events", tag = "lines", params(Filter, Extent), responses(
    (status = 200, description = "One event a line (event.v1.json)", content_type = NDJSON, body = String),
    (status = 400, description = "The filter is wrong", body = Problem)))]
pub(super) async fn events(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    asked: Asked,
) -> Result<Response, Refusal> {
    let Asked { matcher, last, follow } = asked;
    let access = peer.access;
    let (held, origin, live) = {
        let state = context.hub.lock();
        let (held, live) = state.events();
        let owned = owned(held, access, |instance| state.uid_of(instance));
        (owned, state.origin.clone(), live)
    };
    let for_held = matcher.clone();
    let lines =
        spawn_blocking(move || latest(&held, &origin, &for_held, last)).await.map_err(Refusal::failed)?;
    Ok(answer(lines, follow.then_some((live, access, matcher, false))))
}

/// What a person should know. A finding that is told again comes again with the same id: the later line replaces the
/// earlier.
#[utoipa::path(get, path = "/v1/findings", tag = "lines", params(Filter, Extent), responses(
    (status = 200, description = "One finding a line (finding.v1.json)", content_type = NDJSON, body = String),
    (status = 400, description = "The filter is wrong", body = Problem)))]
pub(super) async fn findings(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    asked: Asked,
) -> Result<Response, Refusal> {
    let Asked { matcher, last, follow } = asked;
    let access = peer.access;
    let (held, origin, live) = {
        let state = context.hub.lock();
        let (mut held, live) = state.findings();
        held.retain(|finding| access.sees(Some(finding.process.uid)));
        (held, state.origin.clone(), live)
    };
    let for_held = matcher.clone();
    let held = spawn_blocking(move || latest_findings(&held, &origin, &for_held, last));
    let lines = held.await.map_err(Refusal::failed)?;
    Ok(answer(lines, follow.then_some((live, access, matcher, true))))
}

/// Those of `held` that `access` sees.
fn owned(held: Vec<Arc<Event>>, access: Access, uid_of: impl Fn(&str) -> Option<u32>) -> Vec<Arc<Event>> {
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

/// The last of `held` that `matcher` asks for, as lines.
pub(super) fn latest(
    held: &[Arc<Event>],
    origin: &Origin,
    matcher: &Matcher,
    last: usize,
) -> VecDeque<Vec<u8>> {
    let mut lines = VecDeque::new();
    for event in held.iter().rev() {
        if lines.len() == last {
            break;
        }
        let mut line = Vec::with_capacity(2048);
        json::event(&mut line, origin, event);
        let text = String::from_utf8_lossy(&line);
        if matches!(Line::parse(&text), Ok(Line::Event(read)) if matcher.event(&read)) {
            lines.push_front(line);
        }
    }
    lines
}

/// The same of findings.
fn latest_findings(held: &[Finding], origin: &Origin, matcher: &Matcher, last: usize) -> VecDeque<Vec<u8>> {
    let mut lines = VecDeque::new();
    for finding in held.iter().rev() {
        if lines.len() == last {
            break;
        }
        let mut line = Vec::with_capacity(2048);
        json::finding(&mut line, origin, finding);
        let text = String::from_utf8_lossy(&line);
        if matches!(Line::parse(&text), Ok(Line::Finding(read)) if matcher.finding(&read)) {
            lines.push_front(line);
        }
    }
    lines
}

/// Events that `access` sees as a reader sees them, with findings, for pictures.
pub(super) fn read_all(hub: &Hub, access: Access, matcher: &Matcher) -> crate::control::source::Gathered {
    let (events, findings, origin) = {
        let state = hub.lock();
        let (events, _) = state.events();
        let events = owned(events, access, |instance| state.uid_of(instance));
        (events, state.findings().0, state.origin.clone())
    };
    let mut gathered = crate::control::source::Gathered::default();
    let mut line = Vec::with_capacity(2048);
    for event in events {
        line.clear();
        json::event(&mut line, &origin, &event);
        if let Ok(read) = Line::parse(&String::from_utf8_lossy(&line)) {
            gathered.take(read, matcher);
        }
    }
    for finding in findings.iter().filter(|finding| access.sees(Some(finding.process.uid))) {
        line.clear();
        json::finding(&mut line, &origin, finding);
        if let Ok(read) = Line::parse(&String::from_utf8_lossy(&line)) {
            gathered.take(read, matcher);
        }
    }
    gathered
}

type Live = (broadcast::Receiver<Arc<Published>>, Access, Matcher, bool);

fn answer(lines: VecDeque<Vec<u8>>, live: Option<Live>) -> Response {
    let held = tokio_stream::iter(lines.into_iter().map(|line| Ok::<_, Infallible>(Bytes::from(line))));
    let body = match live {
        None => Body::from_stream(held),
        Some(live) => Body::from_stream(held.chain(following(live))),
    };
    ([(header::CONTENT_TYPE, NDJSON)], body).into_response()
}

/// What comes from now on. A reader that is too slow loses lines and is told how many; nobody waits for it.
fn following(
    (live, access, matcher, findings): Live,
) -> impl tokio_stream::Stream<Item = Result<Bytes, Infallible>> {
    BroadcastStream::new(live).filter_map(move |item| match item {
        Ok(published) => {
            let wanted = published.finding == findings
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
