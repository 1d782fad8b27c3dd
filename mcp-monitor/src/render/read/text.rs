//! Hostile text as it stood in a line.

use crate::{
    event::{Bytes, escape, unescape},
    render::text::escaped,
};
use serde::{Deserialize, Deserializer};
use std::fmt::{self, Write as _};

/// Bytes of a monitored process, read back. Shown, they are escaped again, so that a line which was not written by
/// mcp-monitor cannot move a terminal either.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text(Bytes);

impl Text {
    /// The bytes that were seen.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// Escaped.
    #[must_use]
    pub fn escaped(&self) -> std::borrow::Cow<'_, str> {
        escaped(self.as_bytes())
    }

    /// The last name of a path.
    #[must_use]
    pub fn last_name(&self) -> &[u8] {
        self.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }

    /// True when there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.escaped())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", escape(self.as_bytes()))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // What is not of our making is taken as it stands.
        let bytes = unescape(&text).unwrap_or_else(|| text.into_bytes());
        Ok(Self(Bytes::new(&bytes)))
    }
}

/// A JSON line as it is, with every character that acts on a terminal spelled `\uNNNN`: the same object.
#[must_use]
pub fn printable_line(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    for character in line.trim_end_matches(['\r', '\n']).chars() {
        let mut buffer = [0; 4];
        let encoded = character.encode_utf8(&mut buffer);
        if character == '\\' || escaped(encoded.as_bytes()) == *encoded {
            text.push(character);
            continue;
        }
        if character.is_ascii_whitespace() {
            // Between two values; inside a string JSON does not allow it.
            text.push(' ');
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing into a String cannot fail.
            let _ = write!(text, "\\u{unit:04x}");
        }
    }
    text
}
