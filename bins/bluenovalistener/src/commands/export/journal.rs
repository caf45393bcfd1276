//! Rows of the journal.

use std::{ops::ControlFlow, path::Path, time::Duration};

use bluenova_journal::{Reader, RowSelection};
use bluenova_record::Rfc3339;
use time::UtcDateTime;

use super::{
    super::no_journal, ExportError, Request, csv_output::CsvOutput, listed, mcu_ids, of_batteries,
};

/// Rows that are read at a time: few enough that the writer, whose log grows meanwhile, has it back
/// soon.
const PIECE: usize = 1000;

/// Deadline for a piece, which a slow SD card may need.
const PIECE_DEADLINE: Duration = Duration::from_secs(60);

/// Exports the rows of the journal at `path`, or of the file that is journal and database in one,
/// where there is no server.
pub(super) fn export(
    path: &Path,
    request: &Request<'_>,
    has_server: bool,
) -> Result<(), ExportError> {
    let mut reader = open(path, has_server)?;
    reader.time_limit = PIECE_DEADLINE;
    let selection = RowSelection {
        times: request.from.unwrap_or(UtcDateTime::MIN)..request.to.unwrap_or(UtcDateTime::MAX),
        batteries: batteries(&reader, path, request)?,
        after: None,
    };
    let total = || reader.count_rows(&selection).ok();
    let mut output = CsvOutput::open(request.output, request.columns.clone(), total)?;
    write(&reader, selection.clone(), request, &mut output)?;
    if output.rows() == 0 {
        return Err(no_rows(&reader, path, request, selection, has_server)?);
    }
    output.finish()
}

fn open(path: &Path, has_server: bool) -> Result<Reader, ExportError> {
    if !path.exists() {
        let why = no_journal(path, "export", has_server);
        let from = if has_server { "; --from-database exports from PostgreSQL" } else { "" };
        return Err(ExportError::Wrong(why + from));
    }
    Ok(Reader::open(path)?)
}

fn batteries(reader: &Reader, path: &Path, request: &Request<'_>) -> Result<Vec<u32>, ExportError> {
    let known = reader.mcu_ids()?;
    let mut chosen = vec![];
    for given in request.batteries {
        let ids = mcu_ids(given, request.known, Some(reader))?;
        if !ids.iter().any(|id| known.contains(id)) {
            return Err(ExportError::Wrong(format!(
                "--battery {given}: there are no rows of {} in {}, but of {}",
                listed(&ids),
                path.display(),
                listed(&known)
            )));
        }
        chosen.extend(ids);
    }
    Ok(chosen)
}

fn write(
    reader: &Reader,
    mut selection: RowSelection,
    request: &Request<'_>,
    output: &mut CsvOutput,
) -> Result<(), ExportError> {
    loop {
        let (mut count, mut last, mut written) = (0, None, Ok(()));
        reader.rows(&selection, &request.columns, |time, mcu_id, values| {
            count += 1;
            last = Some((time, mcu_id));
            written = output.row(values);
            if written.is_err() || count == PIECE {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        written?;
        if count < PIECE {
            return Ok(());
        }
        selection.after = last;
    }
}

/// The error that no row was found, with what there is instead.
fn no_rows(
    reader: &Reader,
    path: &Path,
    request: &Request<'_>,
    mut selection: RowSelection,
    has_server: bool,
) -> Result<ExportError, ExportError> {
    let until = selection.times.end;
    selection.times = UtcDateTime::MIN..UtcDateTime::MAX;
    let mut first = None;
    reader.rows(&selection, &[], |time, _, _| {
        first = Some(time);
        ControlFlow::Break(())
    })?;
    let Some(first) = first else {
        return Ok(ExportError::Wrong(format!("there are no rows in {} yet", path.display())));
    };
    let (path, times) = (path.display(), request.times());
    let of = of_batteries(&selection.batteries);
    let latest = reader.latest()?.into_iter();
    let latest = latest.filter(|row| of.is_empty() || selection.batteries.contains(&row.mcu_id));
    let last = latest.map(|row| row.insert_time_utc).max().unwrap_or(first);
    let [shown_first, shown_last] = [first, last].map(Rfc3339);
    let mut why = format!(
        "there are no rows{of}{times} in {path}, where the first one is of {shown_first}, and the \
         last one of {shown_last}"
    );
    if has_server && until <= first {
        why += "; the table in PostgreSQL may have older ones (--from-database)";
    }
    Ok(ExportError::Wrong(why))
}
