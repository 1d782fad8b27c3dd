//! Trees, timelines and explanations, put together from what was recorded and what is not written yet.

use super::{Context, Refusal, asked::Asked, lines::gather};
use crate::{
    control::{Filter, api::Problem, peer::Peer},
    event::Rule,
    finding::rules::RuleBook,
    render::{explain::Explanation, timeline::Timeline, tree::Forest},
};
use axum::{
    Extension, Json,
    extract::{Path, State},
};

/// Processes with their children and what was judged of them, by instance: of the latest 16,384 events that the filter
/// means.
#[utoipa::path(get, path = "/v1/tree", tag = "pictures", params(Filter), responses(
    (status = 200, body = Forest), (status = 400, body = Problem)))]
pub(super) async fn tree(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    asked: Asked,
) -> Result<Json<Forest>, Refusal> {
    let gathered = gather(&context, &peer, "tree", asked).await?;
    Ok(Json(Forest::new(&gathered.events, gathered.findings.values())))
}

/// What happened one after the other: the latest 16,384 events that the filter means.
#[utoipa::path(get, path = "/v1/timeline", tag = "pictures", params(Filter), responses(
    (status = 200, body = Timeline), (status = 400, body = Problem)))]
pub(super) async fn timeline(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    asked: Asked,
) -> Result<Json<Timeline>, Refusal> {
    let gathered = gather(&context, &peer, "timeline", asked).await?;
    Ok(Json(Timeline::new(&gathered.events, gathered.findings.values())))
}

/// Events before the one that is explained.
const BEFORE_MAX: usize = 2000;

/// A finding, an event or a rule in full.
#[utoipa::path(get, path = "/v1/explain/{id}", tag = "pictures",
    params(("id" = String, Path, description = "Id of a finding or an event, or its beginning; or a rule")), responses(
    (status = 200, body = Explanation), (status = 404, body = Problem)))]
pub(super) async fn explain(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    Path(id): Path<String>,
) -> Result<Json<Explanation>, Refusal> {
    let rules = RuleBook::embedded().map_err(Refusal::failed)?;
    if let Some(rule) = Rule::ALL.into_iter().find(|rule| rule.id() == id) {
        return Ok(Json(Explanation::of_rule(rule, &rules)));
    }
    let unknown = || Refusal::unknown("no event or finding has this id, or several have");
    let wanted = Filter { id: Some(id.clone()), ..Filter::default() };
    let found = gather(&context, &peer, "explain", Asked::of(wanted, 2).map_err(|_| unknown())?).await?;
    let (instance, until) = found.subject().ok_or_else(unknown)?;
    let around = Filter { workload: Some(instance), until: Some(until), ..Filter::default() };
    let around = gather(&context, &peer, "explain", Asked::of(around, BEFORE_MAX)?).await?;
    let mut events = around.events;
    events.extend(found.events);
    // One that is in both is meant once.
    let mut seen = std::collections::HashSet::new();
    events.retain(|event| seen.insert(event.id.clone()));
    Explanation::of_id(&id, &events, found.findings.values(), &rules).map(Json).ok_or_else(unknown)
}
