//! What a person or SIEM is told: judged events that broke a rule, told once and counted.
//!
//! [`rules`] says what each rule means and how bad it is, [`ledger`] puts events together into findings by their
//! generalised [`target`], [`changes`] remembers what servers were, [`pressure`] keeps floods from drowning what matters, and [`message`] writes the sentence for the analyst.

pub mod changes;
pub mod ledger;
pub mod message;
pub mod pressure;
pub mod rules;
pub mod severity;
pub mod target;

pub use ledger::{Ledger, Noted};
pub use rules::{RuleBook, RuleText};
