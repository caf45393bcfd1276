//! Rows of the table in PostgreSQL.

use std::{
    io::{self, Write},
    path::Path,
};

use bluenova_journal::Reader;
use bluenova_postgres::{Settings, TableReader, TableSelection};

use super::{
    ExportError, Request,
    csv_output::{CsvOutput, RowCount},
    listed, mcu_ids, of_batteries,
};

/// Exports the rows of the table. The journal at `path`, if it is there, has names of batteries.
pub(super) fn export(
    server: &Settings,
    path: &Path,
    request: &Request<'_>,
) -> Result<(), ExportError> {
    let journal = Reader::open(path).ok();
    let ids = |given: &String| mcu_ids(given, request.known, journal.as_ref());
    let chosen = request.batteries.iter().map(ids).collect::<Result<Vec<_>, _>>()?;
    let mut table = TableReader::connect(server)?;
    for warning in &table.warnings {
        let _ = writeln!(io::stderr(), "bluenovalistener: {warning}");
    }
    for (ids, given) in chosen.iter().zip(request.batteries) {
        if !has_any(&mut table, ids)? {
            let ids = listed(ids);
            return Err(ExportError::Wrong(format!(
                "--battery {given}: there are no rows of {ids} in battery_pack of {server}"
            )));
        }
    }
    let batteries = chosen.concat();
    let selection = TableSelection { from: request.from, to: request.to, batteries };
    let total = || table.count(&selection).ok();
    let mut output = CsvOutput::open(request.output, request.columns.clone(), total)?;
    let mut count = RowCount::default();
    table.copy_csv(&selection, &request.columns, |piece| output.text(piece, count.add(piece)))?;
    if output.rows() == 0 {
        let (of, times) = (of_batteries(&selection.batteries), request.times());
        let why = format!("there are no rows{of}{times} in battery_pack of {server}");
        return Err(ExportError::Wrong(why));
    }
    output.finish()
}

fn has_any(table: &mut TableReader, ids: &[u32]) -> Result<bool, bluenova_postgres::Error> {
    for id in ids {
        if table.has_battery(*id)? {
            return Ok(true);
        }
    }
    Ok(false)
}
