//! Masking: what a monitored process put into its arguments or asked the DNS for, without the secrets in it.
//!
//! Runs inside the decoder, so that nothing behind it ever holds an unmasked argument. Hidden when in doubt: paths,
//! flags, names and plain words stay, everything that a known shape, a telling name or its own look marks as a
//! secret becomes [`MASKED`]. Any bytes are accepted; the time is linear in their number; masking what is masked
//! changes nothing.

use crate::event::Bytes;

mod flags;
mod look;
mod names;
mod pairs;
mod pem;
mod shapes;
#[cfg(test)]
mod tests;

/// What stands in place of a secret.
pub const MASKED: &[u8] = b"[masked]";

/// Rounds after which masking has settled; a round only ever hides more.
const ROUNDS_MAX: usize = 4;

/// Splits NUL-separated arguments and masks them, with what one argument says about the next one. `truncated` says
/// that the last one was cut, wherever that was.
#[must_use]
pub fn arguments(raw: &[u8], truncated: bool) -> Vec<Bytes> {
    if raw.is_empty() {
        return Vec::new();
    }
    let raw = raw.strip_suffix(&[0]).unwrap_or(raw);
    let mut list: Vec<Vec<u8>> = raw.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    if truncated && let Some(last) = list.last_mut() {
        look::mask_cut_end(last);
    }
    for _ in 0..ROUNDS_MAX {
        if !round(&mut list) {
            break;
        }
    }
    list.into_iter().map(|argument| Bytes(argument.into())).collect()
}

/// Masks a text that stands for itself, such as a name that a process made up.
#[must_use]
pub fn text(raw: &[u8]) -> Bytes {
    let mut list = [raw.to_vec()];
    for _ in 0..ROUNDS_MAX {
        if !round(&mut list) {
            break;
        }
    }
    let [text] = list;
    Bytes(text.into())
}

/// A domain name with every label masked that looks like data rather than like a name. Lower case, without dots
/// at its end.
#[must_use]
pub fn domain_name(name: &[u8]) -> Bytes {
    let end = name.iter().rposition(|byte| *byte != b'.').map_or(0, |last| last + 1);
    let name = name.get(..end).unwrap_or_default().to_ascii_lowercase();
    let mut masked = Vec::with_capacity(name.len());
    for (index, label) in name.split(|byte| *byte == b'.').enumerate() {
        if index > 0 {
            masked.push(b'.');
        }
        masked.extend_from_slice(if look::is_data_label(label) { MASKED } else { label });
    }
    Bytes(masked.into())
}

/// One pass over all arguments; true if something changed.
fn round(list: &mut [Vec<u8>]) -> bool {
    let mut block = pem::Block::default();
    let mut flags = flags::Flags::default();
    let mut changed = false;
    for argument in list {
        let mut masked = block.mask(argument);
        if !flags.mask_argument(&mut masked) {
            flags.mask_words(&mut masked);
            masked = pairs::mask(&masked, flags.is_shell_text());
            masked = shapes::mask(&masked);
            masked = look::mask(&masked);
        }
        flags.take_note(argument);
        if masked != *argument {
            *argument = masked;
            changed = true;
        }
    }
    changed
}

/// Replaces `range` of `text`, if it lies inside and is not masked already.
fn hide(text: &mut Vec<u8>, range: std::ops::Range<usize>) {
    if range.start < range.end && range.end <= text.len() {
        text.splice(range, MASKED.iter().copied());
    }
}

/// The first place of `needle` in `text` at or after `from`.
fn find(text: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let rest = text.get(from..)?;
    rest.windows(needle.len()).position(|window| window == needle).map(|at| from + at)
}

/// Bytes that end a word.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// Quotes of shells, JSON and YAML.
fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`')
}
