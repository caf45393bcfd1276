//! What is made of the table in `line.rs`: the enum, its `Display`, the parser of a line, and the
//! way of its values into the record.

/// Makes [`Line`](crate::Line) of one entry per kind of line.
///
/// The parser first looks at the first byte of a line. Entries that begin with the same byte are
/// tried in their order, and no line is of two kinds.
macro_rules! lines {
    ($(
        $(#[$doc:meta])*
        $name:ident
        $(($value:ident: $type:ty))?
        $({ $($(#[$field_doc:meta])* $field:ident: $field_type:ty),+ $(,)? })?
        => {
            prefix: $prefix:literal,
            $(only_if: $only_if:expr,)?
            $(value: $parser:expr,
            print: $print:literal,)?
            record: |$draft:ident| $record:expr,
            $(malformed: |$malformed_draft:ident| $malformed:expr,)?
        }
    )+) => {
        /// One line of the console.
        ///
        /// `Display` prints the wire form: parsing what was printed gives the line back, for every
        /// line that [`parse`] returns. So the wire form is the one to store and to read back; with
        /// the feature `serde` a line can be serialized for other programs.
        #[derive(Clone, Copy, Debug, PartialEq)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize))]
        #[non_exhaustive]
        pub enum Line<'a> {
            $(
                $(#[$doc])*
                $name $(($type))? $({ $($(#[$field_doc])* $field: $field_type),+ })?,
            )+
            /// Any other line: noise, normal and frequent.
            Other(&'a str),
        }

        impl fmt::Display for Line<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name $(($value))? $({ $($field),+ })? => {
                        f.write_str($prefix)?;
                        $(write!(f, $print)?;)?
                        Ok(())
                    })+
                    Self::Other(text) => f.write_str(text),
                }
            }
        }

        /// The first byte of each prefix.
        #[allow(non_upper_case_globals, reason = "they are named as their lines are")]
        mod first {
            $(pub(super) const $name: u8 = $prefix.as_bytes()[0];)+
        }

        /// Parses a line without its end, and puts its values into the draft, if there is one.
        ///
        /// They are put there where the kind of the line is known already: a second `match` on it
        /// is a second branch that can be mispredicted.
        #[inline(always)]
        #[allow(unused_parens, unused_variables, reason = "an entry has any number of values")]
        pub(crate) fn read<'a>(
            line: &'a str,
            draft: Option<&mut Draft>,
        ) -> Result<Line<'a>, ParseError> {
            match line.as_bytes().first().copied().unwrap_or_default() {
                $(first::$name if line.starts_with($prefix)
                    $(&& $only_if(&line[$prefix.len()..]))? =>
                {
                    match grammar::lines!(@parser $($parser)?)(&line[$prefix.len()..]) {
                        Ok((_, ($($value)? $($($field),+)?))) => {
                            if let Some($draft) = draft {
                                $draft.has_lines = true;
                                $record;
                            }
                            Ok(Line::$name $(($value))? $({ $($field),+ })?)
                        }
                        Err(nom::Err::Failure(fault)) => {
                            if let Some(draft) = draft {
                                draft.salvage(&fault);
                                $(let $malformed_draft = draft; $malformed;)?
                            }
                            Err(fault.of(line, $prefix))
                        }
                        Err(_) => Ok(Line::Other(line)),
                    }
                })+
                _ => Ok(Line::Other(line)),
            }
        }
    };

    (@parser $parser:expr) => { $parser };
    (@parser) => { value::nothing };
}

pub(crate) use lines;
