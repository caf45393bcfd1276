#!/usr/bin/env python3
"""Compares the public API of bluenova-console with api.txt, so that no change goes unnoticed.

It reads what `cargo doc -p bluenova-console --no-deps` has made: `api.py DOC-FOLDER` compares,
`api.py DOC-FOLDER --bless` writes api.txt anew. Needs nothing but Python.
"""

import difflib
import html
import pathlib
import re
import sys

CRATE = "bluenova_console"
KNOWN = pathlib.Path(__file__).with_name("api.txt")


def text(markup):
    """Without tags, and on one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", markup)).replace("\u200b", "").split())


def item(page):
    """The declaration, then its own methods and constants, then the traits that it implements."""
    declaration = re.search(r'<pre class="rust item-decl"><code>(.*?)</code></pre>', page, re.S)
    yield re.sub(r" Show \d+ variants", "", text(declaration[1]))
    # What every type has by itself says nothing about this one.
    own = re.split(r'<h2 id="(?:synthetic|blanket)-implementations"', page)[0]
    inherent, _, traits = own.partition('<h2 id="trait-implementations"')
    for header in re.findall(r'<h4 class="code-header">(.*?)</h4>', inherent, re.S):
        yield "    " + text(header)
    for header in sorted(map(text, re.findall(r'<h3 class="code-header">(.*?)</h3>', traits, re.S))):
        if "StructuralPartialEq" not in header:
            yield "    " + header


def api(folder):
    pages = sorted((folder / CRATE).glob("*.html"))
    pages = [page for page in pages if page.name not in ("index.html", "all.html")]
    for page in pages:
        yield from item(page.read_text(encoding="utf-8"))
        yield ""


def main():
    found = "\n".join(api(pathlib.Path(sys.argv[1])))
    if "--bless" in sys.argv:
        KNOWN.write_text(found, encoding="utf-8")
        return
    known = KNOWN.read_text(encoding="utf-8")
    if found != known:
        sys.stdout.writelines(
            difflib.unified_diff(
                known.splitlines(True), found.splitlines(True), "api.txt", "the API now"
            )
        )
        sys.exit("The public API has changed. If that is meant: CHANGELOG.md, and api.py --bless.")


if __name__ == "__main__":
    main()
