use std::{error, fmt, io};

use postgres::error::DbError;

/// What could not be done in the database, where, and what the server said about it.
///
/// `Display` is one line. Where the server answered, that line holds its whole answer and there is
/// no `source`; otherwise the line tells what was being done, and the chain of sources why it
/// failed. Neither ever holds the password.
#[derive(Debug)]
pub struct Error {
    doing: &'static str,
    target: String,
    remedy: Option<String>,
    cause: postgres::Error,
}

/// What an [`Error`] means for the rows that were to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It passes by itself: connect again soon, and send the same batch again.
    Soon,
    /// Somebody has to mend something: keep the rows, say so, and try again now and then.
    Hold,
    /// A row of the batch may be at fault, or else the table.
    Row,
}

impl Error {
    /// `doing` reads well before `target`: "connecting to", "inserting into battery_pack of".
    pub(crate) fn new(doing: &'static str, target: &str, cause: postgres::Error) -> Self {
        Self { doing, target: target.to_owned(), remedy: None, cause }
    }

    /// Adds what somebody should do about it, for the end of the line.
    pub(crate) fn with_remedy(self, remedy: Option<String>) -> Self {
        Self { remedy, ..self }
    }

    /// The server's code for what is wrong; `None` where it was not the server that said so.
    pub fn sqlstate(&self) -> Option<&str> {
        self.cause.code().map(|code| code.code())
    }

    /// What to do with the rows.
    pub fn retry(&self) -> Retry {
        match self.sqlstate() {
            Some(code) => classify(code),
            // Without a code it's the connection, unless the client gave up by itself: for lack
            // of a password, say.
            None => match error::Error::source(&self.cause) {
                Some(source) if !source.is::<io::Error>() => Retry::Hold,
                _ => Retry::Soon,
            },
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.doing, self.target)?;
        if let Some(answer) = self.cause.as_db_error() {
            write!(f, ": ")?;
            write_answer(f, answer)?;
        }
        if let Some(remedy) = &self.remedy {
            write!(f, "; {remedy}")?;
        }
        Ok(())
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        // For an answer of the server it would say "db error", and then repeat it.
        if self.cause.as_db_error().is_some() { None } else { Some(&self.cause) }
    }
}

fn write_answer(f: &mut fmt::Formatter<'_>, answer: &DbError) -> fmt::Result {
    write!(f, "{} ({})", answer.message(), answer.code().code())?;
    if let Some(detail) = answer.detail() {
        write!(f, "; {detail}")?;
    }
    if let Some(hint) = answer.hint() {
        write!(f, "; {hint}")?;
    }
    Ok(())
}

/// Found by trying it on PostgreSQL 15. The end of a session by its administrator shows as a code
/// of class 57, as no code or as a closed connection, depending on the moment; all mean the same.
fn classify(sqlstate: &str) -> Retry {
    match sqlstate {
        "55P03" | "25P02" | "25P03" | "26000" => return Retry::Soon,
        "54000" | "P0001" => return Retry::Row,
        _ => {}
    }
    match sqlstate.get(..2) {
        // Connection, transaction rollback, resources, operator's intervention, system.
        Some("08" | "40" | "53" | "57" | "58") => Retry::Soon,
        // Data, integrity constraint.
        Some("22" | "23") => Retry::Row,
        _ => Retry::Hold,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_apart() {
        for (retry, codes) in [
            (Retry::Soon, "08006 40001 40P01 53100 53300 57014 57P01 57P02 57P03 58030"),
            (Retry::Soon, "55P03 25P02 25P03 26000"),
            (Retry::Hold, "25006 28P01 28000 3D000 3F000 42501 42P01 42703 55000 XX000 XX001"),
            (Retry::Hold, "25000 0A000 54001 P0000 P0004 99999 x"),
            (Retry::Row, "22001 22003 22P05 23502 23505 23514 54000 P0001"),
        ] {
            for code in codes.split(' ') {
                assert_eq!(classify(code), retry, "{code}");
            }
        }
    }
}
