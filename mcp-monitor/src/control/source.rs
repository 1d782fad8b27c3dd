//! Where lines come from: standard input, a file of JSON lines, or the monitor that runs.

use super::{
    Filter, FilterError, Matcher,
    client::{Client, ClientError},
    stored::{self, Bounds, History},
};
use crate::render::read::{self, Line, Lines, ReadError};
use crate::{finding::rules::RuleBook, render::explain::Explanation, store::StoreError};
use indexmap::IndexMap;
use jiff::SignedDuration;
use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader},
    ops::ControlFlow,
    path::PathBuf,
    time::Duration,
};

/// Events that are held at once, e.g. to draw a tree of them. The latest are kept.
pub const EVENTS_MAX: usize = 200_000;
/// Findings that are held at once.
pub const FINDINGS_MAX: usize = 50_000;
/// Bytes of findings that a store hands out at once.
const FINDING_BYTES_MAX: usize = 256 << 20;
/// How long a store is searched for the beginning of the last lines: a person waits.
const SEARCH_BUDGET: Duration = Duration::from_mins(5);
/// Events that are looked at to explain one of them.
const EXPLAINED_BY_MAX: usize = 2000;

/// A place that can be asked.
#[derive(Clone, Debug)]
pub enum Source {
    /// Lines on standard input.
    StandardInput,
    /// A file of lines.
    File(PathBuf),
    /// A running monitor.
    Monitor(Client),
    /// A store's directory, or the file of one of its days.
    Store(PathBuf),
}

/// Which lines of a monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Events.
    Events,
    /// Findings.
    Findings,
}

/// How a source is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    /// Only the last so many.
    pub last: Option<usize>,
    /// Go on with what happens from now on.
    pub follow: bool,
}

/// Why a source gives nothing.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The monitor.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The filter.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A store cannot be followed.
    #[error("a store is not followed; ask the monitor that writes it, without --store")]
    NotFollowed,
    /// A file.
    #[error("{0}: cannot be read: {1}")]
    File(String, #[source] io::Error),
    /// Not a stream of mcp-monitor.
    #[error(
        "{0}: no line of it is one of mcp-monitor: {1}. It reads what `mcp-monitor watch -o json` prints"
    )]
    NotAStream(String, ReadError),
    /// The monitor ended.
    #[error("the monitor has ended; what came before is shown")]
    Ended,
}

/// What did not come with the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// Lines that are none.
    pub unreadable: u64,
    /// Lines that came faster than they were read.
    pub dropped: u64,
    /// Lines beyond what is held.
    pub older: u64,
    /// The search was ended early.
    pub cut: bool,
}

impl Missed {
    fn add(&mut self, other: Self) {
        self.unreadable += other.unreadable;
        self.dropped += other.dropped;
        self.older += other.older;
        self.cut |= other.cut;
    }
}

impl Source {
    /// In words.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::StandardInput => "standard input".into(),
            Self::File(path) | Self::Store(path) => path.display().to_string(),
            Self::Monitor(client) => client.socket().display().to_string(),
        }
    }

    /// Hands every line of `what` that `filter` asks for to `take`, until that has enough.
    pub fn each(
        &self,
        what: What,
        filter: &Filter,
        span: Span,
        mut take: impl FnMut(Line, &str) -> ControlFlow<()>,
    ) -> Result<Missed, SourceError> {
        let matcher = filter.matcher()?;
        let wanted = |line: &Line| match (what, line) {
            (What::Events, Line::Event(event)) => matcher.event(event),
            (What::Findings, Line::Finding(finding)) => matcher.finding(finding),
            (_, Line::Dropped(_)) => true,
            _ => false,
        };
        // A monitor and a store keep to `last` themselves, and the answer of a monitor need not end.
        let keep = span.last.filter(|_| matches!(self, Self::StandardInput | Self::File(_)));
        let mut kept: VecDeque<(Line, String)> = VecDeque::new();
        let missed = self.lines(what, filter, span, |line, text| {
            if !wanted(&line) {
                return ControlFlow::Continue(());
            }
            let Some(keep) = keep else { return take(line, text) };
            if keep > 0 && kept.len() == keep {
                kept.pop_front();
            }
            if keep > 0 {
                kept.push_back((line, text.to_owned()));
            }
            ControlFlow::Continue(())
        })?;
        for (line, text) in kept {
            if take(line, &text).is_break() {
                break;
            }
        }
        Ok(missed)
    }

    /// Events and findings together, the latest [`EVENTS_MAX`], and summaries where the source has them.
    pub fn gather(&self, filter: &Filter) -> Result<Gathered, SourceError> {
        let matcher = filter.matcher()?;
        let mut gathered = Gathered::default();
        let whats: &[What] = match self {
            Self::Monitor(_) | Self::Store(_) => &[What::Events, What::Findings],
            Self::StandardInput | Self::File(_) => &[What::Events],
        };
        let span = Span { last: Some(EVENTS_MAX), follow: false };
        for &what in whats {
            let missed = self.lines(what, filter, span, |line, _| {
                gathered.take(line, &matcher);
                ControlFlow::Continue(())
            })?;
            gathered.missed.add(missed);
        }
        Ok(gathered)
    }

    /// Explains the finding or event whose id is `id` or begins so; `None` when there is none, or more than one. A monitor
    /// and a store are asked for it and for what came before it in its instance; anything else is read as a whole.
    pub fn explain(&self, id: &str, rules: &RuleBook) -> Result<(Option<Explanation>, Missed), SourceError> {
        if matches!(self, Self::StandardInput | Self::File(_)) {
            let gathered = self.gather(&Filter::default())?;
            let explanation = Explanation::of_id(id, &gathered.events, gathered.findings.values(), rules);
            return Ok((explanation, gathered.missed));
        }
        let asked = Filter { id: Some(id.to_owned()), ..Filter::default() };
        if asked.matcher().is_err() {
            return Ok((None, Missed::default()));
        }
        let mut found = Gathered::default();
        for what in [What::Findings, What::Events] {
            let span = Span { last: Some(2), follow: false };
            let Gathered { events, findings, .. } = &mut found;
            let missed = self.each(what, &asked, span, |line, _| {
                found_take(events, findings, line);
                ControlFlow::Continue(())
            })?;
            found.missed.add(missed);
            // A finding and its events have ids that begin alike.
            if !found.findings.is_empty() {
                break;
            }
        }
        let Some((instance, until)) = found.subject() else { return Ok((None, found.missed)) };
        let around = Filter { workload: Some(instance), until: Some(until), ..Filter::default() };
        let span = Span { last: Some(EXPLAINED_BY_MAX), follow: false };
        let mut before = VecDeque::new();
        let missed = self.each(What::Events, &around, span, |line, _| {
            if let Line::Event(event) = line {
                before.push_back(*event);
            }
            ControlFlow::Continue(())
        })?;
        found.missed.add(missed);
        for event in found.events.drain(..) {
            if before.iter().all(|known| known.id != event.id) {
                before.push_back(event);
            }
        }
        Ok((Explanation::of_id(id, &before, found.findings.values(), rules), found.missed))
    }

    fn lines(
        &self,
        what: What,
        filter: &Filter,
        span: Span,
        mut take: impl FnMut(Line, &str) -> ControlFlow<()>,
    ) -> Result<Missed, SourceError> {
        let name = self.name();
        match self {
            Self::StandardInput => each_line(&name, &mut io::stdin().lock(), &mut take),
            Self::File(path) => {
                let file =
                    File::open(path).map_err(|error| SourceError::File(path.display().to_string(), error))?;
                each_line(&name, &mut BufReader::new(file), &mut take)
            }
            Self::Store(_) if span.follow => Err(SourceError::NotFollowed),
            Self::Store(place) => {
                let matcher = filter.matcher()?;
                let bounds = Bounds { only_uid: None, last: span.last, budget: SEARCH_BUDGET };
                let mut missed = Missed::default();
                let mut hand = |text: String| {
                    let Ok(line) = Line::parse(&text) else {
                        missed.unreadable += 1;
                        return ControlFlow::Continue(());
                    };
                    take(line, &text)
                };
                if what == What::Findings {
                    let (lines, cut) = stored::findings(place, filter, &matcher, bounds, FINDING_BYTES_MAX)?;
                    let _ = lines.into_iter().try_for_each(&mut hand);
                    missed.cut = cut;
                    return Ok(missed);
                }
                let mut history = History::open(place, filter, &matcher, bounds)?;
                while let Some(page) = history.page()? {
                    if page.into_iter().try_for_each(&mut hand).is_break() {
                        break;
                    }
                }
                missed.cut = history.is_cut;
                Ok(missed)
            }
            Self::Monitor(client) => {
                let path = match what {
                    What::Events => "/v1/events",
                    What::Findings => "/v1/findings",
                };
                let mut more = Vec::new();
                if let Some(last) = span.last {
                    more.push(("last", last.to_string()));
                }
                if span.follow {
                    more.push(("follow", "true".to_owned()));
                }
                let body = client.lines(path, filter, &more)?;
                match each_line(&name, &mut BufReader::new(body), &mut take) {
                    Err(SourceError::File(..)) => Err(SourceError::Ended),
                    other => other,
                }
            }
        }
    }
}

fn each_line(
    name: &str,
    source: &mut dyn BufRead,
    take: &mut dyn FnMut(Line, &str) -> ControlFlow<()>,
) -> Result<Missed, SourceError> {
    let mut missed = Missed::default();
    let (mut read, mut first) = (false, None);
    for line in Lines::new(source) {
        match line {
            Ok((line, text)) => {
                read = true;
                match line {
                    Line::Dropped(count) => missed.dropped += count,
                    Line::Cut(_) => missed.cut = true,
                    _ => {}
                }
                if take(line, &text).is_break() {
                    break;
                }
            }
            Err(ReadError::Failed(error)) => return Err(SourceError::File(name.to_owned(), error)),
            Err(error) => {
                missed.unreadable += 1;
                first.get_or_insert(error);
            }
        }
    }
    match first {
        Some(error) if !read => Err(SourceError::NotAStream(name.to_owned(), error)),
        _ => Ok(missed),
    }
}

/// Events and findings that are looked at together.
#[derive(Debug, Default)]
pub struct Gathered {
    /// In the order of their time.
    pub events: VecDeque<read::Event>,
    /// By id, as last told.
    pub findings: IndexMap<read::Text, read::Finding>,
    /// Ends of streams.
    pub summaries: Vec<read::Summary>,
    /// What did not come.
    pub missed: Missed,
}

fn found_take(
    events: &mut VecDeque<read::Event>,
    findings: &mut IndexMap<read::Text, read::Finding>,
    line: Line,
) {
    match line {
        Line::Event(event) => events.push_back(*event),
        Line::Finding(finding) => {
            findings.insert(finding.id.clone(), *finding);
        }
        _ => {}
    }
}

impl Gathered {
    /// The instance of the only finding or event that is held, and a moment just after it happened.
    pub(super) fn subject(&self) -> Option<(String, jiff::Timestamp)> {
        let after = |time: jiff::Timestamp| time.checked_add(SignedDuration::from_secs(1)).unwrap_or(time);
        let (instance, time) = match (self.findings.len(), self.events.len()) {
            (1, _) => self
                .findings
                .values()
                .next()
                .map(|finding| (finding.workload.instance.to_string(), finding.first_seen)),
            (0, 1) => self.events.front().map(|event| (event.workload.instance.to_string(), event.time)),
            _ => None,
        }?;
        Some((instance, after(time)))
    }

    pub(super) fn take(&mut self, line: Line, matcher: &Matcher) {
        match line {
            Line::Event(event) if matcher.event(&event) => {
                if self.events.len() == EVENTS_MAX {
                    self.events.pop_front();
                    self.missed.older += 1;
                }
                self.events.push_back(*event);
            }
            Line::Finding(finding) if matcher.finding(&finding) => {
                if self.findings.len() == FINDINGS_MAX && !self.findings.contains_key(&finding.id) {
                    self.findings.shift_remove_index(0);
                    self.missed.older += 1;
                }
                self.findings.insert(finding.id.clone(), *finding);
            }
            Line::Summary(summary) if self.summaries.len() < 64 => self.summaries.push(*summary),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{json, sample};

    fn file(times: usize) -> tempfile::NamedTempFile {
        let mut bytes = b"{\"schema\":\"mcp-monitor/event/v1\", damaged\n".to_vec();
        for _ in 0..times {
            for event in sample::events() {
                json::event(&mut bytes, &sample::origin(), &event);
            }
            for finding in sample::findings() {
                json::finding(&mut bytes, &sample::origin(), &finding);
            }
        }
        json::summary(&mut bytes, &sample::origin(), &sample::summary());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn the_last_of_a_file_are_the_last() {
        let file = file(3);
        let source = Source::File(file.path().to_owned());
        let ask = |filter: &Filter, last| {
            let mut kinds = Vec::new();
            let span = Span { last, follow: false };
            let missed = source
                .each(What::Events, filter, span, |line, _| {
                    if let Line::Event(event) = line {
                        kinds.push(event.kind.to_string());
                    }
                    ControlFlow::Continue(())
                })
                .unwrap();
            assert_eq!(missed.unreadable, 1);
            kinds
        };
        assert_eq!(ask(&Filter::default(), None).len(), 3 * sample::events().len());
        let connects = Filter { kind: Some("connect".into()), ..Filter::default() };
        assert_eq!(ask(&connects, Some(2)), ["connect", "connect"]);
        assert!(ask(&connects, Some(0)).is_empty());
    }

    #[test]
    fn events_findings_and_summaries_are_gathered() {
        let file = file(2);
        let gathered = Source::File(file.path().to_owned()).gather(&Filter::default()).unwrap();
        assert_eq!(gathered.events.len(), 2 * sample::events().len());
        assert_eq!(gathered.findings.len(), 1, "told again is the same finding");
        assert_eq!(gathered.summaries.len(), 1);
    }

    #[test]
    fn a_store_that_is_none_and_one_that_is_followed_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let source = Source::Store(directory.path().to_owned());
        assert!(matches!(source.gather(&Filter::default()), Err(SourceError::Store(_))));
        let follow = Span { last: None, follow: true };
        let followed =
            source.each(What::Events, &Filter::default(), follow, |_, _| ControlFlow::Continue(()));
        assert!(matches!(followed, Err(SourceError::NotFollowed)));
    }

    #[test]
    fn a_file_of_something_else_is_told_so() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hello\nworld\n").unwrap();
        let error = Source::File(file.path().to_owned()).gather(&Filter::default()).unwrap_err();
        assert!(error.to_string().contains("watch -o json"), "{error}");
        let missing = Source::File("/nonexistent".into()).gather(&Filter::default()).unwrap_err();
        assert!(matches!(missing, SourceError::File(..)));
    }
}
