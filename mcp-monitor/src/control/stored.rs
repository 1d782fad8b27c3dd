//! Asking a store, or the file of one day: the store's own index finds what may be meant, the filter decides what the
//! index does not know. The daemon and `--store` ask alike.

use super::{Filter, Matcher};
use crate::{
    event::{FindingState, Severity, Verdict},
    render::read::Line,
    store::{self, Cursor, FindingFilter, Order, ProcessFilter, Query, Reader, StoreError, query::LIMIT_MAX},
};
use jiff::{SignedDuration, Timestamp};
use std::{
    ops::ControlFlow,
    path::Path,
    time::{Duration, Instant},
};

/// Rows that are read at once.
const PAGE_ROWS: usize = 4096;
/// How long one page may take, so that others get their turn.
const PAGE_BUDGET: Duration = Duration::from_millis(500);
/// An id holds the moment when its event was taken in, which is not the one when it happened.
const ID_SLACK: SignedDuration = SignedDuration::from_mins(1);

/// Events of a store, oldest first, page by page.
pub(super) struct History {
    reader: Reader,
    query: Query,
    matcher: Matcher,
    /// The index decides everything that is asked.
    is_exact: bool,
    end: Cursor,
    is_over: bool,
    /// The search for the beginning took too long: what is older is left out.
    pub(super) is_cut: bool,
}

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// What this user's processes did.
    pub(super) only_uid: Option<u32>,
    /// Only the last so many.
    pub(super) last: Option<usize>,
    /// How long the beginning of the last may be looked for.
    pub(super) budget: Duration,
}

impl History {
    /// Events of the store at `place` that `filter` means. What is recorded from now on is none of them.
    pub(super) fn open(
        place: &Path,
        filter: &Filter,
        matcher: &Matcher,
        bounds: Bounds,
    ) -> Result<Self, StoreError> {
        let mut reader = Reader::open(place)?;
        let end = reader.end()?;
        let query = Query {
            filter: store::Filter { only_uid: bounds.only_uid, ..coarse(filter) },
            order: Order::OldestFirst,
            limit: PAGE_ROWS,
            budget: PAGE_BUDGET,
            ..Query::default()
        };
        let mut history = Self {
            reader,
            query,
            matcher: matcher.clone(),
            is_exact: is_exact(filter),
            end,
            // These are of findings.
            is_over: filter.severity.is_some() || filter.state.is_some(),
            is_cut: false,
        };
        if let Some(last) = bounds.last
            && !history.is_over
        {
            history.begin_at_last(last, Instant::now() + bounds.budget)?;
        }
        Ok(history)
    }

    /// Goes back from the end until `last` were met.
    fn begin_at_last(&mut self, last: usize, until: Instant) -> Result<(), StoreError> {
        let mut back = Query { order: Order::NewestFirst, lines: !self.is_exact, ..self.query.clone() };
        let (mut met, mut first) = (0, None);
        while met < last {
            back.limit = if self.is_exact { (last - met).min(LIMIT_MAX) } else { PAGE_ROWS };
            let page = self.reader.events(&back)?;
            for row in page.rows {
                if met < last && row.cursor <= self.end && (self.is_exact || self.means(&row.line)) {
                    met += 1;
                    first = Some(row.cursor);
                }
            }
            if page.complete {
                break;
            }
            back.after = page.next;
            if Instant::now() >= until {
                self.is_cut = true;
                break;
            }
        }
        match first {
            Some(Cursor(first)) => self.query.after = Some(Cursor(first.saturating_sub(1))),
            None => self.is_over = true,
        }
        Ok(())
    }

    fn means(&self, line: &str) -> bool {
        matches!(Line::parse(line), Ok(Line::Event(event)) if self.matcher.event(&event))
    }

    /// The next lines, which may be none although more come; `None` when nothing comes any more.
    pub(super) fn page(&mut self) -> Result<Option<Vec<String>>, StoreError> {
        if self.is_over {
            return Ok(None);
        }
        let page = self.reader.events(&self.query)?;
        self.is_over = page.complete || page.next.is_some_and(|next| next >= self.end);
        self.query.after = page.next;
        let within = page.rows.into_iter().filter(|row| row.cursor <= self.end);
        Ok(Some(within.map(|row| row.line).filter(|line| self.is_exact || self.means(line)).collect()))
    }

    /// When the newest of all rows happened.
    pub(super) fn newest(&mut self) -> Result<Option<Timestamp>, StoreError> {
        let newest = Query { limit: 1, ..Query::default() };
        let row = self.reader.events(&newest)?.rows.into_iter().next();
        Ok(row.and_then(|row| match Line::parse(&row.line) {
            Ok(Line::Event(event)) => Some(event.time),
            _ => None,
        }))
    }
}

/// Findings of the store at `place` as they stand, the one seen last at the end; and whether older ones were left out
/// for want of room.
pub(super) fn findings(
    place: &Path,
    filter: &Filter,
    matcher: &Matcher,
    bounds: Bounds,
    bytes_max: usize,
) -> Result<(Vec<String>, bool), StoreError> {
    let mut reader = Reader::open(place)?;
    let wanted = FindingFilter { order: Order::NewestFirst, ..coarse_finding(filter, bounds.only_uid) };
    let last = bounds.last.unwrap_or(usize::MAX);
    let (mut lines, mut bytes, mut is_cut) = (Vec::new(), 0, false);
    reader.each_finding(&wanted, |row| {
        if lines.len() >= last {
            return ControlFlow::Break(());
        }
        if means_finding(matcher, &row.line) {
            bytes += row.line.len();
            if bytes > bytes_max {
                is_cut = true;
                return ControlFlow::Break(());
            }
            lines.push(row.line);
        }
        ControlFlow::Continue(())
    })?;
    lines.reverse();
    Ok((lines, is_cut))
}

/// Findings that changed after `change`, in the order of their changes, and how far that is; `known` is a change that was
/// made for certain.
pub(super) fn changed_findings(
    place: &Path,
    filter: &Filter,
    matcher: &Matcher,
    only_uid: Option<u32>,
    change: u64,
    known: u64,
) -> Result<(Vec<String>, u64), StoreError> {
    let mut reader = Reader::open(place)?;
    let wanted = FindingFilter {
        changed_after: Some(change),
        order: Order::OldestFirst,
        limit: PAGE_ROWS,
        ..coarse_finding(filter, only_uid)
    };
    let (mut lines, mut through, mut rows) = (Vec::new(), change, 0);
    reader.each_finding(&wanted, |row| {
        through = row.change;
        rows += 1;
        if means_finding(matcher, &row.line) {
            lines.push(row.line);
        }
        ControlFlow::Continue(())
    })?;
    // Changes of findings that are not meant are passed over; more may come behind a full page.
    Ok((lines, if rows < PAGE_ROWS { through.max(known) } else { through }))
}

fn means_finding(matcher: &Matcher, line: &str) -> bool {
    matches!(Line::parse(line), Ok(Line::Finding(finding)) if matcher.finding(&finding))
}

fn coarse_finding(filter: &Filter, only_uid: Option<u32>) -> FindingFilter {
    let severity = |word: &String| {
        [Severity::Low, Severity::Medium, Severity::High, Severity::Critical]
            .into_iter()
            .find(|severity| severity.name() == word)
    };
    let state = |word: &String| FindingState::ALL.into_iter().find(|state| state.name() == word);
    FindingFilter {
        since: filter.since,
        until: filter.until,
        rule: words(filter.rule.as_ref()),
        severity: words(filter.severity.as_ref()).iter().filter_map(severity).min(),
        state: words(filter.state.as_ref()).iter().filter_map(state).collect(),
        workload: words(filter.workload.as_ref()),
        id: words(filter.id.as_ref()),
        only_uid,
        ..FindingFilter::default()
    }
}

/// What the store's index can decide. Nothing that the filter means is left out by it.
fn coarse(filter: &Filter) -> store::Filter {
    let verdict = |word: &String| {
        [Verdict::Expected, Verdict::Unexpected, Verdict::Forbidden, Verdict::Unjudged]
            .into_iter()
            .find(|verdict| verdict.name() == word)
    };
    let pids = |text: Option<&String>| words(text).into_iter().filter_map(|pid| pid.parse().ok());
    let (since, until) = time_of_ids(filter);
    store::Filter {
        since: filter.since.max(since),
        until: filter.until.into_iter().chain(until).min(),
        workload: words(filter.workload.as_ref()),
        kind: words(filter.kind.as_ref()),
        verdict: words(filter.verdict.as_ref()).iter().filter_map(verdict).collect(),
        rule: words(filter.rule.as_ref()),
        pid: pids(filter.pid.as_ref()).collect(),
        tree: pids(filter.tree.as_ref()).map(|pid| ProcessFilter { pid, start: None }).collect(),
        container: words(filter.container.as_ref()),
        user: words(filter.user.as_ref()),
        path: filter.path.clone().into_iter().collect(),
        destination: words(filter.destination.as_ref()),
        text: pod_text(filter),
        only_uid: None,
    }
}

/// True when the index decides everything that is asked.
fn is_exact(filter: &Filter) -> bool {
    filter.pod.is_none() && filter.id.is_none()
}

/// The pod's name as it stands in a line, where one is wanted: few lines then have to be read as JSON.
fn pod_text(filter: &Filter) -> Option<String> {
    let wanted = words(filter.pod.as_ref());
    let [one] = wanted.as_slice() else { return None };
    let name = one.rsplit('/').next().unwrap_or(one);
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    is_plain.then(|| format!("\"pod\":\"{name}\""))
}

/// The span of time in which events with these ids were taken in: an id begins with its milliseconds.
fn time_of_ids(filter: &Filter) -> (Option<Timestamp>, Option<Timestamp>) {
    const DIGITS: usize = 12;
    let mut span: (Option<Timestamp>, Option<Timestamp>) = (None, None);
    for id in words(filter.id.as_ref()) {
        let digits: String = id.chars().filter(|letter| *letter != '-').take(DIGITS).collect();
        let bound = |filler: char| {
            let text: String = digits.chars().chain(std::iter::repeat(filler)).take(DIGITS).collect();
            i64::from_str_radix(&text, 16).ok().and_then(|time| Timestamp::from_millisecond(time).ok())
        };
        let (Some(from), Some(through)) = (bound('0'), bound('f')) else { return (None, None) };
        let from = from.checked_sub(ID_SLACK).unwrap_or(from);
        let through = through.checked_add(ID_SLACK).unwrap_or(through);
        span.0 = Some(span.0.map_or(from, |known| known.min(from)));
        span.1 = Some(span.1.map_or(through, |known| known.max(through)));
    }
    span
}

fn words(text: Option<&String>) -> Vec<String> {
    let words = text.into_iter().flat_map(|text| text.split(','));
    words.map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}
