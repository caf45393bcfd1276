//! What values mean that are the same to all who judge them.

use crate::{CELLS, PackRecord};

/// Amperes above which a battery counts as being charged; below, it may be an offset of the sensor.
pub const CHARGING_AMPS: f32 = 1.0;

/// The errors in a text of the firmware; `None` if it says that there are none.
///
/// The firmware's words aren't documented: all that is known is that `NONE` is no error.
///
/// ```
/// use bluenova_record::errors_in;
///
/// assert_eq!(errors_in("NONE"), None);
/// assert_eq!(errors_in("CELL_OV"), Some("CELL_OV"));
/// ```
pub fn errors_in(text: &str) -> Option<&str> {
    unlike("NONE", text)
}

/// The state of a breaker, unless it is closed or not known. All that is known of the firmware's
/// words is that `CLOSED` is a breaker that is closed.
pub fn not_closed(breaker: &str) -> Option<&str> {
    unlike("CLOSED", breaker)
}

/// A text that says something else than that all is well.
fn unlike<'a>(good: &str, text: &'a str) -> Option<&'a str> {
    Some(text.trim()).filter(|text| !text.is_empty() && !text.eq_ignore_ascii_case(good))
}

impl PackRecord {
    /// The errors that the battery reports; `None` if there are none, or if that isn't known.
    pub fn errors_present(&self) -> Option<&str> {
        self.errors.as_deref().and_then(errors_in)
    }

    /// The state of a breaker that isn't closed; `None` if it is, or if that isn't known.
    pub fn breaker_not_closed(&self) -> Option<&str> {
        self.breaker.as_deref().and_then(not_closed)
    }

    /// Number of cells in series, if it is one that the table has columns for.
    pub fn possible_cell_count(&self) -> Option<usize> {
        let count = self.cell_count.and_then(|count| usize::try_from(count).ok());
        count.filter(|count| (1..=CELLS).contains(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_that_all_is_well_is_no_error() {
        for (text, errors, breaker) in [
            ("", None, None),
            (" ", None, None),
            ("NONE", None, Some("NONE")),
            ("none", None, Some("none")),
            ("CLOSED", Some("CLOSED"), None),
            (" Closed\r", Some("Closed"), None),
            ("NONE, HOT", Some("NONE, HOT"), Some("NONE, HOT")),
            ("OPEN ", Some("OPEN"), Some("OPEN")),
        ] {
            assert_eq!((errors_in(text), not_closed(text)), (errors, breaker), "{text:?}");
        }
    }

    #[test]
    fn a_number_of_cells_that_has_no_columns_is_none() {
        let mut record = PackRecord::new(time::UtcDateTime::UNIX_EPOCH, 7);
        for (count, possible) in [
            (None, None),
            (Some(-1), None),
            (Some(0), None),
            (Some(16), Some(16)),
            (Some(17), None),
        ] {
            record.cell_count = count;
            assert_eq!(record.possible_cell_count(), possible, "{count:?}");
        }
    }
}
