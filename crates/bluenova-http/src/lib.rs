//! Serves the state of BlueNova batteries over HTTP: a page, JSON, metrics and a health check.
//!
//! It only reads. A [`Server`] answers on threads of its own until it is stopped or dropped, and
//! whatever its clients do costs neither the recording nor each other much.
#![forbid(unsafe_code)]

#[cfg_attr(not(test), expect(dead_code, reason = "the pages that it serves come next"))]
mod serve;

pub use serve::Server;
