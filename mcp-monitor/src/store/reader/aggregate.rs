//! Events counted: by what, for whom, where to, by which process. Each day is counted by the database, days are added
//! up here.

use std::{collections::BTreeMap, fmt::Write as _};

use jiff::Timestamp;

use super::{
    super::{
        Count, CountBy, Cursor, Filter, ProcessRow, StoreError, Touch, Traffic, VerdictCounts, WorkloadRow,
        columns::{timestamp, unsigned, verdict_from},
        matcher::Matcher,
    },
    DayReader, Reader,
};
use crate::event::Verdict;

/// Lines of one answer at most.
const GROUPS_MAX: usize = 100_000;

/// What an instance is known by.
type InstanceKey = (String, String);

impl Reader {
    /// How many events there are by `by`, the most frequent first; times in their order.
    pub fn counts(&mut self, filter: &Filter, by: CountBy) -> Result<Vec<Count>, StoreError> {
        let (key, joins, grouped) = match by {
            CountBy::Workload => ("workload", "JOIN instances ON instances.id = grouped.key", "instance"),
            CountBy::Instance => {
                ("instances.instance", "JOIN instances ON instances.id = grouped.key", "instance")
            }
            CountBy::Kind => ("words.text", "JOIN words ON words.id = grouped.key", "kind"),
            CountBy::Verdict => ("grouped.key", "", "verdict"),
            CountBy::Rule => ("words.text", "JOIN words ON words.id = grouped.key", "rule"),
            CountBy::Path => ("paths.text", "JOIN paths ON paths.id = grouped.key", "path"),
            CountBy::Destination => {
                ("destinations.text", "JOIN destinations ON destinations.id = grouped.key", "destination")
            }
            CountBy::Program => ("processes.exe", "JOIN processes ON processes.id = grouped.key", "process"),
            CountBy::Minute => ("grouped.key", "", "time / 60000000000 * 60"),
            CountBy::Hour => ("grouped.key", "", "time / 3600000000000 * 3600"),
        };
        let mut sums: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        self.rows(
            filter,
            |condition| {
                format!(
                    "SELECT CAST({key} AS TEXT), sum(events), sum(rows) FROM (
                     SELECT {grouped} AS key, sum(count) AS events, count(*) AS rows FROM events
                     WHERE {condition} AND {grouped} IS NOT NULL GROUP BY 1) AS grouped {joins} GROUP BY 1"
                )
            },
            |row| {
                let sum = sums.entry(row.get(0)?).or_default();
                sum.0 += unsigned(row.get(1)?);
                sum.1 += unsigned(row.get(2)?);
                Ok(sums.len() < GROUPS_MAX)
            },
        )?;
        let mut counts: Vec<Count> = sums
            .into_iter()
            .map(|(key, (events, rows))| {
                let key = match by {
                    CountBy::Verdict => verdict_from(key.parse().unwrap_or(1)).name().to_owned(),
                    _ => key,
                };
                Count { key, events, rows }
            })
            .collect();
        if matches!(by, CountBy::Minute | CountBy::Hour) {
            counts.sort_by_key(|count| count.key.parse::<i64>().unwrap_or(0));
        } else {
            counts.sort_by(|one, other| other.events.cmp(&one.events).then_with(|| one.key.cmp(&other.key)));
        }
        Ok(counts)
    }

    /// Bytes by workload and destination, the most sent first.
    pub fn traffic(&mut self, filter: &Filter) -> Result<Vec<Traffic>, StoreError> {
        let mut sums: BTreeMap<(String, String), Traffic> = BTreeMap::new();
        self.rows(
            filter,
            |condition| {
                format!(
                    "SELECT workload, name, text, closed, sent, received, first, last FROM (
                     SELECT instances.workload AS workload, max(instances.name) AS name,
                         coalesce(destinations.text, '') AS text, sum(events.count) AS closed,
                         sum(bytes_sent) AS sent, sum(bytes_received) AS received, min(time) AS first,
                         max(time) AS last
                     FROM events JOIN instances ON instances.id = events.instance
                     LEFT JOIN destinations ON destinations.id = events.destination
                     WHERE {condition} AND bytes_sent IS NOT NULL GROUP BY 1, 3)"
                )
            },
            |row| {
                let (workload, destination): (String, String) = (row.get(0)?, row.get(2)?);
                let one = Traffic {
                    workload: workload.clone(),
                    workload_name: row.get(1)?,
                    destination: destination.clone(),
                    connections: unsigned(row.get(3)?),
                    bytes_sent: unsigned(row.get(4)?),
                    bytes_received: unsigned(row.get::<_, Option<i64>>(5)?.unwrap_or(0)),
                    first: timestamp(row.get(6)?),
                    last: timestamp(row.get(7)?),
                };
                sums.entry((workload, destination))
                    .and_modify(|sum| {
                        sum.connections += one.connections;
                        sum.bytes_sent += one.bytes_sent;
                        sum.bytes_received += one.bytes_received;
                        sum.first = sum.first.min(one.first);
                        sum.last = sum.last.max(one.last);
                    })
                    .or_insert(one);
                Ok(sums.len() < GROUPS_MAX)
            },
        )?;
        let mut all: Vec<_> = sums.into_values().collect();
        all.sort_by(|one, other| {
            other.bytes_sent.cmp(&one.bytes_sent).then_with(|| one.destination.cmp(&other.destination))
        });
        Ok(all)
    }

    /// Who touched the paths of the filter, how often, and when: the latest first.
    pub fn touches(&mut self, filter: &Filter) -> Result<Vec<Touch>, StoreError> {
        if filter.path.is_empty() {
            return Err(StoreError::Usage("say which path".into()));
        }
        let mut sums: BTreeMap<[String; 4], Touch> = BTreeMap::new();
        let matcher = Matcher::new(filter)?;
        self.rows(filter, |condition| {
            format!(
                "SELECT coalesce(path.text, ''), coalesce(target.text, ''), instances.workload, max(instances.name),
                     processes.exe, words.text, events.verdict, sum(events.count), min(time), max(time), max(row)
                 FROM events JOIN instances ON instances.id = events.instance
                 JOIN processes ON processes.id = events.process JOIN words ON words.id = events.kind
                 LEFT JOIN paths AS path ON path.id = events.path
                 LEFT JOIN paths AS target ON target.id = events.target
                 WHERE {condition} GROUP BY 1, 2, 3, 5, 6, 7"
)
        }, |row| {
            let (path, target): (String, String) = (row.get(0)?, row.get(1)?);
            // Of a rename either side may be the one that was asked for.
            let path = if matcher.is_path(&path) { path } else { target };
            let verdict = verdict_from(row.get(6)?).name().to_owned();
            let one = Touch {
                path,
                workload: row.get(2)?,
                workload_name: row.get(3)?,
                program: row.get(4)?,
                kind: row.get(5)?,
                verdict,
                events: unsigned(row.get(7)?),
                first: timestamp(row.get(8)?),
                last: timestamp(row.get(9)?),
                row: Cursor(unsigned(row.get(10)?)),
            };
            let what = format!("{} {}", one.kind, one.verdict);
            sums.entry([one.path.clone(), one.workload.clone(), one.program.clone(), what])
                .and_modify(|sum| {
                    sum.events += one.events;
                    sum.first = sum.first.min(one.first);
                    sum.last = sum.last.max(one.last);
                    sum.row = sum.row.max(one.row);
                })
                .or_insert(one);
            Ok(sums.len() < GROUPS_MAX)
        })?;
        let mut all: Vec<_> = sums.into_values().collect();
        all.sort_by_key(|touch| std::cmp::Reverse(touch.last));
        Ok(all)
    }

    /// Processes with what they did, in the order of their starts.
    pub fn processes(&mut self, filter: &Filter) -> Result<Vec<ProcessRow>, StoreError> {
        let mut all: BTreeMap<(String, u64, u32, u32, InstanceKey), ProcessRow> = BTreeMap::new();
        self.rows(filter, |condition| {
            format!(
                "SELECT pid, start, exec_id, boot.text, parent_pid, parent_start, exe, args, uid, user, container,
                     workload, name, instances.instance, first, last, {VERDICT_NAMES} FROM (
                     SELECT process AS key, min(time) AS first, max(time) AS last, {VERDICT_SUMS}
                     FROM events WHERE {condition} GROUP BY process) AS grouped
                 JOIN processes ON processes.id = grouped.key
                 JOIN instances ON instances.id = processes.instance JOIN words AS boot ON boot.id = processes.boot"
            )
        }, |row| {
            let parent: (Option<u32>, Option<i64>) = (row.get(4)?, row.get(5)?);
            let args: Option<String> = row.get(7)?;
            let one = ProcessRow {
                pid: row.get(0)?,
                start: unsigned(row.get(1)?),
                exec_id: row.get(2)?,
                boot: row.get(3)?,
                parent: parent.0.zip(parent.1.map(unsigned)),
                exe: row.get(6)?,
                args: args.and_then(|args| serde_json::from_str(&args).ok()).unwrap_or_default(),
                uid: row.get(8)?,
                user: row.get(9)?,
                container: row.get(10)?,
                workload: row.get(11)?,
                workload_name: row.get(12)?,
                instance: row.get(13)?,
                first: timestamp(row.get(14)?),
                last: timestamp(row.get(15)?),
                verdicts: verdicts(row, 16)?,
            };
            let instance = (one.instance.clone(), one.workload.clone());
            all.entry((one.boot.clone(), one.start, one.pid, one.exec_id, instance))
                .and_modify(|sum| {
                    span(&mut sum.first, &mut sum.last, one.first, one.last);
                    add(&mut sum.verdicts, one.verdicts);
                })
                .or_insert(one);
            Ok(all.len() < GROUPS_MAX)
        })?;
        let mut all: Vec<_> = all.into_values().collect();
        all.sort_by_key(|process| (process.first, process.start, process.exec_id));
        Ok(all)
    }

    /// Instances that did something, the latest first.
    pub fn workloads(&mut self, filter: &Filter) -> Result<Vec<WorkloadRow>, StoreError> {
        let mut all: BTreeMap<InstanceKey, WorkloadRow> = BTreeMap::new();
        self.rows(
            filter,
            |condition| {
                format!(
                    "SELECT workload, instances.instance, instances.kind, name, client, parent, first, last,
                     {VERDICT_NAMES} FROM (
                     SELECT instance AS key, min(time) AS first, max(time) AS last, {VERDICT_SUMS}
                     FROM events WHERE {condition} GROUP BY instance) AS grouped
                 JOIN instances ON instances.id = grouped.key"
                )
            },
            |row| {
                let one = WorkloadRow {
                    workload: row.get(0)?,
                    instance: row.get(1)?,
                    kind: row.get(2)?,
                    name: row.get(3)?,
                    client: row.get(4)?,
                    parent: row.get(5)?,
                    first: timestamp(row.get(6)?),
                    last: timestamp(row.get(7)?),
                    verdicts: verdicts(row, 8)?,
                };
                all.entry((one.instance.clone(), one.workload.clone()))
                    .and_modify(|sum| {
                        span(&mut sum.first, &mut sum.last, one.first, one.last);
                        add(&mut sum.verdicts, one.verdicts);
                    })
                    .or_insert(one);
                Ok(all.len() < GROUPS_MAX)
            },
        )?;
        let mut all: Vec<_> = all.into_values().collect();
        all.sort_by_key(|workload| std::cmp::Reverse(workload.last));
        Ok(all)
    }

    /// Asks each day for what `sql` makes of the filter's condition; `take` says whether there may be more.
    fn rows(
        &mut self,
        filter: &Filter,
        sql: impl Fn(&str) -> String,
        mut take: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<bool>,
    ) -> Result<(), StoreError> {
        if filter.text.is_some() {
            return Err(StoreError::Usage(
                "events cannot be counted by a text in them; list them instead".into(),
            ));
        }
        let matcher = Matcher::new(filter)?;
        self.each_day(|day| {
            let Some(selection) = day.select(&matcher)? else { return Ok(()) };
            let mut condition = selection.condition;
            // A span of time is a span of rows.
            let _ = write!(condition, " AND row BETWEEN {} AND {}", selection.first_row, selection.last_row);
            count(day, &sql(&condition), &mut take)
        })?;
        Ok(())
    }
}

fn count(
    day: &DayReader,
    sql: &str,
    take: &mut impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<bool>,
) -> Result<(), StoreError> {
    let failed = day.failed("count events");
    let mut statement = day.connection.prepare_cached(sql).map_err(&failed)?;
    let mut rows = statement.query([]).map_err(&failed)?;
    while let Some(row) = rows.next().map_err(&failed)? {
        if !take(row).map_err(&failed)? {
            break;
        }
    }
    Ok(())
}

const VERDICT_NAMES: &str = "expected, unjudged, unexpected, forbidden";
const VERDICT_SUMS: &str = "sum(count * (verdict = 0)) AS expected, sum(count * (verdict = 1)) AS unjudged,
    sum(count * (verdict = 2)) AS unexpected, sum(count * (verdict = 3)) AS forbidden";

fn verdicts(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<VerdictCounts> {
    let mut counts = VerdictCounts::default();
    for (number, index) in (first..first + 4).enumerate() {
        let count = unsigned(row.get(index)?);
        match verdict_from(i64::try_from(number).unwrap_or(1)) {
            Verdict::Expected => counts.expected = count,
            Verdict::Unjudged => counts.unjudged = count,
            Verdict::Unexpected => counts.unexpected = count,
            Verdict::Forbidden => counts.forbidden = count,
        }
    }
    Ok(counts)
}

fn span(first: &mut Timestamp, last: &mut Timestamp, other_first: Timestamp, other_last: Timestamp) {
    *first = (*first).min(other_first);
    *last = (*last).max(other_last);
}

fn add(sum: &mut VerdictCounts, one: VerdictCounts) {
    sum.expected += one.expected;
    sum.unjudged += one.unjudged;
    sum.unexpected += one.unexpected;
    sum.forbidden += one.forbidden;
}
