//! What operators may want done.

use super::{Context, Refusal, root, state::find};
use crate::{
    control::{
        api::{Done, Problem, Promotion, Suppression, Wish},
        orders::OrderKind,
        peer::Peer,
    },
    event::{FindingState, escape},
    store::{Act, Actor, Writer},
};
use axum::{
    Extension, Json,
    extract::{Path, State},
};
use jiff::Timestamp;
use tokio::task::spawn_blocking;

/// Bytes that a reason may have.
const REASON_BYTES_MAX: usize = 1024;

/// A reason that says something.
fn reason(reason: &str) -> Result<String, Refusal> {
    let reason = reason.trim();
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
    let reason = reason(&wish.reason)?;
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

/// Says that somebody looks after a finding. Only root; recorded with who and why.
#[utoipa::path(post, path = "/v1/findings/{finding}/acknowledge", tag = "acts", request_body = Wish,
    params(("finding" = String, Path, description = "Id or its beginning")), responses(
    (status = 200, body = Done), (status = 403, body = Problem), (status = 404, body = Problem),
    (status = 409, description = "Nothing is recorded", body = Problem)))]
pub(super) async fn acknowledge(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    Path(finding): Path<String>,
    Json(wish): Json<Wish>,
) -> Result<Json<Done>, Refusal> {
    root(&peer, "acknowledge a finding")?;
    let note = Some(reason(&wish.reason)?);
    let finding = whole(&context, &finding).await?;
    act(&context, &peer, Act::Acknowledge { finding: finding.clone(), note }).await?;
    context.hub.lock().settle(FindingState::Acknowledged, |of| of.id == finding);
    Ok(done(format!("acknowledged finding {finding}")))
}

/// Says that a finding, and later ones of the same rule, workload and target, is not to be told until a time: it is
/// counted and shown as suppressed. Only root; recorded with who and why. Refused for `monitor-tamper` and
/// `coverage-loss`.
#[utoipa::path(post, path = "/v1/findings/{finding}/suppress", tag = "acts", request_body = Wish,
    params(("finding" = String, Path, description = "Id or its beginning")), responses(
    (status = 200, body = Done), (status = 400, body = Problem), (status = 403, body = Problem),
    (status = 404, body = Problem), (status = 409, description = "Nothing is recorded", body = Problem)))]
pub(super) async fn suppress(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    Path(finding): Path<String>,
    Json(wish): Json<Wish>,
) -> Result<Json<Done>, Refusal> {
    root(&peer, "suppress a finding")?;
    let (reason, until) = (reason(&wish.reason)?, end(wish.until.as_deref())?);
    let finding = whole(&context, &finding).await?;
    act(&context, &peer, Act::Suppress { finding: finding.clone(), reason, until }).await?;
    context.hub.lock().settle(FindingState::Suppressed, |of| of.id == finding);
    Ok(done(format!("suppressed finding {finding} and its like until {until}")))
}

/// Ends the suppression of a finding, or opens one again that was acknowledged or closed. Only root; recorded with who
/// and why.
#[utoipa::path(post, path = "/v1/findings/{finding}/unsuppress", tag = "acts", request_body = Wish,
    params(("finding" = String, Path, description = "Id or its beginning")), responses(
    (status = 200, body = Done), (status = 403, body = Problem), (status = 404, body = Problem),
    (status = 409, description = "Nothing is recorded", body = Problem)))]
pub(super) async fn unsuppress(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    Path(finding): Path<String>,
    Json(wish): Json<Wish>,
) -> Result<Json<Done>, Refusal> {
    root(&peer, "end a suppression")?;
    let note = Some(reason(&wish.reason)?);
    let finding = whole(&context, &finding).await?;
    act(&context, &peer, Act::Reopen { finding: finding.clone(), note }).await?;
    context.hub.lock().settle(FindingState::Open, |of| of.id == finding);
    Ok(done(format!("finding {finding} is open again")))
}

/// Says that findings of one rule and one workload are not to be told until a time. Only root; recorded with who and
/// why. Refused for `monitor-tamper` and `coverage-loss`.
#[utoipa::path(post, path = "/v1/suppressions", tag = "acts", request_body = Suppression, responses(
    (status = 200, body = Done), (status = 400, body = Problem), (status = 403, body = Problem),
    (status = 409, description = "Nothing is recorded", body = Problem)))]
pub(super) async fn suppress_scope(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    Json(wish): Json<Suppression>,
) -> Result<Json<Done>, Refusal> {
    root(&peer, "suppress findings")?;
    let (reason, until) = (reason(&wish.reason)?, end(wish.until.as_deref())?);
    let (rule, workload) = (wish.rule.clone(), wish.workload.clone());
    act(&context, &peer, Act::SuppressScope { rule, workload, reason, until }).await?;
    context.hub.lock().settle(FindingState::Suppressed, |of| wish.means(of));
    let workload = escape(wish.workload.as_bytes());
    Ok(done(format!("suppressed findings of {} by {workload} until {until}", wish.rule)))
}

/// Ends a suppression of one rule and one workload. Only root; recorded with who and why.
#[utoipa::path(post, path = "/v1/suppressions/end", tag = "acts", request_body = Suppression, responses(
    (status = 200, body = Done), (status = 400, body = Problem), (status = 403, body = Problem),
    (status = 404, body = Problem), (status = 409, description = "Nothing is recorded", body = Problem)))]
pub(super) async fn unsuppress_scope(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    Json(wish): Json<Suppression>,
) -> Result<Json<Done>, Refusal> {
    root(&peer, "end a suppression")?;
    let note = Some(reason(&wish.reason)?);
    let (rule, workload) = (wish.rule.clone(), wish.workload.clone());
    act(&context, &peer, Act::UnsuppressScope { rule, workload, note }).await?;
    context
        .hub
        .lock()
        .settle(FindingState::Open, |of| of.state == FindingState::Suppressed && wish.means(of));
    let workload = escape(wish.workload.as_bytes());
    Ok(done(format!("findings of {} by {workload} are told again", wish.rule)))
}

/// Chains that a proposal was made the expectation in force. Only root; `mcp-monitor expect promote` says it.
#[utoipa::path(post, path = "/v1/expectations/promoted", tag = "acts", request_body = Promotion, responses(
    (status = 200, body = Done), (status = 403, body = Problem),
    (status = 409, description = "Nothing is recorded", body = Problem)))]
pub(super) async fn promoted(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    Json(promotion): Json<Promotion>,
) -> Result<Json<Done>, Refusal> {
    root(&peer, "promote an expectation")?;
    let Promotion { workload, what } = promotion;
    act(&context, &peer, Act::Promote { workload, what }).await?;
    Ok(done("the promotion is in the journal".to_owned()))
}

impl Suppression {
    fn means(&self, finding: &crate::event::Finding) -> bool {
        finding.rule.id() == self.rule
            && (finding.workload.name == self.workload || finding.workload.id == self.workload)
    }
}

fn done(what: String) -> Json<Done> {
    Json(Done { what, processes: 0 })
}

/// The end of a suppression.
fn end(until: Option<&str>) -> Result<Timestamp, Refusal> {
    let until = until.ok_or_else(|| Refusal::wrong("a suppression needs its end: until"))?;
    until.parse().map_err(|error| Refusal::wrong(format!("until: {error}")))
}

fn store(context: &Context) -> Result<Writer, Refusal> {
    context.hub.pulse.store.get().cloned().ok_or_else(|| {
        Refusal::conflict(
            "this monitor records nothing, so nothing can be kept of it. Start it without --no-store, or `watch` with \
             --store DIR",
        )
    })
}

/// The whole id of the finding that `id` is or begins.
async fn whole(context: &Context, id: &str) -> Result<String, Refusal> {
    let (store, id) = (store(context)?, id.to_owned());
    let found = spawn_blocking(move || {
        // One that was just found is on the disk then; when the store cannot take it, older ones can still be meant.
        let _ = store.seam(false);
        let found = crate::store::Reader::open(store.directory())?.finding(&id)?;
        found.map(|row| row.id).ok_or(crate::store::StoreError::NoFinding(id))
    });
    Ok(found.await.map_err(Refusal::failed)??)
}

/// Carries an act out and chains it; when this returns, it is on the disk.
async fn act(context: &Context, peer: &Peer, act: Act) -> Result<(), Refusal> {
    let store = store(context)?;
    let actor = Actor { uid: peer.uid, pid: peer.pid };
    spawn_blocking(move || store.act(actor, act)).await.map_err(Refusal::failed)??;
    Ok(())
}
