//! Trees, timelines and explanations, put together from what is held.

use super::{Context, Refusal, asked::Asked, lines::read_all};
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
use tokio::task::spawn_blocking;

/// Processes with their children and what was judged of them, by instance.
#[utoipa::path(get, path = "/v1/tree", tag = "pictures", params(Filter), responses(
    (status = 200, body = Forest), (status = 400, body = Problem)))]
pub(super) async fn tree(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    asked: Asked,
) -> Result<Json<Forest>, Refusal> {
    let drawn = spawn_blocking(move || {
        let gathered = read_all(&context.hub, peer.access, &asked.matcher);
        Forest::new(&gathered.events, gathered.findings.values())
    });
    drawn.await.map(Json).map_err(Refusal::failed)
}

/// What happened one after the other.
#[utoipa::path(get, path = "/v1/timeline", tag = "pictures", params(Filter), responses(
    (status = 200, body = Timeline), (status = 400, body = Problem)))]
pub(super) async fn timeline(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    asked: Asked,
) -> Result<Json<Timeline>, Refusal> {
    let drawn = spawn_blocking(move || {
        let gathered = read_all(&context.hub, peer.access, &asked.matcher);
        Timeline::new(&gathered.events, gathered.findings.values())
    });
    drawn.await.map(Json).map_err(Refusal::failed)
}

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
    let matcher = Filter::default().matcher().map_err(Refusal::wrong)?;
    let explained = spawn_blocking(move || {
        let gathered = read_all(&context.hub, peer.access, &matcher);
        Explanation::of_id(&id, &gathered.events, gathered.findings.values(), &rules)
    });
    let explained = explained.await.map_err(Refusal::failed)?;
    explained
        .map(Json)
        .ok_or_else(|| Refusal::unknown("no event or finding that is held has this id, or several have"))
}
