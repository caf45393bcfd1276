use crate::kinds::{Draft, KINDS, LineKind, ValueShape, Values};

/// Reads lines in the manner of the first listener, a C program: compares each line with every
/// prefix in turn until one fits, then looks for the numbers and leaves them to `str::parse`, which
/// is quicker than the `sscanf` of the original.
#[derive(Clone, Copy, Debug)]
pub struct FirstListener;

impl FirstListener {
    /// Reads a line into `draft`.
    #[inline]
    pub fn feed(self, line: &str, draft: &mut Draft) {
        for LineKind { prefix, shape, put, .. } in &KINDS {
            if let Some(rest) = line.strip_prefix(prefix)
                && let Some(values) = values(rest, shape)
            {
                put(draft, values);
                return;
            }
        }
    }
}

fn values<'a>(rest: &'a str, shape: &ValueShape) -> Option<Values<'a>> {
    match shape {
        ValueShape::Nothing => Some([""; 3]),
        ValueShape::Numbers(count) => numbers(rest, *count),
        ValueShape::Cell if rest.starts_with(|c: char| c.is_ascii_digit()) => numbers(rest, 3),
        ValueShape::Cell => None,
        ValueShape::Word => Some([rest.split(' ').next()?, "", ""]),
        ValueShape::Quoted => Some([rest.strip_prefix('"')?.split_once('"')?.0, "", ""]),
        ValueShape::Rest => Some([rest.trim(), "", ""]),
    }
}

fn numbers(mut rest: &str, count: usize) -> Option<Values<'_>> {
    let of_number = |c: char| c.is_ascii_digit() || c == '-' || c == '.';
    let mut numbers = [""; 3];
    for number in &mut numbers[..count] {
        rest = rest.trim_start_matches(|c| !of_number(c));
        let end = rest.find(|c| !of_number(c)).unwrap_or(rest.len());
        (*number, rest) = rest.split_at(end);
    }
    Some(numbers)
}
