//! The colours of the plots, on light and on dark background.
//!
//! Those of single lines are of Okabe and Ito's palette for every kind of colour vision
//! (<https://jfly.uni-koeln.de/color/>), darkened where text needs more contrast. Cells go by their
//! number through a part of viridis, which gets lighter evenly.

/// A colour.
pub use plotters::style::RGBColor as Colour;
use plotters::style::RGBColor;

/// The page's background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// White, or nearly so.
    Light,
    /// Black, or nearly so.
    Dark,
}

/// The colours on one background.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    /// Text and labels.
    pub text: RGBColor,
    /// Axes and the lines behind the curves.
    pub lines: RGBColor,
    /// Voltage.
    pub voltage: RGBColor,
    /// Current.
    pub current: RGBColor,
    /// State of charge.
    pub charge: RGBColor,
    /// The pack among its cells.
    pub pack: RGBColor,
    /// Batteries that are compared.
    batteries: [RGBColor; 8],
    /// The part of viridis that stands out from the background.
    cells: (f64, f64),
}

impl Palette {
    /// The colours for that background.
    pub fn of(theme: Theme) -> Self {
        match theme {
            Theme::Light => Self {
                text: RGBColor(0x4A, 0x4F, 0x57),
                lines: RGBColor(0xDD, 0xE0, 0xE4),
                voltage: RGBColor(0x00, 0x68, 0xA6),
                current: RGBColor(0xB8, 0x4E, 0x00),
                charge: RGBColor(0x00, 0x7D, 0x5B),
                pack: RGBColor(0xB8, 0x4E, 0x00),
                batteries: [
                    RGBColor(0x00, 0x68, 0xA6),
                    RGBColor(0xC0, 0x4E, 0x00),
                    RGBColor(0x00, 0x7D, 0x5B),
                    RGBColor(0xA8, 0x3F, 0x80),
                    RGBColor(0x8A, 0x6B, 0x00),
                    RGBColor(0x2C, 0x94, 0xCC),
                    RGBColor(0x22, 0x26, 0x2C),
                    RGBColor(0x7A, 0x80, 0x88),
                ],
                cells: (0.0, 0.85),
            },
            Theme::Dark => Self {
                text: RGBColor(0xB8, 0xBE, 0xC8),
                lines: RGBColor(0x35, 0x3A, 0x42),
                voltage: RGBColor(0x56, 0xB4, 0xE9),
                current: RGBColor(0xE6, 0x9F, 0x00),
                charge: RGBColor(0x2C, 0xC9, 0x98),
                pack: RGBColor(0xFF, 0x8A, 0x5C),
                batteries: [
                    RGBColor(0x56, 0xB4, 0xE9),
                    RGBColor(0xE6, 0x9F, 0x00),
                    RGBColor(0x2C, 0xC9, 0x98),
                    RGBColor(0xE0, 0x8F, 0xBC),
                    RGBColor(0xF0, 0xE4, 0x42),
                    RGBColor(0x4F, 0x80, 0xE0),
                    RGBColor(0xF4, 0xF6, 0xF8),
                    RGBColor(0x8A, 0x90, 0x98),
                ],
                cells: (0.3, 1.0),
            },
        }
    }

    /// The colour of the battery at `index`, from 0, out of eight.
    pub fn battery(&self, index: usize) -> RGBColor {
        self.batteries[index % self.batteries.len()]
    }

    /// The colour of the cell at `index`, from 0, out of `count`.
    pub fn cell(&self, index: usize, count: usize) -> RGBColor {
        let (first, last) = self.cells;
        let part = index as f64 / (count.max(2) - 1) as f64;
        viridis(first + part * (last - first))
    }
}

/// matplotlib's viridis from 0 to 1, linear between six of its colours.
fn viridis(at: f64) -> RGBColor {
    const FIFTHS: [[u8; 3]; 6] = [
        [0x44, 0x01, 0x54],
        [0x41, 0x44, 0x87],
        [0x2A, 0x78, 0x8E],
        [0x22, 0xA8, 0x84],
        [0x7A, 0xD1, 0x51],
        [0xFD, 0xE7, 0x25],
    ];
    let position = at.clamp(0.0, 1.0) * (FIFTHS.len() - 1) as f64;
    let below = (position as usize).min(FIFTHS.len() - 2);
    let part = position - below as f64;
    let mix = |i: usize| {
        let (from, to) = (f64::from(FIFTHS[below][i]), f64::from(FIFTHS[below + 1][i]));
        (from + part * (to - from)).round() as u8
    };
    RGBColor(mix(0), mix(1), mix(2))
}

/// The colour as CSS has it.
pub fn css(RGBColor(red, green, blue): RGBColor) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}
