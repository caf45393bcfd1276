//! The form of a page and of a row, as <https://sqlite.org/fileformat2.html> has it.
//!
//! Nothing that is read is trusted: any length and any number may be wrong.

use rusqlite::types::ValueRef;

use super::PAGE;

pub(super) type Page = [u8; PAGE];

/// A leaf of a table begins with this byte.
const TABLE_LEAF: u8 = 0x0D;

/// The longest that a row can be: four bytes for each character of a message, and its columns.
const MOST_BYTES: usize = 16 << 10;

/// A row of some table.
pub(super) struct StoredRow {
    pub(super) rowid: i64,
    payload: Vec<u8>,
}

/// How many rows a page says it has, if it is a leaf of a table.
pub(super) fn cells(page: &Page) -> u16 {
    if page[0] == TABLE_LEAF { u16::from_be_bytes([page[3], page[4]]) } else { 0 }
}

impl StoredRow {
    /// Reads a row of a page, and the pages on which it continues.
    pub(super) fn read(
        page: &Page,
        cell: u16,
        overflow_page: impl Fn(u32) -> Option<Page>,
    ) -> Option<Self> {
        let pointer = page.get(8 + 2 * usize::from(cell)..)?.first_chunk()?;
        let mut rest = page.get(usize::from(u16::from_be_bytes(*pointer))..)?;
        let bytes = usize::try_from(varint(&mut rest)?).ok().filter(|&n| n <= MOST_BYTES)?;
        let rowid = varint(&mut rest)?;
        let local = bytes_on_leaf(bytes);
        let mut payload = rest.get(..local)?.to_vec();
        let mut next = be_u32(&rest[local..]);
        while payload.len() < bytes {
            let page = overflow_page(next?)?;
            let missing = (bytes - payload.len()).min(PAGE - 4);
            payload.extend_from_slice(&page[4..4 + missing]);
            next = be_u32(&page);
        }
        Some(Self { rowid, payload })
    }

    /// `None` if the lengths of the values don't add up: then none of them is where it seems.
    pub(super) fn values(&self) -> Option<Vec<ValueRef<'_>>> {
        let mut rest = &*self.payload;
        let header = usize::try_from(varint(&mut rest)?).ok()?;
        let mut body = self.payload.get(header..)?;
        let mut types = self.payload.get(self.payload.len() - rest.len()..header)?;
        let mut values = Vec::with_capacity(types.len());
        while !types.is_empty() {
            values.push(one_value(varint(&mut types)?, &mut body)?);
        }
        body.is_empty().then_some(values)
    }
}

fn one_value<'a>(serial_type: i64, body: &mut &'a [u8]) -> Option<ValueRef<'a>> {
    let mut take = |bytes: usize| body.split_off(..bytes);
    Some(match serial_type {
        0 => ValueRef::Null,
        1..=4 => ValueRef::Integer(integer(take(serial_type as usize)?)),
        5 => ValueRef::Integer(integer(take(6)?)),
        6 => ValueRef::Integer(integer(take(8)?)),
        7 => ValueRef::Real(f64::from_be_bytes(take(8)?.try_into().ok()?)),
        8 => ValueRef::Integer(0),
        9 => ValueRef::Integer(1),
        12.. if serial_type % 2 == 0 => {
            ValueRef::Blob(take(usize::try_from((serial_type - 12) / 2).ok()?)?)
        }
        13.. => ValueRef::Text(take(usize::try_from((serial_type - 13) / 2).ok()?)?),
        _ => return None,
    })
}

/// How many bytes of a row are on the leaf; the others are on pages of their own.
fn bytes_on_leaf(bytes: usize) -> usize {
    const MOST: usize = PAGE - 35;
    const LEAST: usize = (PAGE - 12) * 32 / 255 - 23;
    if bytes <= MOST {
        return bytes;
    }
    let filling = LEAST + (bytes - LEAST) % (PAGE - 4);
    if filling <= MOST { filling } else { LEAST }
}

pub(super) fn be_u32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.first_chunk()?))
}

fn integer(bytes: &[u8]) -> i64 {
    let sign = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { -1 } else { 0 };
    bytes.iter().fold(sign, |number, &byte| number << 8 | i64::from(byte))
}

/// Seven bits in each byte but the ninth, which has eight; the highest bit says that more follow.
fn varint(rest: &mut &[u8]) -> Option<i64> {
    let mut number = 0;
    for i in 0..9 {
        let byte = *rest.split_off_first()?;
        if i == 8 {
            return Some(number << 8 | i64::from(byte));
        }
        number = number << 7 | i64::from(byte & 0x7F);
        if byte < 0x80 {
            break;
        }
    }
    Some(number)
}
