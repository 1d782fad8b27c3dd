//! The rules as people read them: title, severity, ATT&CK, meaning, what to do. Data: `mcp-monitor/data/rules.yaml`.

use serde::Deserialize;

use crate::{
    event::{Rule, Severity},
    expectation::{
        catalogue::SeverityText,
        data::{DataError, parse},
    },
};

const FILE: &str = "rules.yaml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    rules: Vec<RuleLine>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleLine {
    id: String,
    title: String,
    severity: SeverityText,
    technique: AttackName,
    tactic: AttackName,
    meaning: String,
    action: String,
    false_positives: String,
}

/// A technique or tactic of MITRE ATT&CK.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttackName {
    /// Such as `T1552.001`.
    pub id: String,
    /// Its name; of a tactic as ATT&CK's own data writes it: `credential-access`.
    pub name: String,
}

/// What is told of one rule.
#[derive(Clone, Debug)]
pub struct RuleText {
    /// Which rule.
    pub rule: Rule,
    /// One line.
    pub title: String,
    /// Unless the object says otherwise.
    pub severity: Severity,
    /// MITRE ATT&CK technique.
    pub technique: AttackName,
    /// MITRE ATT&CK tactic.
    pub tactic: AttackName,
    /// What happened and why it matters.
    pub meaning: String,
    /// What to do.
    pub action: String,
    /// When it is nothing.
    pub false_positives: String,
}

/// Every rule's text.
#[derive(Clone, Debug)]
pub struct RuleBook(Vec<RuleText>);

impl RuleBook {
    /// The rules of `rules.yaml`: every rule has its text.
    pub fn embedded() -> Result<Self, DataError> {
        let file: RuleFile = parse(FILE, include_str!("../../data/rules.yaml"))?;
        let mut texts = Vec::new();
        for line in file.rules {
            let known = Rule::ALL.into_iter().find(|rule| rule.id() == line.id);
            let rule = known.ok_or(DataError::Undefined { file: FILE, what: "rule", name: line.id })?;
            texts.push(RuleText {
                rule,
                title: line.title,
                severity: line.severity.into(),
                technique: line.technique,
                tactic: line.tactic,
                meaning: line.meaning,
                action: line.action,
                false_positives: line.false_positives,
            });
        }
        if let Some(missing) = Rule::ALL.into_iter().find(|rule| texts.iter().all(|text| text.rule != *rule))
        {
            return Err(DataError::Undefined {
                file: FILE,
                what: "text of rule",
                name: missing.id().to_owned(),
            });
        }
        Ok(Self(texts))
    }

    /// Every text, in the order of the data file.
    #[must_use]
    pub fn texts(&self) -> &[RuleText] {
        &self.0
    }

    /// The text of `rule`.
    #[must_use]
    pub fn text(&self, rule: Rule) -> Option<&RuleText> {
        self.0.iter().find(|text| text.rule == rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_one_text() {
        let book = RuleBook::embedded().unwrap();
        assert_eq!(book.texts().len(), Rule::ALL.len());
        for text in book.texts() {
            assert!(
                text.technique.id.starts_with('T') && text.tactic.id.starts_with("TA"),
                "{}",
                text.rule.id()
            );
            assert!(!text.meaning.is_empty() && !text.action.is_empty() && !text.false_positives.is_empty());
        }
    }
}
