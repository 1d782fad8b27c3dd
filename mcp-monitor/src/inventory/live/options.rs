//! Words of a command line: options with their values, and the words behind them.

use super::tools::Tool;
use crate::event::Bytes;

/// Words of a command that a shell gets are split at most this often.
const SHELL_WORDS_MAX: usize = 4096;

/// Options of a tool and what follows them.
#[derive(Debug, Default)]
pub(super) struct Walk<'words> {
    options: Vec<(&'words [u8], Option<&'words [u8]>)>,
    /// What follows.
    pub(super) rest: &'words [Bytes],
}

impl<'words> Walk<'words> {
    /// The options of `tool` that `words` begins with.
    pub(super) fn new(tool: &Tool, words: &'words [Bytes]) -> Self {
        let mut walk = Self { options: Vec::new(), rest: words };
        walk.go_on(tool);
        walk
    }

    /// More options, behind a word that was taken.
    pub(super) fn go_on(&mut self, tool: &Tool) {
        while let Some((word, after)) = self.rest.split_first() {
            let text = word.as_slice();
            if text == b"--" {
                self.rest = after;
                return;
            }
            if tool.assignments && is_assignment(text) {
                self.rest = after;
                continue;
            }
            if text == b"-" || !matches!(text.first(), Some(b'-' | b'+')) {
                return;
            }
            self.rest = after;
            let Some((option, value)) = option(tool, text) else { continue };
            match value {
                Value::Attached(value) => self.options.push((option, Some(value))),
                Value::None => self.options.push((option, None)),
                Value::Next => {
                    let value = after.first().map(Bytes::as_slice);
                    self.options.push((option, value));
                    self.rest = after.get(1..).unwrap_or_default();
                }
            }
        }
    }

    /// Takes the next word.
    pub(super) fn take(&mut self) -> Option<&'words Bytes> {
        let (word, after) = self.rest.split_first()?;
        self.rest = after;
        Some(word)
    }

    /// The first value of any of these options.
    pub(super) fn value(&self, names: &[String]) -> Option<&'words [u8]> {
        self.values(names).next()
    }

    /// Every value of these options.
    pub(super) fn values(&self, names: &[String]) -> impl Iterator<Item = &'words [u8]> {
        self.options
            .iter()
            .filter(|(option, _)| names.iter().any(|name| name.as_bytes() == *option))
            .filter_map(|(_, value)| *value)
    }

    /// Every value of one option.
    pub(super) fn values_of(&self, name: &str) -> impl Iterator<Item = &'words [u8]> {
        self.options
            .iter()
            .filter(move |(option, _)| *option == name.as_bytes())
            .filter_map(|(_, value)| *value)
    }

    /// Every option that is given.
    pub(super) fn flags(&self) -> impl Iterator<Item = &'words [u8]> {
        self.options.iter().map(|(option, _)| *option)
    }

    /// True when one of these options is given.
    pub(super) fn has(&self, names: &[String]) -> bool {
        self.options.iter().any(|(option, _)| names.iter().any(|name| name.as_bytes() == *option))
    }
}

enum Value<'words> {
    Attached(&'words [u8]),
    Next,
    None,
}

/// Which option a word is. Of letters written together the one that takes a value counts, else the first.
fn option<'words>(tool: &Tool, word: &'words [u8]) -> Option<(&'words [u8], Value<'words>)> {
    let takes = |name: &[u8]| std::str::from_utf8(name).is_ok_and(|name| tool.values.contains(name));
    if let Some(equals) = word.iter().position(|byte| *byte == b'=')
        && (word.starts_with(b"--") || takes(word.get(..equals)?))
    {
        return Some((word.get(..equals)?, Value::Attached(word.get(equals + 1..)?)));
    }
    if takes(word) {
        return Some((word, Value::Next));
    }
    if tool.clusters && !word.starts_with(b"--") && word.len() > 2 {
        for at in 1..word.len() {
            let letter = word.get(at..=at)?;
            let known = tool
                .values
                .iter()
                .find(|name| name.as_bytes().strip_prefix(b"-") == Some(letter))
                .map(String::as_bytes);
            if known.is_some() {
                // The name as the table has it is two bytes of the word only when it comes first; point at a
                // static spelling instead.
                let name = spelled(letter)?;
                let rest = word.get(at + 1..)?;
                let value = if rest.is_empty() { Value::Next } else { Value::Attached(rest) };
                return Some((name, value));
            }
        }
    }
    Some((word, Value::None))
}

/// `-x` for a letter.
fn spelled(letter: &[u8]) -> Option<&'static [u8]> {
    const LETTERS: &[u8] = b"-a-b-c-d-e-f-g-h-i-j-k-l-m-n-o-p-q-r-s-t-u-v-w-x-y-z-A-B-C-D-E-F-G-H-I-J-K-L-M-N-O-P-Q-R-S-T-U-V-W-X-Y-Z";
    LETTERS.chunks_exact(2).find(|pair| pair.get(1..) == Some(letter))
}

/// `NAME=value`, as `env` and a shell take it.
pub(super) fn is_assignment(word: &[u8]) -> bool {
    let name = word.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    name > 0 && word.get(name) == Some(&b'=') && !word.first().is_some_and(u8::is_ascii_digit)
}

/// The command that a shell's text comes to, if it is one: what only prepares it is left out (`cd`, variables,
/// `source`). A text with pipes, loops and the like is a program of its own and no command.
pub(super) fn command_of(text: &[u8]) -> Option<Vec<Bytes>> {
    let mut words = Vec::new();
    for word in shlex::bytes::Shlex::new(text) {
        if words.len() >= SHELL_WORDS_MAX {
            return None;
        }
        words.push(word);
    }
    let mut found: Option<Vec<Bytes>> = None;
    let mut command: Vec<Bytes> = Vec::new();
    for word in words {
        match word.as_slice() {
            b"&&" | b";" => step(&mut found, &mut command)?,
            b"|" | b"||" | b"&" | b"if" | b"for" | b"while" | b"case" | b"until" | b"{" | b"(" | b"trap" => {
                return None;
            }
            text if text.ends_with(b";") && text.len() > 1 => {
                command.push(Bytes::new(text.get(..text.len() - 1)?));
                step(&mut found, &mut command)?;
            }
            // Where output goes says nothing of what runs.
            text if is_redirection(text) => {}
            text => command.push(Bytes::new(text)),
        }
    }
    step(&mut found, &mut command)?;
    found
}

/// One simple command is complete. `None` when there are two that do something.
fn step(found: &mut Option<Vec<Bytes>>, command: &mut Vec<Bytes>) -> Option<()> {
    let mut words = std::mem::take(command);
    while words.first().is_some_and(|word| is_assignment(word.as_slice())) {
        words.remove(0);
    }
    while words.first().is_some_and(|word| matches!(word.as_slice(), b"exec" | b"command" | b"builtin")) {
        words.remove(0);
        while words.first().is_some_and(|word| matches!(word.as_slice(), b"-a" | b"-l" | b"-c" | b"--")) {
            let option = words.remove(0);
            if option.as_slice() == b"-a" && !words.is_empty() {
                words.remove(0);
            }
        }
    }
    let Some(first) = words.first() else { return Some(()) };
    let prepares = matches!(
        first.as_slice(),
        b"cd"
            | b"pushd"
            | b"export"
            | b"unset"
            | b"set"
            | b"source"
            | b"."
            | b"ulimit"
            | b"umask"
            | b"true"
            | b"eval"
            | b"nvm"
            | b"fnm"
            | b"pyenv"
            | b"shopt"
            | b"alias"
    );
    if prepares {
        return Some(());
    }
    if found.is_some() {
        return None;
    }
    *found = Some(words);
    Some(())
}

fn is_redirection(word: &[u8]) -> bool {
    let digits = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    word.get(digits).is_some_and(|byte| matches!(byte, b'<' | b'>'))
        && word.len() > digits + 1
        && !word.get(digits..).is_some_and(|rest| rest.starts_with(b"<(") || rest.starts_with(b">("))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(command: &str) -> Option<String> {
        let words = command_of(command.as_bytes())?;
        Some(words.iter().map(Bytes::escaped).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn what_a_shell_is_asked_to_run() {
        for (command, expected) in [
            ("exec npx -y x", Some("npx -y x")),
            ("'mcp-server-filesystem' /srv/w", Some("mcp-server-filesystem /srv/w")),
            ("cd /x && exec node 'a b.js'", Some("node a b.js")),
            ("source ~/.nvm/nvm.sh; npx x", Some("npx x")),
            ("A=b C='d e' uvx x 2>/dev/null", Some("uvx x")),
            ("export A=b; . ./v/bin/activate && python -m s", Some("python -m s")),
            ("git status && ls", None),
            ("cat x | node y", None),
            ("for i in 1 2; do x; done", None),
            ("", None),
            ("cd /x", None),
            ("unbalanced 'quote", Some("unbalanced")),
        ] {
            assert_eq!(text(command).as_deref(), expected, "{command}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = command_of(&bytes);
        }
    }
}
