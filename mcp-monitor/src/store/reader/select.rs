//! From a filter to SQL: what is asked by text becomes numbers first, so that the rows are found by them.

use rusqlite::{Connection, params_from_iter};

use super::{
    super::{
        Filter, StoreError,
        columns::{Destination, nanoseconds, signed, verdict_number},
        matcher::Matcher,
    },
    DayReader,
};
use crate::event::escape;

/// The rows of one file that a filter means: a condition for `events`.
pub(super) struct Selection {
    /// SQL that holds for the rows; numbers stand in it, never text from outside.
    pub(super) condition: String,
    /// The first and last row that may hold the time.
    pub(super) first_row: u64,
    pub(super) last_row: u64,
}

impl DayReader {
    /// `None` when no row of this file can be meant.
    pub(super) fn select(&self, matcher: &Matcher) -> Result<Option<Selection>, StoreError> {
        self.selection(matcher).map_err(self.failed("search"))
    }

    fn selection(&self, matcher: &Matcher) -> rusqlite::Result<Option<Selection>> {
        let filter = &matcher.filter;
        let connection = &self.connection;
        let since = filter.since.map_or(i64::MIN, nanoseconds);
        let until = filter.until.map_or(i64::MAX, nanoseconds);
        let span: (Option<i64>, Option<i64>) = connection
            .prepare_cached(
                "SELECT min(first_row), max(last_row) FROM batches WHERE max_time >= ? AND min_time < ?",
            )?
            .query_row((since, until), |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (Some(first_row), Some(last_row)) = span else { return Ok(None) };
        let mut parts = Vec::new();
        if filter.since.is_some() {
            parts.push(format!("events.time >= {since}"));
        }
        if filter.until.is_some() {
            parts.push(format!("events.time < {until}"));
        }
        if !filter.verdict.is_empty() {
            // Said of the whole list, so that the index of what is noteworthy can be used.
            let numbers: Vec<i64> = filter.verdict.iter().copied().map(verdict_number).collect();
            if numbers.iter().all(|number| *number >= 2) {
                parts.push("events.verdict >= 2".into());
            }
            parts.push(one_of("events.verdict", &numbers));
        }
        for (column, values) in [("events.kind", &filter.kind), ("events.rule", &filter.rule)] {
            if values.is_empty() {
                continue;
            }
            let numbers = numbers_of(
                connection,
                &format!("SELECT id FROM words WHERE text IN ({})", marks(values.len())),
                values,
            )?;
            if numbers.is_empty() {
                return Ok(None);
            }
            parts.push(one_of(column, &numbers));
        }
        if let Some(instances) = instances(connection, matcher)? {
            if instances.is_empty() {
                return Ok(None);
            }
            parts.push(one_of("events.instance", &instances));
        }
        if let Some(condition) = processes(connection, filter)? {
            let Some(table) = fill(connection, "chosen_processes", &condition)? else { return Ok(None) };
            parts.push(format!("events.process IN {table}"));
        }
        if let Some(uid) = filter.only_uid {
            parts.push(own(uid));
        }
        if matcher.paths.is_some() {
            let Some(table) = self.chosen_paths(matcher)? else { return Ok(None) };
            parts.push(format!("(events.path IN {table} OR events.target IN {table})"));
        }
        if !matcher.destinations.is_empty() {
            let Some(table) = self.chosen_destinations(matcher)? else { return Ok(None) };
            parts.push(format!("events.destination IN {table}"));
        }
        if parts.is_empty() {
            parts.push("1".into());
        }
        let unsigned = super::super::columns::unsigned;
        Ok(Some(Selection {
            condition: parts.join(" AND "),
            first_row: unsigned(first_row),
            last_row: unsigned(last_row),
        }))
    }

    fn chosen_paths(&self, matcher: &Matcher) -> rusqlite::Result<Option<String>> {
        let literal = matcher.filter.path.iter().all(|pattern| !pattern.contains(['*', '?', '[', '{', '\\']));
        if literal {
            let values: Vec<String> =
                matcher.filter.path.iter().map(|path| escape(path.as_bytes())).collect();
            let sql = format!("SELECT id FROM paths WHERE text IN ({})", marks(values.len()));
            let numbers = numbers_of(&self.connection, &sql, &values)?;
            return Ok((!numbers.is_empty()).then(|| list(&numbers)));
        }
        let mut statement = self.connection.prepare_cached("SELECT id, text FROM paths")?;
        let mut rows = statement.query([])?;
        let mut numbers = Vec::new();
        while let Some(row) = rows.next()? {
            if row.get_ref(1)?.as_str().is_ok_and(|path| matcher.is_path(path)) {
                numbers.push(row.get::<_, i64>(0)?);
            }
        }
        drop(rows);
        chosen(&self.connection, "chosen_paths", &numbers)
    }

    fn chosen_destinations(&self, matcher: &Matcher) -> rusqlite::Result<Option<String>> {
        let mut statement =
            self.connection.prepare_cached("SELECT id, address, name, port FROM destinations")?;
        let mut rows = statement.query([])?;
        let mut numbers = Vec::new();
        while let Some(row) = rows.next()? {
            let some = |text: String| (!text.is_empty()).then_some(text.into());
            let destination = Destination {
                address: some(row.get(1)?),
                name: some(row.get(2)?),
                port: u16::try_from(row.get::<_, i64>(3)?).ok(),
            };
            if matcher.is_destination(&destination) {
                numbers.push(row.get::<_, i64>(0)?);
            }
        }
        drop(rows);
        chosen(&self.connection, "chosen_destinations", &numbers)
    }
}

/// Few numbers stand in the statement, many in a table of their own.
fn chosen(connection: &Connection, table: &str, numbers: &[i64]) -> rusqlite::Result<Option<String>> {
    const IN_STATEMENT_MAX: usize = 64;
    if numbers.is_empty() {
        return Ok(None);
    }
    if numbers.len() <= IN_STATEMENT_MAX {
        return Ok(Some(list(numbers)));
    }
    empty(connection, table)?;
    let mut insert = connection.prepare_cached(&format!("INSERT INTO temp.{table}(id) VALUES (?)"))?;
    for number in numbers {
        insert.execute([number])?;
    }
    Ok(Some(format!("temp.{table}")))
}

fn empty(connection: &Connection, table: &str) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "CREATE TEMP TABLE IF NOT EXISTS {table}(id INTEGER PRIMARY KEY); DELETE FROM temp.{table};"
    ))
}

/// Numbers of the instances that are meant; `None` when all are.
fn instances(connection: &Connection, matcher: &Matcher) -> rusqlite::Result<Option<Vec<i64>>> {
    if matcher.filter.workload.is_empty() {
        return Ok(None);
    }
    let mut statement = connection.prepare_cached("SELECT id, workload, name, instance FROM instances")?;
    let mut rows = statement.query([])?;
    let mut numbers = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, name, instance) =
            (row.get_ref(1)?.as_str()?, row.get_ref(2)?.as_str()?, row.get_ref(3)?.as_str()?);
        if matcher.is_workload(name, id, instance) {
            numbers.push(row.get(0)?);
        }
    }
    Ok(Some(numbers))
}

/// What a user's processes did, and what could not be seen of the instances that this user began: a note of the
/// monitor has no process of its own.
fn own(uid: u32) -> String {
    format!(
        "(events.process IN (SELECT id FROM processes WHERE uid = {uid} AND pid > 0)
          OR (events.kind = (SELECT id FROM words WHERE text = 'coverage') AND events.instance IN
              (SELECT instance FROM (SELECT instance, uid, min(id) FROM processes WHERE pid > 0 GROUP BY instance)
               WHERE uid = {uid})))"
    )
}

/// A statement and its values.
struct Choice {
    sql: String,
    values: Vec<rusqlite::types::Value>,
}

/// What chooses the processes that are meant; `None` when all are.
fn processes(connection: &Connection, filter: &Filter) -> rusqlite::Result<Option<Choice>> {
    let mut parts = Vec::new();
    let mut values: Vec<rusqlite::types::Value> = Vec::new();
    if !filter.pid.is_empty() {
        let pids: Vec<i64> = filter.pid.iter().map(|pid| i64::from(*pid)).collect();
        parts.push(one_of("pid", &pids));
    }
    if !filter.user.is_empty() {
        let texts = marks(filter.user.len());
        values.extend(filter.user.iter().cloned().map(rusqlite::types::Value::Text));
        let uids: Vec<i64> =
            filter.user.iter().filter_map(|user| user.parse::<u32>().ok()).map(i64::from).collect();
        parts.push(format!("(user IN ({texts}) OR {})", one_of("uid", &uids)));
    }
    if !filter.container.is_empty() {
        let of_one = "substr(container, 1, length(?)) = ?";
        let all = vec![of_one; filter.container.len()].join(" OR ");
        for container in &filter.container {
            values.extend([container.clone().into(), container.clone().into()]);
        }
        parts.push(format!("({all})"));
    }
    if !filter.tree.is_empty() {
        let roots: Vec<String> = filter
            .tree
            .iter()
            .map(|root| match root.start {
                Some(start) => format!("(pid = {} AND start = {})", root.pid, signed(start)),
                None => format!("pid = {}", root.pid),
            })
            .collect();
        let of_child = roots.join(" OR ");
        let of_parent = of_child.replace("pid", "parent_pid").replace("start", "parent_start");
        empty(connection, "tree")?;
        connection.execute_batch(
            "DROP TABLE temp.tree; CREATE TEMP TABLE tree(pid, start, boot, PRIMARY KEY(pid, start, boot));",
        )?;
        // Roots that only others speak of, roots that did something, and all that descend from them.
        connection.execute_batch(&format!(
            "INSERT OR IGNORE INTO temp.tree
             WITH RECURSIVE below(pid, start, boot) AS (
                 SELECT pid, start, boot FROM processes WHERE {of_child}
                 UNION SELECT parent_pid, parent_start, boot FROM lineage WHERE {of_parent}
                 UNION SELECT lineage.pid, lineage.start, lineage.boot FROM lineage JOIN below
                     ON lineage.parent_pid = below.pid AND lineage.parent_start = below.start
                     AND lineage.boot = below.boot)
             SELECT pid, start, boot FROM below"
        ))?;
        parts.push("(pid, start, boot) IN (SELECT pid, start, boot FROM temp.tree)".into());
    }
    if parts.is_empty() {
        return Ok(None);
    }
    Ok(Some(Choice { sql: format!("SELECT id FROM processes WHERE {}", parts.join(" AND ")), values }))
}

fn fill(connection: &Connection, table: &str, choice: &Choice) -> rusqlite::Result<Option<String>> {
    let mut statement = connection.prepare(&choice.sql)?;
    let numbers = statement.query_map(params_from_iter(&choice.values), |row| row.get(0))?;
    let numbers = numbers.collect::<rusqlite::Result<Vec<i64>>>()?;
    chosen(connection, table, &numbers)
}

fn numbers_of(connection: &Connection, sql: &str, values: &[String]) -> rusqlite::Result<Vec<i64>> {
    let mut statement = connection.prepare(sql)?;
    let numbers = statement.query_map(params_from_iter(values), |row| row.get(0))?;
    numbers.collect()
}

fn one_of(column: &str, numbers: &[i64]) -> String {
    format!("{column} IN {}", list(numbers))
}

fn list(numbers: &[i64]) -> String {
    let numbers: Vec<String> = numbers.iter().map(i64::to_string).collect();
    format!("({})", numbers.join(","))
}

fn marks(count: usize) -> String {
    vec!["?"; count].join(",")
}
