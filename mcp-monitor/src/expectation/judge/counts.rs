//! What the judge could not keep in its bounds, for the summary: silence about it would look like calm.

use super::Judge;

/// What was not kept, by name and in words. Everything here is zero on a quiet host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgeCounts(pub Vec<JudgeCount>);

/// One of [`JudgeCounts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JudgeCount {
    /// Stable name.
    pub name: &'static str,
    /// What it means that it was not kept.
    pub what: &'static str,
    /// How many.
    pub count: u64,
}

impl Judge {
    /// What could not be kept in bounds.
    #[must_use]
    pub fn counts(&self) -> JudgeCounts {
        let count = |name, what, count| JudgeCount { name, what, count };
        JudgeCounts(vec![
            count(
                "judge-secrets",
                "identities of secrets that were not learnt: such a secret is known by its path alone",
                self.secrets.refused(),
            ),
            count(
                "judge-names",
                "names of addresses that were forgotten early: such a destination has no name",
                self.names.forgotten(),
            ),
            count(
                "judge-processes",
                "processes that the judge did not remember: their launch phase and descent are unknown",
                self.lineage.refused(),
            ),
            count(
                "judge-listeners",
                "listeners that were forgotten: a connection to one looks like one to a stranger",
                self.listeners.forgotten(),
            ),
            count(
                "judge-contexts",
                "instances of which nothing could be noted: they are judged by their events alone",
                self.scopes.refused(),
            ),
            count(
                "judge-memory",
                "instances of which was forgotten what they read and where they went",
                self.memory.forgotten(),
            ),
            count(
                "judge-left-files",
                "files written by workloads that were forgotten: who runs one outside is not told",
                self.left.forgotten(),
            ),
            count(
                "judge-settings",
                "writes of settings files that were not looked at: a change of their meaning is not told",
                self.touched.refused(),
            ),
            count(
                "judge-answers",
                "DNS answers of servers that are no resolvers of the host: not believed",
                self.distrusted_answers,
            ),
        ])
    }
}
