use std::{fmt, str::FromStr};

use fastrand::Rng;

use crate::{Message, UnknownFault};

/// Fault of a battery, its radio or its network.
///
/// Those of radio and network come first: [`Drop`](Fault::Drop) and [`Giant`](Fault::Giant) happen
/// once, the others last until the next of them. Those of the battery itself add up, and have the
/// names of the problems that a listener finds. [`Healthy`](Fault::Healthy) ends all.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// None: back to normal.
    Healthy,
    /// No line is sent any more; pings are still answered.
    Silence,
    /// Nothing is sent, answered or accepted any more, but the sockets stay open: a computer that
    /// hangs, a network that swallows everything.
    HalfOpen,
    /// Lines are damaged.
    Malformed {
        /// How many of them, 0 to 1.
        share: f64,
    },
    /// Every connection is closed without a Close frame.
    Drop,
    /// One message of a mebibyte is sent, a thousand times longer than any console line.
    Giant,
    /// It reports an error.
    Errors,
    /// Its breaker is open: no current flows.
    Breaker,
    /// It is nearly empty, and isn't charged.
    LowCharge,
    /// It is freezing, and is charged all the same.
    Frost,
    /// One of its cells has a fifth of a volt less than the others. Near full and empty that is
    /// within what cells may differ by.
    CellSpread,
}

/// Faults by their names; `malformed` has a share besides.
const NAMED: [(&str, Fault); 10] = [
    ("healthy", Fault::Healthy),
    ("silence", Fault::Silence),
    ("half-open", Fault::HalfOpen),
    ("drop", Fault::Drop),
    ("giant", Fault::Giant),
    ("errors", Fault::Errors),
    ("breaker", Fault::Breaker),
    ("low-charge", Fault::LowCharge),
    ("frost", Fault::Frost),
    ("cell-spread", Fault::CellSpread),
];

/// Bytes in the message of [`Fault::Giant`].
const GIANT_BYTES: usize = 1 << 20;

/// The share of damaged lines where none is given.
const DEFAULT_SHARE: f64 = 0.1;

impl FromStr for Fault {
    type Err = UnknownFault;

    /// Reads a name in lower case, with `-` between words: `half-open`; `malformed` may have its
    /// share behind it: `malformed:0.3`.
    fn from_str(given: &str) -> Result<Self, UnknownFault> {
        let unknown = || UnknownFault { given: given.to_owned() };
        if let Some((_, fault)) = NAMED.iter().find(|(name, _)| *name == given) {
            return Ok(*fault);
        }
        if given == "malformed" {
            return Ok(Self::Malformed { share: DEFAULT_SHARE });
        }
        let share = given.strip_prefix("malformed:").ok_or_else(unknown)?;
        let share: f64 = share.parse().map_err(|_| unknown())?;
        if !(0.0..=1.0).contains(&share) {
            return Err(unknown());
        }
        Ok(Self::Malformed { share })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Malformed { share } = self {
            return write!(f, "malformed:{share}");
        }
        let name = NAMED.iter().find(|(_, fault)| fault == self);
        f.write_str(name.map_or("unknown", |(name, _)| name))
    }
}

/// The message of [`Fault::Giant`]: a line that starts like a good one and does not end.
pub(crate) fn giant() -> Message {
    let mut line = br#"Errors: ""#.to_vec();
    line.resize(GIANT_BYTES, b'A');
    Message::Text(line)
}

/// Bad link that damages lines.
#[derive(Debug)]
pub(crate) struct Damage {
    rng: Rng,
    /// Line that leaves in one message with the next.
    held: Vec<u8>,
}

impl Damage {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: Rng::with_seed(seed ^ 0xDA_3A6E), held: vec![] }
    }

    /// What arrives of `line`, which ends in `\r\n`, if `share` of all lines are damaged. `None`
    /// where it waits for the next one.
    pub(crate) fn apply(&mut self, line: &str, share: f64) -> Option<Message> {
        let joined = !self.held.is_empty();
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend_from_slice(line.as_bytes());
        // Two lines in one message are damage enough.
        if joined || self.rng.f64() >= share {
            return Some(Message::Text(bytes));
        }
        let rng = &mut self.rng;
        let at = rng.usize(0..bytes.len());
        match rng.u8(0..8) {
            0 => bytes[at] ^= 1 << rng.u8(0..8),
            1 => bytes.truncate(at),
            2 => bytes.insert(at, *rng.choice(&[0xFF, 0xC3, 0x80, 0xF5]).unwrap_or(&0xFF)),
            3 => bytes.insert(at, 0),
            4 => bytes.insert(at, rng.u8(1..0x20)),
            5 => bytes.iter_mut().filter(|b| b.is_ascii_digit()).for_each(|b| *b = b'?'),
            6 => {
                self.held = bytes;
                return None;
            }
            _ => return Some(Message::Fragments(fragments(&bytes, rng))),
        }
        Some(Message::Text(bytes))
    }
}

/// Cuts `bytes` into two to four pieces; some may be empty, as frames may be.
fn fragments(bytes: &[u8], rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut rest = bytes;
    let mut pieces = vec![];
    for _ in 0..rng.u8(1..4) {
        let (piece, more) = rest.split_at(rng.usize(0..=rest.len()));
        pieces.push(piece.to_vec());
        rest = more;
    }
    pieces.push(rest.to_vec());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_as_they_are_printed() {
        for fault in [
            Fault::Healthy,
            Fault::Silence,
            Fault::HalfOpen,
            Fault::Malformed { share: 0.25 },
            Fault::Drop,
            Fault::Giant,
            Fault::Errors,
            Fault::Breaker,
            Fault::LowCharge,
            Fault::Frost,
            Fault::CellSpread,
        ] {
            assert_eq!(fault.to_string().parse(), Ok(fault));
        }
        assert_eq!("malformed".parse(), Ok(Fault::Malformed { share: DEFAULT_SHARE }));
        for wrong in ["", "Silence", "malformed:", "malformed:2", "malformed:NaN", "drop:1"] {
            let error = wrong.parse::<Fault>().unwrap_err();
            assert_eq!(error.given, wrong);
            let error = error.to_string();
            assert!(NAMED.iter().all(|(name, _)| error.contains(name)), "{error}");
        }
    }

    #[test]
    fn every_kind_of_damage_occurs_and_none_without_a_share() {
        let line = "C07) T: 21, V: 3311\r\n";
        let mut damage = Damage::new(1);
        for _ in 0..100 {
            assert_eq!(damage.apply(line, 0.0), Some(Message::Text(line.into())));
        }
        let mut seen = [false; 8];
        for _ in 0..1000 {
            let kind = match damage.apply(line, 1.0) {
                None => 0,
                Some(Message::Fragments(pieces)) => {
                    assert_eq!(pieces.concat(), line.as_bytes());
                    1
                }
                Some(Message::Text(bytes)) => match String::from_utf8(bytes) {
                    Err(_) => 2,
                    Ok(text) if text == line.repeat(2) => 3,
                    Ok(text) if text == "C??) T: ??, V: ????\r\n" => 4,
                    Ok(text) if text.contains('\0') => 5,
                    Ok(text) if text.len() < line.len() => 6,
                    Ok(_) => 7,
                },
                Some(other) => panic!("{other:?}"),
            };
            seen[kind] = true;
        }
        assert_eq!(seen, [true; 8]);
    }
}
