//! What the two programs of the end-to-end tests share: what an attack says it did (`act`), which process is which
//! (`identity`), the world the attacks run in (`world`): addresses, fake secrets, paths; real servers (`servers`), and a day of
//! agents' work (`day`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test code: a panic is a failed test, with its place"
)]

pub mod act;
pub mod day;
pub mod identity;
pub mod servers;
pub mod shapes;
pub mod world;
