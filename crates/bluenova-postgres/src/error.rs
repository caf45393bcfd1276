use std::{error, fmt, io, time::Duration};

use postgres::error::DbError;

use crate::tls::{self, TlsError};

/// What could not be done in the database, where, and what the server said about it.
///
/// `Display` is one line. Where the server answered, that line holds its whole answer and there is
/// no `source`; otherwise the line tells what was being done, and the chain of sources why it
/// failed. Neither ever holds the password.
#[derive(Debug)]
pub struct Error {
    doing: &'static str,
    target: String,
    /// What was wrong at the other hosts, each with its name.
    others: Vec<String>,
    remedy: Option<String>,
    cause: Cause,
}

/// What we were doing; reads well before the target.
pub(crate) const CONNECTING: &str = "connecting to";
pub(crate) const LOOKING: &str = "looking for battery_pack in";
pub(crate) const PREPARING: &str = "preparing to insert into battery_pack of";
pub(crate) const INSERTING: &str = "inserting into battery_pack of";
pub(crate) const TRYING_OUT: &str = "trying to insert into battery_pack of";

/// Why it could not be done.
#[derive(Debug)]
pub(crate) enum Cause {
    Postgres(postgres::Error),
    // Boxed for its size.
    Tls(Box<TlsError>),
    /// No answer within that time.
    Late(Duration),
    /// That many connections were given up, and none of them has ended since.
    Stuck(usize),
    Thread(io::Error),
    Died,
    /// Nobody waits for the outcome any more.
    Unwanted,
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
    pub(crate) fn new(doing: &'static str, target: &str, cause: impl Into<Cause>) -> Self {
        let target = target.to_owned();
        Self { doing, target, others: vec![], remedy: None, cause: cause.into() }
    }

    /// Nobody waits for the outcome any more, nor for this.
    pub(crate) fn unwanted(doing: &'static str, target: &str) -> Self {
        Self::new(doing, target, Cause::Unwanted)
    }

    /// Adds what somebody should do about it, for the end of the line.
    pub(crate) fn with_remedy(self, remedy: Option<String>) -> Self {
        Self { remedy, ..self }
    }

    /// Adds what was wrong elsewhere, each once.
    pub(crate) fn with_others(mut self, others: impl Iterator<Item = String>) -> Self {
        for other in others {
            if !self.others.contains(&other) {
                self.others.push(other);
            }
        }
        self
    }

    /// The reason alone, in few words.
    pub(crate) fn reason(&self) -> String {
        if let Some(answer) = self.answer() {
            return format!("{} ({})", answer.message(), answer.code().code());
        }
        let mut error: &dyn error::Error = self;
        while let Some(source) = error.source() {
            error = source;
        }
        error.to_string()
    }

    /// Whether the table has no partition for the row, or is one that isn't for it.
    pub(crate) fn is_about_partitions(&self) -> bool {
        // All other checks have a name.
        self.answer()
            .is_some_and(|answer| answer.code().code() == "23514" && answer.constraint().is_none())
    }

    /// The server's code for what is wrong; `None` where it was not the server that said so.
    pub fn sqlstate(&self) -> Option<&str> {
        self.answer().map(|answer| answer.code().code())
    }

    /// What to do with the rows.
    pub fn retry(&self) -> Retry {
        match &self.cause {
            Cause::Postgres(_) if self.is_about_partitions() => Retry::Hold,
            Cause::Postgres(e) => match e.code() {
                Some(code) => classify(code.code()),
                // Without a code it's the connection, unless the client gave up by itself: for
                // lack of a password, say, or for a certificate.
                None => match error::Error::source(e) {
                    Some(source) if !source.is::<io::Error>() => Retry::Hold,
                    Some(source) if tls::objection(source).is_some() => Retry::Hold,
                    _ => Retry::Soon,
                },
            },
            Cause::Tls(_) => Retry::Hold,
            Cause::Late(_) | Cause::Stuck(_) => Retry::Soon,
            Cause::Thread(_) | Cause::Died | Cause::Unwanted => Retry::Soon,
        }
    }

    /// Whether the rows took too long, so that fewer of them at once might do.
    pub fn is_too_slow(&self) -> bool {
        match &self.cause {
            Cause::Late(_) => self.doing == INSERTING,
            // A person who ends a statement has the same code. These words may come in another
            // language; then the next batch is smaller than it need be, which does no harm.
            _ => self.answer().is_some_and(|answer| {
                answer.code().code() == "57014" && !answer.message().contains("user request")
            }),
        }
    }

    fn answer(&self) -> Option<&DbError> {
        match &self.cause {
            Cause::Postgres(e) => e.as_db_error(),
            _ => None,
        }
    }
}

impl From<postgres::Error> for Cause {
    fn from(error: postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl From<TlsError> for Cause {
    fn from(error: TlsError) -> Self {
        Self::Tls(Box::new(error))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.doing, self.target)?;
        if !self.others.is_empty() {
            write!(f, " ({})", self.others.join("; "))?;
        }
        match &self.cause {
            Cause::Postgres(_) => {
                if let Some(answer) = self.answer() {
                    write!(f, ": ")?;
                    write_answer(f, answer)?;
                }
            }
            Cause::Late(limit) => write!(f, ": no answer within {limit:?}")?,
            Cause::Stuck(count) => {
                write!(f, ": {count} connections were given up and still hang; waiting for them")?;
            }
            Cause::Tls(_) | Cause::Thread(_) => {}
            Cause::Died => write!(f, ": the thread of the connection died")?,
            Cause::Unwanted => write!(f, ": given up")?,
        }
        if let Some(remedy) = &self.remedy {
            write!(f, "; {remedy}")?;
        }
        Ok(())
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match &self.cause {
            // For an answer of the server it would say "db error", and then repeat it.
            Cause::Postgres(e) if e.as_db_error().is_none() => Some(e),
            Cause::Tls(e) => Some(&**e),
            Cause::Thread(e) => Some(e),
            _ => None,
        }
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
