//! Records that tests of this room share.

use super::record::Record;
use crate::render::{json, sample};

fn read(write: impl FnOnce(&mut Vec<u8>)) -> Record {
    let mut line = Vec::new();
    write(&mut line);
    Record::parse(std::str::from_utf8(&line).unwrap()).unwrap()
}

/// A file of this name was opened.
pub(crate) fn opened(name: &[u8]) -> Record {
    read(|line| json::event(line, &sample::origin(), &sample::open(name)))
}

/// So many events, each with an id of its own.
pub(crate) fn events(count: usize) -> Vec<Record> {
    let lines = (0..count).map(|number| {
        let mut event = sample::open(format!("/tmp/{number}").as_bytes());
        event.id = format!("event-{number}");
        read(|line| json::event(line, &sample::origin(), &event))
    });
    lines.collect()
}

/// So many critical findings, each with an id of its own.
pub(crate) fn findings(count: usize) -> Vec<Record> {
    let lines = (0..count).map(|number| {
        let mut finding = sample::findings().pop().unwrap();
        finding.id = format!("finding-{number}");
        read(|line| json::finding(line, &sample::origin(), &finding))
    });
    lines.collect()
}
