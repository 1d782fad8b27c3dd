//! What operators may want done.

use super::{Context, Refusal, root, state::find};
use crate::control::{
    api::{Done, Problem, Wish},
    orders::OrderKind,
    peer::Peer,
};
use axum::{
    Extension, Json,
    extract::{Path, State},
};

/// Bytes that a reason may have.
const REASON_BYTES_MAX: usize = 1024;

/// A reason that says something.
fn reason(wish: &Wish) -> Result<String, Refusal> {
    let reason = wish.reason.trim();
    if reason.is_empty() || reason.len() > REASON_BYTES_MAX {
        return Err(Refusal::wrong(format!("a reason of 1 to {REASON_BYTES_MAX} bytes must be given")));
    }
    Ok(reason.to_owned())
}

/// Freezes all processes of an instance. Only root; recorded with who and why.
#[utoipa::path(post, path = "/v1/workloads/{workload}/pause", tag = "acts", request_body = Wish,
    params(("workload" = String, Path, description = "Name, id or instance")), responses(
    (status = 200, body = Done), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn pause(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    Path(workload): Path<String>,
    Json(wish): Json<Wish>,
) -> Result<Json<Done>, Refusal> {
    root(&peer, "pause a workload")?;
    order(&context, peer, &workload, &wish, OrderKind::Pause).await
}

/// Lets a frozen instance go on. Only root; recorded with who and why.
#[utoipa::path(post, path = "/v1/workloads/{workload}/resume", tag = "acts", request_body = Wish,
    params(("workload" = String, Path, description = "Name, id or instance")), responses(
    (status = 200, body = Done), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn resume(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    Path(workload): Path<String>,
    Json(wish): Json<Wish>,
) -> Result<Json<Done>, Refusal> {
    root(&peer, "resume a workload")?;
    order(&context, peer, &workload, &wish, OrderKind::Resume).await
}

async fn order(
    context: &Context,
    peer: Peer,
    workload: &str,
    wish: &Wish,
    kind: OrderKind,
) -> Result<Json<Done>, Refusal> {
    let reason = reason(wish)?;
    let row = find(context, &peer, workload)?;
    let given = context.orders.give(kind, row.instance.clone(), peer, reason);
    let processes = given.await.map_err(Refusal::failed)?;
    context.hub.set_paused(&row.instance, kind == OrderKind::Pause);
    let verb = match kind {
        OrderKind::Pause => "paused",
        OrderKind::Resume => "resumed",
    };
    Ok(Json(Done { what: format!("{verb} {}, instance {}", row.name, row.instance), processes }))
}
