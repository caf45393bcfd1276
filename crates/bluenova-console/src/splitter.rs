use core::str;

/// Cuts a stream of bytes, in pieces of any size, into lines of at most `N` bytes, a `\r` at their
/// end included.
///
/// Nothing is allocated, and a line is copied only where it came in several pieces or isn't UTF-8.
/// Bytes that aren't become U+FFFD, as they do in `String::from_utf8_lossy`;
/// [`parse`](crate::parse) takes no number that has it. A longer line, or one that would be longer
/// with the replacements, is left out as a whole: cut off, it could end in a wrong number. No line
/// that means anything has more than 60 bytes, so that an `N` of 256 is ample.
///
/// ```
/// use bluenova_console::{Line, LineSplitter, parse};
///
/// let mut splitter = LineSplitter::<256>::new();
/// let mut charges = vec![];
/// for mut piece in [&b"noise\r\nSO"[..], b"C: 6", b"3\r\nSOC: 64\r\nSOC: 6"] {
///     while let Some(line) = splitter.next_line(&mut piece) {
///         if let Ok(Line::StateOfCharge(percent)) = parse(line) {
///             charges.push(percent);
///         }
///     }
/// }
/// assert_eq!(charges, [63, 64]);
/// assert_eq!(splitter.rest(), Some("SOC: 6"));
/// ```
#[derive(Clone, Debug)]
pub struct LineSplitter<const N: usize> {
    /// Start of the line under way.
    begun: [u8; N],
    len: usize,
    /// The line under way is too long already.
    too_long: bool,
    /// A line with replacements.
    text: [u8; N],
}

impl<const N: usize> LineSplitter<N> {
    /// A splitter at the start of a line.
    pub const fn new() -> Self {
        Self { begun: [0; N], len: 0, too_long: false, text: [0; N] }
    }

    /// Takes the next line off the start of `piece`, without its line end; `None` when `piece` is
    /// used up. What it ends with goes on in the next piece.
    pub fn next_line<'a, 'piece: 'a>(&'a mut self, piece: &mut &'piece [u8]) -> Option<&'a str> {
        let line = loop {
            let Some(end) = piece.iter().position(|&byte| byte == b'\n') else {
                self.push(piece);
                *piece = &[];
                return None;
            };
            let last = &piece[..end];
            *piece = &piece[end + 1..];
            if let Some(line) = self.end_line(last) {
                break line;
            }
        };
        Some(self.text_of(line))
    }

    /// Text since the last line end: at the end of a stream, or of a message, that is a line
    /// too. `None` if it is empty or too long.
    pub fn rest(&mut self) -> Option<&str> {
        let line = if self.len > 0 { self.end_line(&[]) } else { None };
        self.too_long = false;
        line.map(|line| self.text_of(line))
    }

    /// Adds to the line under way.
    fn push(&mut self, bytes: &[u8]) {
        match self.begun.get_mut(self.len..self.len + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.too_long = true,
        }
    }

    /// Ends the line under way with `last`; returns the whole line, if it is not too long.
    fn end_line<'a>(&mut self, last: &'a [u8]) -> Option<FinishedLine<'a>> {
        if self.len == 0 && !self.too_long {
            let line = last.strip_suffix(b"\r").unwrap_or(last);
            return match str::from_utf8(line) {
                // A line in several pieces would be too long as well.
                _ if last.len() > N => None,
                Ok(text) => Some(FinishedLine::Piece(text)),
                Err(_) => replace(line, &mut self.text).map(FinishedLine::Text),
            };
        }
        self.push(last);
        let too_long = core::mem::take(&mut self.too_long);
        let begun = &self.begun[..core::mem::take(&mut self.len)];
        let line = begun.strip_suffix(b"\r").unwrap_or(begun);
        match str::from_utf8(line) {
            _ if too_long => None,
            Ok(text) => Some(FinishedLine::Begun(text.len())),
            Err(_) => replace(line, &mut self.text).map(FinishedLine::Text),
        }
    }

    fn text_of<'a>(&'a self, line: FinishedLine<'a>) -> &'a str {
        let bytes = match line {
            FinishedLine::Piece(text) => return text,
            FinishedLine::Begun(len) => &self.begun[..len],
            FinishedLine::Text(len) => &self.text[..len],
        };
        // It is UTF-8, checked already; checking once more is the price of not being unsafe.
        str::from_utf8(bytes).unwrap_or_default()
    }
}

impl<const N: usize> Default for LineSplitter<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// A finished line, by the buffer that holds it.
enum FinishedLine<'a> {
    /// In one piece of the stream.
    Piece(&'a str),
    /// In `begun`, so many bytes.
    Begun(usize),
    /// In `text`, so many bytes.
    Text(usize),
}

/// Copies `line`, with U+FFFD for what isn't UTF-8; returns its length then, if there is room.
fn replace(line: &[u8], text: &mut [u8]) -> Option<usize> {
    const REPLACEMENT: &str = "\u{FFFD}";
    let mut len = 0;
    for chunk in line.utf8_chunks() {
        let replacement = if chunk.invalid().is_empty() { "" } else { REPLACEMENT };
        for part in [chunk.valid(), replacement] {
            text.get_mut(len..len + part.len())?.copy_from_slice(part.as_bytes());
            len += part.len();
        }
    }
    Some(len)
}
