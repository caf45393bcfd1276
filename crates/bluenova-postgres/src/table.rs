use bluenova_record::{COLUMNS, CreateTable, TABLE, TIME_INDEX};
use postgres::{Client, SimpleQueryMessage, error::SqlState};

use crate::{Error, LOCK_CLASS, encoding::Encoding, error::LOOKING_FOR_TABLE, limits::LOCK_LIMIT};

/// The statements that create the table and its index, ready for `psql`.
///
/// ```
/// let sql = bluenova_postgres::schema();
/// assert!(sql.starts_with("CREATE TABLE battery_pack ("));
/// let index = "UNIQUE INDEX battery_pack_time ON battery_pack (insert_time_utc, mcu_id)";
/// assert!(sql.ends_with(&format!("\nCREATE {index};\n")));
/// ```
pub fn schema() -> String {
    format!("{CreateTable};\n\n{CREATE_INDEX};\n")
}

/// The index, named as that of the first listener. It finds the rows of a time or of a batch, and
/// keeps every writer from adding one twice.
const CREATE_INDEX: &str =
    "CREATE UNIQUE INDEX battery_pack_time ON battery_pack (insert_time_utc, mcu_id)";

/// Name of an index beside the one that it replaces, or where the other name is taken: by an index
/// of another kind, or by that of a table which was renamed.
const KEY_INDEX: &str = "battery_pack_key";

/// Second half of the key of the lock under which the table is created; the other values, from 0
/// on, are buckets of batteries.
const LOCK: i32 = -1;

/// The database as it is found.
pub(crate) struct Found {
    /// Whether table and index are there.
    pub(crate) is_complete: bool,
    pub(crate) encoding: Encoding,
}

/// Looks at the database; executes `before` first, in the same message.
pub(crate) fn find(client: &mut Client, before: &str) -> Result<Found, postgres::Error> {
    let before = format!("{before}; SHOW server_encoding");
    let messages = look_up(client, &before)?;
    let encoding = Encoding::new(value(&messages, "server_encoding").unwrap_or_default());
    Ok(Found { is_complete: state(&messages) == TableState::Complete, encoding })
}

/// What is done about a table that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfMissing {
    Create,
    /// It is created in a transaction that is rolled back.
    TryToCreate,
}

/// The table, after [`ensure`].
pub(crate) struct Ensured {
    /// It was only tried whether the table can be created.
    pub(crate) is_missing: bool,
    pub(crate) warnings: Vec<String>,
}

/// Creates the table and its index where they are missing, or tries to. A missing index that can't
/// be created is a warning, for it does no harm to the rows.
pub(crate) fn ensure(
    client: &mut Client,
    target: &str,
    user: &str,
    if_missing: IfMissing,
) -> Result<Ensured, Error> {
    let looking = |e| Error::new(LOOKING_FOR_TABLE, target, e);
    let with = |is_missing, warnings| Ok(Ensured { is_missing, warnings });
    if look(client).map_err(looking)? == TableState::Missing {
        let created = create(client, &schema(), if_missing);
        // Another program may have created it meanwhile.
        if look(client).map_err(looking)? == TableState::Missing
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
    let state = look(client).map_err(looking)?;
    if if_missing == IfMissing::TryToCreate {
        // To make an index and roll that back may take minutes.
        return match state {
            TableState::Missing => with(true, vec![WOULD_CREATE.to_owned()]),
            TableState::WithoutIndex => with(false, vec![WOULD_INDEX.to_owned()]),
            TableState::Complete => with(false, vec![]),
        };
    }
    if state != TableState::WithoutIndex {
        return with(false, vec![]);
    }
    let (create, error) = match create_index(client) {
        Ok(true) => return with(false, vec![]),
        // The server finds a name then.
        Ok(false) => {
            (CREATE_INDEX.replace(&format!(" {TIME_INDEX}"), ""), "its names are taken".to_owned())
        }
        Err(e) => {
            let error = Error::new("can't create battery_pack_time in", target, e);
            if client.is_closed() {
                return Err(error);
            }
            (CREATE_INDEX.to_owned(), error.to_string())
        }
    };
    let warning = format!(
        "battery_pack has no index on insert_time_utc, so that every batch reads all of it; let \
         its owner run {create}; ({error})"
    );
    with(false, vec![warning])
}

const WOULD_CREATE: &str = "the table doesn't exist yet, and the listener will create it";

const WOULD_INDEX: &str = "battery_pack has no index on insert_time_utc; it would be created if \
                           the table is the user's own";

/// The statement that adds the column which the server's message says is missing.
pub(crate) fn add_column(message: &str) -> Option<String> {
    // The message is in the server's language, its quotes too.
    let mut words = message.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let column = words.find_map(|word| COLUMNS.iter().find(|column| column.name == word))?;
    Some(format!("ALTER TABLE {TABLE} ADD COLUMN {} {}", column.name, column.sql))
}

/// The statement that grants `user` all privileges that the sink needs.
pub(crate) fn grant(user: &str) -> String {
    format!("GRANT SELECT, INSERT ON {TABLE} TO {}", quoted(user))
}

/// The statement that exempts `user` from row-level security.
pub(crate) fn bypass_row_security(user: &str) -> String {
    format!("ALTER ROLE {} BYPASSRLS", quoted(user))
}

/// The name as it stands in a statement.
pub(crate) fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c == '_';
    match name.strip_prefix(plain) {
        Some(rest) if rest.chars().all(|c| plain(c) || c.is_ascii_digit()) => name.to_owned(),
        _ => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

#[derive(PartialEq)]
enum TableState {
    Missing,
    /// There is no index on the time.
    WithoutIndex,
    /// There is such an index, or the table is a view, which can't have any.
    Complete,
}

fn look(client: &mut Client) -> Result<TableState, postgres::Error> {
    Ok(state(&look_up(client, "SELECT")?))
}

/// Looks the table up in the search path, as the insert does. `before` may return rows too.
fn look_up(client: &mut Client, before: &str) -> Result<Vec<SimpleQueryMessage>, postgres::Error> {
    // An index on mcu_id and insert_time_utc, in this order, serves the insert as well. Only a
    // btree finds a time and a battery.
    client.simple_query(&format!(
        "{before}; SELECT c.relkind NOT IN ('r', 'p') OR EXISTS (
            SELECT 1 FROM pg_index i
            JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_am am ON am.oid = ic.relam
            WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL
              AND am.amname = 'btree'
              AND (i.indkey[0] = t.attnum OR i.indkey[0] = m.attnum AND i.indkey[1] = t.attnum))
         AS is_complete FROM pg_class c
         LEFT JOIN pg_attribute t ON t.attrelid = c.oid AND t.attname = 'insert_time_utc'
         LEFT JOIN pg_attribute m ON m.attrelid = c.oid AND m.attname = 'mcu_id'
         WHERE c.oid = to_regclass('{TABLE}')"
    ))
}

/// The value of the column in the first row that has it.
fn value<'a>(messages: &'a [SimpleQueryMessage], column: &str) -> Option<&'a str> {
    messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.try_get(column).ok().flatten(),
        _ => None,
    })
}

fn state(messages: &[SimpleQueryMessage]) -> TableState {
    match value(messages, "is_complete") {
        None => TableState::Missing,
        Some("t") => TableState::Complete,
        Some(_) => TableState::WithoutIndex,
    }
}

/// Runs the statements of [`schema`], or some of them.
fn create(client: &mut Client, sql: &str, if_missing: IfMissing) -> Result<(), postgres::Error> {
    let end = match if_missing {
        IfMissing::Create => "COMMIT",
        IfMissing::TryToCreate => "ROLLBACK",
    };
    // Of two sinks that create it at once the second one must wait: `IF NOT EXISTS` alone would
    // fail.
    let sql = sql
        .replace("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ")
        .replace(" INDEX ", " INDEX IF NOT EXISTS ");
    let result = client.batch_execute(&format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED;
         {LOCK_LIMIT};
         SELECT pg_advisory_xact_lock({LOCK_CLASS}, {LOCK});
         {sql};
         {end}"
    ));
    if result.is_err() {
        // The reason is in `result`, and a closed connection has no transaction to roll back.
        let _ = client.batch_execute("ROLLBACK");
    }
    result
}

/// Creates the index of a table that has none, under the first of its names that is free; returns
/// whether there was one.
fn create_index(client: &mut Client) -> Result<bool, postgres::Error> {
    for name in [TIME_INDEX, KEY_INDEX] {
        let sql = CREATE_INDEX.replace(TIME_INDEX, name);
        let created = create(client, &sql, IfMissing::Create);
        match created.as_ref().err().and_then(postgres::Error::code).map(SqlState::code) {
            // Rows are there twice, or partitions are made by a column that is not in the index.
            Some("23505" | "0A000") => {
                create(client, &sql.replace("UNIQUE ", ""), IfMissing::Create)?;
            }
            _ => created?,
        }
        // An index of that name is left as it is, whatever it is.
        if look(client)? != TableState::WithoutIndex {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What the owner of a table that was there before could do for a unique index; `None` if there is
/// one, or can't be any: with a view, a foreign table or foreign partitions, with partitions by
/// other columns, and with tables that inherit from it.
pub(crate) fn index_advice(client: &mut Client) -> Result<Option<String>, postgres::Error> {
    let messages = client.simple_query(&find_index())?;
    let Some(concurrently) = value(&messages, "concurrently") else { return Ok(None) };
    let drop = |index| format!("DROP INDEX {concurrently}{index}");
    let first = value(&messages, "invalid").map(drop);
    let last = value(&messages, "replaced").map(drop);
    let name = value(&messages, "name").unwrap_or_default();
    let create = CREATE_INDEX.replace(TIME_INDEX, &format!("{concurrently}{name}"));
    let create = create.replace("  ", " ");
    // A statement that fails doesn't keep psql from running the next one: where rows are there
    // twice, the old index would be dropped and no new one be there.
    let first = first.map(|drop| format!("\n  {drop};")).unwrap_or_default();
    let last = last
        .map(|drop| format!("\nIf that has succeeded, nothing needs the old one:\n  {drop};"))
        .unwrap_or_default();
    Ok(Some(format!(
        "{TABLE} has no unique index on insert_time_utc and mcu_id: a row is there once as long as \
         only listeners write, all of them by way of one server. For an index that makes sure of \
         it, look for rows that are there twice, and remove them as docs/running.md says:\n  \
         {DUPLICATES};\nThen the owner of the table runs, one by one:{first}\n  {create};{last}"
    )))
}

/// The query for what is said about the index; it has no row where nothing is.
fn find_index() -> String {
    // PostgreSQL 10 has no number of key columns, which leaves included ones out, and no index on
    // a partitioned table. The chunks of TimescaleDB inherit, and have the index of their table.
    format!(
        "WITH RECURSIVE part AS (
            SELECT oid, relkind, relnamespace, false AS inherits FROM pg_class
            WHERE oid = to_regclass('{TABLE}')
            UNION ALL
            SELECT c.oid, c.relkind, c.relnamespace, part.relkind <> 'p'
            FROM part JOIN pg_inherits h ON h.inhparent = part.oid
            JOIN pg_class c ON c.oid = h.inhrelid),
         btree AS (
            SELECT ic.relname, i.indisvalid, i.indisunique, ARRAY(
                SELECT a.attname::text FROM generate_subscripts(i.indkey, 1) AS n
                JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[n]
                WHERE n < coalesce((to_jsonb(i) ->> 'indnkeyatts')::int, i.indnatts)
                ORDER BY 1) AS key,
                (SELECT a.attname FROM pg_attribute a
                 WHERE a.attrelid = i.indrelid AND a.attnum = i.indkey[0]) AS first
            FROM pg_index i
            JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_am am ON am.oid = ic.relam
            WHERE i.indrelid = to_regclass('{TABLE}') AND am.amname = 'btree'
              AND i.indpred IS NULL AND i.indexprs IS NULL),
         whole AS (
            SELECT * FROM btree WHERE indisunique AND key = '{{insert_time_utc,mcu_id}}'),
         invalid AS (
            SELECT min(quote_ident(relname)) AS name FROM whole WHERE NOT indisvalid)
         SELECT CASE WHEN (SELECT count(*) FROM part) > 1 OR relkind = 'p'
                THEN '' ELSE 'CONCURRENTLY ' END AS concurrently,
                CASE WHEN to_regclass('{KEY_INDEX}') IS NULL OR invalid.name = '{KEY_INDEX}'
                THEN '{KEY_INDEX}' ELSE '' END AS name,
                invalid.name AS invalid,
                (SELECT min(quote_ident(relname)) FROM btree
                 WHERE key <@ '{{insert_time_utc,mcu_id}}' AND first = 'insert_time_utc'
                   AND NOT indisunique) AS replaced
         FROM pg_class, invalid WHERE oid = to_regclass('{TABLE}')
           AND (relkind = 'r' OR relkind = 'p'
                AND current_setting('server_version_num')::int >= 110000)
           AND NOT EXISTS (SELECT 1 FROM whole WHERE indisvalid)
           AND NOT EXISTS (
               SELECT 1 FROM part WHERE part.relkind = 'f'
               OR inherits AND relnamespace::regnamespace::text <> '_timescaledb_internal')
           AND NOT EXISTS (
               SELECT 1 FROM part JOIN pg_partitioned_table p ON p.partrelid = part.oid
               WHERE p.partexprs IS NOT NULL OR EXISTS (
                   SELECT 1 FROM pg_attribute a
                   WHERE a.attrelid = p.partrelid AND a.attnum = ANY (p.partattrs)
                     AND a.attname NOT IN ('insert_time_utc', 'mcu_id')))"
    )
}

/// The query for rows that keep a unique index from being created.
const DUPLICATES: &str = "SELECT insert_time_utc, mcu_id, count(*) FROM battery_pack GROUP BY 1, 2 \
                          HAVING count(*) > 1";

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
