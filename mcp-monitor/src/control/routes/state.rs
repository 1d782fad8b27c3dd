//! How the monitor and its workloads are.

use super::{Context, Refusal, everything};
use crate::{
    control::{
        api::{Check, Coverage, Doctor, FindingRow, Problem, Status, Top, WorkloadRow, Workloads},
        peer::Peer,
    },
    host::{kernel::Facts, kernel_checks::checks},
    inventory::live::Snapshot,
};
use axum::{
    Extension, Json,
    extract::{Path, State},
    http::{StatusCode, header},
    response::IntoResponse,
};
use std::sync::{Arc, PoisonError};
use tokio::task::spawn_blocking;

/// Findings that `top` shows.
const TOP_FINDINGS: usize = 50;

/// How the monitor is.
#[utoipa::path(get, path = "/v1/status", tag = "state", responses((status = 200, body = Status)))]
pub(super) async fn status(State(context): State<Context>, Extension(peer): Extension<Peer>) -> Json<Status> {
    Json(context.hub.status(peer.access))
}

/// Every instance of every workload, the latest first.
#[utoipa::path(get, path = "/v1/workloads", tag = "state", responses((status = 200, body = Workloads)))]
pub(super) async fn workloads(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
) -> Json<Workloads> {
    Json(context.hub.workloads(peer.access))
}

/// Agents and servers as the inventory knows them: who started whom, what is declared and does not run, what looks
/// like a server and is unknown.
#[utoipa::path(get, path = "/v1/inventory", tag = "state",
    responses((status = 200, body = Snapshot), (status = 403, body = Problem)))]
pub(super) async fn inventory(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
) -> Result<Json<Snapshot>, Refusal> {
    everything(&peer, "the inventory")?;
    let snapshot = Arc::clone(&context.hub.pulse.inventory.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Json(Snapshot::clone(&snapshot)))
}

/// One instance, or the latest of a workload.
#[utoipa::path(get, path = "/v1/workloads/{workload}", tag = "state",
    params(("workload" = String, Path, description = "Name, id or instance, or the beginning of one of these ids")),
    responses((status = 200, body = WorkloadRow), (status = 404, body = Problem)))]
pub(super) async fn workload(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
    Path(wanted): Path<String>,
) -> Result<Json<WorkloadRow>, Refusal> {
    find(&context, &peer, &wanted).map(Json)
}

/// The latest instance of that name or id that the peer sees; one that runs before one that does not.
pub(super) fn find(context: &Context, peer: &Peer, wanted: &str) -> Result<WorkloadRow, Refusal> {
    let begins = |id: &str| wanted.len() >= 4 && id.starts_with(wanted);
    let mut found: Vec<_> = context
        .hub
        .workloads(peer.access)
        .workloads
        .into_iter()
        .filter(|row| row.name == wanted || begins(&row.id) || begins(&row.instance))
        .collect();
    found.sort_by_key(|row| !row.running);
    found.into_iter().next().ok_or_else(|| {
        Refusal::unknown(format!(
            "no workload that you may see has the name or id {}. `mcp-monitor workloads` lists them",
            crate::event::escape(wanted.as_bytes())
        ))
    })
}

/// What could not be seen.
#[utoipa::path(get, path = "/v1/coverage", tag = "state", responses((status = 200, body = Coverage)))]
pub(super) async fn coverage(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
) -> Json<Coverage> {
    Json(context.hub.coverage(peer.access))
}

/// What `mcp-monitor top` shows: status, workloads with rates and destinations, the latest findings.
#[utoipa::path(get, path = "/v1/top", tag = "state", responses((status = 200, body = Top)))]
pub(super) async fn top(State(context): State<Context>, Extension(peer): Extension<Peer>) -> Json<Top> {
    let status = context.hub.status(peer.access);
    let workloads = context.hub.workloads(peer.access).workloads;
    let (findings, origin) = {
        let state = context.hub.lock();
        (state.findings().0, state.origin.clone())
    };
    let mut rows: Vec<FindingRow> = findings
        .iter()
        .filter(|finding| peer.access.sees(Some(finding.process.uid)))
        .map(|finding| FindingRow::new(finding, &origin))
        .collect();
    rows.sort_by(|one, other| other.last_seen.cmp(&one.last_seen));
    rows.truncate(TOP_FINDINGS);
    Json(Top { schema: "mcp-monitor/top/v1".into(), status, workloads, findings: rows })
}

/// What this host offers.
#[utoipa::path(get, path = "/v1/doctor", tag = "state", responses(
    (status = 200, body = Doctor), (status = 403, body = Problem)))]
pub(super) async fn doctor(
    State(context): State<Context>,
    Extension(peer): Extension<Peer>,
) -> Result<Json<Doctor>, Refusal> {
    everything(&peer, "what the host offers")?;
    let facts = spawn_blocking(|| Facts::at_start().clone()).await.map_err(Refusal::failed)?;
    let checks = checks(&facts).into_iter().map(|check| Check {
        name: check.name.to_owned(),
        state: check.state.name().to_owned(),
        found: check.found,
        consequence: check.consequence,
        repair: check.repair,
    });
    Ok(Json(Doctor {
        schema: "mcp-monitor/host/v1".into(),
        kernel: facts.release.clone(),
        machine: facts.machine.clone(),
        tier: context.hub.lock().origin.tier.name().to_owned(),
        checks: checks.collect(),
    }))
}

/// 200 while the pipeline turns, 503 when it does not.
#[utoipa::path(get, path = "/healthz", tag = "about", responses(
    (status = 200, body = String), (status = 503, body = String)))]
pub(super) async fn health(State(context): State<Context>) -> (StatusCode, &'static str) {
    if context.hub.is_alive() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the pipeline does not turn\n")
    }
}

/// 200 once the kernel programs are attached.
#[utoipa::path(get, path = "/readyz", tag = "about", responses(
    (status = 200, body = String), (status = 503, body = String)))]
pub(super) async fn readiness(State(context): State<Context>) -> (StatusCode, &'static str) {
    if context.hub.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "kernel programs are not attached yet\n")
    }
}

/// What Prometheus reads.
pub(super) async fn metrics(State(context): State<Context>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], context.hub.metrics.text(&context.hub))
}
