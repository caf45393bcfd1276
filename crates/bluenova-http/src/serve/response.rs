use std::{borrow::Cow, fmt};

/// Headers of every response that doesn't have its own instead. `no-store`, since an old value in a
/// browser's cache would look fresh.
const DEFAULTS: [(&str, &str); 4] = [
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
    (
        "Content-Security-Policy",
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
];

/// What a request is answered with.
#[derive(Debug)]
pub(crate) struct Response {
    /// HTTP status, 200 to 599.
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: Cow<'static, [u8]>,
    /// Further headers, other than those above and those that frame the message. They replace those
    /// that every response has. Control characters in a value are left out.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// What comes behind `body`; `None`: that is all.
    pub(crate) rest: Option<Rest>,
}

/// The further pieces of a body whose length isn't known when it begins. A piece is made when the
/// client has taken the one before it, so that no more than one takes memory.
pub(crate) struct Rest(Box<dyn FnMut() -> Piece + Send>);

/// A further piece of a body.
pub(crate) enum Piece {
    More(Vec<u8>),
    /// There is none: the body is whole.
    End,
    /// There should be more, and there isn't: the client is not to take the body for a whole one.
    Broken,
}

impl Rest {
    pub(crate) fn next(&mut self) -> Piece {
        (self.0)()
    }
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rest")
    }
}

/// How a client sees where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length,
    Chunks,
    /// The end of the connection is that of the body, for clients of HTTP/1.0.
    Close,
}

impl Response {
    pub(crate) fn new(
        status: u16,
        content_type: &'static str,
        body: impl Into<Cow<'static, [u8]>>,
    ) -> Self {
        Self { status, content_type, body: body.into(), headers: vec![], rest: None }
    }

    /// A response whose body is its status as plain text.
    pub(crate) fn plain(status: u16) -> Self {
        let text = format!("{status} {}\n", reason(status));
        Self::new(status, "text/plain; charset=utf-8", text.into_bytes())
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With further pieces, which `next` makes.
    pub(crate) fn followed_by(mut self, next: impl FnMut() -> Piece + Send + 'static) -> Self {
        self.rest = Some(Rest(Box::new(next)));
        self
    }

    /// The head as it is sent, including the empty line at its end.
    pub(crate) fn head(&self, connection: &str, framing: Framing) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        put(&mut head, "Content-Type", self.content_type);
        match framing {
            Framing::Length => put(&mut head, "Content-Length", &self.body.len().to_string()),
            Framing::Chunks => put(&mut head, "Transfer-Encoding", "chunked"),
            Framing::Close => {}
        }
        put(&mut head, "Connection", connection);
        for (name, value) in DEFAULTS {
            if !self.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)) {
                put(&mut head, name, value);
            }
        }
        for (name, value) in &self.headers {
            put(&mut head, name, value);
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

/// Adds a header. A line break in the value, which may have come from a battery or a client, would
/// start another one.
fn put(head: &mut String, name: &str, value: &str) {
    head.push_str(name);
    head.push_str(": ");
    head.extend(value.chars().filter(|character| !character.is_control()));
    head.push_str("\r\n");
}

/// The status for people; programs read the number.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(response: &Response) -> String {
        String::from_utf8(response.head("close", Framing::Length)).unwrap()
    }

    #[test]
    fn every_response_has_the_default_headers() {
        let expected = "HTTP/1.1 404 Not Found\r\n\
            Content-Type: text/plain; charset=utf-8\r\n\
            Content-Length: 14\r\n\
            Connection: close\r\n\
            X-Content-Type-Options: nosniff\r\n\
            Referrer-Policy: no-referrer\r\n\
            Cache-Control: no-store\r\n\
            Content-Security-Policy: default-src 'none'; frame-ancestors 'none'; \
            base-uri 'none'; form-action 'none'\r\n\r\n";
        assert_eq!(head(&Response::plain(404)), expected);
    }

    #[test]
    fn a_response_may_replace_the_default_headers() {
        let own = "default-src 'self'";
        let response = Response::plain(200)
            .with("content-security-policy", own)
            .with("Cache-Control", "max-age=60");
        let head = head(&response);
        assert!(head.contains("\r\ncontent-security-policy: default-src 'self'\r\n"), "{head}");
        assert!(head.contains("\r\nCache-Control: max-age=60\r\n"), "{head}");
        assert!(!head.contains("no-store") && !head.contains("'none'"), "{head}");
        assert!(head.contains("nosniff"), "{head}");
    }

    #[test]
    fn no_value_starts_a_header_or_a_body() {
        let value = "a\r\nSet-Cookie: x\n\r\n\0<b>é";
        let head = head(&Response::plain(200).with("X-Errors", value));
        assert!(head.contains("\r\nX-Errors: aSet-Cookie: x<b>é\r\n"), "{head}");
        assert_eq!(head.matches("\r\n\r\n").count(), 1);
    }
}
