//! The rules as people read them: title, severity, ATT&CK, meaning, what to do. Data: `mcp-monitor/data/rules.yaml`.

use std::{collections::BTreeMap, fmt::Write as _};

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

    /// The page of the rules: `docs/rules.md`. `others` are severities that differ from a rule's own, by the source of the
    /// decision.
    #[must_use]
    pub fn page(&self, others: &BTreeMap<String, Severity>) -> String {
        let mut page = String::from(
            "# Rules\n\nMade from `mcp-monitor/data/rules.yaml` by a test, which also fails when this page is not current:\n\
             `MCP_MONITOR_WRITE_DOCS=1 cargo test -p mcp-monitor --lib the_page_of_the_rules` writes it. Ids are stable.\n\n\
             | rule | severity | ATT&CK | found when |\n|---|---|---|---|\n",
        );
        for text in &self.0 {
            let RuleText { rule, title, severity, technique, .. } = text;
            let id = rule.id();
            let _ = writeln!(page, "| [`{id}`](#{id}) | {} | {} | {title} |", severity.name(), technique.id);
        }
        page.push_str(
            "\nSeverity follows context. What is written, read or run in a container counts one step less; what makes code run\n\
             later and was written as root one step more; a destination that an expectation does not name one step more. The\n\
             third violation of a rule by a workload within an hour raises the severity once.\n",
        );
        for text in &self.0 {
            let RuleText { rule, title, severity, technique, tactic, meaning, action, false_positives } =
                text;
            let link = format!("https://attack.mitre.org/techniques/{}/", technique.id.replace('.', "/"));
            let _ = write!(
                page,
                "\n## {}\n\n{title}. Severity {}; [{} {}]({link}), {} ({}).\n\n**What it means.** {meaning}\n\n\
                 **What to do.** {action}\n\n**When it is nothing.** {false_positives}\n",
                rule.id(),
                severity.name(),
                technique.id,
                technique.name,
                tactic.name,
                tactic.id,
            );
        }
        page.push_str(
            "\n## Severities by source\n\nThe source of a decision (`decision.source`) may say how bad it is, in place of the rule:\n\n\
             | source | severity |\n|---|---|\n",
        );
        for (source, severity) in others {
            let _ = writeln!(page, "| `{source}` | {} |", severity.name());
        }
        page
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
    fn the_page_of_the_rules_is_current() {
        let judge = crate::expectation::Judge::new(crate::expectation::JudgeConfig::default()).unwrap();
        let others = judge.severities().into_iter().chain(crate::finding::changes::severities());
        let page = RuleBook::embedded().unwrap().page(&others.collect());
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rules.md");
        if std::env::var_os("MCP_MONITOR_WRITE_DOCS").is_some() {
            std::fs::write(&path, &page).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == page,
            "docs/rules.md is not current: MCP_MONITOR_WRITE_DOCS=1 cargo test -p mcp-monitor writes it"
        );
    }

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
