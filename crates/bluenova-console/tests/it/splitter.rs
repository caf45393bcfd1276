use bluenova_console::LineSplitter;
use proptest::prelude::*;

/// The lines of a stream that comes in these pieces, and what it ends with.
fn split<const N: usize>(pieces: &[&[u8]]) -> Vec<String> {
    let mut splitter = LineSplitter::<N>::new();
    let mut lines = vec![];
    for mut piece in pieces.iter().copied() {
        while let Some(line) = splitter.next_line(&mut piece) {
            lines.push(line.to_owned());
        }
    }
    lines.extend(splitter.rest().map(str::to_owned));
    assert_eq!(splitter.rest(), None);
    lines
}

#[test]
fn lines_end_where_they_end() {
    for (stream, lines) in [
        (&b""[..], &[][..]),
        (b"\n", &[""]),
        (b"a\nb\r\n\r\nc", &["a", "b", "", "c"]),
        (b"a\rb\r\r\n", &["a\rb\r"]),
        (b"12345678\n123456789\n1\n", &["12345678", "1"]),
        (b"1234567\r\n12345678\r\n1\n", &["1234567", "1"]),
        (b"123456789", &[]),
        (b"\xFF\xC3\n", &["\u{FFFD}\u{FFFD}"]),
        (b"\xC3\xA4\xC3\n", &["ä\u{FFFD}"]),
        // With the replacements it is nine bytes long.
        (b"\xFF\xFF\xFF\n1\n", &["1"]),
    ] {
        assert_eq!(split::<8>(&[stream]), lines, "{stream:?}");
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(split::<8>(&bytes), lines, "byte by byte: {stream:?}");
    }
}

proptest! {
    #[test]
    fn however_it_is_cut(pieces in prop::collection::vec("[a\\r\\nä]{0,5}", 0..8)) {
        let mut stream = pieces.concat().into_bytes();
        // The second byte of an ä that has lost its first one, here and there.
        stream.iter_mut().step_by(7).filter(|byte| **byte == 0xC3).for_each(|byte| *byte = b'b');
        let text = String::from_utf8_lossy(&stream).into_owned();
        let expected: Vec<&str> = text.split_inclusive('\n').map(|line| {
            let line = line.strip_suffix('\n').unwrap_or(line);
            line.strip_suffix('\r').unwrap_or(line)
        }).collect();
        let mut rest = &stream[..];
        let cut: Vec<&[u8]> = pieces.iter().map(|piece| {
            let (here, behind) = rest.split_at(piece.len());
            rest = behind;
            here
        }).collect();
        prop_assert_eq!(split::<256>(&cut), expected);
    }
}
