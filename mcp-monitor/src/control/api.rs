//! What the API says, as types: the server writes them, the client reads them, the published description of the API is
//! made from them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a request was not answered as asked.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// In words, with what to do.
    pub reason: String,
}
