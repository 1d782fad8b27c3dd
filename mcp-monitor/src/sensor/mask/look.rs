//! Secrets by their look: long runs of letters and digits that nobody would write as a name. Paths and plain words
//! stay.

use super::{MASKED, is_quote, is_space};

/// Shortest run that is looked at.
const RUN_LEAST_BYTES: usize = 20;
/// Shortest part of a run, between separators, that can make it look like data.
const PART_LEAST_BYTES: usize = 10;
/// First directories of absolute paths on Linux hosts.
const ROOTS: [&[u8]; 34] = [
    b"app",
    b"bin",
    b"boot",
    b"build",
    b"code",
    b"data",
    b"dev",
    b"etc",
    b"home",
    b"lib",
    b"lib32",
    b"lib64",
    b"media",
    b"mnt",
    b"nix",
    b"opt",
    b"private",
    b"proc",
    b"project",
    b"projects",
    b"repo",
    b"root",
    b"run",
    b"sbin",
    b"snap",
    b"src",
    b"srv",
    b"sys",
    b"tmp",
    b"Users",
    b"usr",
    b"var",
    b"work",
    b"workspace",
];

/// The text without such runs.
pub(super) fn mask(text: &[u8]) -> Vec<u8> {
    if text.len() < RUN_LEAST_BYTES {
        return text.to_vec();
    }
    let mut masked = Vec::with_capacity(text.len());
    let mut rest = text;
    loop {
        let end = rest.iter().position(|byte| is_word_end(*byte)).unwrap_or(rest.len());
        let (word, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        mask_word(word, &mut masked);
        let Some((separator, next)) = after.split_first() else { return masked };
        masked.push(*separator);
        rest = next;
    }
}

/// Masks the last word of a text that was cut there: what it would have become is not known.
pub(super) fn mask_cut_end(text: &mut Vec<u8>) {
    let begin = text.iter().rposition(|byte| is_word_end(*byte)).map_or(0, |at| at + 1);
    let word = text.get(begin..).unwrap_or_default();
    if !word.is_empty() && !is_path(value_of(word).1) {
        text.truncate(begin);
        text.extend_from_slice(MASKED);
    }
}

/// True for a DNS label that looks like data.
pub(super) fn is_data_label(label: &[u8]) -> bool {
    label.len() > 40 || (label.len() >= RUN_LEAST_BYTES && looks_like_data(label))
}

fn is_word_end(byte: u8) -> bool {
    is_space(byte)
        || is_quote(byte)
        || matches!(byte, b',' | b';' | b'(' | b')' | b'<' | b'>' | b'{' | b'}' | b'|' | b'&')
}

fn is_run_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'_' | b'-' | b'%')
}

/// `--name=` or `NAME=` and what follows it.
fn value_of(word: &[u8]) -> (&[u8], &[u8]) {
    let equals = word.iter().position(|byte| *byte == b'=');
    let is_name = |name: &[u8]| {
        name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
            && !looks_like_data(name)
    };
    match equals.and_then(|at| word.split_at_checked(at + 1)) {
        Some((name, value)) if is_name(name.strip_suffix(b"=").unwrap_or(name)) => (name, value),
        _ => (&[], word),
    }
}

fn mask_word(word: &[u8], masked: &mut Vec<u8>) {
    let (name, value) = value_of(word);
    masked.extend_from_slice(name);
    if is_path(value) {
        masked.extend_from_slice(value);
        return;
    }
    // In an address a slash separates; elsewhere it may be part of what base64 made.
    let is_address = value.windows(3).any(|window| window == b"://");
    let in_run = |byte: u8| is_run_byte(byte) && !(is_address && matches!(byte, b'/' | b'='));
    let mut rest = value;
    while !rest.is_empty() {
        let length = rest.iter().take_while(|byte| in_run(**byte)).count();
        let (run, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        let secret = run.len() >= RUN_LEAST_BYTES && looks_like_data(run);
        masked.extend_from_slice(if secret { MASKED } else { run });
        let Some((other, next)) = after.split_first() else { return };
        masked.push(*other);
        rest = next;
    }
}

fn is_path(word: &[u8]) -> bool {
    if word.starts_with(b"./") || word.starts_with(b"../") || word.starts_with(b"~/") {
        return true;
    }
    let Some(path) = word.strip_prefix(b"/") else { return false };
    let mut components = path.split(|byte| *byte == b'/');
    components.next().is_some_and(|root| ROOTS.contains(&root)) && components.next().is_some()
}

/// True if one of the parts between separators is neither a word nor a number that people write.
fn looks_like_data(run: &[u8]) -> bool {
    run.split(|byte| !byte.is_ascii_alphanumeric())
        .any(|part| part.len() >= PART_LEAST_BYTES && !is_plain(part))
        || is_scattered(run)
}

/// Many changes between upper case, lower case and digits in short parts: base64 with many separators in it.
fn is_scattered(run: &[u8]) -> bool {
    let class = |byte: u8| match byte {
        b'a'..=b'z' => 1,
        b'A'..=b'Z' => 2,
        b'0'..=b'9' => 3,
        _ => 0,
    };
    let has = |wanted| run.iter().any(|byte| class(*byte) == wanted);
    let changes = run
        .windows(2)
        .filter(|pair| match pair {
            [a, b] => class(*a) != class(*b) && class(*a) != 0 && class(*b) != 0,
            _ => false,
        })
        .count();
    has(1) && has(2) && has(3) && changes * 3 > run.len()
}

fn is_plain(part: &[u8]) -> bool {
    let digits = part.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == part.len() {
        return digits <= 12;
    }
    let letters = part.get(..part.len() - digits).unwrap_or_default();
    digits <= 4 && letters.iter().all(u8::is_ascii_alphabetic) && is_word(letters)
}

/// Letters that read like words: some vowels, and upper case only at the begin of words.
fn is_word(letters: &[u8]) -> bool {
    let vowels = letters.iter().filter(|byte| is_vowel(**byte)).count();
    if letters.len() >= 16 && vowels * 5 < letters.len() {
        return false;
    }
    let pieces = letters.chunk_by(|a, b| !(a.is_ascii_lowercase() && b.is_ascii_uppercase()));
    let (mut all, mut odd) = (0usize, 0usize);
    for piece in pieces {
        let capitals = piece.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
        let mixed = capitals > 1 && capitals < piece.len();
        let unspoken = capitals < piece.len() && !piece.iter().any(|byte| is_vowel(*byte));
        all += 1;
        odd += usize::from(piece.len() < 2 || mixed || unspoken);
    }
    odd * 3 <= all
}

fn is_vowel(byte: u8) -> bool {
    matches!(byte.to_ascii_lowercase(), b'a' | b'e' | b'i' | b'o' | b'u' | b'y')
}
