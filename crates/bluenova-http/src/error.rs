use std::error::Error as StdError;

/// Why a history or plots can't be had.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A parameter of the request is invalid.
    #[error("{parameter}: {problem}")]
    Query {
        /// The parameter of the request.
        parameter: String,
        /// What is allowed, and what was given instead.
        problem: String,
    },
    /// The journal can't be read.
    #[error("can't read the history")]
    Journal(#[from] bluenova_journal::Error),
    /// A plot can't be drawn, which no request and no row causes.
    #[error("can't draw the plots")]
    Drawing(#[source] Box<dyn StdError + Send + Sync>),
}

impl HistoryError {
    pub(crate) fn query(parameter: &str, problem: impl Into<String>) -> Self {
        Self::Query { parameter: parameter.to_owned(), problem: problem.into() }
    }

    /// The HTTP status to answer with: 400 if the request is at fault, 503 if asking again later
    /// may help, else 500.
    pub fn http_status(&self) -> u16 {
        match self {
            Self::Query { .. } => 400,
            Self::Journal(error) if error.is_timeout() => 503,
            Self::Journal(_) | Self::Drawing(_) => 500,
        }
    }
}
