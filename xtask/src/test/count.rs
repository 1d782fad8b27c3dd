//! How many tests passed, failed and were skipped, and reading that from what test programs print.

use std::{fmt, ops::AddAssign};

use super::failure::Failure;

/// A count of tests by their end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Those that held.
    pub(super) passed: u64,
    /// Those that did not.
    pub(super) failed: u64,
    /// Those that could not be run.
    pub(super) skipped: u64,
    /// What is known of those that failed, to be said again where the whole run ends.
    pub(super) failures: Vec<Failure>,
}

impl Count {
    /// One that held.
    pub(super) fn passed() -> Self {
        Self { passed: 1, ..Self::default() }
    }

    /// One that did not hold, and why; says so at once.
    pub(super) fn failed(name: &str, why: impl fmt::Display) -> Self {
        println!("FAILED {name}: {why}");
        Self { failed: 1, failures: vec![Failure::new(name, &why.to_string())], ..Self::default() }
    }

    /// One that could not be run.
    pub(super) fn skipped() -> Self {
        Self { skipped: 1, ..Self::default() }
    }

    /// What `output` states: the last count in our own words, else the sum of those in the words of cargo's tests.
    ///
    /// Our own runner is built on a test library and states both, about the same tests.
    pub(super) fn stated_in(output: &str) -> Self {
        let mut sum = Self::default();
        let mut own = None;
        for line in output.lines().map(str::trim) {
            if let Some(result) = line.strip_prefix("test result: ") {
                let result = result.split_once(". ").map_or("", |(_, counts)| counts);
                sum += Self::from_words(result.split(';'));
            } else if line.split(',').count() == 3 && line.ends_with(" skipped") {
                own = Some(Self::from_words(line.split(',')));
            }
        }
        Self { failures: Failure::all_in(output), ..own.unwrap_or(sum) }
    }

    /// This count, with a failure added when the program that stated it ended badly without naming one.
    pub(super) fn with_end(mut self, succeeded: bool) -> Self {
        if !succeeded && self.failed == 0 {
            self += Self::failed("the whole", "it ended badly and named no test that failed");
        }
        self
    }

    /// This count, its failures named as those of `part`.
    pub(super) fn of(mut self, part: &str) -> Self {
        for failure in &mut self.failures {
            failure.put_in(part);
        }
        self
    }

    fn from_words<'a>(parts: impl Iterator<Item = &'a str>) -> Self {
        let mut count = Self::default();
        for part in parts {
            let mut words = part.split_whitespace();
            let number = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
            match words.next() {
                Some("passed") => count.passed += number,
                Some("failed") => count.failed += number,
                Some("skipped" | "ignored") => count.skipped += number,
                _ => {}
            }
        }
        count
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, Self { passed, failed, skipped, failures }: Self) {
        self.passed += passed;
        self.failed += failed;
        self.skipped += skipped;
        self.failures.extend(failures);
    }
}

impl fmt::Display for Count {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped, .. } = self;
        write!(formatter, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::Count;

    #[test]
    fn reads_both_kinds_of_statement_and_counts_none_twice() {
        let cargo = "test result: ok. 4 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
                     test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n\
                     case one, two, three\n";
        assert_eq!(Count::stated_in(cargo), Count { passed: 6, failed: 1, skipped: 1, ..Count::default() });
        let both = format!("{cargo}6 passed, 1 failed, 2 skipped\n");
        assert_eq!(Count::stated_in(&both), Count { passed: 6, failed: 1, skipped: 2, ..Count::default() });
        assert_eq!(Count::stated_in(&Count::passed().to_string()), Count::passed());
    }

    #[test]
    fn a_bad_end_is_a_failure() {
        assert_eq!(Count::passed().with_end(false).failed, 1);
        assert_eq!(Count::failed("one", "it broke").with_end(false).failed, 1);
        assert_eq!(Count::passed().with_end(true).failed, 0);
    }
}
