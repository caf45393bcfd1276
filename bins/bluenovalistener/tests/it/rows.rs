//! Rows as they stand in a database, and as they should.

use std::{collections::BTreeMap, fmt::Display, path::Path};

use bluenova_simulator::Snapshot;
use postgres::Client;
use rusqlite::{Connection, OpenFlags, types::ValueRef};
use time::UtcDateTime;

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Int(i64),
    Real(f32),
    Text(String),
}

/// The columns of a row, but for the two that identify it.
pub(crate) type Row = BTreeMap<String, Cell>;

/// Rows by `insert_time_utc` and `mcu_id`.
pub(crate) type Rows = BTreeMap<(String, i64), Row>;

/// `NULL` all over, and no count of anything.
pub(crate) fn empty_row() -> Row {
    let cells = (1..=16).flat_map(|n| [format!("cell_{n:02}_v"), format!("cell_{n:02}_t")]);
    let adc = (0..5).map(|n| format!("adc_{n}"));
    let others = "n_units unit_rank cell_count v_pack i_pack temp v_cell_min v_cell_max soc health \
                  errors system_state breaker charge_state energy_in energy_out adc_vp";
    let others = others.split(' ').map(str::to_owned);
    let counters = ["bad_crc", "parse_fail", "bad_vcell"].map(|name| (name.into(), Cell::Int(0)));
    cells.chain(adc).chain(others).map(|name| (name, Cell::Null)).chain(counters).collect()
}

/// A row in which `columns` have values.
pub(crate) fn row(columns: &[(&str, Cell)]) -> Row {
    let mut row = empty_row();
    for (name, cell) in columns {
        assert!(row.insert((*name).to_owned(), cell.clone()).is_some(), "no column {name}");
    }
    row
}

/// The row of an interval in which the battery said `cycles`. Its energies are not in there, since
/// they may come from earlier ones.
pub(crate) fn said(cycles: &[Snapshot]) -> Row {
    let mut row = empty_row();
    let mut put = |name: &str, cell| {
        assert!(row.insert(name.to_owned(), cell).is_some(), "no column {name}");
    };
    let last = cycles.last().unwrap();
    for n in 0..16 {
        put(&format!("cell_{:02}_v", n + 1), volts(last.cell_v[n]));
        put(&format!("cell_{:02}_t", n + 1), Cell::Int(last.cell_t[n].into()));
    }
    for n in 0..5 {
        put(&format!("adc_{n}"), volts(last.adc[n].voltage));
    }
    for (name, number) in [
        ("n_units", last.n_units),
        ("unit_rank", last.unit_rank),
        ("cell_count", last.cell_count),
        ("temp", last.temp),
        ("soc", last.soc),
        ("bad_crc", cycles.iter().map(|cycle| cycle.bad_crc).sum()),
        ("parse_fail", cycles.iter().map(|cycle| cycle.parse_fail).sum()),
        ("bad_vcell", cycles.iter().map(|cycle| cycle.bad_vcell).sum()),
    ] {
        put(name, Cell::Int(number.into()));
    }
    put("v_pack", volts(last.v_pack));
    put("i_pack", number(last.i_pack));
    put("v_cell_min", volts(last.v_cell_min));
    put("v_cell_max", volts(last.v_cell_max));
    put("health", number(last.health));
    put("adc_vp", volts(last.adc_vp));
    put("errors", Cell::Text(last.errors.to_owned()));
    put("system_state", Cell::Text(last.system_state.to_owned()));
    put("breaker", Cell::Text(last.breaker.to_owned()));
    put("charge_state", Cell::Text(last.charge_state.to_owned()));
    row
}

/// The float nearest to the number as the battery writes it, by the standard library's parser.
pub(crate) fn number(decimal: impl Display) -> Cell {
    Cell::Real(decimal.to_string().parse().unwrap())
}

/// The same of millivolts in volts.
pub(crate) fn volts(millivolts: impl Display) -> Cell {
    number(format!("{millivolts}e-3"))
}

/// A time as it is written in the tests and in the log.
pub(crate) fn stamp(time: UtcDateTime) -> String {
    assert_eq!(time.microsecond(), 0);
    let (hour, minute, second) = time.as_hms();
    format!("{} {hour:02}:{minute:02}:{second:02}", time.date())
}

/// All rows of PostgreSQL's table, none of them there twice.
pub(crate) fn postgres_rows(client: &mut Client) -> Rows {
    let sql = "SELECT CASE WHEN date_trunc('second', insert_time_utc) = insert_time_utc
                   THEN to_char(insert_time_utc, 'YYYY-MM-DD HH24:MI:SS')
                   ELSE to_char(insert_time_utc, 'YYYY-MM-DD HH24:MI:SS.US') END AS stamp, *
               FROM battery_pack";
    let mut rows = Rows::new();
    for row in client.query(sql, &[]).unwrap() {
        let mut cells = Row::new();
        for (i, column) in row.columns().iter().enumerate().skip(1) {
            let cell = match column.type_().name() {
                "timestamp" => continue,
                "int2" => row.get::<_, Option<i16>>(i).map(|number| Cell::Int(number.into())),
                "int8" => row.get::<_, Option<i64>>(i).map(Cell::Int),
                "float4" => row.get::<_, Option<f32>>(i).map(Cell::Real),
                "varchar" => row.get::<_, Option<String>>(i).map(Cell::Text),
                other => panic!("{} is {other}", column.name()),
            };
            cells.insert(column.name().to_owned(), cell.unwrap_or(Cell::Null));
        }
        add(&mut rows, row.get(0), cells);
    }
    rows
}

/// All rows of an SQLite database or journal, none of them there twice; none as long as there is
/// no table.
pub(crate) fn sqlite_rows(path: &Path) -> Rows {
    let Ok(database) = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE) else {
        return Rows::new();
    };
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'battery_pack'";
    if database.query_row(tables, (), |row| row.get::<_, i64>(0)).unwrap() == 0 {
        return Rows::new();
    }
    let mut statement = database.prepare("SELECT * FROM battery_pack").unwrap();
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut found = Rows::new();
    let mut rows = statement.query(()).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let mut cells = Row::new();
        for (i, name) in names.iter().enumerate() {
            let cell = match row.get_ref(i).unwrap() {
                ValueRef::Null => Cell::Null,
                ValueRef::Integer(number) => Cell::Int(number),
                ValueRef::Real(number) => Cell::Real(number as f32),
                ValueRef::Text(text) => Cell::Text(String::from_utf8(text.to_vec()).unwrap()),
                ValueRef::Blob(_) => panic!("{name} is a blob"),
            };
            cells.insert(name.clone(), cell);
        }
        cells.remove("sequence");
        let Some(Cell::Text(stamp)) = cells.remove("insert_time_utc") else { panic!("no time") };
        add(&mut found, stamp, cells);
    }
    found
}

fn add(rows: &mut Rows, stamp: String, mut cells: Row) {
    let Some(Cell::Int(mcu_id)) = cells.remove("mcu_id") else { panic!("no owner: {cells:?}") };
    let key = (stamp, mcu_id);
    if let Some(earlier) = rows.get(&key) {
        panic!("{key:?} is there twice: {earlier:?} and {cells:?}");
    }
    rows.insert(key, cells);
}

/// The stamps of one battery's rows.
pub(crate) fn stamps_of(rows: &Rows, mcu_id: u32) -> Vec<String> {
    rows.keys().filter(|(_, id)| *id == i64::from(mcu_id)).map(|(stamp, _)| stamp.clone()).collect()
}

/// Compares column by column.
#[track_caller]
pub(crate) fn same_row(what: &str, actual: &Row, expected: &Row) {
    let differences: Vec<String> = expected
        .iter()
        .filter(|(name, cell)| actual.get(*name) != Some(*cell))
        .map(|(name, cell)| format!("{name} is {:?} instead of {cell:?}", actual.get(name)))
        .collect();
    assert!(differences.is_empty(), "{what}: {}", differences.join(", "));
    assert_eq!(actual.len(), expected.len(), "{what}");
}
