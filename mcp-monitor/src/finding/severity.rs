//! How bad a finding is in its context: what root did, what stays in a container, what is known to be unusual.

use crate::event::{Event, Rule, Severity};

/// The severity in the context of `event`, and in words why it differs.
#[must_use]
pub fn in_context(rule: Rule, severity: Severity, event: &Event) -> (Severity, Option<&'static str>) {
    let process = &event.process;
    let of_the_place = matches!(
        rule,
        Rule::UnexpectedWrite
            | Rule::PersistenceWrite
            | Rule::UnexpectedExec
            | Rule::UnexpectedRead
            | Rule::HiddenExec
    );
    if of_the_place && process.container.is_some() {
        return (lowered(severity), Some("It happened in a container, which lowers the severity."));
    }
    let unusual = matches!(rule, Rule::UnknownEgress | Rule::UnexpectedClient);
    if unusual && event.decision.source.starts_with("expectation:") && severity < Severity::High {
        return (
            super::pressure::raised(severity),
            Some("Its expectation names where it goes, and this is not there, which raises the severity."),
        );
    }
    if matches!(rule, Rule::PersistenceWrite) && process.euid == 0 && process.container.is_none() {
        return (super::pressure::raised(severity), Some("It was done as root, which raises the severity."));
    }
    (severity, None)
}

const fn lowered(severity: Severity) -> Severity {
    match severity {
        Severity::Critical => Severity::High,
        Severity::High => Severity::Medium,
        Severity::Medium | Severity::Low => Severity::Low,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::render::sample;

    #[test]
    fn context_counts() {
        let mut event = sample::open(b"/etc/cron.d/x");
        let mut process = (*event.process).clone();
        (process.euid, process.container) = (0, None);
        event.process = Arc::new(process.clone());
        assert_eq!(in_context(Rule::PersistenceWrite, Severity::High, &event).0, Severity::Critical);
        assert_eq!(in_context(Rule::SecretRead, Severity::High, &event), (Severity::High, None));
        process.container = Some("3f2a".into());
        event.process = Arc::new(process);
        assert_eq!(in_context(Rule::PersistenceWrite, Severity::High, &event).0, Severity::Medium);
        event.decision.source = "expectation:/etc/x.yaml".into();
        assert_eq!(in_context(Rule::UnknownEgress, Severity::Medium, &event).0, Severity::High);
    }
}
