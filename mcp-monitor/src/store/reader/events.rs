//! Rows, page by page.
//!
//! A search goes through windows of rows that grow: what is frequent is found in the first one without looking at
//! more, what is rare takes few windows, each answered by the index. Between windows the budget is looked at.

use std::time::Instant;

use super::{
    super::{
        Cursor, Order, Page, Query, Row, StoreError,
        columns::{Columns, signed, unsigned},
        matcher::Matcher,
        query::LIMIT_MAX,
    },
    DayReader, Reader,
    select::Selection,
};

/// Rows of the first window.
const WINDOW_FIRST: u64 = 16 * 1024;
/// Rows of the largest window.
const WINDOW_MAX: u64 = 4 << 20;
/// Rows that are looked through for a text before the budget is looked at again.
const TEXT_ROWS: usize = 4096;

/// A search on its way.
struct Search<'query> {
    query: &'query Query,
    matcher: Matcher,
    limit: usize,
    until: Instant,
    page: Page,
    /// A window was gone through: however short the budget is, something is done in it.
    went_on: bool,
}

impl Reader {
    /// Events that a filter means, page by page.
    pub fn events(&mut self, query: &Query) -> Result<Page, StoreError> {
        let mut search = Search {
            query,
            matcher: Matcher::new(&query.filter)?,
            limit: query.limit.min(LIMIT_MAX),
            until: Instant::now() + query.budget,
            page: Page { next: query.after, ..Page::default() },
            went_on: false,
        };
        let mut paths = self.paths()?;
        if query.order == Order::NewestFirst {
            paths.reverse();
        }
        for path in paths {
            let day = match self.day(&path) {
                Ok(day) => day,
                // Retention has taken it meanwhile.
                Err(StoreError::Missing { .. }) => continue,
                Err(error) => return Err(error),
            };
            if search.day(day)?.is_break() {
                return Ok(search.page);
            }
        }
        search.page.complete = true;
        Ok(search.page)
    }

    /// The place behind the newest row: where to begin to follow.
    pub fn end(&mut self) -> Result<Cursor, StoreError> {
        let rows = self.each_day(|day| {
            day.connection
                .query_row("SELECT max(last_row) FROM batches", [], |row| row.get::<_, Option<i64>>(0))
                .map_err(day.failed("find its end"))
        })?;
        Ok(Cursor(rows.into_iter().flatten().max().map_or(0, unsigned)))
    }

    /// The event with this id. Ids begin with their time, so that few rows are looked at.
    pub fn event(&mut self, id: &str) -> Result<Option<Row>, StoreError> {
        let uuid =
            uuid::Uuid::parse_str(id).map_err(|_| StoreError::Usage(format!("{id} is no id of an event")))?;
        let Some((seconds, nanoseconds)) = uuid.get_timestamp().map(|time| time.to_unix()) else {
            return Err(StoreError::Usage(format!("{id} is no id of an event")));
        };
        let time = i64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000_000) + i64::from(nanoseconds);
        // The id holds milliseconds, and repeats carry the id of the first of them.
        let slack = 2_000_000;
        for path in self.paths()? {
            let Ok(day) = self.day(&path) else { continue };
            let rows: Vec<i64> = {
                let failed = day.failed("look for an event");
                let mut statement = day
                    .connection
                    .prepare_cached(
                        "SELECT row FROM batches JOIN events ON row BETWEEN first_row AND last_row
                         WHERE max_time >= ?1 AND min_time <= ?2 AND time BETWEEN ?1 AND ?2",
                    )
                    .map_err(&failed)?;
                let rows =
                    statement.query_map((time - slack, time + slack), |row| row.get(0)).map_err(&failed)?;
                rows.collect::<Result<_, _>>().map_err(&failed)?
            };
            for row in rows {
                let row = unsigned(row);
                let Some(line) = day.line(row)? else { continue };
                if Columns::of(&line).is_some_and(|columns| columns.id == id) {
                    return Ok(Some(Row { cursor: Cursor(row), line }));
                }
            }
        }
        Ok(None)
    }
}

impl Search<'_> {
    /// Goes through one file; breaks when the page is full or the budget used up.
    fn day(&mut self, day: &mut DayReader) -> Result<std::ops::ControlFlow<()>, StoreError> {
        use std::ops::ControlFlow::{Break, Continue};
        if self.is_behind(day)? {
            return Ok(Continue(()));
        }
        let Some(Selection { condition, mut first_row, mut last_row }) = day.select(&self.matcher)? else {
            return Ok(Continue(()));
        };
        let newest_first = self.query.order == Order::NewestFirst;
        if let Some(Cursor(after)) = self.query.after {
            if newest_first {
                last_row = last_row.min(after.saturating_sub(1));
            } else {
                first_row = first_row.max(after.saturating_add(1));
            }
        }
        let mut window = WINDOW_FIRST;
        while first_row <= last_row && first_row > 0 {
            if self.page.rows.len() >= self.limit || (self.went_on && Instant::now() >= self.until) {
                return Ok(Break(()));
            }
            self.went_on = true;
            let (from, through) = if newest_first {
                (last_row.saturating_sub(window - 1).max(first_row), last_row)
            } else {
                (first_row, first_row.saturating_add(window - 1).min(last_row))
            };
            let whole = self.window(day, &condition, from, through)?;
            if !whole {
                return Ok(Break(()));
            }
            if newest_first {
                self.page.next = Some(Cursor(from));
                last_row = from - 1;
            } else {
                self.page.next = Some(Cursor(through));
                first_row = through + 1;
            }
            window = (window * 2).min(WINDOW_MAX);
        }
        Ok(Continue(()))
    }

    /// True when all rows of the file lie before the place to go on from.
    fn is_behind(&self, day: &DayReader) -> Result<bool, StoreError> {
        let Some(Cursor(after)) = self.query.after else { return Ok(false) };
        let newest_first = self.query.order == Order::NewestFirst;
        let end = if newest_first { "min(first_row)" } else { "max(last_row)" };
        let row: Option<i64> = day
            .connection
            .prepare_cached(&format!("SELECT {end} FROM batches"))
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .map_err(day.failed("find its end"))?;
        Ok(row.map(unsigned).is_none_or(|row| if newest_first { row >= after } else { row <= after }))
    }

    /// Takes what is meant of a window; false when it was not gone through to its end.
    fn window(
        &mut self,
        day: &mut DayReader,
        condition: &str,
        from: u64,
        through: u64,
    ) -> Result<bool, StoreError> {
        let wanted = self.limit - self.page.rows.len();
        // One more tells whether the window holds more than are wanted.
        let most = if self.matcher.looks_for_text() { usize::MAX >> 1 } else { wanted + 1 };
        let direction = if self.query.order == Order::NewestFirst { "DESC" } else { "ASC" };
        let rows: Vec<i64> = {
            let failed = day.failed("search");
            let sql = format!(
                "SELECT row FROM events WHERE row BETWEEN ? AND ? AND {condition} ORDER BY row {direction} LIMIT ?"
            );
            let mut statement = day.connection.prepare_cached(&sql).map_err(&failed)?;
            let found = statement
                .query_map((signed(from), signed(through), signed(most as u64)), |row| row.get(0))
                .map_err(&failed)?;
            found.collect::<Result<_, _>>().map_err(&failed)?
        };
        for (index, row) in rows.into_iter().map(unsigned).enumerate() {
            let late = index % TEXT_ROWS == TEXT_ROWS - 1 && Instant::now() >= self.until;
            if self.page.rows.len() >= self.limit || late {
                return Ok(false);
            }
            if !self.query.lines && !self.matcher.looks_for_text() {
                self.page.rows.push(Row { cursor: Cursor(row), line: String::new() });
            } else if let Some(line) = day.line(row)?
                && self.matcher.has_text(line.as_bytes())
            {
                self.page.rows.push(Row { cursor: Cursor(row), line });
            }
            self.page.next = Some(Cursor(row));
        }
        Ok(true)
    }
}
