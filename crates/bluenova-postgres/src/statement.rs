//! The SQL that adds rows and looks them up, of one form for every engine: plain, partitioned and
//! foreign tables, and extensions that distribute a table.
//!
//! Each parameter is one column of all rows, as an array; behind the columns come the times and the
//! batteries to look for, the least and the greatest time. The table is asked once for all rows,
//! whatever their number: which of these times and batteries does it have? Asked row by row, it
//! reads all rows of a time for each of them where only the time has an index, and a foreign table
//! takes a round trip for each.

use bluenova_record::{COLUMNS, Column, SqlType, TABLE};

/// The insert of those rows that the table doesn't have.
///
/// `unnest` in the list of a `SELECT` takes the arrays apart row by row. In a `FROM`, the server
/// would store each column by itself first, which takes longer than all the rest.
///
/// A row without time or battery, which `NOT IN` would take for any row, is not among the keys.
pub(crate) fn insert(parameter: impl Fn(usize) -> String) -> String {
    let list = |f: &dyn Fn(usize, &Column) -> String| {
        let items: Vec<_> = COLUMNS.iter().enumerate().map(|(i, column)| f(i, column)).collect();
        items.join(", ")
    };
    let names = list(&|_, column| column.name.to_owned());
    let values = list(&|_, column| format!("new.{}", column.name));
    let arrays = list(&|i, column| match column.sql {
        // A cast to VARCHAR(n) would cut the text without an error.
        SqlType::Varchar(_) => format!("unnest({}::TEXT[]) AS {}", parameter(i), column.name),
        sql => format!("unnest({}::{sql}[]) AS {}", parameter(i), column.name),
    });
    let [times, ids, least, greatest] = [0, 1, 2, 3].map(|i| parameter(COLUMNS.len() + i));
    let keys = keys(&times, &ids, &least, &greatest);
    format!(
        "INSERT INTO {TABLE} ({names}) SELECT {values} FROM (SELECT {arrays}) AS new \
         WHERE (new.insert_time_utc, new.mcu_id) NOT IN ({keys})"
    )
}

/// The query for times and batteries of rows that the table has. Its parameters are those times and
/// batteries, the least and the greatest time.
pub(crate) fn select_keys() -> String {
    keys("$1", "$2", "$3", "$4")
}

/// The query for each time of `times` and battery of `ids` that the table has, also of pairs that
/// weren't asked for.
///
/// `BETWEEN` is there for the planner alone: it makes an index on the time look better than one on
/// the battery, which looks as good to a planner without statistics (after `pg_upgrade`, say) and
/// leads to all rows that the battery ever had. The casts of the columns change nothing, unless the
/// table has other types than ours: rows of two types could not be compared by a hash table.
fn keys(times: &str, ids: &str, least: &str, greatest: &str) -> String {
    format!(
        "SELECT old.insert_time_utc::TIMESTAMP, old.mcu_id::BIGINT FROM {TABLE} AS old \
         WHERE old.insert_time_utc = ANY ({times}::TIMESTAMP[]) \
         AND old.mcu_id = ANY ({ids}::BIGINT[]) \
         AND old.insert_time_utc BETWEEN {least}::TIMESTAMP AND {greatest}::TIMESTAMP"
    )
}
