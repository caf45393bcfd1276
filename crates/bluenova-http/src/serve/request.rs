use httparse::{EMPTY_HEADER, Error, Header, Status};
use percent_encoding::percent_decode_str;

/// Maximum length of a request's head, in bytes.
pub(crate) const HEAD_LIMIT: usize = 8 * 1024;

/// Maximum length of a target, path and query as they were sent, in bytes.
pub(crate) const TARGET_LIMIT: usize = 2 * 1024;

/// Maximum number of headers.
pub(crate) const HEADER_LIMIT: usize = 64;

/// A valid request. It never has a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Decoded; starts with a slash.
    pub(crate) path: String,
    /// Names and values, decoded, in their order.
    pub(crate) query: Vec<(String, String)>,
    /// The host and perhaps the port that the client asks for, as it was sent: of a whole URL as
    /// the target, else of the header `Host`. `None`: an HTTP/1.0 client without that header.
    pub(crate) host: Option<String>,
    /// Whether the client takes a body that is compressed with gzip.
    pub(crate) takes_gzip: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
}

/// A request, and what it means for its connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) request: Request,
    /// Length in bytes.
    pub(crate) length: usize,
    pub(crate) persistence: Persistence,
    /// Whether the client takes a response in chunks, as HTTP/1.1 has it.
    pub(crate) takes_chunks: bool,
}

/// What is to become of the connection after the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    Close,
    KeepAlive,
}

/// Why a request is answered with nothing but a status. The connection is closed after it, since it
/// isn't certain where the next request begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// A response to HEAD has no body, whatever its status.
    pub(crate) method: Method,
}

/// Parses the first request in `bytes`; `None`: it isn't complete yet.
///
/// # Errors
/// It is malformed, too long, or asks for what this server doesn't support.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Received>, Refusal> {
    let mut headers = [EMPTY_HEADER; HEADER_LIMIT];
    let mut head = httparse::Request::new(&mut headers);
    let parsed = head.parse(bytes);
    let method = if head.method == Some("HEAD") { Method::Head } else { Method::Get };
    check(&head, parsed, bytes.len())
        .and_then(|length| length.map(|length| receive(&head, method, length)).transpose())
        .map_err(|status| Refusal { status, method })
}

/// Length of the head; `None`: it isn't complete yet.
fn check(
    head: &httparse::Request<'_, '_>,
    parsed: Result<Status<usize>, Error>,
    so_far: usize,
) -> Result<Option<usize>, u16> {
    if head.path.is_some_and(|target| target.len() > TARGET_LIMIT) {
        return Err(414);
    }
    match parsed {
        Ok(Status::Complete(length)) if length <= HEAD_LIMIT => Ok(Some(length)),
        Ok(Status::Partial) if so_far < HEAD_LIMIT => Ok(None),
        Ok(_) if head.method.is_some() && head.path.is_none() => Err(414),
        Ok(_) | Err(Error::TooManyHeaders) => Err(431),
        Err(_) => Err(400),
    }
}

fn receive(
    head: &httparse::Request<'_, '_>,
    method: Method,
    length: usize,
) -> Result<Received, u16> {
    let headers = Headers(head.headers);
    let newer = head.version == Some(1);
    let mut hosts = headers.all("Host");
    let host = hosts.next();
    if hosts.next().is_some() || (newer && host.is_none()) {
        return Err(400);
    }
    if !matches!(head.method, Some("GET" | "HEAD")) {
        return Err(405);
    }
    headers.expect_no_body()?;
    // A client that waits for "100 Continue" before it sends a body has none to send.
    if headers.all("Expect").any(|value| !value.eq_ignore_ascii_case(b"100-continue")) {
        return Err(417);
    }
    let target = head.path.unwrap_or_default();
    let (path, query) = split(target).ok_or(400_u16)?;
    let host = host.map(|host| String::from_utf8_lossy(host).into_owned());
    let request = Request {
        method,
        path: percent_decode_str(path).decode_utf8().map_err(|_| 400_u16)?.into_owned(),
        query: query.split('&').filter(|pair| !pair.is_empty()).map(decode_pair).collect(),
        host: authority(target).map(str::to_owned).or(host),
        takes_gzip: headers.take_gzip(),
    };
    let stays = !headers.connection("close") && (newer || headers.connection("keep-alive"));
    let persistence = if stays { Persistence::KeepAlive } else { Persistence::Close };
    Ok(Received { request, length, persistence, takes_chunks: newer })
}

struct Headers<'h, 'b>(&'h [Header<'b>]);

impl<'b> Headers<'_, 'b> {
    fn all(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        let named = move |header: &&Header<'b>| header.name.eq_ignore_ascii_case(name);
        self.0.iter().filter(named).map(|header| header.value.trim_ascii())
    }

    fn expect_no_body(&self) -> Result<(), u16> {
        if self.all("Transfer-Encoding").next().is_some() {
            return Err(413);
        }
        for length in self.all("Content-Length") {
            if length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
                return Err(400);
            }
            if length.iter().any(|&digit| digit != b'0') {
                return Err(413);
            }
        }
        Ok(())
    }

    /// Whether `Accept-Encoding` has gzip, or `*` and not gzip, with another weight than zero (RFC
    /// 9110, 12.5.3).
    fn take_gzip(&self) -> bool {
        let codings = || {
            let all = self.all("Accept-Encoding").filter_map(|value| str::from_utf8(value).ok());
            all.flat_map(|value| value.split(',')).map(|coding| {
                let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
                (name.trim(), !is_zero(weight))
            })
        };
        let is_gzip =
            |name: &str| name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip");
        let gzip = codings().find(|(name, _)| is_gzip(name));
        gzip.or_else(|| codings().find(|(name, _)| *name == "*")).is_some_and(|(_, takes)| takes)
    }

    /// Whether a `Connection` header has this option.
    fn connection(&self, option: &str) -> bool {
        self.all("Connection")
            .flat_map(|value| value.split(|&byte| byte == b','))
            .any(|own| own.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
    }
}

/// Whether a weight, such as `q=0.5`, is zero.
fn is_zero(weight: &str) -> bool {
    let value =
        weight.trim().split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    value.and_then(|(_, value)| value.trim().parse::<f32>().ok()).is_some_and(|it| it <= 0.0)
}

/// Path and query of a target. It may be a whole URL, as proxies send it (RFC 9112, 3.2.2).
fn split(target: &str) -> Option<(&str, &str)> {
    let target = match after_scheme(target) {
        Some(rest) => &rest[rest.find(['/', '?'])?..],
        None => target,
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    // What comes after a '#' is never sent.
    (path.starts_with('/') && !target.contains('#')).then_some((path, query))
}

/// Host and port of a target that is a whole URL. They count, whatever the header `Host` says.
fn authority(target: &str) -> Option<&str> {
    after_scheme(target)?.split(['/', '?']).next()
}

fn after_scheme(target: &str) -> Option<&str> {
    let scheme = target.get(..7)?;
    scheme.eq_ignore_ascii_case("http://").then_some(&target[7..])
}

/// As forms encode it (WHATWG URL, 5.1): what isn't valid costs its characters only.
fn decode_pair(pair: &str) -> (String, String) {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    (decode_text(name), decode_text(value))
}

fn decode_text(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(target: &str) -> String {
        format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")
    }

    fn refused(status: u16, text: &str) {
        let refusal = parse(text.as_bytes()).unwrap_err();
        assert_eq!(refusal.status, status, "{text:?}");
    }

    fn received(text: &str) -> Received {
        let received = parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!(received.length, text.len());
        received
    }

    #[test]
    fn path_and_query_are_decoded() {
        type Pairs<'a> = &'a [(&'a str, &'a str)];
        let table: [(&str, &str, Pairs<'_>); 9] = [
            ("/", "/", &[]),
            ("/?", "/", &[]),
            ("/a%20b/%C3%A9+%zz", "/a b/é+%zz", &[]),
            ("/p?from=1&to=2", "/p", &[("from", "1"), ("to", "2")]),
            (
                "/p?a=1+2%2B3%26&&b&=c&a=d=e?",
                "/p",
                &[("a", "1 2+3&"), ("b", ""), ("", "c"), ("a", "d=e?")],
            ),
            ("/p?a=%FF", "/p", &[("a", "\u{FFFD}")]),
            ("/é", "/é", &[]),
            ("http://h:80/p?a=b", "/p", &[("a", "b")]),
            ("HTTP://h/", "/", &[]),
        ];
        for (target, path, query) in table {
            let request = received(&get(target)).request;
            assert_eq!(request.path, path, "{target}");
            let pairs: Vec<_> =
                request.query.iter().map(|(name, value)| (&**name, &**value)).collect();
            assert_eq!(pairs, query, "{target}");
        }
    }

    #[test]
    fn a_target_that_is_no_path_is_malformed() {
        for target in ["*", "p", "https://h/", "http://h", "http://h?a", "/p#a", "/%FF", "h:80"] {
            refused(400, &get(target));
        }
    }

    #[test]
    fn the_connection_stays_as_the_version_says() {
        let table = [
            ("1.1", "", Persistence::KeepAlive),
            ("1.1", "Connection: close\r\n", Persistence::Close),
            ("1.1", "connection: x , CLOSE\r\n", Persistence::Close),
            ("1.1", "Connection: x\r\nConnection: close\r\n", Persistence::Close),
            ("1.0", "", Persistence::Close),
            ("1.0", "Connection: Keep-Alive\r\n", Persistence::KeepAlive),
            ("1.0", "Connection: keep-alive, close\r\n", Persistence::Close),
        ];
        for (version, header, expected) in table {
            let text = format!("GET / HTTP/{version}\r\nHost: h\r\n{header}\r\n");
            assert_eq!(received(&text).persistence, expected, "{text:?}");
        }
    }

    #[test]
    fn gzip_is_for_those_who_take_it() {
        for (headers, expected) in [
            ("", false),
            ("Accept-Encoding: gzip, deflate, br\r\n", true),
            ("accept-encoding: br;q=1.0, GZIP;q=0.8, *;q=0.1\r\n", true),
            ("Accept-Encoding: gzip;q=0\r\n", false),
            ("Accept-Encoding: gzip; Q=0.000, *\r\n", false),
            ("Accept-Encoding: *\r\n", true),
            ("Accept-Encoding: *;q=0\r\n", false),
            ("Accept-Encoding: identity, br\r\n", false),
            ("Accept-Encoding: \r\n", false),
            ("Accept-Encoding: br\r\nAccept-Encoding: x-gzip\r\n", true),
            ("Accept-Encoding: \u{e9}gzip\r\n", false),
        ] {
            let text = format!("GET / HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
            assert_eq!(received(&text).request.takes_gzip, expected, "{headers:?}");
        }
    }

    #[test]
    fn the_host_is_that_of_the_target_or_else_of_the_header() {
        for (text, expected) in [
            ("GET / HTTP/1.1\r\nHost: a:80\r\n\r\n", Some("a:80")),
            ("GET / HTTP/1.1\r\nhOST:  \r\n\r\n", Some("")),
            ("GET http://b:81/?http://c HTTP/1.1\r\nHost: a\r\n\r\n", Some("b:81")),
            ("GET http://b/ HTTP/1.0\r\n\r\n", Some("b")),
            ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", Some("a")),
            ("GET / HTTP/1.0\r\n\r\n", None),
        ] {
            assert_eq!(received(text).request.host.as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn unsupported_requests_are_refused() {
        let table = [
            (400, "GET / HTTP/1.1\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n"),
            (400, "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
            (400, "GET / HTTP/2.0\r\nHost: h\r\n\r\n"),
            (400, "GET /\r\n\r\n"),
            (400, "GET  / HTTP/1.1\r\nHost: h\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost : h\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: h\0\r\n\r\n"),
            (400, "\x16\x03\x01\x02\0\x01\0\x01"),
            (400, "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n"),
            (400, "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0, 5\r\n\r\n"),
            (405, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n"),
            (405, "get / HTTP/1.1\r\nHost: h\r\n\r\n"),
            (405, "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"),
            (405, "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n"),
            (413, "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n"),
            (413, "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\n"),
            (413, "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"),
            (417, "GET / HTTP/1.1\r\nHost: h\r\nExpect: the worst\r\n\r\n"),
        ];
        for (status, text) in table {
            refused(status, text);
        }
        received("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nExpect: 100-Continue\r\n\r\n");
    }

    #[test]
    fn lengths_are_bounded_and_the_longest_allowed() {
        received(&get(&format!("/{}", "a".repeat(TARGET_LIMIT - 1))));
        refused(414, &get(&format!("/{}", "a".repeat(TARGET_LIMIT))));
        refused(414, &format!("GET /{}", "a".repeat(HEAD_LIMIT)));

        let padded = |length: usize| {
            let start = "GET / HTTP/1.1\r\nHost: h\r\nX: ";
            format!("{start}{}\r\n\r\n", "a".repeat(length - start.len() - 4))
        };
        received(&padded(HEAD_LIMIT));
        refused(431, &padded(HEAD_LIMIT + 1));
        refused(431, &padded(HEAD_LIMIT + 1)[..HEAD_LIMIT]);
        refused(431, &"a".repeat(HEAD_LIMIT));

        let headers =
            |count| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(count));
        received(&headers(HEADER_LIMIT - 1));
        refused(431, &headers(HEADER_LIMIT));
    }

    #[test]
    fn a_part_of_a_request_is_neither_one_nor_wrong() {
        let text = "\r\nHEAD /p?a=b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        for end in 0..text.len() {
            assert_eq!(parse(&text.as_bytes()[..end]), Ok(None), "{end}");
        }
        assert_eq!(received(text).request.method, Method::Head);
        let pipelined = text.repeat(2);
        assert_eq!(parse(pipelined.as_bytes()).unwrap().unwrap().length, text.len());
    }

    #[test]
    fn a_refused_head_request_is_known_as_one() {
        for header in ["Host: a\r\nHost: b", "bad header", "Expect: x\r\nHost: h"] {
            let text = format!("HEAD / HTTP/1.1\r\n{header}\r\n\r\n");
            assert_eq!(parse(text.as_bytes()).unwrap_err().method, Method::Head, "{header}");
        }
    }
}
