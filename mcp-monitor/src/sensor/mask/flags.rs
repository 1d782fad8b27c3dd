//! Flags whose value is the next word: `--token VALUE`, `-u user:pass`, `mysql -pVALUE`. Between arguments, and
//! between the words of one argument that is a command line itself.

use super::{MASKED, hide, is_quote, is_space, names};

/// Programs whose `-p` holds a password.
const PASSWORD_P: [&[u8]; 9] = [
    b"mysql",
    b"mysqldump",
    b"mysqladmin",
    b"mysqlimport",
    b"mysqlsh",
    b"mariadb",
    b"mariadb-dump",
    b"sshpass",
    b"mongosh",
];
/// Programs whose `-a` or `-w` holds a password.
const PASSWORD_A: [&[u8]; 2] = [b"redis-cli", b"valkey-cli"];
const PASSWORD_W: [&[u8]; 4] = [b"ldapsearch", b"ldapadd", b"ldapmodify", b"ldapwhoami"];
/// Programs whose `-b` holds cookies.
const COOKIE_B: [&[u8]; 1] = [b"curl"];

/// What the words so far say about the next one.
#[derive(Default)]
pub(super) struct Flags {
    next: Next,
    password_p: bool,
    attached_p: bool,
    password_a: bool,
    password_w: bool,
    cookie_b: bool,
}

#[derive(Default, Clone, Copy, PartialEq)]
enum Next {
    #[default]
    Ordinary,
    Secret,
    UserAndPassword,
    ShellText,
}

impl Flags {
    /// Masks an argument that the one before it announced; true if it is done with.
    pub(super) fn mask_argument(&mut self, argument: &mut Vec<u8>) -> bool {
        match self.next {
            Next::Secret if argument.first() != Some(&b'-') && !argument.is_empty() => {
                *argument = MASKED.to_vec();
                true
            }
            Next::UserAndPassword => {
                mask_password(argument, 0);
                false
            }
            _ => {
                self.mask_attached(argument, 0);
                false
            }
        }
    }

    /// Masks the words inside an argument.
    pub(super) fn mask_words(&self, argument: &mut Vec<u8>) {
        if !argument.iter().any(|byte| is_space(*byte)) {
            return;
        }
        let mut inner = Self {
            next: Next::Ordinary,
            password_p: self.password_p,
            attached_p: self.attached_p,
            password_a: self.password_a,
            password_w: self.password_w,
            cookie_b: self.cookie_b,
        };
        let is_login_list = ["machine", "login"].iter().any(|word| contains_word(argument, word.as_bytes()));
        let source = std::mem::take(argument);
        let mut at = 0;
        while at < source.len() {
            let begin = at + count(&source, at, is_space);
            argument.extend_from_slice(source.get(at..begin).unwrap_or_default());
            let mut end = begin + count(&source, begin, |byte| !is_space(byte));
            let quotes = count(&source, begin, |byte| is_quote(byte) || byte == b'\\');
            let quote = source.get(begin).copied().filter(|byte| is_quote(*byte));
            if inner.next == Next::Secret
                && let Some(quote) = quote
            {
                // A quoted value goes to its closing quote, or to the end if there is none.
                end = source
                    .iter()
                    .enumerate()
                    .skip(begin + 1)
                    .find(|(_, byte)| **byte == quote)
                    .map_or(source.len(), |(at, _)| at + 1);
            }
            let mut word = source.get(begin..end).unwrap_or_default().to_vec();
            let bare = trimmed(&word).to_vec();
            if inner.next == Next::Secret && !bare.is_empty() && bare.first() != Some(&b'-') {
                word = MASKED.to_vec();
            } else if inner.next == Next::UserAndPassword {
                mask_password(&mut word, quotes);
            } else {
                inner.mask_attached(&mut word, quotes);
            }
            inner.take_note(&bare);
            if is_login_list && matches!(bare.as_slice(), b"password" | b"passwd" | b"account") {
                inner.next = Next::Secret;
            }
            argument.extend_from_slice(&word);
            at = end.max(begin + usize::from(begin == at));
        }
    }

    /// True if the argument that comes next is a command line for a shell.
    pub(super) fn is_shell_text(&self) -> bool {
        self.next == Next::ShellText
    }

    /// Takes note of a word as it was given.
    pub(super) fn take_note(&mut self, word: &[u8]) {
        let base = word.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        self.attached_p |= PASSWORD_P.contains(&base);
        self.password_p |= base == b"sshpass" || base == b"login";
        self.password_a |= PASSWORD_A.contains(&base);
        self.password_w |= PASSWORD_W.contains(&base);
        self.cookie_b |= COOKIE_B.contains(&base);
        self.next = self.announced(word);
    }

    fn announced(&self, word: &[u8]) -> Next {
        let Some(name) = word.strip_prefix(b"--").or_else(|| word.strip_prefix(b"-")) else {
            return Next::Ordinary;
        };
        if !name.iter().all(|byte| names::is_name_byte(*byte)) {
            return Next::Ordinary;
        }
        match name {
            b"u" | b"U" | b"user" | b"proxy-user" => Next::UserAndPassword,
            b"c" | b"lc" | b"ic" | b"ec" | b"xc" | b"lic" | b"ilc" => Next::ShellText,
            b"p" if self.password_p => Next::Secret,
            b"a" if self.password_a => Next::Secret,
            b"w" if self.password_w => Next::Secret,
            b"b" if self.cookie_b => Next::Secret,
            _ if name.len() > 1 && !name.starts_with(b"no-") && names::is_secret(name) => Next::Secret,
            _ => Next::Ordinary,
        }
    }

    /// `-pVALUE`, `-uUSER:PASSWORD` in one word that begins at `begin`.
    fn mask_attached(&self, word: &mut Vec<u8>, begin: usize) {
        let value = begin + 2;
        let end = word.len() - trailing_quotes(word, value);
        match word.get(begin..value) {
            Some(b"-p") if self.attached_p => hide(word, value..end),
            Some(b"-a") if self.password_a => hide(word, value..end),
            Some(b"-w") if self.password_w => hide(word, value..end),
            Some(b"-b") if self.cookie_b => hide(word, value..end),
            Some(b"-u" | b"-U") => mask_password(word, value),
            _ => {}
        }
    }
}

/// Masks what follows the first colon of `user:password` that begins at `begin`, unless it is an address.
fn mask_password(word: &mut Vec<u8>, begin: usize) {
    let Some(colon) = word.iter().skip(begin).position(|byte| *byte == b':').map(|at| begin + at) else {
        return;
    };
    if word.get(colon..colon + 3) == Some(b"://") {
        return;
    }
    let end = word.len() - trailing_quotes(word, colon + 1);
    hide(word, colon + 1..end);
}

fn trailing_quotes(word: &[u8], from: usize) -> usize {
    word.iter().skip(from).rev().take_while(|byte| is_quote(**byte)).count()
}

fn trimmed(word: &[u8]) -> &[u8] {
    let noise =
        |byte: &u8| is_quote(*byte) || matches!(byte, b'\\' | b'(' | b')' | b';' | b'$' | b'|' | b'&');
    let begin = word.iter().take_while(|byte| noise(byte)).count();
    let end = word.len() - word.iter().rev().take_while(|byte| noise(byte)).count();
    word.get(begin..end).unwrap_or_default()
}

fn count(text: &[u8], from: usize, is: impl Fn(u8) -> bool) -> usize {
    text.iter().skip(from).take_while(|byte| is(**byte)).count()
}

fn contains_word(text: &[u8], word: &[u8]) -> bool {
    text.split(|byte| is_space(*byte)).any(|part| part == word)
}
