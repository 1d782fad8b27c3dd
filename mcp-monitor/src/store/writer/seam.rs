//! Where what is written ends and what comes begins: with it an answer can be put together that neither leaves out nor
//! repeats.

use std::sync::Arc;

use super::super::pseudonym::Pseudonyms;
use crate::{
    event::Event,
    render::{Origin, json},
};

/// How things stood at one moment.
pub struct Seam {
    /// Events that were offered to the store until then, since the start: each is a row, or waits, or was counted as
    /// lost.
    pub offered: u64,
    /// Expected repeats of this minute, which become rows when it is over.
    pub waiting: Vec<Event>,
    pub(super) pseudonyms: Option<Arc<Pseudonyms>>,
}

impl Seam {
    /// `event` as the line that it will be in the store, without its end.
    #[must_use]
    pub fn line(&self, event: &Event, origin: &Origin) -> String {
        let mut line = Vec::with_capacity(2048);
        json::event(&mut line, origin, event);
        line.pop();
        // JSON is UTF-8 always.
        let text = String::from_utf8_lossy(&line);
        match &self.pseudonyms {
            Some(pseudonyms) => pseudonyms.replace(&text),
            None => text.into_owned(),
        }
    }
}
