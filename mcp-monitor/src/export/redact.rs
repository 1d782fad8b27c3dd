//! What is taken out of lines before anything leaves the host: whole fields, and what a pattern finds in texts.

use regex::{Captures, Regex};
use serde::Deserialize;
use serde_json::Value;

/// What stands where something was.
const REDACTED: &str = "*****";

/// A field that can be taken out, wherever it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Field {
    /// Arguments of programs.
    Arguments,
    /// Names of users (their numbers stay).
    User,
    /// Working directories.
    WorkingDirectory,
    /// Terminals.
    Tty,
    /// Names that were asked for in DNS.
    DnsQuestion,
}

impl Field {
    fn key(self) -> &'static str {
        match self {
            Self::Arguments => "args",
            Self::User => "user",
            Self::WorkingDirectory => "cwd",
            Self::Tty => "tty",
            Self::DnsQuestion => "question",
        }
    }
}

/// What to take out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redact {
    /// Whole fields.
    #[serde(default)]
    pub fields: Vec<Field>,
    /// Regular expressions for texts: their groups are replaced, or all that they find where there is no group.
    #[serde(default)]
    pub patterns: Vec<String>,
}

/// Ready for use.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    keys: Vec<&'static str>,
    patterns: Vec<Regex>,
}

/// What identifies a record is never changed.
const KEPT: [&str; 7] = ["schema", "id", "time", "first_seen", "last_seen", "rule", "severity"];

impl Redact {
    /// Compiles the patterns.
    pub fn compile(&self) -> Result<Redactor, String> {
        let patterns = self.patterns.iter().map(|pattern| {
            Regex::new(pattern)
                .map_err(|error| format!("pattern {pattern:?}: {}", error.to_string().replace('\n', " ")))
        });
        Ok(Redactor {
            keys: self.fields.iter().map(|field| field.key()).collect(),
            patterns: patterns.collect::<Result<_, _>>()?,
        })
    }
}

impl Redactor {
    /// `line` without what is to be taken out; `None` when it is no JSON, which then must not leave.
    #[must_use]
    pub fn line(&self, line: &str) -> Option<String> {
        if self.keys.is_empty() && self.patterns.is_empty() {
            return Some(line.to_owned());
        }
        let mut value: Value = serde_json::from_str(line).ok()?;
        self.value(&mut value);
        Some(value.to_string())
    }

    fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                for pattern in &self.patterns {
                    let changed = pattern.replace_all(text, |found: &Captures<'_>| replaced(found));
                    if let std::borrow::Cow::Owned(changed) = changed {
                        *text = changed;
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(fields) => {
                for (key, value) in fields.iter_mut() {
                    if self.keys.contains(&key.as_str()) {
                        match value {
                            Value::Array(items) => items.clear(),
                            Value::String(text) => REDACTED.clone_into(text),
                            _ => {}
                        }
                    } else if !KEPT.contains(&key.as_str()) {
                        self.value(value);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// What was found, with its groups replaced, or all of it.
fn replaced(found: &Captures<'_>) -> String {
    let all = found.get_match();
    let mut text = String::new();
    let mut at = all.start();
    let mut any = false;
    for group in found.iter().skip(1).flatten() {
        if group.start() >= at {
            text.push_str(&all.as_str()[at - all.start()..group.start() - all.start()]);
            text.push_str(REDACTED);
            at = group.end();
            any = true;
        }
    }
    if !any {
        return REDACTED.into();
    }
    text.push_str(&all.as_str()[at - all.start()..]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{Record, testing::opened};

    #[test]
    fn fields_and_patterns_are_taken_out_and_the_rest_is_a_record() {
        let redact: Redact = serde_saphyr::from_str(
            "{fields: [arguments, user], patterns: ['customer-(\\d+)', 'secret\\w*']}",
        )
        .unwrap();
        let line = redact.compile().unwrap().line(opened(b"/srv/customer-4711/secrets").line()).unwrap();
        let record = Record::parse(&line).unwrap();
        assert_eq!(record.parts().object(), "/srv/customer-*****/*****");
        assert!(record.parts().process.args.is_empty());
        assert_eq!(record.parts().process.user.as_ref().unwrap().to_string(), REDACTED);
        assert_eq!(record.delivery_id(), opened(b"/x").delivery_id());
    }

    #[test]
    fn what_cannot_be_read_does_not_leave() {
        let redact = Redact { fields: vec![Field::User], ..Redact::default() };
        assert_eq!(redact.compile().unwrap().line("{\"user\":"), None);
    }
}
