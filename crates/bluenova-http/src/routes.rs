//! Which address is answered with what.

use bluenova_journal::Reader;
use serde::Serialize;

use crate::api::{Batteries, Health, Kept};
use crate::serve::{Request, Response};
use crate::{Status, metrics};

const JSON: &str = "application/json";

pub(crate) fn answer(request: &Request, status: &Status) -> Response {
    let segments: Vec<&str> = request.path.split('/').skip(1).collect();
    match segments[..] {
        ["healthz"] => {
            let health = Health::of(status);
            json(if health.ok { 200 } else { 503 }, &health)
        }
        ["metrics"] => match metrics::exposition(status, &kept(status)) {
            Ok(text) => Response::new(200, metrics::CONTENT_TYPE, text),
            Err(error) => failed(500, &error.to_string()),
        },
        ["api", "batteries"] => json(200, &Batteries::of(status, &kept(status))),
        _ => failed(404, &format!("there is nothing at {}", request.path)),
    }
}

fn kept(status: &Status) -> Kept {
    // Where it can't be read, the status tells of the journal's trouble.
    let reader = Reader::open(&status.storage.journal).ok();
    Kept::read(reader.as_ref(), status)
}

fn json(status: u16, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => Response::new(status, JSON, body),
        // None of the values is such that JSON can't hold it.
        Err(_) => Response::plain(500),
    }
}

fn failed(status: u16, why: &str) -> Response {
    json(status, &serde_json::json!({ "error": why }))
}
