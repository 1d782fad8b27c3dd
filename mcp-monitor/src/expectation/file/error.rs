//! What is wrong with a set of expectations, at its place, with what was probably meant.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde_saphyr::{Location, Spanned};

use crate::event::escape;

/// How alike two spellings must be before one is taken for the other.
const ALIKE_ENOUGH: f64 = 0.7;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file.
    pub file: PathBuf,
    /// Line and column, counted from 1; `None` when the file as a whole is meant.
    pub place: Option<(u32, u32)>,
    /// What is wrong, and what to write instead.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        use std::os::unix::ffi::OsStrExt as _;
        formatter.write_str(&escape(self.file.as_os_str().as_bytes()))?;
        if let Some((line, column)) = self.place {
            write!(formatter, ":{line}:{column}")?;
        }
        // Part of the message is the file's own text.
        write!(formatter, ": {}", escape(self.message.as_bytes()))
    }
}

/// A set cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct LoadError(pub Vec<Mistake>);

impl fmt::Display for LoadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            mistake.fmt(formatter)?;
        }
        Ok(())
    }
}

/// Collects the mistakes of one file.
#[derive(Debug)]
pub(super) struct Mistakes<'path> {
    file: &'path Path,
    found: Vec<Mistake>,
}

impl<'path> Mistakes<'path> {
    pub(super) fn new(file: &'path Path) -> Self {
        Self { file, found: Vec::new() }
    }

    pub(super) fn at<T>(&mut self, value: &Spanned<T>, message: impl Into<String>) {
        self.found.push(Mistake {
            file: self.file.to_owned(),
            place: place(value.referenced),
            message: message.into(),
        });
    }

    pub(super) fn whole(&mut self, message: impl Into<String>) {
        self.found.push(Mistake { file: self.file.to_owned(), place: None, message: message.into() });
    }

    pub(super) fn syntax(&mut self, error: &serde_saphyr::Error) {
        let error = error.without_snippet();
        let (message, place) = (explain(error), error.location().and_then(place));
        self.found.push(Mistake { file: self.file.to_owned(), place, message });
    }

    /// Without one of the mistakes that were found so far.
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// In the order of their places.
    pub(super) fn found(mut self) -> Vec<Mistake> {
        self.found.sort_by_key(|mistake| mistake.place);
        self.found
    }
}

/// Line and column of a place.
pub(super) fn place(location: Location) -> Option<(u32, u32)> {
    let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    (location.line() > 0).then(|| (number(location.line()), number(location.column())))
}

/// The line of a value.
pub(super) fn line<T>(value: &Spanned<T>) -> u32 {
    place(value.referenced).map_or(0, |(line, _)| line)
}

/// What the reader of YAML says, in the words of this format.
fn explain(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            format!("unknown key `{field}`{}", nearest_of(field, expected))
        }
        Error::SerdeMissingField { field, .. } => format!("key `{field}` is missing"),
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("key `{key}` stands here twice"),
        Error::AliasError { error, .. } => explain(error),
        Error::Unexpected { expected: "sequence start", .. } => {
            String::from("expected a list; write `[…]`, also around a single value")
        }
        Error::Unexpected { expected, .. } => format!("expected {expected}"),
        // The location is told already; what follows the first line would repeat the file.
        other => other.to_string().lines().next().unwrap_or_default().to_owned(),
    }
}

/// `; did you mean …`, or what there is.
pub(super) fn nearest_of(text: &str, known: &[&str]) -> String {
    let lower = text.to_lowercase();
    let likeness = |word: &&&str| strsim::jaro_winkler(&lower, &word.to_lowercase());
    let swapped = |word: &&&str| strsim::damerau_levenshtein(&lower, word) == 1;
    let nearest = known
        .iter()
        .find(swapped)
        .or_else(|| known.iter().max_by(|left, right| likeness(left).total_cmp(&likeness(right))));
    match nearest {
        Some(word) if likeness(&word) >= ALIKE_ENOUGH || swapped(&word) => {
            format!("; did you mean `{word}`?")
        }
        _ => format!("; there are: {}", known.join(", ")),
    }
}
