//! Rows of the table in PostgreSQL.

use std::io::{self, Write};

use bluenova_postgres::{Settings, TableReader, TableSelection};

use super::{
    ExportError, Request,
    csv_output::{CsvOutput, RowCount},
    mcu_id, of_batteries,
};

/// Exports the rows of the table.
pub(super) fn export(server: &Settings, request: &Request<'_>) -> Result<(), ExportError> {
    let batteries = request.batteries.iter().map(|given| mcu_id(given, request.known));
    let batteries = batteries.collect::<Result<Vec<_>, _>>()?;
    let mut table = TableReader::connect(server)?;
    for warning in &table.warnings {
        let _ = writeln!(io::stderr(), "bluenovalistener: {warning}");
    }
    for (id, given) in batteries.iter().zip(request.batteries) {
        if !table.has_battery(*id)? {
            return Err(ExportError::Wrong(format!(
                "--battery {given}: there are no rows of {id:08X} in battery_pack of {server}"
            )));
        }
    }
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
