//! How much is told: quotas per workload, so that a flood of one kind drowns neither people nor the rules that matter
//! most, and severity that rises when one rule is broken again and again.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::event::{BootNs, Rule, Severity};

const SECOND_NS: u64 = 1_000_000_000;
/// New findings of one workload that may be told at once, of all rules without a quota of their own.
const BURST: u64 = 30;
/// Of a rule that has a quota of its own.
const PROTECTED_BURST: u64 = 60;
/// One more each.
const REFILL_NS: u64 = 60 * SECOND_NS;
/// Violations that make a rule's severity rise, and within what time.
const VIOLATIONS: usize = 3;
const VIOLATIONS_NS: u64 = 3600 * SECOND_NS;
/// Workloads and rules that are kept; the one that was first seen goes.
const KEPT_MAX: usize = 8192;

/// A workload's quota: one of its own for a protected rule, one for all others together.
type Key = (String, Option<Rule>);

#[derive(Debug)]
struct Bucket {
    left: u64,
    filled: BootNs,
}

#[derive(Debug, Default)]
struct Violations {
    times: VecDeque<BootNs>,
    things: HashSet<Vec<u8>>,
    raised: Option<BootNs>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Pressure {
    buckets: HashMap<Key, Bucket>,
    bucket_order: VecDeque<Key>,
    violations: HashMap<(String, Rule), Violations>,
    violation_order: VecDeque<(String, Rule)>,
    suppressed: HashMap<String, u64>,
}

impl Pressure {
    /// `true` when a new finding may be told.
    pub fn admit(&mut self, workload: &str, rule: Rule, now: BootNs) -> bool {
        let own = rule.is_protected();
        let key = (workload.to_owned(), own.then_some(rule));
        let most = if own { PROTECTED_BURST } else { BURST };
        if !self.buckets.contains_key(&key) {
            if self.bucket_order.len() >= KEPT_MAX
                && let Some(oldest) = self.bucket_order.pop_front()
            {
                self.buckets.remove(&oldest);
            }
            self.bucket_order.push_back(key.clone());
        }
        let bucket = self.buckets.entry(key).or_insert(Bucket { left: most, filled: now });
        let earned = now.0.saturating_sub(bucket.filled.0) / REFILL_NS;
        if earned > 0 {
            bucket.left = bucket.left.saturating_add(earned).min(most);
            bucket.filled = BootNs(bucket.filled.0 + earned * REFILL_NS);
        }
        let admitted = bucket.left > 0;
        bucket.left = bucket.left.saturating_sub(1);
        if !admitted && (self.suppressed.len() < KEPT_MAX || self.suppressed.contains_key(workload)) {
            *self.suppressed.entry(workload.to_owned()).or_default() += 1;
        }
        admitted
    }

    /// Takes note of a violation; `thing` tells it from others. `true` when it is the third within an hour and the
    /// severity was not raised in that hour.
    pub fn rises(&mut self, workload: &str, rule: Rule, thing: Vec<u8>, now: BootNs) -> bool {
        let key = (workload.to_owned(), rule);
        if !self.violations.contains_key(&key) {
            if self.violation_order.len() >= KEPT_MAX
                && let Some(oldest) = self.violation_order.pop_front()
            {
                self.violations.remove(&oldest);
            }
            self.violation_order.push_back(key.clone());
        }
        let known = self.violations.entry(key).or_default();
        let recent = |at: BootNs| now.0.saturating_sub(at.0) <= VIOLATIONS_NS;
        if known.raised.is_some_and(recent) {
            return false;
        }
        while known.times.front().is_some_and(|at| !recent(*at)) {
            known.times.pop_front();
            known.things.clear();
        }
        if known.things.insert(thing) {
            known.times.push_back(now);
        }
        let rises = known.times.len() >= VIOLATIONS;
        if rises {
            known.raised = Some(now);
            known.times.clear();
            known.things.clear();
        }
        rises
    }

    /// New findings that were not told, by workload.
    pub fn suppressed(&self) -> impl Iterator<Item = (&str, u64)> {
        self.suppressed.iter().map(|(workload, count)| (workload.as_str(), *count))
    }
}

/// One step worse.
#[must_use]
pub const fn raised(severity: Severity) -> Severity {
    match severity {
        Severity::Low => Severity::Medium,
        Severity::Medium => Severity::High,
        Severity::High | Severity::Critical => Severity::Critical,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_rule_leaves_the_quota_of_those_that_matter() {
        let mut pressure = Pressure::default();
        let told = (0..100).filter(|_| pressure.admit("w", Rule::UnknownEgress, BootNs(0))).count();
        assert_eq!(told as u64, BURST);
        assert!(!pressure.admit("w", Rule::HiddenExec, BootNs(0)), "one quota for all others");
        assert!(pressure.admit("w", Rule::SecretRead, BootNs(0)));
        assert!(pressure.admit("other", Rule::UnknownEgress, BootNs(0)));
        assert_eq!(pressure.suppressed().collect::<Vec<_>>(), [("w", 71)]);
        assert!(pressure.admit("w", Rule::UnknownEgress, BootNs(REFILL_NS)), "a minute later");
    }

    #[test]
    fn the_third_violation_within_an_hour_raises_once() {
        let mut pressure = Pressure::default();
        let mut rises = |thing: u8, hours: u64| {
            pressure.rises("w", Rule::SecretRead, vec![thing], BootNs(hours * VIOLATIONS_NS))
        };
        assert!(!rises(1, 0) && !rises(1, 0) && !rises(1, 0), "the same thing is one violation");
        assert!(!rises(2, 0));
        assert!(rises(3, 0));
        assert!(!rises(4, 0) && !rises(5, 0) && !rises(6, 0), "once");
        assert!(!rises(7, 3) && !rises(8, 3));
        assert!(rises(9, 3), "in another hour again");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut pressure = Pressure::default();
        for number in 0..KEPT_MAX + 10 {
            pressure.admit(&number.to_string(), Rule::UnknownEgress, BootNs(0));
            pressure.rises(&number.to_string(), Rule::UnknownEgress, Vec::new(), BootNs(0));
        }
        assert_eq!((pressure.buckets.len(), pressure.violations.len()), (KEPT_MAX, KEPT_MAX));
    }
}
