//! The SQL in the documentation, for tests that run it.

use std::{fs, path::Path};

/// The blocks of SQL under a heading of `docs/scaling.md`, in their order.
///
/// # Panics
/// Where there is no such heading, or nothing under it is SQL.
pub fn documented_sql(heading: &str) -> Vec<String> {
    let mut sections = documented_sections();
    let at = sections.iter().position(|(name, _)| name == heading);
    let at = at.unwrap_or_else(|| panic!("docs/scaling.md has no SQL under {heading:?}"));
    sections.swap_remove(at).1
}

/// The headings of `docs/scaling.md` under which there is SQL, with its blocks.
///
/// # Panics
/// Where the page can't be read.
pub fn documented_sections() -> Vec<(String, Vec<String>)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/scaling.md");
    let text = fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
    let mut sections: Vec<(String, Vec<String>)> = vec![];
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(heading) = line.strip_prefix("##") {
            sections.push((heading.trim_start_matches(['#', ' ']).to_owned(), vec![]));
        } else if line == "```sql"
            && let Some((_, blocks)) = sections.last_mut()
        {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push(block.join("\n"));
        }
    }
    sections.retain(|(_, blocks)| !blocks.is_empty());
    sections
}
