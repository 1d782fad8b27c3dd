//! A coding day: the ordinary work of agents, which must stay quiet, and bad acts, which must be found.

mod agents;
mod home;
mod host;
mod said;
mod services;

pub use home::furnish;
pub use host::agents_day;
pub use said::{Said, acts, judge_bad, judge_quiet};
