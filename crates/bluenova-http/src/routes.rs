//! Which address is answered with what.

use std::{io, sync::Arc};

use bluenova_journal::Reader;
use bluenova_record::{ErrorChain, Escaped, McuId, first_chars};
use bluenova_status::Status;
use serde::Serialize;

use crate::answer_thread::AnswerThread;
use crate::api::{BatteriesJson, HealthJson, rows_of_earlier_runs};
use crate::csv::{self, Downloads};
use crate::serve::{Request, Response};
use crate::{HistoryError, gaps, history, metrics, page, plots};

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

/// The threads for answers that take much memory. While the disk of the journal hangs, those that
/// read the journal hang too.
pub(crate) struct AnswerThreads {
    history: AnswerThread,
    batteries: AnswerThread,
    metrics: AnswerThread,
    downloads: Arc<Downloads>,
}

impl AnswerThreads {
    /// Starts the threads, which end when the value is dropped.
    pub(crate) fn start() -> io::Result<Self> {
        Ok(Self {
            history: AnswerThread::start("history")?,
            batteries: AnswerThread::start("batteries")?,
            metrics: AnswerThread::start("metrics")?,
            downloads: Downloads::start()?,
        })
    }
}

/// The response to a request.
pub(crate) fn answer(request: &Request, status: Status, threads: &AnswerThreads) -> Response {
    let segments: Vec<&str> = request.path.split('/').skip(1).collect();
    match segments[..] {
        [""] => Response::new(200, HTML, page::html().as_bytes())
            .with("Content-Security-Policy", page::policy()),
        ["healthz"] => {
            let health = HealthJson::of(&status);
            json(if health.ok { 200 } else { 503 }, &health)
        }
        ["metrics"] => {
            let work = move || match metrics::exposition(&status) {
                Ok(text) => Response::new(200, metrics::CONTENT_TYPE, text),
                Err(error) => failed(500, &error.to_string()),
            };
            threads.metrics.run(work).unwrap_or_else(|| too_many("the metrics"))
        }
        ["api", "batteries"] => {
            let work = move || {
                let earlier =
                    reader(&status).map(|journal| rows_of_earlier_runs(&journal, &status));
                json(200, &BatteriesJson::new(&status, &earlier.unwrap_or_default()))
            };
            threads.batteries.run(work).unwrap_or_else(|| too_many("the batteries"))
        }
        ["api", "gaps"] => {
            let (query, now, interval) = (request.query.clone(), status.now, status.interval);
            let journal = status.storage.journal;
            let work = move || {
                let found = Reader::open(journal).map_err(HistoryError::from);
                let found = found.and_then(|reader| gaps(&reader, &query, now, interval));
                found.map_or_else(|error| refused(&error), |gaps| json(200, &gaps))
            };
            threads.history.run(work).unwrap_or_else(|| too_many("the history"))
        }
        ["api", "batteries", mcu_id, "history"] => {
            let (query, now) = (request.query.clone(), status.now);
            from_journal(mcu_id, &status, &threads.history, move |reader, id| {
                Ok(json(200, &history(reader, id, &query, now)?))
            })
        }
        ["api", "batteries", mcu_id, "plots"] => {
            let (query, now, interval) = (request.query.clone(), status.now, status.interval);
            from_journal(mcu_id, &status, &threads.history, move |reader, id| {
                Ok(json(200, &plots(reader, id, &query, now, interval)?))
            })
        }
        ["api", "batteries", mcu_id, "rows.csv"] => {
            let Some(download) = threads.downloads.begin() else {
                return too_many("rows as CSV");
            };
            let (query, of_then) = (request.query.clone(), status.clone());
            from_journal(mcu_id, &status, &threads.downloads.thread, move |reader, id| {
                csv::response(reader, id, &query, &of_then, download)
            })
        }
        _ => failed(404, &format!("there is nothing at {}", request.path)),
    }
}

/// The response to a request for a name that isn't one of the listener's.
pub(crate) fn misdirected(host: &str) -> Response {
    let host = Escaped(first_chars(host, 100));
    let text = format!(
        "421 Misdirected Request\n\n\
         This listener isn't served under the name \"{host}\". Use its IP address,\n\
         or start it with --http-host and the name.\n"
    );
    Response::new(421, "text/plain; charset=utf-8", text.into_bytes())
}

/// The journal; `None` if it can't be read, which is among the problems of the status.
fn reader(status: &Status) -> Option<Reader> {
    Reader::open(&status.storage.journal).ok()
}

/// What `read` makes of a battery's rows in the journal.
fn from_journal(
    mcu_id: &str,
    status: &Status,
    thread: &AnswerThread,
    read: impl FnOnce(&Reader, u32) -> Result<Response, HistoryError> + Send + 'static,
) -> Response {
    let Some(McuId(id)) = McuId::parse(mcu_id) else {
        let why = format!("{mcu_id:.60} is no MCU ID, which has 1 to 8 hexadecimal digits");
        return failed(404, &why);
    };
    let (name, journal) = (mcu_id.to_owned(), status.storage.journal.clone());
    let is_live = status.batteries.iter().any(|battery| battery.mcu_id() == Some(id));
    let work = move || {
        let found = Reader::open(journal)
            .and_then(|reader| Ok((is_live || reader.count(id)? > 0).then_some(reader)));
        let answer = match found {
            Ok(Some(reader)) => read(&reader, id),
            Ok(None) => Ok(failed(404, &format!("{name} is a battery without any row"))),
            Err(error) => Err(error.into()),
        };
        answer.unwrap_or_else(|error| refused(&error))
    };
    thread.run(work).unwrap_or_else(|| too_many("the history"))
}

fn json(status: u16, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(mut body) => {
            // It grew by doubling, and may wait for a slow client.
            body.shrink_to_fit();
            Response::new(status, JSON, body)
        }
        // No value here is one that JSON can't hold.
        Err(_) => Response::plain(500),
    }
}

fn too_many(of_what: &str) -> Response {
    let why = format!("too many requests for {of_what}; ask again in a moment");
    failed(503, &why).with("Retry-After", "1")
}

fn refused(error: &HistoryError) -> Response {
    failed(error.http_status(), &ErrorChain(error).to_string())
}

fn failed(status: u16, why: &str) -> Response {
    json(status, &serde_json::json!({ "error": why }))
}
