//! What may be lost: nothing, but in a flood, and but for runs that the kernel itself skipped and counted.

use serde_json::Value;

use crate::monitor::Said;

/// Raw tracepoints became preemptible with 7.0: a program that is pre-empted in its run is skipped for whoever comes to
/// it meanwhile on that processor (`__bpf_trace_run` in `kernel/trace/bpf_trace.c`), which the kernel counts
/// (`recursion_misses`) and the monitor tells as `skipped-run`. Before, a run cannot be interrupted by another task.
const SKIPS_SINCE: u32 = 7;
/// Losses that are the kernel's own there. An end that was skipped is found by a sweep.
const SKIPS: &[&str] = &["skipped-run", "missed-exit"];

/// Checks the losses of one run. `alone` are the floods, whose twins' runs end with `twin`.
pub(crate) fn check(said: &Said, alone: &[&str], twin: &str) -> Result<(), String> {
    if alone.contains(&said.name.trim_end_matches(twin)) {
        return Ok(());
    }
    let Some(summary) = said.of("summary").next() else {
        return Err(format!("run {}: no summary", said.name));
    };
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    match unexplained(summary, major(&release)) {
        Ok(skipped) => {
            if !skipped.is_empty() {
                println!("run {}: skipped by the kernel, counted and told: {skipped}", said.name);
            }
            Ok(())
        }
        Err(lost) => {
            let notes: Vec<_> = said.of("summary").map(|summary| summary["coverage"].to_string()).collect();
            Err(format!("run {}: lost: {lost}\n{:.3000}", said.name, notes.concat()))
        }
    }
}

fn major(release: &str) -> u32 {
    release.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0)
}

/// What the kernel skipped, in words; an error names what is lost for no such reason.
fn unexplained(summary: &Value, major: u32) -> Result<String, String> {
    let losses = summary["losses"].as_array().map_or(&[][..], Vec::as_slice);
    let of_kernel = |loss: &&Value| SKIPS.iter().any(|cause| loss["cause"] == *cause);
    let count = |loss: &Value| loss["count"].as_u64().unwrap_or(u64::MAX);
    let words = |losses: &[&Value]| {
        losses.iter().map(|loss| format!("{} {}", count(loss), loss["cause"])).collect::<Vec<_>>().join(", ")
    };
    let (skips, others): (Vec<_>, Vec<_>) = losses.iter().partition(of_kernel);
    let of_cause =
        |cause: &str| skips.iter().filter(|loss| loss["cause"] == cause).map(|loss| count(loss)).sum::<u64>();
    let explained = major >= SKIPS_SINCE && of_cause("missed-exit") <= of_cause("skipped-run");
    if others.is_empty() && (skips.is_empty() || explained) {
        Ok(words(&skips))
    } else {
        Err(words(&losses.iter().collect::<Vec<_>>()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn summary(losses: &[(&str, u64)]) -> Value {
        let losses = losses.iter().map(|(cause, count)| json!({"cause": cause, "count": count}));
        json!({"losses": losses.collect::<Vec<_>>()})
    }

    #[test]
    fn only_what_the_kernel_skipped_is_allowed_and_only_where_it_skips() {
        assert_eq!(unexplained(&summary(&[]), 6), Ok(String::new()));
        let skipped = summary(&[("skipped-run", 2), ("missed-exit", 1)]);
        assert!(unexplained(&skipped, 7).is_ok_and(|words| words.contains("skipped-run")));
        assert!(unexplained(&skipped, 6).is_err());
        assert!(unexplained(&summary(&[("skipped-run", 1), ("ring-full", 1)]), 7).is_err());
        assert!(unexplained(&summary(&[("missed-exit", 1)]), 7).is_err(), "an end without a skipped run");
    }

    #[test]
    fn the_first_number_of_a_release_counts() {
        assert_eq!((major("7.2.12-amd64"), major("6.12.107+deb13"), major("")), (7, 6, 0));
    }
}
