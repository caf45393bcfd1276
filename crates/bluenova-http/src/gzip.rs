//! Compressed answers, for clients that take them.
//!
//! One answer is compressed at a time, so that it takes no more than one core and some 300 KB,
//! however many clients there are; and so does each of the few downloads that come in pieces.
//! Bodies that are part of the program, such as the page, are compressed once.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::serve::{Piece, Request, Response};

/// Bytes of a body from which on it is compressed: a smaller one fits into one packet anyway.
const LEAST: usize = 1024;

/// The fastest level: others make JSON a fifth smaller, in several times the time.
const LEVEL: u32 = 1;

/// The level for what is compressed once.
const LEVEL_ONCE: u32 = 9;

/// Compresses answers.
pub(crate) struct Gzip {
    /// Held while an answer is compressed.
    turn: Mutex<()>,
    /// Bodies that are part of the program, by their address.
    once: Mutex<HashMap<usize, Vec<u8>>>,
}

impl Gzip {
    pub(crate) fn new() -> Self {
        Self { turn: Mutex::default(), once: Mutex::default() }
    }

    /// The response, compressed if that is worth it and the client takes it.
    pub(crate) fn response(&self, request: &Request, response: Response) -> Response {
        if response.rest.is_none() && response.body.len() < LEAST {
            return response;
        }
        // Caches on the way must not give the one to a client that takes the other only.
        let mut response = response.with("Vary", "Accept-Encoding");
        if !request.takes_gzip {
            return response;
        }
        match response.rest.take() {
            Some(mut rest) => {
                let mut stream = Stream::new();
                response.body = stream.more(&response.body).into();
                response = response.followed_by(move || {
                    // The last piece follows what was the end before.
                    let next = if stream.has_ended() { Piece::End } else { rest.next() };
                    match next {
                        Piece::More(bytes) => Piece::More(stream.more(&bytes)),
                        Piece::End => stream.end().map_or(Piece::End, Piece::More),
                        Piece::Broken => Piece::Broken,
                    }
                });
            }
            None => response.body = self.whole(std::mem::take(&mut response.body)).into(),
        }
        response.with("Content-Encoding", "gzip")
    }

    fn whole(&self, body: Cow<'static, [u8]>) -> Vec<u8> {
        match body {
            Cow::Borrowed(part) => {
                let mut once = lock(&self.once);
                let compressed = once.entry(part.as_ptr().addr());
                compressed.or_insert_with(|| gzip(part, LEVEL_ONCE)).clone()
            }
            Cow::Owned(body) => {
                let _turn = lock(&self.turn);
                gzip(&body, LEVEL)
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn gzip(body: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::new(level));
    // Writing into memory never fails.
    let _ = encoder.write_all(body);
    let mut compressed = encoder.finish().unwrap_or_default();
    // It may wait for a slow client.
    compressed.shrink_to_fit();
    compressed
}

/// A body in pieces, each of which a client can decompress when it has it.
struct Stream(Option<GzEncoder<Vec<u8>>>);

impl Stream {
    fn new() -> Self {
        Self(Some(GzEncoder::new(vec![], Compression::new(LEVEL))))
    }

    fn more(&mut self, piece: &[u8]) -> Vec<u8> {
        let Some(encoder) = &mut self.0 else { return vec![] };
        let _ = encoder.write_all(piece);
        let _ = encoder.flush();
        std::mem::take(encoder.get_mut())
    }

    fn has_ended(&self) -> bool {
        self.0.is_none()
    }

    /// The last piece; `None`: the client has it already.
    fn end(&mut self) -> Option<Vec<u8>> {
        self.0.take()?.finish().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    fn unzipped(bytes: &[u8]) -> Vec<u8> {
        let mut all = vec![];
        GzDecoder::new(bytes).read_to_end(&mut all).unwrap();
        all
    }

    fn request(takes_gzip: bool) -> Request {
        let method = crate::serve::Method::Get;
        Request { method, path: "/".into(), query: vec![], host: None, takes_gzip }
    }

    fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
        response.headers.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn what_is_small_or_not_taken_stays_as_it_is() {
        let gzip = Gzip::new();
        let answer = |length: usize, takes| {
            let response = Response::new(200, "text/plain", vec![b'x'; length]);
            gzip.response(&request(takes), response)
        };
        let small = answer(LEAST - 1, true);
        assert_eq!((small.body.len(), header(&small, "Vary")), (LEAST - 1, None));
        let plain = answer(LEAST, false);
        assert_eq!((plain.body.len(), header(&plain, "Content-Encoding")), (LEAST, None));
        assert_eq!(header(&plain, "Vary"), Some("Accept-Encoding"));
        let compressed = answer(LEAST, true);
        assert_eq!(header(&compressed, "Content-Encoding"), Some("gzip"));
        assert_eq!(header(&compressed, "Vary"), Some("Accept-Encoding"));
        assert_eq!(unzipped(&compressed.body), vec![b'x'; LEAST]);
        assert!(compressed.body.len() < 100);
    }

    #[test]
    fn parts_of_the_program_are_compressed_once() {
        static BODY: [u8; 2000] = [b'y'; 2000];
        let gzip = Gzip::new();
        for _ in 0..3 {
            let response = Response::new(200, "text/plain", &BODY[..]);
            assert_eq!(unzipped(&gzip.response(&request(true), response).body), BODY);
        }
        assert_eq!(lock(&gzip.once).len(), 1);
    }

    #[test]
    fn each_piece_can_be_read_when_it_is_there() {
        let mut left = 3;
        let response = Response::new(200, "text/csv", &b"head\n"[..]).followed_by(move || {
            left -= 1;
            assert!(left >= 0, "nothing is asked for behind the end");
            if left == 0 { Piece::End } else { Piece::More(format!("row {left}\n").into()) }
        });
        let mut response = Gzip::new().response(&request(true), response);
        let mut bytes = response.body.to_vec();
        let mut decoded = vec![0; 5];
        GzDecoder::new(&*bytes).read_exact(&mut decoded).unwrap();
        assert_eq!(decoded, b"head\n");
        let mut rest = response.rest.take().unwrap();
        let mut pieces = 0;
        while let Piece::More(more) = rest.next() {
            pieces += 1;
            bytes.extend(more);
        }
        assert_eq!((pieces, unzipped(&bytes)), (3, b"head\nrow 2\nrow 1\n".to_vec()));
    }

    #[test]
    fn pieces_that_break_off_are_no_whole_body() {
        let response = Response::new(200, "text/csv", &b"head\n"[..]).followed_by(|| Piece::Broken);
        let mut response = Gzip::new().response(&request(true), response);
        assert!(matches!(response.rest.take().unwrap().next(), Piece::Broken));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]
        #[test]
        fn what_was_compressed_is_what_comes_out(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20_000), 0..4)
        ) {
            let all = pieces.concat();
            prop_assert_eq!(&unzipped(&gzip(&all, LEVEL)), &all);
            let mut stream = Stream::new();
            let mut bytes: Vec<u8> = stream.more(&[]);
            bytes.extend(pieces.iter().flat_map(|piece| stream.more(piece)));
            bytes.extend(stream.end().unwrap());
            prop_assert_eq!(unzipped(&bytes), all);
            prop_assert!(stream.end().is_none());
        }
    }
}
