//! What can be asked over HTTP, by path. Each handler looks at what the peer may see before anything else.

mod acts;
mod answer;
mod asked;
mod lines;
mod pictures;
mod state;

use super::{
    api::Problem,
    hub::Hub,
    orders::Sender,
    peer::{Access, Peer},
};
use crate::store::StoreError;
use axum::{
    Json, Router,
    extract::DefaultBodyLimit,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use std::sync::Arc;
use tokio::sync::Semaphore;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

/// Bytes that the body of a request may have.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// What handlers need.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) hub: Arc<Hub>,
    pub(super) orders: Sender,
    /// Questions to the store at once.
    pub(super) places: Arc<Semaphore>,
}

/// Questions to the store that are looked into at once; others wait for their turn, page by page.
const QUESTIONS_MAX: usize = 3;

impl Context {
    pub(super) fn new(hub: Arc<Hub>, orders: Sender) -> Self {
        Self { hub, orders, places: Arc::new(Semaphore::new(QUESTIONS_MAX)) }
    }
}

/// Why a request is not answered as asked.
#[derive(Debug)]
pub(super) struct Refusal(StatusCode, String);

#[allow(clippy::needless_pass_by_value, reason = "to be given to map_err")]
impl Refusal {
    fn wrong(reason: impl std::fmt::Display) -> Self {
        Self(StatusCode::BAD_REQUEST, reason.to_string())
    }

    fn unknown(reason: impl std::fmt::Display) -> Self {
        Self(StatusCode::NOT_FOUND, reason.to_string())
    }

    fn failed(reason: impl std::fmt::Display) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, reason.to_string())
    }

    fn conflict(reason: impl std::fmt::Display) -> Self {
        Self(StatusCode::CONFLICT, reason.to_string())
    }

    fn busy(reason: impl std::fmt::Display) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, reason.to_string())
    }

    fn forbidden(reason: impl std::fmt::Display) -> Self {
        Self(StatusCode::FORBIDDEN, reason.to_string())
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoFinding(_) | StoreError::NoSuppression(_) => Self::unknown(error),
            StoreError::Usage(_) => Self::wrong(error),
            StoreError::NoAnswer(_) => Self::busy(error),
            _ => Self::failed(error),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(Problem { reason: self.1 })).into_response()
    }
}

/// Refuses who may not see everything.
fn everything(peer: &Peer, what: &str) -> Result<(), Refusal> {
    if peer.access.sees_all() {
        return Ok(());
    }
    Err(Refusal::forbidden(format!(
        "{what} is shown to root and to members of the group {} only; you are uid {}",
        super::peer::GROUP,
        peer.uid
    )))
}

/// Refuses everybody but root.
fn root(peer: &Peer, what: &str) -> Result<(), Refusal> {
    if peer.access == Access::All {
        return Ok(());
    }
    Err(Refusal::forbidden(format!("only root may {what}; you are uid {}. Call it with sudo", peer.uid)))
}

#[derive(OpenApi)]
#[openapi(info(
    title = "mcp-monitor control socket",
    version = "1",
    description = "HTTP/1.1 over the unix socket /run/mcp-monitor/control.sock. Who asks is told by the kernel \
                   (SO_PEERCRED): root may do everything, members of the group mcp-monitor may read everything, anybody \
                   else may read what processes of their own user did. Events and findings come as newline-delimited \
                   JSON by the schemas event.v1.json and finding.v1.json. Fields and paths may be added within version 1.",
    license(name = "Apache-2.0 OR MIT")
))]
struct Description;

/// Every route, with the description of all of them.
pub(super) fn api(context: Context) -> OpenApiRouter {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(state::status))
        .routes(routes!(state::workloads))
        .routes(routes!(state::workload))
        .routes(routes!(state::inventory))
        .routes(routes!(state::coverage))
        .routes(routes!(state::top))
        .routes(routes!(state::doctor))
        .routes(routes!(lines::events))
        .routes(routes!(lines::findings))
        .routes(routes!(pictures::tree))
        .routes(routes!(pictures::timeline))
        .routes(routes!(pictures::explain))
        .routes(routes!(acts::pause))
        .routes(routes!(acts::resume))
        .routes(routes!(acts::acknowledge))
        .routes(routes!(acts::suppress))
        .routes(routes!(acts::unsuppress))
        .routes(routes!(acts::suppress_scope))
        .routes(routes!(acts::unsuppress_scope))
        .routes(routes!(acts::promoted))
        .routes(routes!(description))
        .routes(routes!(state::health))
        .routes(routes!(state::readiness))
        .fallback(|| async { Refusal::unknown("there is no such path; /v1/openapi.json lists them") })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(context)
}

/// The description of the API as it is published.
#[must_use]
pub(crate) fn published() -> String {
    let (sender, _) = super::orders::Orders::new();
    let origin = crate::render::Origin::of_this_host(mcp_monitor_common::mechanism::Tier::Tracepoint);
    let hub = Arc::new(Hub::new(Arc::default(), origin, String::new()));
    let (_, description) = api(Context::new(hub, sender)).split_for_parts();
    // A description that cannot be written is caught by the test that compares it with the published one.
    let mut text = description.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// The description of this API.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "about",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)))]
async fn description() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], published())
}

/// What is served on the address of `--metrics`.
pub(super) fn metrics(context: Context) -> Router {
    Router::new()
        .route("/metrics", get(state::metrics))
        .route("/healthz", get(state::health))
        .route("/readyz", get(state::readiness))
        .with_state(context)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{env, fs, path::PathBuf};

    /// `MCP_MONITOR_WRITE_SCHEMA=1 cargo test description_is_published` writes it.
    #[test]
    fn description_is_published() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../schema/openapi.v1.json");
        if env::var_os("MCP_MONITOR_WRITE_SCHEMA").is_some() {
            fs::write(&path, published()).unwrap();
        }
        assert_eq!(fs::read_to_string(path).unwrap(), published(), "schema/openapi.v1.json is stale");
    }
}
