//! A telling name and its value: `KEY=value`, `"token": "value"`, `Authorization: …`, `name = value`, `?sig=value`.
//!
//! Where the value ends depends on how it is written: a quoted one at its quote, a header or configuration line at
//! the end of the line, a query parameter at the next one, the rest at white space.

use super::{MASKED, is_quote, is_space, names};

/// The text without the values of telling names; `shell` says that it is a command line.
pub(super) fn mask(text: &[u8], shell: bool) -> Vec<u8> {
    let every_variable = !shell && is_variable_list(text);
    let mut masked = Vec::with_capacity(text.len());
    let mut copied = 0;
    let mut at = 0;
    while let Some(step) = text.iter().skip(at).position(|byte| matches!(byte, b'=' | b':')) {
        let separator = at + step;
        at = separator + 1;
        let Some(value) = secret_value(text, separator, copied, shell, every_variable) else { continue };
        if value.start >= value.end {
            continue;
        }
        masked.extend_from_slice(text.get(copied..value.start).unwrap_or_default());
        masked.extend_from_slice(MASKED);
        copied = value.end;
        at = value.end;
    }
    masked.extend_from_slice(text.get(copied..).unwrap_or_default());
    masked
}

/// Two or more lines `NAME=value`: somebody's environment. No environment values are shown, whatever their names.
fn is_variable_list(text: &[u8]) -> bool {
    text.split(|byte| *byte == b'\n').filter(|line| variable_name(line).is_some()).nth(1).is_some()
}

fn variable_name(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_prefix(b"export ").unwrap_or(line);
    let equals = line.iter().take(names::NAME_MAX_BYTES).position(|byte| *byte == b'=')?;
    let name = line.get(..equals)?;
    let is_name = name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        && name.first().is_some_and(|first| !first.is_ascii_digit());
    is_name.then_some(name)
}

/// Where the line before the next `NAME=` ends.
fn next_variable(text: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(step) = text.iter().skip(at).position(|byte| *byte == b'\n') {
        let line = at + step;
        if text.get(line + 1..).is_some_and(|rest| variable_name(rest).is_some()) {
            return line;
        }
        at = line + 1;
    }
    text.len()
}

/// Where the value behind `separator` lies, if its name tells that it is a secret. Nothing before `floor` counts.
fn secret_value(
    text: &[u8],
    separator: usize,
    floor: usize,
    shell: bool,
    every_variable: bool,
) -> Option<std::ops::Range<usize>> {
    let colon = text.get(separator) == Some(&b':');
    if colon && text.get(separator + 1..separator + 3) == Some(b"//") {
        return None;
    }
    // Back over spaces and a closing quote to the name, and to what stands before it.
    let name_end = back(text, separator, floor, 8, |byte| byte == b' ' || byte == b'\t');
    let spaced = name_end < separator;
    let quote_end = back(text, name_end, floor, 4, |byte| is_quote(byte) || byte == b'\\');
    let name_quoted = quote_end < name_end;
    let name_begin = back(text, quote_end, floor, names::NAME_MAX_BYTES, names::is_name_byte);
    let name = text.get(name_begin..quote_end)?;
    if name.is_empty() {
        return None;
    }
    let before = name_begin.checked_sub(1).and_then(|at| text.get(at)).copied();
    let line_start = matches!(before, None | Some(b'\n' | b'\r'));
    if colon && !name_quoted && !is_space(text.get(separator + 1).copied().unwrap_or(b' ')) {
        // `image:tag` and `host:port` are not pairs; `token:value` at the begin of a word is.
        let word_start =
            before.is_none_or(|byte| is_space(byte) || is_quote(byte) || matches!(byte, b'{' | b',' | b'('));
        if !word_start {
            return None;
        }
    }
    let variable = every_variable && !colon && line_start;
    if !variable && !names::is_secret(name) {
        return None;
    }
    let begin = separator
        + 1
        + text.iter().skip(separator + 1).take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let escapes = text.iter().skip(begin).take_while(|byte| **byte == b'\\').count();
    let first = text.get(begin + escapes).copied()?;
    if is_quote(first) && !variable {
        let inside = begin + escapes + 1;
        return Some(inside..closing_quote(text, inside, first, escapes > 0));
    }
    if name_quoted && matches!(first, b'{' | b'[') {
        return Some(begin..closing_bracket(text, begin));
    }
    let rest = text.get(begin..)?;
    if matches!(rest, [b'|' | b'>', b'\n', ..] | [b'|' | b'>', b'-' | b'+', b'\n', ..]) {
        return Some(begin..text.len());
    }
    if variable {
        // A value may have several lines: up to the next variable.
        return Some(begin..next_variable(text, begin));
    }
    let enclosing = before.filter(|byte| is_quote(*byte) && !name_quoted);
    let whole_line = colon || spaced || (line_start && !shell);
    let length = if name_quoted {
        rest.iter().position(|byte| is_space(*byte) || matches!(byte, b',' | b'}' | b']'))
    } else if let Some(quote) = enclosing {
        rest.iter().position(|byte| *byte == quote)
    } else if whole_line {
        let line = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
        let query = if colon || spaced { None } else { next_parameter(rest) };
        Some(query.map_or(line, |query| query.min(line)))
    } else {
        let word = rest.iter().position(|byte| is_space(*byte) || is_quote(*byte)).unwrap_or(rest.len());
        Some(next_parameter(rest).map_or(word, |query| query.min(word)))
    };
    Some(begin..begin + length.unwrap_or(rest.len()))
}

/// Steps back from `end` over at most `most` bytes for which `is` holds, not below `floor`.
fn back(text: &[u8], end: usize, floor: usize, most: usize, is: impl Fn(u8) -> bool) -> usize {
    let from = floor.max(end.saturating_sub(most)).min(end);
    let steps = text.get(from..end).unwrap_or_default().iter().rev().take_while(|byte| is(**byte)).count();
    end - steps
}

/// `&name=` or `&name&`: where the next query parameter begins. A lone `&` may belong to a password.
fn next_parameter(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let ampersand = at + text.iter().skip(at).position(|byte| *byte == b'&' || is_space(*byte))?;
        if text.get(ampersand) != Some(&b'&') {
            return None;
        }
        let name = text.iter().skip(ampersand + 1).take_while(|byte| names::is_name_byte(**byte)).count();
        if name > 0 && text.get(ampersand + 1 + name) == Some(&b'=') {
            return Some(ampersand);
        }
        at = ampersand + 1 + name;
    }
}

/// The place of the closing quote, or the end of the text.
fn closing_quote(text: &[u8], from: usize, quote: u8, escaped: bool) -> usize {
    let mut backslashes = 0usize;
    for (at, byte) in text.iter().enumerate().skip(from) {
        if *byte == quote && (escaped == (backslashes > 0)) {
            return at - backslashes.min(at - from);
        }
        backslashes = if *byte == b'\\' { backslashes + 1 } else { 0 };
    }
    text.len()
}

/// Behind the bracket that closes the one at `from`, or the end of the text.
fn closing_bracket(text: &[u8], from: usize) -> usize {
    let mut depth = 0usize;
    for (at, byte) in text.iter().enumerate().skip(from) {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    text.len()
}
