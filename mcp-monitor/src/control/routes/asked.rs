//! What a request asks for: a filter and how much of it.

use super::Refusal;
use crate::control::{Filter, Matcher};
use axum::{extract::FromRequestParts, http::request::Parts};
use serde::Deserialize;
use utoipa::IntoParams;

/// Lines that one answer has at most.
const LAST_MAX: usize = 200_000;

/// How much of it.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Extent {
    /// Only the last so many.
    pub(super) last: Option<usize>,
    /// Go on with what happens from now on; the answer does not end. Lines that were too many for the reader are told
    /// by a line of the schema `mcp-monitor/dropped/v1` with their number.
    #[param(value_type = Option<bool>)]
    pub(super) follow: bool,
}

/// A request's parameters.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) filter: Filter,
    pub(super) matcher: Matcher,
    pub(super) last: usize,
    pub(super) follow: bool,
}

impl Asked {
    /// The last so many of what `filter` means.
    pub(super) fn of(filter: Filter, last: usize) -> Result<Self, Refusal> {
        let matcher = filter.matcher().map_err(Refusal::wrong)?;
        Ok(Self { filter, matcher, last, follow: false })
    }

    /// The question in words, for the journal: `path?parameters`, and the same without its times.
    pub(super) fn in_words(&self, path: &str) -> (String, String) {
        let text = |filter: &Filter| {
            let mut text = serde_urlencoded::to_string(filter).unwrap_or_default();
            if self.follow {
                text.push_str(if text.is_empty() { "follow" } else { "&follow" });
            }
            if text.is_empty() { path.to_owned() } else { format!("{path}?{text}") }
        };
        let timeless = Filter { since: None, until: None, ..self.filter.clone() };
        (text(&self.filter), text(&timeless))
    }
}

impl<State: Sync> FromRequestParts<State> for Asked {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Refusal> {
        let pairs: Vec<(String, String)> =
            serde_urlencoded::from_str(parts.uri.query().unwrap_or_default()).map_err(Refusal::wrong)?;
        let (extent, filter): (Vec<_>, Vec<_>) =
            pairs.into_iter().partition(|(name, _)| name == "last" || name == "follow");
        let extent: Extent = parsed(extent)?;
        let filter: Filter = parsed(filter)?;
        Ok(Self {
            matcher: filter.matcher().map_err(Refusal::wrong)?,
            filter,
            last: extent.last.unwrap_or(LAST_MAX).min(LAST_MAX),
            follow: extent.follow,
        })
    }
}

fn parsed<Value: for<'de> Deserialize<'de>>(pairs: Vec<(String, String)>) -> Result<Value, Refusal> {
    let text = serde_urlencoded::to_string(pairs).map_err(Refusal::wrong)?;
    serde_urlencoded::from_str(&text).map_err(Refusal::wrong)
}
