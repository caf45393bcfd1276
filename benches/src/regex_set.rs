use regex::{CaptureLocations, Regex, RegexSet};

use crate::kinds::{Draft, KINDS};

/// Reads lines by regular expressions: a `RegexSet` finds the one that fits, and that one finds
/// the values. What could be made once and used again, is.
#[derive(Clone, Debug)]
pub struct RegexListener {
    set: RegexSet,
    each: Vec<(Regex, CaptureLocations)>,
}

impl Default for RegexListener {
    fn default() -> Self {
        let each = KINDS.iter().map(|kind| {
            let regex = Regex::new(kind.pattern).expect("the patterns are right");
            let locations = regex.capture_locations();
            (regex, locations)
        });
        let set = RegexSet::new(KINDS.iter().map(|kind| kind.pattern));
        Self { each: each.collect(), set: set.expect("the patterns are right") }
    }
}

impl RegexListener {
    /// Reads a line into `draft`.
    #[inline]
    pub fn feed(&mut self, line: &str, draft: &mut Draft) {
        // No line is of two kinds.
        let Some(kind) = self.set.matches(line).iter().next() else { return };
        let (regex, locations) = &mut self.each[kind];
        if regex.captures_read(locations, line).is_none() {
            return;
        }
        let value = |group| locations.get(group).map_or("", |(start, end)| &line[start..end]);
        (KINDS[kind].put)(draft, [value(1), value(2), value(3)]);
    }
}
