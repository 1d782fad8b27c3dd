//! Whole batches in their order, for exports.

use super::{
    super::{
        Filter, Matcher, StoreError,
        batch::{PACKED_COLUMNS, Packed},
        chain::Checkpoint,
        columns::signed,
        verify::{Export, checkpoint_after},
    },
    DayReader, Reader,
};

impl Reader {
    /// The first and last row of batches in which the time of `filter` may be found.
    pub(in crate::store) fn span(&mut self, filter: &Filter) -> Result<Option<(u64, u64)>, StoreError> {
        let matcher = Matcher::new(filter)?;
        let spans = self.each_day(|day| {
            Ok(day.select(&matcher)?.map(|selection| (selection.first_row, selection.last_row)))
        })?;
        Ok(spans.into_iter().flatten().reduce(|all, one| (all.0.min(one.0), all.1.max(one.1))))
    }

    /// An export of the rows `first` to `last`, which goes on to the next row that is signed.
    pub(in crate::store) fn packed(
        &mut self,
        first: u64,
        last: u64,
        end: Option<&Checkpoint>,
        store: &str,
    ) -> Result<Export, StoreError> {
        let mut previous = None;
        let mut checkpoint = None;
        for path in self.paths()? {
            let Ok(day) = self.day(&path) else { continue };
            if let Some(batch) = day.packed(first)?.filter(|batch| batch.first_row == first) {
                previous = batch.previous;
            }
            if checkpoint.is_none() {
                checkpoint = checkpoint_after(&day.connection, last, store)
                    .map_err(day.failed("find a checkpoint"))?;
            }
        }
        let checkpoint = checkpoint.or_else(|| end.filter(|end| end.row >= first).cloned());
        match (previous, checkpoint) {
            (Some(previous), Some(checkpoint)) => Ok(Export {
                first_row: first,
                last_row: checkpoint.row,
                previous,
                checkpoint,
                next_row: first,
            }),
            _ => Err(StoreError::Usage("these events are not signed yet. Try again in some seconds".into())),
        }
    }

    /// The batch that begins with `row`, or the next one: first row, last row, text.
    pub(in crate::store) fn batch_from(
        &mut self,
        row: u64,
    ) -> Result<Option<(u64, u64, Vec<u8>)>, StoreError> {
        for path in self.paths()? {
            let Ok(day) = self.day(&path) else { continue };
            let Some(packed) = day.packed_from(row)? else { continue };
            let (text, whole) =
                day.unpacker.unpack(&day.connection, &packed).map_err(day.failed("read events"))?;
            if !whole {
                return Err(StoreError::Damaged {
                    path,
                    row: packed.first_row,
                    what: "its batch cannot be unpacked".into(),
                });
            }
            return Ok(Some((packed.first_row, packed.last_row, text)));
        }
        Ok(None)
    }
}

impl DayReader {
    fn packed_from(&self, row: u64) -> Result<Option<Packed>, StoreError> {
        use rusqlite::OptionalExtension as _;
        self.connection
            .prepare_cached(&format!(
                "SELECT {PACKED_COLUMNS} FROM batches WHERE first_row >= ? ORDER BY first_row LIMIT 1"
            ))
            .and_then(|mut statement| statement.query_row([signed(row)], Packed::of_row).optional())
            .map_err(self.failed("read events"))
    }
}
