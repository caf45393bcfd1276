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
    include_str!("page/address.js"),
    include_str!("page/theme.js"),
    include_str!("page/status.js"),
    include_str!("page/problems.js"),
    include_str!("page/look.js"),
    include_str!("page/cells.js"),
    include_str!("page/card.js"),
    include_str!("page/overview.js"),
    include_str!("page/detail.js"),
    include_str!("page/storage.js"),
    include_str!("page/period.js"),
    include_str!("page/plot.js"),
    include_str!("page/zoom.js"),
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
            "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; \
             img-src 'self' data:; manifest-src 'self'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
            source(SCRIPT),
            source(STYLE)
        )
    })
}

/// What a browser asks for to install the page: its content type and bytes, by the last part of its
/// address.
pub(crate) fn file(name: &str) -> Option<(&'static str, &'static [u8])> {
    Some(match name {
        "manifest.webmanifest" => {
            ("application/manifest+json", include_bytes!("page/manifest.webmanifest"))
        }
        "icon.svg" => ("image/svg+xml", include_bytes!("page/icon.svg")),
        "icon-192.png" => ("image/png", include_bytes!("page/icon-192.png")),
        "icon-512.png" => ("image/png", include_bytes!("page/icon-512.png")),
        _ => return None,
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
        // About 25 kB when they are compressed.
        assert!(html().len() < 110_000, "{} bytes", html().len());
        for outside in ["src=", "@import", "url(", "<link rel=\"stylesheet\"", "//cdn"] {
            assert!(!html().contains(outside), "{outside}");
        }
        for address in html().match_indices("http").map(|(at, _)| &html()[at..]) {
            let is_a_name = address.starts_with("http://www.w3.org/2000/svg");
            assert!(is_a_name, "{address:.60}");
        }
    }

    #[test]
    fn the_files_of_the_manifest_are_served() {
        let (_, manifest) = file("manifest.webmanifest").unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(manifest).unwrap();
        let icons = manifest["icons"].as_array().unwrap();
        assert_eq!(icons.len(), 3);
        for icon in icons {
            let (content_type, bytes) = file(icon["src"].as_str().unwrap()).unwrap();
            assert_eq!(icon["type"], content_type);
            assert!((100..4000).contains(&bytes.len()), "{icon}: {} bytes", bytes.len());
            if content_type == "image/png" {
                // Width and height stand behind the signature and the head of the first chunk.
                let side = u32::from_be_bytes(bytes[16..20].try_into().unwrap());
                assert_eq!(icon["sizes"], format!("{side}x{side}"));
                assert_eq!(bytes[16..20], bytes[20..24]);
            }
        }
        // The page may be served below any path.
        for address in ["start_url", "scope"] {
            assert_eq!(manifest[address], "./");
        }
        assert!(file("page.js").is_none());
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
