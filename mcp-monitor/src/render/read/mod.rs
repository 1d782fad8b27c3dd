//! Reading back what [`super::json`] wrote: from a pipe, a file, the store or the control socket.
//!
//! Lines are foreign input. Unknown fields and kinds are kept as text, since a newer monitor may have written them; a
//! line that is none is counted and skipped; nothing that stood in a line reaches a terminal unescaped ([`Text`]).

mod event;
mod finding;
mod heartbeat;
mod lines;
mod object;
mod summary;
mod text;
mod value;

pub use event::Event;
pub(super) use event::verdict;
pub use finding::{Finding, Handling};
pub use heartbeat::{Checkpoint, Heartbeat};
pub use lines::{LINE_BYTES_MAX, Lines};
pub use object::destination;
pub use summary::{Coverage, EventCount, Loss, Summary};
pub use text::{Text, printable_line};
pub use value::{
    Attack, Container, Decision, Dns, DnsAnswer, Exec, Exit, File, Host, Monitor, Network, Process,
    ProcessReference, Workload,
};

use super::json::{EVENT_SCHEMA, FINDING_SCHEMA, SUMMARY_SCHEMA};
use serde::Deserialize;

/// One line of a stream.
#[derive(Clone, Debug)]
pub enum Line {
    /// One thing that a process did.
    Event(Box<Event>),
    /// What a person is told.
    Finding(Box<Finding>),
    /// The end of a stream.
    Summary(Box<Summary>),
    /// Followers came too late for so many lines.
    Dropped(u64),
    /// An answer that is not whole, and why.
    Cut(Text),
    /// A line of a schema that this version does not know.
    Other,
}

/// Why a line is none.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not a JSON object of the contract.
    #[error("not a line of mcp-monitor: {0}")]
    NotALine(#[from] serde_json::Error),
    /// Longer than any line that is written.
    #[error("longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// The source failed.
    #[error("cannot be read: {0}")]
    Failed(#[from] std::io::Error),
}

/// Schema of the line that tells a follower what it missed.
pub const DROPPED_SCHEMA: &str = "mcp-monitor/dropped/v1";

/// Schema of the line that ends an answer which is not whole.
pub const CUT_SCHEMA: &str = "mcp-monitor/cut/v1";

#[derive(Deserialize)]
struct Schema<'a> {
    #[serde(borrow)]
    schema: std::borrow::Cow<'a, str>,
    #[serde(default)]
    dropped: u64,
}

#[derive(Deserialize)]
struct Reason {
    #[serde(default)]
    reason: Text,
}

impl Line {
    /// Reads one line.
    pub fn parse(line: &str) -> Result<Self, ReadError> {
        let Schema { schema, dropped } = serde_json::from_str(line)?;
        Ok(match schema.as_ref() {
            EVENT_SCHEMA => Self::Event(serde_json::from_str(line)?),
            FINDING_SCHEMA => Self::Finding(serde_json::from_str(line)?),
            SUMMARY_SCHEMA => Self::Summary(serde_json::from_str(line)?),
            DROPPED_SCHEMA => Self::Dropped(dropped),
            CUT_SCHEMA => Self::Cut(serde_json::from_str::<Reason>(line)?.reason),
            _ => Self::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{human, json, sample};
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut line = Vec::new();
        write(&mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn an_event_reads_for_people_as_it_did_when_it_happened() {
        let origin = sample::origin();
        for event in sample::events() {
            let line = written(|line| json::event(line, &origin, &event));
            let Line::Event(read) = Line::parse(&line).unwrap() else { panic!("{line}") };
            assert_eq!(
                human::row(&read.row(), &sample::look()),
                human::event(&origin, &event, &sample::look()),
                "{line}"
            );
        }
    }

    #[test]
    fn hostile_names_come_back_byte_for_byte_and_stay_on_one_line() {
        for name in sample::hostile_names() {
            let line = written(|line| json::event(line, &sample::origin(), &sample::open(&name)));
            let Line::Event(read) = Line::parse(&line).unwrap() else { panic!("{line}") };
            assert_eq!(read.file.as_ref().unwrap().path.as_bytes(), name);
            let shown = human::row(&read.row(), &sample::look());
            assert_eq!(shown.matches('\n').count(), 1);
            assert!(!shown.trim_end().chars().any(char::is_control), "{shown:?}");
        }
    }

    #[test]
    fn a_forged_line_cannot_move_the_terminal_either() {
        let line = written(|line| json::event(line, &sample::origin(), &sample::open(b"/x")));
        let forged = line.replace("/x", "/\\u001b[2J\\u202e\\n\u{9b}31m");
        let Line::Event(read) = Line::parse(&forged).unwrap() else { panic!() };
        let shown = human::row(&read.row(), &sample::look());
        assert!(!shown.trim_end().contains(['\u{1b}', '\u{202e}', '\n', '\u{9b}']), "{shown:?}");
        assert!(!printable_line(&forged).contains(['\u{202e}', '\u{9b}']));
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&printable_line(&forged)).unwrap(),
            serde_json::from_str::<serde_json::Value>(&forged).unwrap(),
            "the same object, spelled printably"
        );
    }

    #[test]
    fn findings_and_summaries_are_read() {
        let origin = sample::origin();
        for finding in sample::findings() {
            let line = written(|line| json::finding(line, &origin, &finding));
            let Line::Finding(read) = Line::parse(&line).unwrap() else { panic!("{line}") };
            assert_eq!(read.rule.as_bytes(), finding.rule.id().as_bytes());
            assert_eq!(read.severity(), Some(finding.severity));
        }
        let line = written(|line| json::summary(line, &origin, &sample::summary()));
        let Line::Summary(read) = Line::parse(&line).unwrap() else { panic!("{line}") };
        assert_eq!(read.total_lost, sample::summary().total_lost());
    }

    #[test]
    fn what_a_newer_version_writes_is_passed_over() {
        assert!(matches!(Line::parse(r#"{"schema":"mcp-monitor/event/v9"}"#), Ok(Line::Other)));
        let line = written(|line| json::event(line, &sample::origin(), &sample::open(b"/x")));
        let newer = line.replace(r#""kind":"open""#, r#""kind":"teleport","new":{"a":1}"#);
        let Line::Event(read) = Line::parse(&newer).unwrap() else { panic!() };
        assert!(human::row(&read.row(), &sample::look()).contains("teleport"));
        assert!(matches!(
            Line::parse(r#"{"schema":"mcp-monitor/dropped/v1","dropped":7}"#),
            Ok(Line::Dropped(7))
        ));
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text: String) {
            let _ = Line::parse(&text);
            prop_assert!(!printable_line(&text).chars().any(char::is_control));
        }

        #[test]
        fn a_damaged_line_is_survived(at in 0usize..1500, byte: u8) {
            let mut line = Vec::new();
            json::event(&mut line, &sample::origin(), &sample::events()[1]);
            let at = at % line.len();
            line[at] = byte;
            if let Ok(Line::Event(read)) = Line::parse(&String::from_utf8_lossy(&line)) {
                let shown = human::row(&read.row(), &sample::look());
                prop_assert!(!shown.trim_end_matches('\n').chars().any(char::is_control));
            }
        }
    }
}
