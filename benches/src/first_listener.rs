use crate::kinds::{Draft, KINDS, Kind, Shape, Values};

/// Reads lines in the manner of the first listener, a C program: compares each line with every
/// prefix in turn until one fits, then looks for the numbers and leaves them to `str::parse`, which
/// is quicker than the `sscanf` of the original.
#[derive(Clone, Copy, Debug)]
pub struct FirstListener;

impl FirstListener {
    /// Reads a line into `draft`.
    #[inline]
    pub fn feed(self, line: &str, draft: &mut Draft) {
        for Kind { prefix, shape, put, .. } in &KINDS {
            if let Some(rest) = line.strip_prefix(prefix)
                && let Some(values) = values(rest, shape)
            {
                put(draft, values);
                return;
            }
        }
    }
}

fn values<'a>(rest: &'a str, shape: &Shape) -> Option<Values<'a>> {
    match shape {
        Shape::Nothing => Some([""; 3]),
        Shape::Numbers(count) => numbers(rest, *count),
        Shape::Cell if rest.starts_with(|c: char| c.is_ascii_digit()) => numbers(rest, 3),
        Shape::Cell => None,
        Shape::Word => Some([rest.split(' ').next()?, "", ""]),
        Shape::Quoted => Some([rest.strip_prefix('"')?.split_once('"')?.0, "", ""]),
        Shape::Rest => Some([rest.trim(), "", ""]),
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
