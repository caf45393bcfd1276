use bluenova_record::{CreateTable, TABLE, TIME_INDEX};
use postgres::{Client, SimpleQueryMessage};

use crate::{Error, LOCK_CLASS, error::LOOKING_FOR_TABLE, limits::LOCK_LIMIT};

/// The statements that create the table and its index, ready for `psql`.
///
/// ```
/// let sql = bluenova_postgres::schema();
/// assert!(sql.starts_with("CREATE TABLE battery_pack ("));
/// assert!(sql.ends_with("CREATE INDEX battery_pack_time ON battery_pack (insert_time_utc);\n"));
/// ```
pub fn schema() -> String {
    format!("{CreateTable};\n\n{};\n", create_index())
}

/// Second half of the key of the lock under which the table is created; the other values, from 0
/// on, are buckets of batteries.
const LOCK: i32 = -1;

/// Whether table and index are there; executes `before` first, in the same message.
pub(crate) fn is_complete(client: &mut Client, before: &str) -> Result<bool, postgres::Error> {
    Ok(look(client, before)? == TableState::Complete)
}

/// Creates the table and its index where they are missing. A missing index that can't be created
/// is a warning, for it does no harm to the rows.
pub(crate) fn ensure(client: &mut Client, target: &str, user: &str) -> Result<Vec<String>, Error> {
    let looking = |e| Error::new(LOOKING_FOR_TABLE, target, e);
    if look(client, "").map_err(looking)? == TableState::Missing {
        let created = create(client, &schema());
        // Another program may have created it meanwhile.
        if look(client, "").map_err(looking)? == TableState::Missing
            && let Err(e) = created
        {
            let error = Error::new("can't create battery_pack in", target, e);
            return Err(error.with_remedy(Some(format!(
                "have the owner of the database run `bluenovalistener schema | psql` on it, and \
                 then {}",
                grant(user)
            ))));
        }
    }
    if look(client, "").map_err(looking)? == TableState::WithoutIndex
        && let Err(e) = create(client, &create_index())
    {
        if client.is_closed() {
            return Err(Error::new("can't create battery_pack_time in", target, e));
        }
        let error = Error::new("can't create battery_pack_time in", target, e);
        return Ok(vec![format!(
            "battery_pack has no index on insert_time_utc, so that every batch reads all of it; \
             let its owner run {}; ({error})",
            create_index()
        )]);
    }
    Ok(vec![])
}

/// The statement that grants `user` all privileges that the sink needs.
pub(crate) fn grant(user: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c == '_';
    let user = match user.strip_prefix(plain) {
        Some(rest) if rest.chars().all(|c| plain(c) || c.is_ascii_digit()) => user.to_owned(),
        _ => format!("\"{}\"", user.replace('"', "\"\"")),
    };
    format!("GRANT SELECT, INSERT ON {TABLE} TO {user}")
}

#[derive(PartialEq)]
enum TableState {
    Missing,
    /// There is no index on the time.
    WithoutIndex,
    /// There is such an index, or the table is a view, which can't have any.
    Complete,
}

/// Looks the table up in the search path, as the insert does.
fn look(client: &mut Client, before: &str) -> Result<TableState, postgres::Error> {
    // An index on mcu_id and insert_time_utc, in this order, serves the insert as well.
    let sql = format!(
        "{before}; SELECT c.relkind NOT IN ('r', 'p') OR EXISTS (
            SELECT 1 FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid
            WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL
              AND a.attname = 'insert_time_utc' AND a.attnum IN (i.indkey[0], i.indkey[1]))
         AS is_complete FROM pg_class c WHERE c.oid = to_regclass('{TABLE}')"
    );
    // `before` may return rows too.
    let is_complete = client.simple_query(&sql)?.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            row.try_get("is_complete").ok().flatten().map(str::to_owned)
        }
        _ => None,
    });
    Ok(match is_complete.as_deref() {
        None => TableState::Missing,
        Some("t") => TableState::Complete,
        Some(_) => TableState::WithoutIndex,
    })
}

/// Runs the statements of [`schema`], or some of them.
fn create(client: &mut Client, sql: &str) -> Result<(), postgres::Error> {
    // Of two sinks that create it at once the second one must wait: `IF NOT EXISTS` alone would
    // fail.
    let sql = sql
        .replace("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ")
        .replace("CREATE INDEX ", "CREATE INDEX IF NOT EXISTS ");
    let result = client.batch_execute(&format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED;
         {LOCK_LIMIT};
         SELECT pg_advisory_xact_lock({LOCK_CLASS}, {LOCK});
         {sql};
         COMMIT"
    ));
    if result.is_err() {
        // The reason is in `result`, and a closed connection has no transaction to roll back.
        let _ = client.batch_execute("ROLLBACK");
    }
    result
}

fn create_index() -> String {
    format!("CREATE INDEX {TIME_INDEX} ON {TABLE} (insert_time_utc)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_they_must_be() {
        for (user, quoted) in [
            ("homeauto", "homeauto"),
            ("home_2", "home_2"),
            ("2home", "\"2home\""),
            ("Home", "\"Home\""),
            ("a\"b", "\"a\"\"b\""),
            ("", "\"\""),
        ] {
            assert_eq!(grant(user), format!("GRANT SELECT, INSERT ON battery_pack TO {quoted}"));
        }
    }
}
