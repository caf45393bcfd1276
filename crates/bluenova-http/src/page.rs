//! The page: one document, and the policy by which a browser runs nothing else.

use std::sync::OnceLock;

use data_encoding::BASE64;
use sha2::{Digest, Sha256};

const FRAME: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// One module of files by subject. Functions may call those of files below; constants may not use
/// those of files below.
const SCRIPT: &str = concat!(
    include_str!("page/format.js"),
    include_str!("page/pieces.js"),
    include_str!("page/status.js"),
    include_str!("page/problems.js"),
    include_str!("page/card.js"),
    include_str!("page/overview.js"),
    include_str!("page/storage.js"),
    include_str!("page/history.js"),
    include_str!("page/start.js"),
);

/// What the other two replace in [`FRAME`].
const STYLE_MARK: &str = "/* style */";
const SCRIPT_MARK: &str = "/* script */";

/// The page as one document, which loads nothing but the JSON of this server.
pub(crate) fn html() -> &'static str {
    static HTML: OnceLock<String> = OnceLock::new();
    HTML.get_or_init(|| FRAME.replace(STYLE_MARK, STYLE).replace(SCRIPT_MARK, SCRIPT))
}

/// The value of `Content-Security-Policy` for the page.
///
/// A browser runs a script and applies a style only if its hash is in this policy: should a
/// battery's text ever get into the page as markup, it does nothing.
pub(crate) fn policy() -> &'static str {
    static POLICY: OnceLock<String> = OnceLock::new();
    POLICY.get_or_init(|| {
        format!(
            "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            source(SCRIPT),
            source(STYLE)
        )
    })
}

/// An inline block in a policy: the hash of all that is between its tags.
fn source(block: &str) -> String {
    format!("'sha256-{}'", BASE64.encode(&Sha256::digest(block)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text between two tags of the page.
    fn between(start: &str, end: &str) -> &'static str {
        let (_, rest) = html().split_once(start).expect(start);
        rest.split_once(end).expect(end).0
    }

    #[test]
    fn the_policy_allows_the_two_blocks_of_the_page() {
        for (start, end, directive) in [
            ("<style>", "</style>", "style-src"),
            ("<script type=\"module\">", "</script>", "script-src"),
        ] {
            let block = between(start, end);
            assert!(block.len() > 1000, "{start}");
            // A browser sees line feeds whatever it was sent, and hashes those.
            assert!(!block.contains('\r'), "{start}");
            let allowed = format!("{directive} {};", source(block));
            assert!(policy().contains(&allowed), "{allowed} in {}", policy());
        }
        assert_eq!(html().matches("<style").count(), 1);
        assert_eq!(html().matches("<script").count(), 1);
    }

    #[test]
    fn hashes_are_those_of_browsers() {
        // Computed with openssl.
        assert_eq!(source(""), "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='");
    }

    #[test]
    fn the_page_is_small_and_loads_nothing_from_elsewhere() {
        assert!(html().len() < 40_000, "{} bytes", html().len());
        for outside in ["src=", "@import", "url(", "<link rel=\"stylesheet\"", "//cdn"] {
            assert!(!html().contains(outside), "{outside}");
        }
        for address in html().match_indices("http").map(|(at, _)| &html()[at..]) {
            let is_a_name = address.starts_with("http://www.w3.org/2000/svg");
            assert!(is_a_name, "{address:.60}");
        }
    }

    #[test]
    fn the_markup_has_no_code_and_the_script_makes_none() {
        for forbidden in [" style=", " onclick=", " onload=", " onerror=", "javascript:"] {
            assert!(!FRAME.contains(forbidden), "{forbidden}");
        }
        for forbidden in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("]
        {
            assert!(!SCRIPT.contains(forbidden), "{forbidden}");
        }
    }
}
