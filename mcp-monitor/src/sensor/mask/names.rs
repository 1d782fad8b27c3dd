//! Names that say that a secret follows: of flags, variables, headers, fields and query parameters.

/// Anywhere in the name, without separators and in lower case.
const ANYWHERE: [&str; 27] = [
    "token",
    "secret",
    "passw",
    "passphrase",
    "passcode",
    "pwd",
    "apikey",
    "accesskey",
    "privatekey",
    "credential",
    "cookie",
    "signature",
    "sessionid",
    "sessionkey",
    "jwt",
    "bearer",
    "authorization",
    "oauth",
    "connectionstring",
    "encryptionkey",
    "masterkey",
    "signingkey",
    "storagekey",
    "accountkey",
    "webhook",
    "private",
    "clientkey",
];

/// As a word of the name.
const WORDS: [&str; 19] = [
    "key", "keys", "auth", "session", "pass", "passin", "passout", "pat", "pin", "otp", "totp", "sig",
    "salt", "cred", "creds", "dsn", "sas", "psk", "pw",
];

/// Longest name that is looked at; what is longer is judged by its end.
pub(super) const NAME_MAX_BYTES: usize = 128;

/// True if what is called so should not be shown.
pub(super) fn is_secret(name: &[u8]) -> bool {
    let name = name.get(name.len().saturating_sub(NAME_MAX_BYTES)..).unwrap_or(name);
    let name = unescape(name);
    let mut flat = String::with_capacity(name.len());
    let mut words: Vec<String> = vec![String::new()];
    let mut previous_lower = false;
    for byte in name {
        let starts_word = !byte.is_ascii_alphanumeric() || (byte.is_ascii_uppercase() && previous_lower);
        if starts_word && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        previous_lower = byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if byte.is_ascii_alphanumeric() {
            let letter = char::from(byte.to_ascii_lowercase());
            flat.push(letter);
            if let Some(word) = words.last_mut() {
                word.push(letter);
            }
        }
    }
    ANYWHERE.iter().any(|part| flat.contains(part))
        || flat.ends_with("key")
        || flat.ends_with("keys")
        || words.iter().any(|word| WORDS.contains(&word.as_str()))
}

/// Bytes that names consist of.
pub(super) fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'%' | b'[' | b']' | b'$')
}

/// `%5F` and the like as what they mean.
fn unescape(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, after)) = rest.split_first() {
        let decoded = match (first, after) {
            (b'%', [high, low, ..]) => {
                let digit =
                    |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low)
            }
            _ => None,
        };
        plain.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::is_secret;

    #[test]
    fn telling_names() {
        for name in [
            "X_KEY",
            "GITHUB_TOKEN",
            "api-key",
            "apiKey",
            "--client-secret",
            "PGPASSWORD",
            "_authToken",
            "auth",
            "X-Api-Key",
            "session_id",
            "Cookie",
            "aws_secret_access_key",
            "passin",
            "MYSQL_PWD",
            "private_key",
            "api%5Fkey",
            "OPENAIKEY",
            "DB_PASS",
            "sig",
            "AccountKey",
        ] {
            assert!(is_secret(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn ordinary_names() {
        for name in
            ["author", "keyboard", "root", "url", "workspace", "compass", "registry", "authority", "port", ""]
        {
            assert!(!is_secret(name.as_bytes()), "{name}");
        }
    }
}
