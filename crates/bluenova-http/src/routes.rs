//! Which address is answered with what.

use std::{collections::BTreeSet, io, sync::Arc};

use bluenova_insight::DayStatistics;
use bluenova_journal::{ALL_DATES, Reader};
use bluenova_record::{ErrorChain, Escaped, McuId, first_chars};
use bluenova_status::{BatteryStatus, Status};
use serde::Serialize;

use crate::answer_thread::AnswerThread;
use crate::api::{BatteriesJson, BatteryDetailJson, HealthJson, rows_of_earlier_runs};
use crate::csv::{self, Downloads};
use crate::days::{days, trends};
use crate::events::events;
use crate::gzip::Gzip;
use crate::plots::{MOST_BATTERIES, Plots, bank_plots, comparison, plots_with_today};
use crate::query::Query;
use crate::serve::{Request, Response};
use crate::{HistoryError, days_csv, gaps, history, metrics, page};

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

/// The threads for answers that take much memory. While the disk of the journal hangs, those that
/// read the journal hang too.
pub(crate) struct AnswerThreads {
    history: AnswerThread,
    batteries: AnswerThread,
    metrics: AnswerThread,
    downloads: Arc<Downloads>,
    gzip: Gzip,
}

impl AnswerThreads {
    /// Starts the threads, which end when the value is dropped.
    pub(crate) fn start() -> io::Result<Self> {
        Ok(Self {
            history: AnswerThread::start("history")?,
            batteries: AnswerThread::start("batteries")?,
            metrics: AnswerThread::start("metrics")?,
            downloads: Downloads::start()?,
            gzip: Gzip::new(),
        })
    }
}

/// The response to a request, compressed if the client takes that.
pub(crate) fn answer(request: &Request, status: Status, threads: &AnswerThreads) -> Response {
    threads.gzip.response(request, uncompressed(request, status, threads))
}

fn uncompressed(request: &Request, status: Status, threads: &AnswerThreads) -> Response {
    let segments: Vec<&str> = request.path.split('/').skip(1).collect();
    match segments[..] {
        // Which battery, is a matter of the page's script. Names may have slashes.
        [""] | ["battery", _, ..] => Response::new(200, HTML, page::html().as_bytes())
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
        ["api", "batteries"] => all_batteries(request, status, threads),
        ["api", "batteries", battery] if !battery.is_empty() => {
            one_battery(battery, status, threads)
        }
        ["api", "batteries", battery, part] => {
            part_of_battery(request, battery, part, status, threads)
        }
        ["api", "rows.csv"] => rows_of_several(request, status, threads),
        ["api", part] => part_of_all(request, part, status, threads),
        ["api", "bank", "plots"] => {
            let query = request.query.clone();
            plots_of_several(status, threads, move |reader, status, all| {
                let live: BTreeSet<_> =
                    status.batteries.iter().filter_map(BatteryStatus::mcu_id).collect();
                let live: Vec<_> = live.into_iter().collect();
                bank_plots(reader, &live, &query, status.now, status.interval, all.len())
            })
        }
        [name] => page::file(name).map_or_else(|| nothing_at(request), file_of_page),
        _ => nothing_at(request),
    }
}

/// `/api/batteries`.
fn all_batteries(request: &Request, status: Status, threads: &AnswerThreads) -> Response {
    let is_overview = match fields(&request.query) {
        Ok(is_overview) => is_overview,
        Err(error) => return refused(&error),
    };
    let work = move || {
        let earlier = reader(&status).map(|journal| rows_of_earlier_runs(&journal, &status));
        let earlier = earlier.unwrap_or_default();
        match is_overview {
            true => json(200, &BatteriesJson::overview(&status, &earlier)),
            false => json(200, &BatteriesJson::whole(&status, &earlier)),
        }
    };
    threads.batteries.run(work).unwrap_or_else(|| too_many("the batteries"))
}

/// `/api/batteries/{battery}`.
fn one_battery(battery: &str, status: Status, threads: &AnswerThreads) -> Response {
    let Some(found) = find(battery, &status) else { return no_battery(battery) };
    let given = battery.to_owned();
    let work = move || {
        let earlier = reader(&status).map(|journal| rows_of_earlier_runs(&journal, &status));
        match BatteryDetailJson::new(&status, &earlier.unwrap_or_default(), found) {
            Some(detail) => json(200, &detail),
            None => no_row_of(&given),
        }
    };
    threads.batteries.run(work).unwrap_or_else(|| too_many("the batteries"))
}

/// What the journal has of one battery: `/api/batteries/{battery}/{part}`.
fn part_of_battery(
    request: &Request,
    battery: &str,
    part: &str,
    status: Status,
    threads: &AnswerThreads,
) -> Response {
    let (query, then) = (request.query.clone(), status.clone());
    match part {
        "days" => from_journal(battery, &status, &threads.history, move |reader, id| {
            Ok(json(200, &days(reader, id, &query)?))
        }),
        "days.csv" => from_journal(battery, &status, &threads.history, move |reader, id| {
            days_csv::response(reader, id, &then, &query)
        }),
        "trends" => from_journal(battery, &status, &threads.history, move |reader, id| {
            Ok(json(200, &trends(reader, id, &query)?))
        }),
        "events" => from_journal(battery, &status, &threads.history, move |reader, id| {
            Ok(json(200, &events(reader, Some(id), &query, &then)?))
        }),
        "history" => from_journal(battery, &status, &threads.history, move |reader, id| {
            Ok(json(200, &history(reader, id, &query, then.now)?))
        }),
        "plots" => from_journal(battery, &status, &threads.history, move |reader, id| {
            let today = today_of(id, &then);
            Ok(json(200, &plots_with_today(reader, id, &query, then.now, then.interval, today)?))
        }),
        "rows.csv" => {
            let Some(download) = threads.downloads.begin() else {
                return too_many("rows as CSV");
            };
            from_journal(battery, &status, &threads.downloads.thread, move |reader, id| {
                csv::response(reader, vec![id], &query, &then, download)
            })
        }
        _ => nothing_at(request),
    }
}

/// What the journal has of all batteries: `/api/{part}`.
fn part_of_all(request: &Request, part: &str, status: Status, threads: &AnswerThreads) -> Response {
    let query = request.query.clone();
    match part {
        "gaps" => from_whole_journal(status, &threads.history, move |reader, status| {
            Ok(json(200, &gaps(reader, &query, status.now, status.interval)?))
        }),
        "events" => from_whole_journal(status, &threads.history, move |reader, status| {
            Ok(json(200, &events(reader, None, &query, status)?))
        }),
        "plots" => {
            let batteries = match batteries(&query, &status) {
                Ok(batteries) => batteries,
                Err(error) => return refused(&error),
            };
            plots_of_several(status, threads, move |reader, status, all| {
                comparison(reader, &batteries, &query, status.now, status.interval, all.len())
            })
        }
        _ => nothing_at(request),
    }
}

/// `/api/rows.csv`.
fn rows_of_several(request: &Request, status: Status, threads: &AnswerThreads) -> Response {
    let Some(download) = threads.downloads.begin() else {
        return too_many("rows as CSV");
    };
    let batteries = match batteries(&request.query, &status) {
        Ok(batteries) => batteries.into_iter().map(|(id, _)| id).collect(),
        Err(error) => return refused(&error),
    };
    let mut query = request.query.clone();
    query.retain(|(name, _)| name != "batteries");
    from_whole_journal(status, &threads.downloads.thread, move |reader, status| {
        csv::response(reader, batteries, &query, status, download)
    })
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

/// A file of the page, which changes with the listener's version only.
fn file_of_page((content_type, bytes): (&'static str, &'static [u8])) -> Response {
    Response::new(200, content_type, bytes).with("Cache-Control", "max-age=86400")
}

fn nothing_at(request: &Request) -> Response {
    failed(404, &format!("there is nothing at {}", request.path))
}

/// The journal; `None` if it can't be read, which is among the problems of the status.
fn reader(status: &Status) -> Option<Reader> {
    Reader::open(&status.storage.journal).ok()
}

/// Whether an overview is asked for, rather than all fields. Other parameters have always been left
/// alone here.
fn fields(query: &[(String, String)]) -> Result<bool, HistoryError> {
    let fields: Vec<_> = query.iter().filter(|(name, _)| name == "fields").cloned().collect();
    Query::new(&fields, &["fields"])?.choice("fields", &[("all", false), ("overview", true)], false)
}

/// A battery that an address names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// By its MCU ID, or by a name whose battery has one.
    McuId(u32),
    /// By a name, of the command line's battery at this position, whose MCU ID isn't known yet.
    Position(usize),
}

/// The battery with this name or MCU ID. Of two that match, the name is meant.
fn find(given: &str, status: &Status) -> Option<Named> {
    let position = status.batteries.iter().position(|battery| battery.name == given);
    if let Some((position, battery)) = position.and_then(|at| Some((at, status.batteries.get(at)?)))
    {
        return Some(battery.mcu_id().map_or(Named::Position(position), Named::McuId));
    }
    McuId::parse(given).map(|McuId(id)| Named::McuId(id))
}

/// The batteries that the parameter `batteries` names, with their names.
fn batteries(
    query: &[(String, String)],
    status: &Status,
) -> Result<Vec<(u32, String)>, HistoryError> {
    let wrong = |problem: String| Err(HistoryError::query("batteries", problem));
    let of_batteries: Vec<_> =
        query.iter().filter(|(name, _)| name == "batteries").cloned().collect();
    let Some(given) = Query::new(&of_batteries, &["batteries"])?.get("batteries") else {
        return wrong("names or MCU IDs with commas between them are needed".to_owned());
    };
    let mut batteries: Vec<(u32, String)> = vec![];
    for given in given.split(',') {
        let Some(Named::McuId(id)) = find(given, status) else {
            return wrong(format!("{given:.60} is no battery, or has not sent its MCU ID yet"));
        };
        if batteries.iter().any(|(earlier, _)| *earlier == id) {
            return wrong(format!("{given:.60} is given twice"));
        }
        let battery = status.batteries.iter().find(|battery| battery.mcu_id() == Some(id));
        let name = battery.map_or_else(|| McuId(id).to_string(), |battery| battery.name.clone());
        batteries.push((id, name));
    }
    if batteries.len() > MOST_BATTERIES {
        return wrong(format!("{MOST_BATTERIES} at most, not {}", batteries.len()));
    }
    Ok(batteries)
}

/// The day under way of a battery, by whichever of its addresses the samples came last.
fn today_of(mcu_id: u32, status: &Status) -> Option<DayStatistics> {
    let addresses = status.batteries.iter().filter(|battery| battery.mcu_id() == Some(mcu_id));
    let figures = addresses.filter_map(|battery| battery.figures.as_ref());
    Some(figures.max_by_key(|figures| figures.time.0)?.today.clone())
}

/// Plots of several batteries. `draw` is given all batteries that have rows.
fn plots_of_several(
    status: Status,
    threads: &AnswerThreads,
    draw: impl FnOnce(&Reader, &Status, &[u32]) -> Result<Plots, HistoryError> + Send + 'static,
) -> Response {
    from_whole_journal(status, &threads.history, move |reader, status| {
        let all = reader.mcu_ids()?;
        Ok(json(200, &draw(reader, status, &all)?))
    })
}

/// What `read` makes of the journal.
fn from_whole_journal(
    status: Status,
    thread: &AnswerThread,
    read: impl FnOnce(&Reader, &Status) -> Result<Response, HistoryError> + Send + 'static,
) -> Response {
    let work = move || {
        let found = Reader::open(&status.storage.journal).map_err(HistoryError::from);
        let answer = found.and_then(|reader| read(&reader, &status));
        answer.unwrap_or_else(|error| refused(&error))
    };
    thread.run(work).unwrap_or_else(|| too_many("the history"))
}

fn no_battery(given: &str) -> Response {
    let why = format!(
        "{given:.60} is neither the name of a battery nor an MCU ID, which has 1 to 8 hexadecimal \
         digits"
    );
    failed(404, &why)
}

fn no_row_of(battery: &str) -> Response {
    failed(404, &format!("{battery:.60} is a battery without any row"))
}

/// What `read` makes of a battery's rows in the journal.
fn from_journal(
    battery: &str,
    status: &Status,
    thread: &AnswerThread,
    read: impl FnOnce(&Reader, u32) -> Result<Response, HistoryError> + Send + 'static,
) -> Response {
    let id = match find(battery, status) {
        Some(Named::McuId(id)) => id,
        Some(Named::Position(_)) => {
            return failed(404, &format!("{battery:.60} has not sent its MCU ID yet"));
        }
        None => return no_battery(battery),
    };
    let (name, journal) = (battery.to_owned(), status.storage.journal.clone());
    let is_live = status.batteries.iter().any(|battery| battery.mcu_id() == Some(id));
    let work = move || {
        let found = Reader::open(journal).and_then(|reader| {
            let has_any =
                is_live || reader.count(id)? > 0 || !reader.days(id, ALL_DATES)?.is_empty();
            Ok(has_any.then_some(reader))
        });
        let answer = match found {
            Ok(Some(reader)) => read(&reader, id),
            Ok(None) => Ok(no_row_of(&name)),
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
