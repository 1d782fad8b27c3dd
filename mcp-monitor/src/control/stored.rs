//! Asking a store, or the file of one day: the store's own index finds what may be meant, the filter decides.

use super::{
    Filter,
    source::{Span, What},
};
use crate::{
    event::Verdict,
    store::{self, FindingFilter, Order, Query, Reader, StoreError, query::LIMIT_MAX},
};
use std::{ops::ControlFlow, path::Path};

/// Rows that are asked for at once.
const PAGE_ROWS: usize = 10_000;

/// Hands the lines of a store that `filter` may mean to `take`, oldest first.
pub(super) fn each(
    place: &Path,
    what: What,
    filter: &Filter,
    span: Span,
    mut take: impl FnMut(&str) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let mut reader = Reader::open(place)?;
    if what == What::Findings {
        let wanted = FindingFilter {
            since: filter.since,
            until: filter.until,
            rule: words(filter.rule.as_ref()),
            order: Order::OldestFirst,
            ..FindingFilter::default()
        };
        for row in reader.findings(&wanted)? {
            if take(&row.line).is_break() {
                break;
            }
        }
        return Ok(());
    }
    let mut query =
        Query { filter: coarse(filter), order: Order::OldestFirst, limit: PAGE_ROWS, ..Query::default() };
    // Conditions that only the filter knows leave fewer lines than the store gives: then it is read from its beginning.
    if let Some(last) = span.last.filter(|last| *last <= LIMIT_MAX && is_coarse(filter)) {
        query = Query { order: Order::NewestFirst, limit: last, ..query };
        let mut lines = Vec::new();
        while lines.len() < last {
            let page = reader.events(&query)?;
            lines.extend(page.rows.into_iter().map(|row| row.line));
            query.limit = last.saturating_sub(lines.len());
            query.after = page.next;
            if page.complete {
                break;
            }
        }
        for line in lines.iter().rev() {
            if take(line).is_break() {
                break;
            }
        }
        return Ok(());
    }
    loop {
        let page = reader.events(&query)?;
        for row in &page.rows {
            if take(&row.line).is_break() {
                return Ok(());
            }
        }
        if page.complete || page.next == query.after {
            return Ok(());
        }
        query.after = page.next;
    }
}

/// What the store's index can decide. A path stays with the filter, which compares bytes and not their spelling.
fn coarse(filter: &Filter) -> store::Filter {
    let verdict = |word: &String| {
        [Verdict::Expected, Verdict::Unexpected, Verdict::Forbidden, Verdict::Unjudged]
            .into_iter()
            .find(|verdict| verdict.name() == word)
    };
    store::Filter {
        since: filter.since,
        until: filter.until,
        kind: words(filter.kind.as_ref()),
        verdict: words(filter.verdict.as_ref()).iter().filter_map(verdict).collect(),
        rule: words(filter.rule.as_ref()),
        pid: words(filter.pid.as_ref()).iter().filter_map(|pid| pid.parse().ok()).collect(),
        destination: words(filter.destination.as_ref()),
        ..store::Filter::default()
    }
}

/// True when the index decides everything that is asked.
fn is_coarse(filter: &Filter) -> bool {
    let Filter { workload, severity, tree, container, pod, user, path, .. } = filter;
    [workload, severity, tree, container, pod, user, path].iter().all(|condition| condition.is_none())
}

fn words(text: Option<&String>) -> Vec<String> {
    let words = text.into_iter().flat_map(|text| text.split(','));
    words.map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}
