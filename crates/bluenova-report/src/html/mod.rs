//! The passport as a page that needs nothing else, and prints on A4.

mod cell_bars;
mod plots;

use std::fmt::{self, Display, Write};

use bluenova_insight::Verdict;
use bluenova_plot::DrawError;
use bluenova_record::Escaped;

use crate::{
    Passport, methods,
    number::time,
    text::{Table, cells_and_changes, events, months},
};

const CSS: &str = include_str!("page.css");

/// Text in HTML, between tags or in quotes, with control characters escaped.
pub(crate) struct Html<T>(pub(crate) T);

impl<T: Display> Display for Html<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(HtmlWriter(f), "{}", Escaped(&self.0))
    }
}

struct HtmlWriter<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for HtmlWriter<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match c {
            '&' => self.0.write_str("&amp;"),
            '<' => self.0.write_str("&lt;"),
            '>' => self.0.write_str("&gt;"),
            '"' => self.0.write_str("&quot;"),
            '\'' => self.0.write_str("&#39;"),
            c => self.0.write_char(c),
        })
    }
}

impl Passport {
    /// The passport as a page, without scripts, and with its plots in it.
    ///
    /// # Errors
    /// A plot can't be drawn.
    pub fn html(&self) -> Result<String, DrawError> {
        let title = Html(&self.identity);
        let body = [
            self.head_html(),
            "<main>\n".to_owned(),
            self.essentials_html(),
            self.figures_html()?,
            section("Cells", cells_and_changes(self)),
            section("Energy and charge by month", months(self)),
            section("Events", events(&self.events)),
            self.methods_html(),
            "</main>\n".to_owned(),
        ]
        .concat();
        Ok(format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n\
             <title>Battery passport: {title}</title>\n<style>\n{CSS}</style>\n</head>\n\
             <body>\n{body}</body>\n</html>\n"
        ))
    }

    fn head_html(&self) -> String {
        let made_at = time(self.made_at.0);
        let as_of = self.figures_as_of.map(|at| format!(", figures as of {}", time(at.0)));
        format!(
            "<header>\n<h1>Battery passport</h1>\n<p class=\"battery\">{}</p>\n\
             <p class=\"made\">made {made_at} by {} from {}{}</p>\n</header>\n",
            Html(&self.identity),
            Html(&self.made_by),
            Html(&self.origin),
            as_of.unwrap_or_default()
        )
    }

    fn essentials_html(&self) -> String {
        let class = match self.verdict {
            Verdict::NotKnownYet => "unknown",
            Verdict::NoWeakCell | Verdict::NeedsBalancing(_) => "good",
            Verdict::Weak(_) => "weak",
        };
        let sentences = methods::verdict(&self.verdict);
        let verdict: String =
            sentences.iter().map(|sentence| format!("<p>{}</p>\n", Html(sentence))).collect();
        let facts =
            self.essentials().into_iter().filter(|(name, _)| !["verdict", ""].contains(name));
        let facts: String = facts
            .map(|(name, value)| format!("<div><dt>{name}</dt><dd>{}</dd></div>\n", Html(value)))
            .collect();
        format!("<div class=\"verdict {class}\">\n{verdict}</div>\n<dl>\n{facts}</dl>\n")
    }

    fn figures_html(&self) -> Result<String, DrawError> {
        let plots = plots::draw(self)?;
        let figures = cell_bars::draw(self).into_iter().chain(plots);
        Ok(figures
            .map(|figure| {
                let (title, note) = (figure.title, &figure.note);
                let label = "<svg role=\"img\" aria-label=";
                let svg = figure.svg.replacen("<svg", &format!("{label}\"{title}\""), 1);
                let caption = format!("<figcaption>{title}<span>{note}</span></figcaption>");
                // On a narrow screen it scrolls, by keyboard too.
                format!("<figure>\n{caption}\n<div tabindex=\"0\">{svg}</div>\n</figure>\n")
            })
            .collect())
    }

    fn methods_html(&self) -> String {
        let rows: String = self
            .methods
            .iter()
            .map(|method| format!("<dt>{}</dt><dd>{}</dd>\n", method.figure, method.method))
            .collect();
        format!(
            "<section class=\"methods\">\n<h2>How each figure was got</h2>\n<dl>\n{rows}</dl>\n\
             </section>\n"
        )
    }
}

/// A plot and what is written above it.
pub(crate) struct Figure {
    pub(crate) title: &'static str,
    /// The unit, or what the colours mean.
    pub(crate) note: String,
    pub(crate) svg: String,
}

fn section(title: &str, table: Option<Table>) -> String {
    let Some(Table { heads, rows, words }) = table else { return String::new() };
    let line = |cells: &[String], tag: &str| {
        let cells = cells.iter().enumerate().map(|(at, cell)| {
            let class = if at < words { "" } else { " class=\"number\"" };
            format!("<{tag}{class}>{}</{tag}>", Html(cell))
        });
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let head = line(&heads, "th");
    let body: String = rows.iter().map(|row| line(row, "td")).collect();
    // On a narrow screen it scrolls, by keyboard too.
    format!(
        "<section tabindex=\"0\" aria-label=\"{title}\">\n<h2>{title}</h2>\n<table>\n\
         <thead>{head}</thead>\n<tbody>\n{body}</tbody>\n</table>\n</section>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_markup() {
        let hostile = "</title><script>alert('x')</script>&\"\u{202e}\0";
        assert_eq!(
            Html(hostile).to_string(),
            "&lt;/title&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;\
             &amp;&quot;\\u{202e}\\u{0}"
        );
    }
}
