//! A plain reader of WebSocket frames, to compare the client with: no streaming, no reuse, no
//! rewriting (RFC 6455, sections 5.2 to 5.5).

use bluenova_websocket::MESSAGE_LIMIT;

/// More than any input has.
const FAR_TOO_LONG: u64 = 16 * 1024 * 1024;

struct Frame<'a> {
    fin: bool,
    opcode: u8,
    payload: &'a [u8],
}

/// The text of each message up to the first thing that ends a connection: a close frame, what the
/// protocol forbids, what is far too long, or the end of the bytes; and whether that is all.
///
/// Messages too long are skipped. Behind fragments that are too long together it isn't defined
/// which message is the next one, so that the rest is left.
pub(crate) fn messages(mut stream: &[u8]) -> (Vec<String>, bool) {
    let mut messages = vec![];
    let mut unfinished: Option<Vec<u8>> = None;
    while let Some(frame) = next(&mut stream) {
        match (frame.opcode, &mut unfinished) {
            (1 | 2, None) => unfinished = Some(frame.payload.to_vec()),
            (0, Some(message)) => message.extend(frame.payload),
            // Pings and pongs may stand in the middle of a message.
            (9 | 10, _) if frame.fin && frame.payload.len() < 126 => continue,
            _ => break,
        }
        match &unfinished {
            Some(message) if message.len() > MESSAGE_LIMIT => {
                if frame.opcode == 0 || !frame.fin {
                    return (messages, false);
                }
                unfinished = None;
            }
            Some(message) if frame.fin => {
                messages.push(String::from_utf8_lossy(message).into_owned());
                unfinished = None;
            }
            _ => {}
        }
    }
    (messages, true)
}

/// `None` where there is no whole frame, or one that a server may not send.
fn next<'a>(stream: &mut &'a [u8]) -> Option<Frame<'a>> {
    let (&[first, second], rest) = stream.split_first_chunk()?;
    let (length, rest) = match second {
        126 => {
            let (length, rest) = rest.split_first_chunk()?;
            (u16::from_be_bytes(*length).into(), rest)
        }
        127 => {
            let (length, rest) = rest.split_first_chunk()?;
            (u64::from_be_bytes(*length), rest)
        }
        length => (length.into(), rest),
    };
    let masked = second & 0x80 != 0;
    let reserved = first & 0x70 != 0;
    if masked || reserved || length > FAR_TOO_LONG {
        return None;
    }
    let (payload, rest) = rest.split_at_checked(length.try_into().ok()?)?;
    *stream = rest;
    Some(Frame { fin: first & 0x80 != 0, opcode: first & 0x0F, payload })
}
