use std::{error, fmt, io, time::Duration};

use postgres::error::DbError;

use crate::tls::{self, TlsError};

/// An operation on the database that failed, with the database and the server's answer.
///
/// `Display` is one line. Where the server answered, that line holds its whole answer and there is
/// no `source`; otherwise the line says what failed, and the chain of sources why. Neither ever
/// holds the password.
#[derive(Debug)]
pub struct Error {
    doing: &'static str,
    target: String,
    /// The other hosts, each with the reason why it failed.
    others: Vec<String>,
    remedy: Option<String>,
    cause: Cause,
}

// What failed; it stands before the target in a message.
pub(crate) const CONNECTING: &str = "can't connect to";
pub(crate) const LOOKING_FOR_TABLE: &str = "can't look for battery_pack in";
pub(crate) const PREPARING: &str = "can't prepare to insert into battery_pack of";
pub(crate) const INSERTING: &str = "can't insert into battery_pack of";
pub(crate) const READING: &str = "can't read battery_pack of";
pub(crate) const PROBING: &str = "can't insert a test row into battery_pack of";
pub(crate) const CHECKING: &str = "can't look for rows in battery_pack of";

/// Why the operation failed.
#[derive(Debug)]
pub(crate) enum Cause {
    Postgres(postgres::Error),
    /// The same, where the session was found to have ended before the transaction began.
    Ended(postgres::Error),
    /// Sessions end as soon as a transaction begins.
    NoTransactions,
    // Boxed for its size.
    Tls(Box<TlsError>),
    /// No answer within that time.
    NoAnswer(Duration),
    /// That many connections were given up and haven't ended since.
    Stuck(usize),
    /// The connection's thread could not be started.
    NoThread(io::Error),
    /// The connection's thread has ended without an answer.
    ThreadDied,
    /// The connection was given up. Only its own thread sees this cause.
    Cancelled,
}

/// What to do with the rows after an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Deliver the same rows again soon: the cause passes by itself.
    Soon,
    /// Keep the rows and retry at a low rate: a person has to mend something first.
    Hold,
    /// Narrow the batch down: one of its rows may be at fault, or else the table.
    Row,
}

impl Error {
    /// `doing` stands before `target`: "can't connect to", "can't insert into battery_pack of".
    pub(crate) fn new(doing: &'static str, target: &str, cause: impl Into<Cause>) -> Self {
        let target = target.to_owned();
        Self { doing, target, others: vec![], remedy: None, cause: cause.into() }
    }

    /// Adds what a person should do about it, for the end of the line.
    pub(crate) fn with_remedy(self, remedy: Option<String>) -> Self {
        Self { remedy, ..self }
    }

    /// Adds the reasons why other hosts failed, each once.
    pub(crate) fn with_others(mut self, others: impl Iterator<Item = String>) -> Self {
        for other in others {
            if !self.others.contains(&other) {
                self.others.push(other);
            }
        }
        self
    }

    /// The innermost reason alone.
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

    /// Whether the session had ended before the transaction began.
    pub(crate) fn is_ended_session(&self) -> bool {
        matches!(self.cause, Cause::Ended(_)) && self.retry() == Retry::Soon
    }

    /// Whether no partition of the table fits the row. A person can mend that, so the row should be
    /// delivered again later.
    pub fn is_about_partitions(&self) -> bool {
        // Any other violated check has a constraint's name.
        self.answer()
            .is_some_and(|answer| answer.code().code() == "23514" && answer.constraint().is_none())
    }

    /// Whether a policy of the table would hide rows.
    pub(crate) fn is_about_row_security(&self) -> bool {
        // The message is in the server's language; its place in the server's source isn't.
        self.answer().is_some_and(|answer| answer.routine() == Some("check_enable_rls"))
    }

    /// The server's code for what is wrong; `None` where the error isn't an answer of the server.
    pub fn sqlstate(&self) -> Option<&str> {
        self.answer().map(|answer| answer.code().code())
    }

    /// Whether `Display` ends with what a person should do about it.
    pub fn has_remedy(&self) -> bool {
        self.remedy.is_some()
    }

    /// What to do with the rows.
    pub fn retry(&self) -> Retry {
        match &self.cause {
            Cause::Postgres(_) if self.is_about_partitions() => Retry::Row,
            Cause::Postgres(e) | Cause::Ended(e) => match e.code() {
                Some(code) => classify(code.code()),
                // Without a code it's the connection, unless the client itself ended it: without
                // a password, say, or because of a certificate.
                None => match error::Error::source(e) {
                    Some(source) if !source.is::<io::Error>() => Retry::Hold,
                    Some(source) if tls::objection(source).is_some() => Retry::Hold,
                    _ => Retry::Soon,
                },
            },
            Cause::Tls(_) | Cause::NoTransactions => Retry::Hold,
            Cause::NoAnswer(_) | Cause::Stuck(_) => Retry::Soon,
            Cause::NoThread(_) | Cause::ThreadDied | Cause::Cancelled => Retry::Soon,
        }
    }

    /// Whether the rows took too long, so that fewer of them at once may succeed.
    pub fn is_too_slow(&self) -> bool {
        if self.doing != INSERTING {
            return false;
        }
        match &self.cause {
            Cause::NoAnswer(_) => true,
            // The code is the same where a person cancels a statement. The message may be in
            // another language; then the next batch is smaller than necessary, which does no harm.
            _ => self.answer().is_some_and(|answer| {
                answer.code().code() == "57014" && !answer.message().contains("user request")
            }),
        }
    }

    fn answer(&self) -> Option<&DbError> {
        match &self.cause {
            Cause::Postgres(e) | Cause::Ended(e) => e.as_db_error(),
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
            Cause::Postgres(_) | Cause::Ended(_) => {
                if let Some(answer) = self.answer() {
                    write!(f, ": ")?;
                    write_answer(f, answer)?;
                }
            }
            Cause::NoAnswer(limit) => write!(f, ": no answer within {limit:?}")?,
            Cause::Stuck(count) => {
                write!(
                    f,
                    ": the server has left {count} connections hanging; waiting for one to end"
                )?;
            }
            Cause::NoTransactions => write!(
                f,
                ": the session ends as soon as a transaction begins, as with a pooler of \
                 statements; set pool_mode = transaction in pgbouncer.ini (or session)"
            )?,
            Cause::Tls(_) | Cause::NoThread(_) => {}
            Cause::ThreadDied => write!(f, ": the thread of the connection has ended")?,
            Cause::Cancelled => write!(f, ": given up")?,
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
            // For an answer of the server the source would be "db error", and then the answer
            // again.
            Cause::Postgres(e) | Cause::Ended(e) if e.as_db_error().is_none() => {
                match error::Error::source(e) {
                    // The line says that already.
                    Some(source) if e.to_string() == "error connecting to server" => Some(source),
                    _ => Some(e),
                }
            }
            Cause::Tls(e) => Some(&**e),
            Cause::NoThread(e) => Some(e),
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

/// What a code means for the rows, as tried on PostgreSQL 15. A session ended by the administrator
/// shows as a code of class 57, as no code or as a closed connection, depending on the moment; all
/// mean the same.
fn classify(sqlstate: &str) -> Retry {
    match sqlstate {
        "55P03" | "25P02" | "25P03" | "26000" => return Retry::Soon,
        "54000" | "P0001" => return Retry::Row,
        _ => {}
    }
    match sqlstate.get(..2) {
        // Connection, transaction rollback, resources, operator intervention, system.
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
    fn codes_are_classified() {
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
