//! Every rule with a positive case and a benign twin, by subject, and the promise never to panic.

mod agents;
mod commands;
mod egress;
mod escapes;
mod expectation;
mod play;
mod processes;
mod properties;
mod secrets;
mod sequence;
mod writes;
