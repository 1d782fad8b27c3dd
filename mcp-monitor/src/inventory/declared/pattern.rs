//! Arguments as a configuration writes them: literal bytes, and wildcards where a variable or a secret stands.
//!
//! A secret in an argument is masked before a pattern is made, and the pattern holds only what masking left. Nothing
//! is lost by that: the arguments of a running process were masked by the decoder in the same way before anybody
//! compares them. So no raw secret is held at all, and none can be shown.

use std::fmt;

use serde::Deserialize;

use crate::{
    event::{Bytes, escape},
    sensor::mask::{self, MASKED},
};

/// Longest argument whose wildcards are compared with those of another; beyond it only the literal begin counts.
const COMPARED_MAX_BYTES: usize = 2048;
/// Longest name of a variable.
const NAME_MAX_BYTES: usize = 256;

/// How a client writes variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variable {
    /// `${NAME}`, `${NAME:-default}`, `${env:NAME}`, `${input:id}`.
    DollarBrace,
    /// `$NAME`.
    Dollar,
    /// `{env:NAME}`, `{file:PATH}`.
    Brace,
    /// `~/` at the begin.
    Tilde,
}

/// One argument of a declared command.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ArgumentPattern {
    shown: Bytes,
    pieces: Vec<Piece>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Piece {
    Literal(Bytes),
    Any,
}

impl ArgumentPattern {
    /// The patterns of a command line: what one argument says about the next one counts for masking. `known` gives
    /// the values of variables that are no secrets, such as `userHome`; all others are wildcards.
    #[must_use]
    pub fn list<'a>(
        arguments: &[String],
        syntax: &[Variable],
        known: impl Fn(&str) -> Option<&'a str>,
    ) -> Vec<Self> {
        let plain: Vec<Vec<u8>> =
            arguments.iter().map(|argument| substituted(argument, syntax, &known)).collect();
        // Nothing can be executed with a NUL byte in it, and `substituted` leaves none.
        let mut masked = mask::arguments(&plain.join(&0), false);
        masked.resize(arguments.len(), Bytes::default());
        masked.into_iter().map(|text| Self::of_masked(text, syntax)).collect()
    }

    fn of_masked(shown: Bytes, syntax: &[Variable]) -> Self {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut rest = shown.as_slice();
        while let Some((first, after)) = rest.split_first() {
            let wild = if let Some(after) = rest.strip_prefix(MASKED) {
                Some(after)
            } else {
                variable(rest, syntax).map(|(_, after)| after)
            };
            if let Some(after) = wild {
                if !literal.is_empty() {
                    pieces.push(Piece::Literal(Bytes::new(&std::mem::take(&mut literal))));
                }
                if pieces.last() != Some(&Piece::Any) {
                    pieces.push(Piece::Any);
                }
                rest = after;
            } else {
                literal.push(*first);
                rest = after;
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(Bytes::new(&literal)));
        }
        Self { shown, pieces }
    }

    /// The argument as it may be shown: masked, variables as they are written. Foreign text; escape it.
    #[must_use]
    pub fn shown(&self) -> &Bytes {
        &self.shown
    }

    /// The whole argument, if no variable and no secret stands in it.
    #[must_use]
    pub fn literal(&self) -> Option<&[u8]> {
        match self.pieces.as_slice() {
            [] => Some(&[]),
            [Piece::Literal(bytes)] => Some(bytes.as_slice()),
            _ => None,
        }
    }

    /// The last name of a path that ends literally: `npx` of `/usr/bin/npx` and of `${BIN}/npx`.
    #[must_use]
    pub fn last_name(&self) -> Option<&[u8]> {
        let Some(Piece::Literal(end)) = self.pieces.last() else { return None };
        let end = end.as_slice();
        match end.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => end.get(slash + 1..),
            None if self.pieces.len() == 1 => Some(end),
            None => None,
        }
    }

    /// True when `argument`, raw or masked by the decoder, can be what this stands for.
    #[must_use]
    pub fn matches(&self, argument: &[u8]) -> bool {
        if let Some(literal) = self.literal() {
            return literal == argument;
        }
        let (own, other) = (tokens_of(&self.pieces), tokens(argument));
        if own.len() > COMPARED_MAX_BYTES || other.len() > COMPARED_MAX_BYTES {
            return match self.pieces.first() {
                Some(Piece::Literal(begin)) => argument.starts_with(begin.as_slice()),
                _ => true,
            };
        }
        agree(&own, &other)
    }
}

/// Bytes, and `None` for any number of any bytes.
type Tokens = Vec<Option<u8>>;

fn tokens_of(pieces: &[Piece]) -> Tokens {
    let mut tokens = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Literal(bytes) => tokens.extend(bytes.as_slice().iter().copied().map(Some)),
            Piece::Any => tokens.push(None),
        }
    }
    tokens
}

fn tokens(mut argument: &[u8]) -> Tokens {
    let mut tokens = Vec::with_capacity(argument.len());
    while let Some((first, after)) = argument.split_first() {
        if let Some(after) = argument.strip_prefix(MASKED) {
            tokens.push(None);
            argument = after;
        } else {
            tokens.push(Some(*first));
            argument = after;
        }
    }
    tokens
}

/// True when some text fits both. One row at a time, from the end: `row[j]` says whether the rests agree.
fn agree(own: &[Option<u8>], other: &[Option<u8>]) -> bool {
    let mut row: Vec<bool> = vec![false; other.len() + 1];
    if let Some(last) = row.last_mut() {
        *last = true;
    }
    for j in (0..other.len()).rev() {
        row[j] = other[j].is_none() && row[j + 1];
    }
    for token in own.iter().rev() {
        let mut next = vec![false; other.len() + 1];
        next[other.len()] = token.is_none() && row[other.len()];
        for j in (0..other.len()).rev() {
            next[j] = match (token, other[j]) {
                (None, _) => row[j] || next[j + 1],
                (Some(_), None) => next[j + 1] || row[j],
                (Some(a), Some(b)) => *a == b && row[j + 1],
            };
        }
        row = next;
    }
    row.first().copied().unwrap_or(true)
}

/// The argument with known variables replaced, without defaults of the others (they may be secrets) and NUL bytes.
fn substituted<'a>(argument: &str, syntax: &[Variable], known: &impl Fn(&str) -> Option<&'a str>) -> Vec<u8> {
    let mut plain = Vec::with_capacity(argument.len());
    let mut rest = argument.as_bytes();
    if syntax.contains(&Variable::Tilde)
        && let Some(after) = rest.strip_prefix(b"~/")
        && let Some(home) = known("userHome")
    {
        plain.extend_from_slice(home.as_bytes());
        plain.push(b'/');
        rest = after;
    }
    while let Some((first, after)) = rest.split_first() {
        if let Some((name, after)) = variable(rest, syntax) {
            let written = rest.get(..rest.len() - after.len()).unwrap_or_default();
            let (name, default) = match name.windows(2).position(|pair| pair == b":-") {
                Some(at) => (name.get(..at).unwrap_or_default(), true),
                None => (name, false),
            };
            match std::str::from_utf8(name).ok().and_then(known) {
                Some(value) => plain.extend_from_slice(value.as_bytes()),
                None if default => {
                    plain.extend_from_slice(b"${");
                    plain.extend_from_slice(name);
                    plain.push(b'}');
                }
                None => plain.extend_from_slice(written),
            }
            rest = after;
        } else {
            plain.push(if *first == 0 { b'?' } else { *first });
            rest = after;
        }
    }
    plain.retain(|byte| *byte != 0);
    plain
}

/// The name of the variable that `text` begins with, and what follows it.
fn variable<'text>(text: &'text [u8], syntax: &[Variable]) -> Option<(&'text [u8], &'text [u8])> {
    let closed = |text: &'text [u8]| {
        let end = text.iter().take(NAME_MAX_BYTES).position(|byte| *byte == b'}')?;
        Some((text.get(..end)?, text.get(end + 1..)?)).filter(|(name, _)| !name.is_empty())
    };
    syntax.iter().find_map(|one| match one {
        Variable::DollarBrace => closed(text.strip_prefix(b"${")?),
        Variable::Brace => {
            let inner = text.strip_prefix(b"{")?;
            (inner.starts_with(b"env:") || inner.starts_with(b"file:")).then(|| closed(inner)).flatten()
        }
        Variable::Dollar => {
            let inner = text.strip_prefix(b"$")?;
            let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
            let length = inner.iter().take_while(|byte| is_name(byte)).count();
            let starts_well = inner.first().is_some_and(|first| !first.is_ascii_digit());
            (length > 0 && starts_well).then(|| inner.split_at_checked(length)).flatten()
        }
        Variable::Tilde => None,
    })
}

impl fmt::Debug for ArgumentPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown.fmt(formatter)
    }
}

impl fmt::Display for ArgumentPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&escape(self.shown.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SYNTAX: &[Variable] = &[Variable::DollarBrace, Variable::Brace, Variable::Tilde];

    fn patterns(arguments: &[&str]) -> Vec<ArgumentPattern> {
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        ArgumentPattern::list(&arguments, SYNTAX, |name| (name == "userHome").then_some("/home/u"))
    }

    fn pattern(argument: &str) -> ArgumentPattern {
        patterns(&[argument]).remove(0)
    }

    #[test]
    fn literal_arguments_match_only_themselves() {
        let plain = pattern("@modelcontextprotocol/server-filesystem");
        assert!(plain.matches(b"@modelcontextprotocol/server-filesystem"));
        assert!(!plain.matches(b"@modelcontextprotocol/server-filesystem2"));
        assert!(!plain.matches(MASKED));
        assert!(pattern("").matches(b"") && !pattern("").matches(b"x"));
    }

    #[test]
    fn variables_stand_for_anything() {
        assert!(pattern("${TOOLS:-/opt}/bin/x").matches(b"/srv/bin/x"));
        assert!(!pattern("${TOOLS}/bin/x").matches(b"/srv/bin/y"));
        assert!(pattern("{env:A}").matches(b""));
        assert!(pattern("~/x ${userHome}").matches(b"/home/u/x /home/u"));
        assert!(pattern("$HOME").matches(b"$HOME"), "not a variable in this syntax");
        assert_eq!(pattern("${BIN}/npx").last_name(), Some(&b"npx"[..]));
        assert_eq!(pattern("${BIN}npx").last_name(), None);
        assert_eq!(pattern("/usr/bin/npx").last_name(), Some(&b"npx"[..]));
    }

    #[test]
    fn a_secret_matches_and_is_nowhere() {
        let secret = "ghp_Ab3dEfGhIjKlMnOpQrStUvWxYz0123456789";
        let list = patterns(&["run", "--token", secret, "https://u:hunter2@h/x", "${T:-hunter2}"]);
        let text = format!("{list:?} {} {} {}", list[2], list[3], list[4]);
        assert!(!text.contains(secret) && !text.contains("hunter2"), "{text}");
        assert!(list[2].matches(secret.as_bytes()) && list[2].matches(MASKED));
        assert!(list[3].matches(b"https://[masked]@h/x"));
    }

    proptest! {
        #[test]
        fn an_argument_matches_itself_raw_and_masked(arguments in prop::collection::vec("[^\\x00]{0,60}", 1..5)) {
            let raw: Vec<u8> = arguments.join("\0").into_bytes();
            for (pattern, (argument, masked)) in
                ArgumentPattern::list(&arguments, &[], |_| None).iter()
                    .zip(arguments.iter().zip(mask::arguments(&raw, false)))
            {
                prop_assert!(pattern.matches(masked.as_slice()));
                prop_assert!(pattern.matches(argument.as_bytes()), "{:?} {:?}", pattern, argument);
            }
        }

        #[test]
        fn any_text_is_survived(text in "\\PC{0,80}", argument: Vec<u8>) {
            let all = [Variable::DollarBrace, Variable::Dollar, Variable::Brace, Variable::Tilde];
            let list = ArgumentPattern::list(&[text], &all, |_| Some("v"));
            let _ = list[0].matches(&argument);
        }
    }
}
