//! The table of results for people, in Markdown, one column per kernel and tier. The results of all runs are kept in a
//! file of their own; a machine, which keeps nothing, says its results in a line of its output.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result, ensure};

use crate::table::{Row, Want};

/// Results by column (`kernel tier`), then by row.
type Results = BTreeMap<String, BTreeMap<String, String>>;

/// What a line with results begins with.
const SAID: &str = "evasion-results: ";
/// Between them a page holds the table.
const BEGIN: &str = "<!-- evasion:begin -->\n";
const END: &str = "<!-- evasion:end -->";

/// The line that says the results of one run.
pub(crate) fn said(column: &str, results: BTreeMap<String, String>) -> Result<String> {
    Ok(format!("{SAID}{}", serde_json::to_string(&Results::from([(column.to_owned(), results)]))?))
}

/// Adds what lines of `output` say to the file of results at `path`. A column that was run again is replaced, a part of one
/// is added to it.
pub(crate) fn keep(path: &Path, output: &str) -> Result<usize> {
    let mut all = read(path)?;
    let mut columns = 0;
    for line in output.lines() {
        let Some((_, said)) = line.split_once(SAID) else { continue };
        let said: Results =
            serde_json::from_str(said).context("a line with results was damaged on its way")?;
        for (column, results) in said {
            all.entry(column).or_default().extend(results);
            columns += 1;
        }
    }
    fs::write(path, serde_json::to_string_pretty(&all)? + "\n")
        .with_context(|| format!("write {}", path.display()))?;
    Ok(columns)
}

fn read(path: &Path) -> Result<Results> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("read {}", path.display())),
        Err(_) => Ok(Results::new()),
    }
}

/// Writes the table of the results in `results` into the page `path`, between its marks.
pub(crate) fn write(path: &Path, results: &Path, rows: &[Row]) -> Result<()> {
    let page = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let table = render(&read(results)?, rows);
    let page = replaced(&page, &table).with_context(|| format!("page {}", path.display()))?;
    fs::write(path, page).with_context(|| format!("write {}", path.display()))
}

fn replaced(page: &str, table: &str) -> Result<String> {
    let (before, rest) = page.split_once(BEGIN).with_context(|| format!("has no {BEGIN}"))?;
    let (old, after) = rest.split_once(END).with_context(|| format!("has no {END}"))?;
    ensure!(!old.contains(BEGIN), "has {BEGIN} twice");
    Ok(format!("{before}{BEGIN}{table}{END}{after}"))
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
    fn what_a_machine_says_is_kept_beside_what_was_kept() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "{}").unwrap();
        let line = |result: &str| {
            said("6.12 lsm", BTreeMap::from([("plain".to_owned(), result.to_owned())])).unwrap()
        };
        assert_eq!(keep(file.path(), &format!("[6.12] noise\n[6.12] {}\n", line("caught"))).unwrap(), 1);
        assert_eq!(keep(file.path(), "nothing").unwrap(), 0);
        assert_eq!(read(file.path()).unwrap()["6.12 lsm"]["plain"], "caught");
    }

    #[test]
    fn the_table_goes_between_the_marks_of_a_page() {
        let page = format!("a\n{BEGIN}old\n{END}\nb\n");
        assert_eq!(replaced(&page, "new\n").unwrap(), format!("a\n{BEGIN}new\n{END}\nb\n"));
        assert!(replaced("a", "new").is_err());
    }

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
