//! Pictures of the report: what was expected against what was seen, and who talked to whom. Plain SVG with classes, no
//! style of their own.

use crate::{
    event::Verdict,
    render::{
        read::Event,
        text::{byte_count, shortened},
        tree::Counts,
    },
};
use maud::{Markup, html};
use std::{cmp::Reverse, collections::BTreeMap};

/// Destinations that the map shows.
const DESTINATIONS_SHOWN: usize = 30;
/// Rows that the matrix shows.
const ROWS_SHOWN: usize = 60;
const ROW: usize = 30;

/// Traffic from a workload to a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) workload: String,
    pub(super) destination: String,
    pub(super) worst: Verdict,
    pub(super) count: u64,
    pub(super) sent: u64,
    pub(super) received: u64,
}

fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Unjudged => 0,
        Verdict::Expected => 1,
        Verdict::Unexpected => 2,
        Verdict::Forbidden => 3,
    }
}

/// Traffic out, the worst first.
pub(super) fn edges<'a>(events: impl Iterator<Item = &'a Event>) -> Vec<Edge> {
    let mut edges: BTreeMap<(String, String), Edge> = BTreeMap::new();
    for event in events {
        let Some(network) = event.network.as_ref().filter(|network| network.direction == *"out") else {
            continue;
        };
        let Some(destination) = event.destination() else { continue };
        let verdict = event.verdict().unwrap_or(Verdict::Unjudged);
        let key = (event.workload.name.to_string(), destination);
        let edge = edges.entry(key.clone()).or_insert(Edge {
            workload: key.0,
            destination: key.1,
            worst: verdict,
            count: 0,
            sent: 0,
            received: 0,
        });
        if rank(verdict) > rank(edge.worst) {
            edge.worst = verdict;
        }
        // The end of a connection tells of its bytes and is no new one.
        if event.kind != *"close" {
            edge.count += event.count;
        }
        edge.sent = edge.sent.saturating_add(network.bytes_sent.unwrap_or(0));
        edge.received = edge.received.saturating_add(network.bytes_received.unwrap_or(0));
    }
    let mut edges: Vec<_> = edges.into_values().collect();
    edges.sort_by_key(|edge| (Reverse(rank(edge.worst)), Reverse(edge.count)));
    edges
}

/// Rows of subjects, columns of verdicts, darker where there is more.
pub(super) fn matrix(rows: &BTreeMap<(String, &'static str), Counts>) -> Markup {
    let columns = [Verdict::Expected, Verdict::Unexpected, Verdict::Forbidden, Verdict::Unjudged];
    let (left, cell) = (330, 110);
    let width = left + columns.len() * cell;
    let shown = rows.len().min(ROWS_SHOWN);
    let height = 28 + shown * ROW;
    let mut last: Option<&str> = None;
    html! {
        svg viewBox={ "0 0 " (width) " " (height) } role="img" aria-label="Expected against seen" {
            @for (index, verdict) in columns.iter().enumerate() {
                text.dim x=(left + index * cell + cell / 2) y="16" text-anchor="middle" { (verdict.name()) }
            }
            @for (index, ((workload, subject), counts)) in rows.iter().take(ROWS_SHOWN).enumerate() {
                @let y = 28 + index * ROW;
                @if last.replace(workload.as_str()) != Some(workload.as_str()) {
                    text x="0" y=(y + 19) { (shortened(workload, 22)) }
                }
                text.dim x="176" y=(y + 19) { (subject) }
                @for (column, verdict) in columns.iter().enumerate() {
                    @let count = of(counts, *verdict);
                    @let class = if count == 0 { "none" } else { verdict.name() };
                    rect class=(class) x=(left + column * cell + 3) y=(y + 2) width=(cell - 6) height=(ROW - 4) rx="4"
                        fill-opacity=(strength(count)) {}
                    text class=(if count == 0 { "off" } else { "on" }) x=(left + column * cell + cell / 2) y=(y + 20) {
                        @if count == 0 { "·" } @else { (count) }
                    }
                }
            }
        }
        @if rows.len() > ROWS_SHOWN { p.dim { "and " (rows.len() - ROWS_SHOWN) " more rows" } }
    }
}

fn of(counts: &Counts, verdict: Verdict) -> u64 {
    match verdict {
        Verdict::Expected => counts.expected,
        Verdict::Unexpected => counts.unexpected,
        Verdict::Forbidden => counts.forbidden,
        Verdict::Unjudged => counts.unjudged,
    }
}

/// Between 0.85 and 1, by the order of magnitude: white text stays readable.
fn strength(count: u64) -> String {
    let magnitude = count.checked_ilog10().unwrap_or(0).min(4);
    format!("0.{}", 85 + magnitude * 3)
}

/// Workloads on the left, places on the right, a line for each that is thicker the more there was.
pub(super) fn egress(edges: &[Edge]) -> Markup {
    let shown = &edges[..edges.len().min(DESTINATIONS_SHOWN)];
    let mut workloads: Vec<&str> = Vec::new();
    for edge in shown {
        if !workloads.contains(&edge.workload.as_str()) {
            workloads.push(&edge.workload);
        }
    }
    let height = shown.len() * ROW + 10;
    let step = height / (workloads.len() + 1).max(2);
    let place = |workload: &str| {
        let index = workloads.iter().position(|one| *one == workload).unwrap_or(0);
        (index + 1) * step
    };
    html! {
        svg viewBox={ "0 0 960 " (height.max(60)) } role="img" aria-label="Egress map" {
            @for (index, edge) in shown.iter().enumerate() {
                @let (from, to) = (place(&edge.workload), index * ROW + 20);
                @let thickness = 1 + edge.count.max(1).ilog2().min(8);
                path class={ "edge " (edge.worst.name()) } stroke-width=(thickness)
                    d={ "M 210 " (from) " C 330 " (from) ", 330 " (to) ", 450 " (to) } {}
            }
            @for workload in &workloads {
                @let y = place(workload);
                rect.node x="0" y=(y - 15) width="210" height="30" rx="7" {}
                text x="12" y=(y + 5) { (shortened(workload, 26)) }
            }
            @for (index, edge) in shown.iter().enumerate() {
                @let y = index * ROW + 20;
                circle class=(edge.worst.name()) cx="456" cy=(y) r="5" {}
                text.mono x="470" y=(y + 4) { (shortened(&edge.destination, 40)) }
                text.dim x="955" y=(y + 4) text-anchor="end" { (traffic(edge)) }
            }
        }
        @if edges.len() > shown.len() { p.dim { "and " (edges.len() - shown.len()) " more places" } }
    }
}

fn traffic(edge: &Edge) -> String {
    let mut text = format!("×{}", edge.count);
    if edge.sent + edge.received > 0 {
        text = format!("{text}, {} out, {} in", byte_count(edge.sent), byte_count(edge.received));
    }
    text
}
