//! Secrets known by their shape: token prefixes, `Bearer …`, `user:password@` in addresses, password hashes and
//! lines of `.pgpass`.

use super::{MASKED, find, hide, is_quote, is_space};

/// Begin of a token, bytes that must follow, and whether it must stand at the begin of a word.
const PREFIXES: [(&[u8], usize, bool); 47] = [
    (b"ghp_", 1, false),
    (b"gho_", 1, false),
    (b"ghu_", 1, false),
    (b"ghs_", 1, false),
    (b"ghr_", 1, false),
    (b"github_pat_", 1, false),
    (b"glpat-", 1, false),
    (b"gldt-", 4, false),
    (b"glrt-", 4, false),
    (b"xoxa-", 1, false),
    (b"xoxb-", 1, false),
    (b"xoxp-", 1, false),
    (b"xoxr-", 1, false),
    (b"xoxs-", 1, false),
    (b"xoxe", 8, true),
    (b"xapp-", 4, true),
    (b"sk-ant-", 1, false),
    (b"sk-proj-", 1, false),
    (b"sk-or-", 1, false),
    (b"sk-", 16, true),
    (b"sk_live_", 1, false),
    (b"sk_test_", 1, false),
    (b"rk_live_", 1, false),
    (b"pk_live_", 1, false),
    (b"whsec_", 1, false),
    (b"AKIA", 8, false),
    (b"ASIA", 8, false),
    (b"AIza", 8, false),
    (b"ya29.", 1, false),
    (b"1//0", 16, true),
    (b"npm_", 20, true),
    (b"pypi-Ag", 1, false),
    (b"hf_", 16, true),
    (b"eyJ", 8, true),
    (b"dckr_pat_", 1, false),
    (b"dckr_oat_", 1, false),
    (b"sq0", 8, true),
    (b"SG.", 8, true),
    (b"shpat_", 1, false),
    (b"dop_v1_", 1, false),
    (b"lin_api_", 1, false),
    (b"ntn_", 20, true),
    (b"figd_", 4, false),
    (b"hvs.", 4, true),
    (b"tskey-", 1, false),
    (b"gsk_", 16, true),
    (b"AGE-SECRET-KEY-", 1, false),
];

/// Names before a colon that are no user names.
const NO_USERS: [&[u8]; 14] = [
    b"npm",
    b"jsr",
    b"file",
    b"github",
    b"gitlab",
    b"git",
    b"link",
    b"workspace",
    b"node",
    b"docker",
    b"patch",
    b"catalog",
    b"sha256",
    b"mailto",
];

/// The text without them.
pub(super) fn mask(text: &[u8]) -> Vec<u8> {
    let mut masked = addresses(text);
    schemes(&mut masked);
    hashes(&mut masked);
    password_lines(&mut masked);
    prefixes(&masked)
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'=' | b'/' | b'+' | b'~')
}

fn prefixes(text: &[u8]) -> Vec<u8> {
    let mut masked = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(rest) = text.get(at..)
        && let Some(first) = rest.first()
    {
        let starts_word = at
            .checked_sub(1)
            .and_then(|at| text.get(at))
            .is_none_or(|byte| !byte.is_ascii_alphanumeric() && !matches!(byte, b'_' | b'-' | b'.'));
        let token = PREFIXES.iter().find_map(|(prefix, least, at_start)| {
            let after = rest.strip_prefix(*prefix)?;
            if *at_start && !starts_word {
                return None;
            }
            let length = after.iter().take_while(|byte| is_token_byte(**byte)).count();
            (length >= *least).then_some(prefix.len() + length)
        });
        if let Some(length) = token {
            masked.extend_from_slice(MASKED);
            at += length;
        } else {
            masked.push(*first);
            at += 1;
        }
    }
    masked
}

/// `scheme://user:password@host` and `user:password@host`.
fn addresses(text: &[u8]) -> Vec<u8> {
    let is_end = |byte: &u8| is_space(*byte) || is_quote(*byte) || matches!(byte, b'<' | b'>' | b'\\');
    let mut masked = Vec::with_capacity(text.len() + MASKED.len());
    let mut rest = text;
    loop {
        let end = rest.iter().position(is_end).unwrap_or(rest.len());
        let (word, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        match userinfo(word) {
            Some(range) => {
                let mut word = word.to_vec();
                hide(&mut word, range);
                masked.extend_from_slice(&word);
            }
            None => masked.extend_from_slice(word),
        }
        let Some((separator, next)) = after.split_first() else { return masked };
        masked.push(*separator);
        rest = next;
    }
}

/// Where the user information of an address in this word lies. Only the last of several addresses in one word is
/// told apart by its scheme; what stands before an `@` of an earlier one is hidden with it.
fn userinfo(word: &[u8]) -> Option<std::ops::Range<usize>> {
    if let Some(scheme) = find(word, b"://", 0) {
        let begin = scheme + 3;
        let rest = word.get(begin..)?;
        let authority = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
        let part = rest.get(..authority)?;
        let at = if let Some(at) = part.iter().rposition(|byte| *byte == b'@') {
            at
        } else {
            // A password with a slash in it: what follows the colon is no port.
            let colon = part.iter().position(|byte| *byte == b':')?;
            let after_colon = part.get(colon + 1..)?;
            if part.first() == Some(&b'[') || after_colon.iter().all(u8::is_ascii_digit) {
                return None;
            }
            rest.iter().rposition(|byte| *byte == b'@')?
        };
        let user = rest.get(..at)?;
        let plain = user.len() <= 16 && user.iter().all(u8::is_ascii_lowercase);
        return (!plain).then_some(begin..begin + at);
    }
    let colon = word.iter().position(|byte| *byte == b':')?;
    let user = word.get(..colon)?;
    let user_begin = user
        .iter()
        .rposition(|byte| !byte.is_ascii_alphanumeric() && !matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-'))
        .map_or(0, |at| at + 1);
    let name = user.get(user_begin..)?;
    if name.is_empty() || NO_USERS.contains(&name) {
        return None;
    }
    let at = colon + 1 + word.get(colon + 1..)?.iter().rposition(|byte| *byte == b'@')?;
    if word.get(at + 1..).is_none_or(|host| host.is_empty() || host.starts_with(b"sha256")) || at == colon + 1
    {
        return None;
    }
    Some(colon + 1..at)
}

/// `Bearer value`, `Basic value` outside a header.
fn schemes(text: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(step) = text.iter().skip(at).position(|byte| is_space(*byte)) {
        let space = at + step;
        let begin = text.get(..space).unwrap_or_default().iter().rev().take(8);
        let word: Vec<u8> =
            begin.take_while(|byte| byte.is_ascii_alphabetic()).map(u8::to_ascii_lowercase).collect();
        let value = space + text.iter().skip(space).take_while(|byte| is_space(**byte)).count();
        let end =
            value + text.iter().skip(value).take_while(|byte| !is_space(**byte) && !is_quote(**byte)).count();
        at = value.max(space + 1);
        // The words are compared backwards, as they were read.
        let secret = match word.as_slice() {
            b"reraeb" => true,
            b"cisab" => text.get(value..end).is_some_and(|value| {
                value.len() >= 8
                    && value.iter().any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
            }),
            _ => false,
        };
        if secret && value < end {
            hide(text, value..end);
            at = value + MASKED.len();
        }
    }
}

/// `$6$salt$hash` and the like.
fn hashes(text: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(begin) = find(text, b"$", at) {
        at = begin + 1;
        let id = text
            .iter()
            .skip(begin + 1)
            .take(12)
            .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-')
            .count();
        if id == 0 || text.get(begin + 1 + id) != Some(&b'$') {
            continue;
        }
        let length = text
            .iter()
            .skip(begin)
            .take_while(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'$' | b'.' | b'/' | b'+' | b'=' | b',' | b'-')
            })
            .count();
        if length >= 20 {
            hide(text, begin..begin + length);
            at = begin + MASKED.len();
        } else {
            at = begin + length.max(1);
        }
    }
}

/// `host:port:database:user:password`.
fn password_lines(text: &mut Vec<u8>) {
    if text.iter().filter(|byte| **byte == b':').take(4).count() < 4 {
        return;
    }
    let lines: Vec<Vec<u8>> = text
        .split(|byte| *byte == b'\n')
        .map(|line| {
            let fields: Vec<&[u8]> = line.splitn(5, |byte| *byte == b':').collect();
            match fields.as_slice() {
                [host, port, database, user, password]
                    if !host.is_empty()
                        && !host.iter().any(|byte| is_space(*byte))
                        && (*port == b"*" || (!port.is_empty() && port.iter().all(u8::is_ascii_digit)))
                        && !database.is_empty()
                        && !user.is_empty()
                        && !password.is_empty() =>
                {
                    [host, port, database, user, MASKED].join(&b':')
                }
                _ => line.to_vec(),
            }
        })
        .collect();
    *text = lines.join(&b'\n');
}
