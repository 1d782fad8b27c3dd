//! What a test that did not hold said, kept so that a run of half an hour ends with it instead of burying it.

use std::{fmt, mem};

/// How many lines of what a test said are kept: its message, not its log.
const LINES: usize = 40;
/// How many failures of one program are kept: after so many the first ones tell enough.
const KEPT: usize = 20;

/// A test that did not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Failure {
    name: String,
    said: Vec<String>,
}

impl Failure {
    /// The test called `name`, which failed because of `why`.
    pub(super) fn new(name: &str, why: &str) -> Self {
        Self { name: name.to_owned(), said: why.lines().take(LINES).map(str::to_owned).collect() }
    }

    /// Every failure that a test program's output explains: what stands below a line `---- name ----`, in the words of
    /// both cargo's tests and our own runner.
    pub(super) fn all_in(output: &str) -> Vec<Self> {
        let mut failures = Vec::new();
        let mut open: Option<Self> = None;
        for line in output.lines().map(str::trim_end) {
            if let Some(name) = heading(line) {
                failures.extend(open.replace(Self { name: name.to_owned(), said: Vec::new() }));
            } else if line == "failures:" || line.starts_with("test result: ") {
                failures.extend(open.take());
            } else if let Some(Self { said, .. }) = open.as_mut()
                && said.len() < LINES
                && !(said.is_empty() && line.is_empty())
            {
                said.push(line.to_owned());
            }
        }
        failures.extend(open);
        failures.truncate(KEPT);
        for Self { said, .. } in &mut failures {
            while said.last().is_some_and(String::is_empty) {
                said.pop();
            }
        }
        failures
    }

    /// Says of which part of the tests it is.
    pub(super) fn put_in(&mut self, part: &str) {
        if self.name != part {
            self.name = format!("{part}: {}", mem::take(&mut self.name));
        }
    }
}

/// The name in a line `---- name ----`; cargo adds the stream to it.
fn heading(line: &str) -> Option<&str> {
    let name = line.strip_prefix("---- ")?.strip_suffix(" ----")?;
    Some(name.strip_suffix(" stdout").unwrap_or(name))
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "FAILED {}", self.name)?;
        self.said.iter().try_for_each(|line| write!(formatter, "\n    {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Failure;

    #[test]
    fn a_failure_keeps_its_name_and_what_it_said() {
        let output = "test a ... FAILED\n\nfailures:\n\n---- room::a stdout ----\n\nleft: 1\nright: 2\n\n\
                      ---- a case of our own ----\nno such event\n\nfailures:\n    room::a\n\n\
                      test result: FAILED. 0 passed; 2 failed\nunrelated\n";
        let mut failures = Failure::all_in(output);
        assert_eq!(failures.len(), 2);
        assert_eq!(failures[0].to_string(), "FAILED room::a\n    left: 1\n    right: 2");
        failures[1].put_in("machines");
        assert_eq!(failures[1].to_string(), "FAILED machines: a case of our own\n    no such event");
        assert!(Failure::all_in("test result: ok. 4 passed; 0 failed\n").is_empty());
    }

    #[test]
    fn an_output_cut_short_still_names_what_failed() {
        assert_eq!(Failure::all_in("---- a ----\nbecause").len(), 1);
    }
}
