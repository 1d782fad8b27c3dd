//! Names that carry data: what is looked up is sent to whoever answers for the domain, through any resolver. One such name
//! is nothing; many below one domain are a tunnel. And many different names below one domain are no work of a server.

use super::{Case, Judge, Ruling};
use crate::{
    event::{DnsObject, Rule, Severity, Verdict},
    sensor::mask::MASKED,
};

/// Names that carry data, below one domain, within the span.
const DATA_NAMES: usize = 8;
/// Names at all.
const NAMES: usize = 200;
/// The span.
const SPAN_NS: u64 = 600_000_000_000;
/// Source of the decision on names that carry data.
const TUNNEL: &str = "destination:dns-tunnel";
/// Source of the decision on many names.
const MANY: &str = "destination:dns-rate";

/// Severities by the source of the decision.
pub(super) fn severities() -> impl Iterator<Item = (String, Severity)> {
    [(TUNNEL.to_owned(), Severity::High), (MANY.to_owned(), Severity::Medium)].into_iter()
}

/// Techniques by the source of the decision.
pub(super) fn techniques() -> impl Iterator<Item = (String, String)> {
    [TUNNEL, MANY].into_iter().map(|source| (source.to_owned(), String::from("T1071.004")))
}

impl Judge {
    pub(super) fn looked_up(&mut self, case: &Case, answer: &DnsObject, ruling: Ruling) -> Ruling {
        let name = answer.question.as_slice();
        let Some(domain) = psl::domain_str(std::str::from_utf8(name).unwrap_or_default()) else {
            return ruling;
        };
        // The domain itself and one name below it belong to ordinary work.
        if domain.len() == name.len() {
            return ruling;
        }
        let carries_data = name.split(|byte| *byte == b'.').any(|label| label == MASKED);
        let now = case.event.boot_ns;
        let (data, all) = self.memory.of(&case.image.instance).domain(domain);
        let tunnel = carries_data && data.note(now, SPAN_NS, DATA_NAMES, answer.digest);
        let many = all.note(now, SPAN_NS, NAMES, answer.digest);
        let broken = |source, what| Ruling::broken(Rule::UnknownEgress, Verdict::Unexpected, source, what);
        let shown = crate::event::escape(domain.as_bytes());
        if tunnel {
            let what = format!(
                "looked up {DATA_NAMES} names that look like data below {shown} within ten minutes: whoever answers for \
                 the domain reads them"
            );
            return broken(TUNNEL, what);
        }
        if many {
            let what = format!("looked up {NAMES} different names below {shown} within ten minutes");
            return broken(MANY, what);
        }
        ruling
    }
}
