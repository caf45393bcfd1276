//! What came of an import, for people.

use std::{collections::BTreeMap, path::PathBuf};

use bluenova_import::{Findings, Imported, RowTally};
use bluenova_record::{ErrorChain, Escaped};

use crate::console::{self, rows};

/// Prints how many rows were added, by battery; in a dry run by day, too.
pub(super) fn tallies(imported: &Imported, within: u32, is_dry_run: bool) {
    let mut total = BTreeMap::<u32, RowTally>::new();
    for ((day, id), tally) in &imported.tallies {
        if is_dry_run {
            console::print(&format!("{day} {id:08X}: {}\n", describe(*tally, within, true)));
        }
        total.entry(*id).or_default().add(*tally);
    }
    let has_failed = imported.ended.is_err();
    let so_far = if has_failed { " so far" } else { "" };
    for (id, tally) in &total {
        let what = if is_dry_run { "in all" } else { "battery" };
        console::print(&format!(
            "{what} {id:08X}{so_far}: {}\n",
            describe(*tally, within, is_dry_run)
        ));
    }
    if total.is_empty() && !has_failed {
        console::print("no rows in these logs\n");
    }
}

fn describe(tally: RowTally, within: u32, is_dry_run: bool) -> String {
    let RowTally { added, known, near } = tally;
    let verb = if is_dry_run { "would be added" } else { "added" };
    let mut text = format!("{} {verb}", rows(added));
    if known > 0 {
        text += &format!(", {known} there already");
    }
    if near > 0 {
        text += &format!(", {near} within {within} s of another row");
    }
    text
}

/// Prints what else was found in the logs.
pub(super) fn findings(findings: &Findings, zone: &str) {
    let paths = |path: &PathBuf| Escaped(path.display().to_string()).to_string();
    if !findings.by_zone.is_empty() {
        let files: Vec<_> = findings.by_zone.iter().map(paths).collect();
        console::print(&format!(
            "time zone: no record shows that of {}; taken for {zone} (--timezone)\n",
            files.join(", ")
        ));
    }
    for (count, what) in [
        (findings.without_owner, "without an MCU ID, which says whose they are"),
        (findings.wrong_clock, "from a clock that wasn't set: before 2010, or in the future"),
        (findings.under_way, "of the last 10 s, which a listener may be recording"),
    ] {
        if count > 0 {
            console::print(&format!("not added: {} {what}\n", rows(count)));
        }
    }
    for found in &findings.damage {
        let times = if found.count == 1 { "once" } else { &format!("{} times", found.count) };
        console::print(&format!(
            "damaged: {}, {times}; first at {}:{}\n",
            Escaped(found.damage),
            paths(&found.path),
            found.line
        ));
    }
    for path in &findings.no_logs {
        console::print(&format!(
            "not read: no line of {} begins with a time; if it is compressed, by another program \
             than gzip, it has to be unpacked first\n",
            paths(path)
        ));
    }
    for (path, error) in &findings.unreadable {
        console::print(&format!(
            "damaged: {} can't be read to its end: {}\n",
            paths(path),
            ErrorChain(error)
        ));
    }
}
