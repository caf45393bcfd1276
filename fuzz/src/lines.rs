use std::borrow::Cow;

use bluenova_console::{Assembler, Interval, Line, LineSplitter, ParseError, parse};
use bluenova_record::PackRecord;
use time::{Duration, UtcDateTime, macros::utc_datetime};

/// One line.
///
/// - It parses or it doesn't, with its line end or without, and never panics.
/// - What parses, prints; and what was printed, parses to the same.
/// - An error points into the line, and names a prefix that stands there.
pub fn parse_line(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let line = text.as_ref();
    let parsed = parse(line);
    for end in ["\n", "\r\n"] {
        assert_eq!(parse(&format!("{line}{end}")), parsed, "with {end:?}");
    }
    match parsed {
        Ok(parsed) => {
            let printed = parsed.to_string();
            assert_eq!(parse(&printed), Ok(parsed), "{printed:?}");
            check_numbers(&parsed);
        }
        Err(error) => check_error(line, &error),
    }
}

/// A stream of bytes, cut at some line ends into messages. The first byte chooses them.
///
/// However it's cut, the same is read from each line, and the same records come of it. Cut anywhere
/// at all, it gives the same lines.
pub fn split_lines(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else { return };
    if stream.is_empty() {
        return;
    }
    let lines: Vec<&[u8]> = stream.split_inclusive(|&byte| byte == b'\n').collect();

    let single = texts(&lines);
    let expected = listen(&single);
    let whole = texts(&[stream]);
    assert_eq!(listen(&whole), expected, "all lines in one message");
    let grouped = texts(&group(stream, &lines, usize::from(cut % 7) + 2));
    assert_eq!(listen(&grouped), expected, "some lines in each message");

    // The end of a message ends a line, too.
    let bare: Vec<&[u8]> = lines.iter().map(|line| trim_end(line)).collect();
    assert_eq!(listen(&texts(&bare)), expected, "without line ends");

    let expected = fitting(&lines);
    for size in [1, usize::from(cut) + 1, stream.len()] {
        assert_eq!(split(stream, size), expected, "in pieces of {size} bytes");
    }
}

/// Longest line for the splitter: short enough that there are longer ones.
const LONGEST: usize = 48;

/// The lines that aren't too long.
fn fitting(lines: &[&[u8]]) -> Vec<String> {
    lines
        .iter()
        .map(|line| line.strip_suffix(b"\n").unwrap_or(line))
        .filter(|line| line.len() <= LONGEST)
        .map(|line| String::from_utf8_lossy(trim_end(line)).into_owned())
        .filter(|line| line.len() <= LONGEST)
        .collect()
}

fn split(stream: &[u8], size: usize) -> Vec<String> {
    let mut splitter = LineSplitter::<LONGEST>::new();
    let mut lines = vec![];
    for mut piece in stream.chunks(size) {
        while let Some(line) = splitter.next_line(&mut piece) {
            lines.push(line.to_owned());
        }
    }
    lines.extend(splitter.rest().map(str::to_owned));
    lines
}

fn check_numbers(line: &Line<'_>) {
    let number = match *line {
        Line::PackVoltage(v) | Line::CellVoltageMax(v) | Line::CellVoltageMin(v) => v.volts(),
        Line::AdcPackVoltage(v) | Line::Cell { voltage: v, .. } => v.volts(),
        Line::Adc { voltage: v, .. } => v.volts(),
        Line::PackCurrent(n) | Line::StateOfHealth(n) | Line::EnergyWritten(n) => n.to_f32(),
        _ => 0.0,
    };
    assert!(number.is_finite(), "{line:?}");
}

fn check_error(line: &str, error: &ParseError) {
    assert!(line.starts_with(error.prefix()), "{error}");
    assert!(line.is_char_boundary(error.offset()), "{error}");
    assert!(error.offset() >= error.prefix().len() && error.offset() <= line.len(), "{error}");
    assert!(error.salvage().is_none() || error.prefix() == "C", "{error}");
    assert!(error.to_string().contains(error.prefix()), "{error}");
}

/// Messages of `size` lines each.
fn group<'a>(stream: &'a [u8], lines: &[&[u8]], size: usize) -> Vec<&'a [u8]> {
    let mut rest = stream;
    lines
        .chunks(size)
        .map(|lines| {
            let (message, behind) = rest.split_at(lines.iter().map(|line| line.len()).sum());
            rest = behind;
            message
        })
        .collect()
}

fn trim_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn texts<'a>(messages: &[&'a [u8]]) -> Vec<Cow<'a, str>> {
    messages.iter().map(|message| String::from_utf8_lossy(message)).collect()
}

/// The result of each line, and the records.
type Listened<'a> = (Vec<Result<Line<'a>, ParseError>>, Vec<PackRecord>);

/// Reads messages as the listener does, at two lines a second.
fn listen<'a>(messages: &'a [Cow<'_, str>]) -> Listened<'a> {
    const START: UtcDateTime = utc_datetime!(2025-01-01 00:00:00);
    const BETWEEN_LINES: Duration = Duration::milliseconds(500);
    let mut assembler = Assembler::new(Interval::from_seconds(10).expect("an interval"));
    let mut now = START;
    let (mut read, mut records) = (vec![], vec![]);
    for message in messages {
        // A message without anything in it is an empty line.
        let empty = message.is_empty().then_some("");
        for line in message.lines().chain(empty) {
            records.extend(assembler.tick(now).and_then(Result::ok));
            read.push(assembler.feed(line));
            now += BETWEEN_LINES;
        }
    }
    records.extend(assembler.finish(now).and_then(Result::ok));
    (read, records)
}
