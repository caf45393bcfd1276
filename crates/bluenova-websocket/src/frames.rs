//! Text frames become binary frames on the way in.
//!
//! A battery's line may be noisy. tungstenite, as RFC 6455 requires, ends the connection when a
//! text message is not UTF-8; here a bad byte must cost one line at most. tungstenite does not look
//! into binary messages, so the opcode of each text frame is rewritten, in place, before
//! tungstenite sees it; [`Connection::read`](crate::Connection::read) then makes text of all
//! messages alike. `tungstenite::protocol::frame::FrameSocket` would need no rewriting, but it has
//! a read buffer of 128 KiB, cleared for each read, and leaves fragments, pongs and all checks to
//! its caller.
//!
//! To find the opcodes, the headers have to be followed (RFC 6455, section 5.2):
//!
//! ```text
//! byte 0      FIN, 3 reserved bits, opcode (4 bits)
//! byte 1      MASK, length (7 bits): 126 and 127 mean that 2 or 8 bytes of length follow
//! then        4 bytes of key if masked, then the payload
//! ```
//!
//! What is not allowed (reserved opcodes, masked or giant frames) is followed all the same.
//! tungstenite makes an error of it, after which nobody reads.

/// Follower of a stream of frames, byte by byte.
#[derive(Debug, Default)]
pub(crate) struct FrameTracker {
    next: NextByte,
    /// The last data frame was not the last one of its message.
    in_message: bool,
    largest: u64,
}

/// Meaning of the next byte.
#[derive(Clone, Copy, Debug, Default)]
enum NextByte {
    #[default]
    Opcode,
    Length,
    LongLength {
        missing: u8,
        so_far: u64,
        masked: bool,
    },
    Payload {
        left: u64,
    },
}

impl FrameTracker {
    /// Follows the next bytes of the stream, and changes text frames to binary ones. Returns
    /// whether a frame ended in them.
    pub(crate) fn follow(&mut self, bytes: &mut [u8]) -> bool {
        let mut ended = false;
        let mut at = 0;
        while at < bytes.len() {
            at += self.step(&mut bytes[at..]);
            ended |= matches!(self.next, NextByte::Opcode);
        }
        ended
    }

    /// Follows the next bytes up to the end of the message under way, and returns where that is.
    /// Control frames between its fragments count as part of it.
    pub(crate) fn end_of_message(&mut self, bytes: &mut [u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            at += self.step(&mut bytes[at..]);
            if self.between_messages() {
                return Some(at);
            }
        }
        None
    }

    /// Bytes of the frame under way that are still to come.
    pub(crate) fn left_of_frame(&self) -> u64 {
        match self.next {
            NextByte::Payload { left } => left,
            _ => 0,
        }
    }

    /// Whether the last byte was the end of a message, or of a control frame between messages.
    pub(crate) fn between_messages(&self) -> bool {
        !self.in_message && matches!(self.next, NextByte::Opcode)
    }

    /// The longest payload announced, in bytes, since this was last asked.
    pub(crate) fn take_largest(&mut self) -> u64 {
        std::mem::take(&mut self.largest)
    }

    /// Takes at least one of `bytes`, which are not empty; returns how many.
    fn step(&mut self, bytes: &mut [u8]) -> usize {
        let byte = &mut bytes[0];
        self.next = match self.next {
            NextByte::Opcode => {
                self.opcode(byte);
                NextByte::Length
            }
            NextByte::Length => {
                let masked = *byte & 0x80 != 0;
                match *byte & 0x7F {
                    126 => NextByte::LongLength { missing: 2, so_far: 0, masked },
                    127 => NextByte::LongLength { missing: 8, so_far: 0, masked },
                    length => self.payload(length.into(), masked),
                }
            }
            NextByte::LongLength { missing, so_far, masked } => {
                let so_far = so_far << 8 | u64::from(*byte);
                match missing {
                    1 => self.payload(so_far, masked),
                    _ => NextByte::LongLength { missing: missing - 1, so_far, masked },
                }
            }
            NextByte::Payload { left } => {
                let here = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                self.next = match left - here as u64 {
                    0 => NextByte::Opcode,
                    left => NextByte::Payload { left },
                };
                return here;
            }
        };
        1
    }

    fn opcode(&mut self, byte: &mut u8) {
        const FIN: u8 = 0x80;
        const OPCODE: u8 = 0x0F;
        const TEXT: u8 = 1;
        const BINARY: u8 = 2;
        const FIRST_CONTROL: u8 = 8;
        if *byte & OPCODE < FIRST_CONTROL {
            self.in_message = *byte & FIN == 0;
        }
        if *byte & OPCODE == TEXT {
            *byte = *byte & !OPCODE | BINARY;
        }
    }

    fn payload(&mut self, length: u64, masked: bool) -> NextByte {
        self.largest = self.largest.max(length);
        match length.saturating_add(if masked { 4 } else { 0 }) {
            0 => NextByte::Opcode,
            left => NextByte::Payload { left },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            n @ ..=125 => frame.push(n as u8),
            n @ ..=0xFFFF => {
                frame.push(126);
                frame.extend((n as u16).to_be_bytes());
            }
            n => {
                frame.push(127);
                frame.extend((n as u64).to_be_bytes());
            }
        }
        frame.extend(payload);
        frame
    }

    /// Payloads are full of what would be a header elsewhere.
    fn stream(text: u8) -> Vec<u8> {
        [
            frame(0x80 | text, b"\x81\x01\x81"),
            frame(0x80 | text, b""),
            frame(text, b"\x01\x01"),
            frame(0x00, b"\x81"),
            frame(0x89, b"\x81\x81"),
            frame(0x80, b"\x81"),
            frame(0x82, &[0x81; 126]),
            frame(0x80 | text, &[0x81; 300]),
            frame(0x8A, b""),
            // Masked, and with reserved bits and opcodes: not allowed, followed all the same.
            vec![0x80 | text, 0x83, 0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x81],
            vec![0xF0 | text, 0x80, 0x81, 0x81, 0x81, 0x81],
            frame(0x83, b"\x81"),
            frame(0x8B, b"\x81"),
            // Lengths in more bytes than needed.
            vec![0x80 | text, 126, 0, 1, 0x81],
            vec![0x80 | text, 127, 0, 0, 0, 0, 0, 0, 0, 0],
            frame(0x80 | text, b"\x81"),
        ]
        .concat()
    }

    #[test]
    fn only_opcodes_of_text_frames_change() {
        for length in [0, 1, 125, 126, 127, 0xFFFF, 0x1_0000] {
            let payload = vec![0x81; length];
            for (given, expected) in [(0x81, 0x82), (0x01, 0x02), (0xF1, 0xF2), (0x82, 0x82)] {
                let mut bytes = [frame(given, &payload), frame(0x81, b"")].concat();
                assert!(FrameTracker::default().follow(&mut bytes));
                assert_eq!(bytes, [frame(expected, &payload), frame(0x82, b"")].concat());
            }
        }
    }

    #[test]
    fn every_cutting_gives_the_same() {
        let (text, binary) = (stream(1), stream(2));
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let mut bytes = text.clone();
                let mut frames = FrameTracker::default();
                let (rest, last) = bytes.split_at_mut(second);
                let (one, two) = rest.split_at_mut(first);
                for piece in [one, two, last] {
                    frames.follow(piece);
                }
                assert!(bytes == binary, "cut at {first} and {second}");
                assert!(frames.between_messages());
            }
        }
    }

    #[test]
    fn ends_of_frames_and_messages_are_seen() {
        let mut bytes = [frame(0x01, b"ab"), frame(0x89, b""), frame(0x80, b"c")].concat();
        let seen: Vec<_> = {
            let mut frames = FrameTracker::default();
            let each = bytes.chunks_mut(1);
            each.map(|byte| (frames.follow(byte), frames.between_messages())).collect()
        };
        let (no, frame, message) = ((false, false), (true, false), (true, true));
        assert_eq!(seen, [no, no, no, frame, no, frame, no, no, message]);
    }

    #[test]
    fn a_message_is_followed_to_its_end() {
        let rest = [frame(0x01, b"ab"), frame(0x89, b"?"), frame(0x80, b"c")].concat();
        let mut bytes = [rest.clone(), frame(0x81, b"next")].concat();
        for cut in 1..rest.len() {
            let mut frames = FrameTracker::default();
            frames.follow(&mut bytes[..cut]);
            assert_eq!(frames.end_of_message(&mut bytes[cut..]), Some(rest.len() - cut), "{cut}");
        }
        let mut frames = FrameTracker::default();
        assert_eq!(frames.end_of_message(&mut bytes[..rest.len() - 1]), None);
    }

    #[test]
    fn the_longest_length_does_not_overflow() {
        let mut bytes = [0x81, 0xFF, 255, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4, 0x81];
        let mut frames = FrameTracker::default();
        assert!(!frames.follow(&mut bytes));
        assert_eq!(bytes[14], 0x81, "that is payload");
        assert_eq!(frames.take_largest(), u64::MAX);
        assert_eq!(frames.take_largest(), 0);
    }
}
