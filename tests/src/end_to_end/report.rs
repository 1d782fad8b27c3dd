//! The table of results for people, in Markdown, one column per kernel and tier; the numbers of earlier runs are kept
//! beside it.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result};

use crate::table::{Row, Want};

/// Results by column (`kernel tier`), then by row.
type Results = BTreeMap<String, BTreeMap<String, String>>;

/// Adds this run's results to the table in `path`.
pub(crate) fn write(
    path: &Path,
    column: &str,
    results: BTreeMap<String, String>,
    rows: &[Row],
) -> Result<()> {
    let beside = path.with_extension("json");
    let mut all: Results = match fs::read(&beside) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("read {}", beside.display()))?,
        Err(_) => Results::new(),
    };
    all.entry(column.to_owned()).or_default().extend(results);
    fs::write(&beside, serde_json::to_vec_pretty(&all)?)?;
    fs::write(path, render(&all, rows)).with_context(|| format!("write {}", path.display()))
}

fn render(all: &Results, rows: &[Row]) -> String {
    let mut text = "| evasion | way in | what it does | must be told |".to_owned();
    for column in all.keys() {
        let _ = write!(text, " {column} |");
    }
    text.push_str("\n|---|---|---|---|");
    text.push_str(&"---|".repeat(all.len()));
    text.push('\n');
    let mut notes: Vec<&str> = Vec::new();
    for row in rows {
        let want = match row.want() {
            Want::Silent => "nothing".to_owned(),
            Want::Rule(rule) => format!("`{rule}`"),
            Want::Kind(kind) => format!("event `{kind}`"),
        };
        let _ = write!(text, "| {} | {} | {} | {want} |", row.id, row.facts, row.does.replace('|', "\\|"));
        for results in all.values() {
            let result = results.get(&row.id).map_or("–", String::as_str);
            let _ = write!(text, " {result}");
            if let (true, Some(reason)) = (["named", "unseen"].contains(&result), &row.reason) {
                let at = notes.iter().position(|note| note == reason).unwrap_or_else(|| {
                    notes.push(reason);
                    notes.len() - 1
                });
                let _ = write!(text, " <sup>{}</sup>", at + 1);
            }
            text.push_str(" |");
        }
        text.push('\n');
    }
    for (at, note) in notes.iter().enumerate() {
        let _ = write!(text, "\n{}. {note}", at + 1);
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_was_not_run_shows_a_dash_and_a_missed_one_its_reason() {
        let rows = crate::table::rows().unwrap();
        let results = BTreeMap::from([("truncate".to_owned(), "named".to_owned())]);
        let text = render(&BTreeMap::from([("6.18 tracepoint".to_owned(), results)]), &rows);
        assert!(text.contains("named <sup>1</sup>"), "{text}");
        assert!(
            text.contains("| plain | 3.2 plain | opens the file by its name | `secret-read` | – |"),
            "{text}"
        );
    }
}
