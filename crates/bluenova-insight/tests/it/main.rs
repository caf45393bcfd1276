//! Insight against packs that are known.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod pack;
mod weak_cells;
