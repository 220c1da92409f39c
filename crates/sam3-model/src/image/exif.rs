//! The orientation in an EXIF block: a tag of a TIFF directory, of whatever type it was written.

/// Tag 0x0112.
const ORIENTATION: u16 = 0x0112;

/// The orientation that an EXIF block states, 1 to 8, or 0 for a number that is none; `None` where it states no number.
///
/// Pillow's rules: any number will do where the standard says SHORT, because phones and editors write LONG and others;
/// of several values the first counts, and of several tags the first that can be read. A BYTE counts here and not
/// there.
pub fn orientation(block: &[u8]) -> Option<u8> {
    let mut tiff = block;
    // JPEG has this before the block, PNG and WebP should not and sometimes do.
    while let Some(rest) = tiff.strip_prefix(b"Exif\0\0") {
        tiff = rest;
    }
    let value = number(tiff, ORIENTATION)?;
    let whole = value as u8;
    let is_orientation = (1..=8).contains(&whole) && f64::from(whole) == value;
    Some(if is_orientation { whole } else { 0 })
}

/// The first value of a tag in the first directory of a TIFF, where it is a number that can be read.
pub fn number(tiff: &[u8], tag: u16) -> Option<f64> {
    let reader = Reader::new(tiff)?;
    let directory = reader.u32(4)? as usize;
    let entries = usize::from(reader.u16(directory)?);
    let found = (0..entries).map_while(|i| {
        let entry = directory + 2 + 12 * i;
        Some((entry, reader.u16(entry)?))
    });
    let mut entries = found.filter(|&(_, found)| found == tag);
    entries.find_map(|(entry, _)| reader.value(entry))
}

/// Numbers of a TIFF in its byte order; none lies outside of it.
struct Reader<'a> {
    bytes: &'a [u8],
    little: bool,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let little = match bytes.get(..4)? {
            b"II*\0" | b"II\0*" => true,
            b"MM\0*" | b"MM*\0" => false,
            _ => return None,
        };
        Some(Self { bytes, little })
    }

    fn number<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let mut number: [u8; N] = self.bytes.get(at..at.checked_add(N)?)?.try_into().ok()?;
        if !self.little {
            number.reverse();
        }
        Some(number)
    }

    fn u16(&self, at: usize) -> Option<u16> {
        self.number(at).map(u16::from_le_bytes)
    }

    fn u32(&self, at: usize) -> Option<u32> {
        self.number(at).map(u32::from_le_bytes)
    }

    fn i32(&self, at: usize) -> Option<i32> {
        self.number(at).map(i32::from_le_bytes)
    }

    /// The first value of a directory's entry as a number.
    fn value(&self, entry: usize) -> Option<f64> {
        let kind = self.u16(entry + 2)?;
        let size = match kind {
            1 | 6 => 1,
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 | 16 => 8,
            _ => return None, // text, undefined bytes, and what TIFF does not know
        };
        let count = self.u32(entry + 4)? as usize;
        let bytes = size * count;
        let at = match bytes {
            0 => return None,
            1..=4 => entry + 8,
            _ => self.u32(entry + 8)? as usize,
        };
        // A tag whose values do not all lie in the block is damaged.
        self.bytes.get(at..at.checked_add(bytes)?)?;
        let ratio = |over: f64, under: f64| (under != 0.0).then_some(over / under);
        match kind {
            1 => self.bytes.get(at).map(|&byte| f64::from(byte)),
            6 => self.bytes.get(at).map(|&byte| f64::from(byte as i8)),
            3 => self.u16(at).map(f64::from),
            8 => self.u16(at).map(|short| f64::from(short as i16)),
            4 | 13 => self.u32(at).map(f64::from),
            9 => self.i32(at).map(f64::from),
            5 => ratio(self.u32(at)?.into(), self.u32(at + 4)?.into()),
            10 => ratio(self.i32(at)?.into(), self.i32(at + 4)?.into()),
            11 => self.number(at).map(|bits| f32::from_le_bytes(bits).into()),
            12 => self.number(at).map(f64::from_le_bytes),
            _ => self.number(at).map(|bits| u64::from_le_bytes(bits) as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block with one entry; a value of more than four bytes lies behind the directory.
    fn block(little: bool, tag: u16, kind: u16, count: u32, value: &[u8]) -> Vec<u8> {
        let u16 = |n: u16| if little { n.to_le_bytes() } else { n.to_be_bytes() };
        let u32 = |n: u32| if little { n.to_le_bytes() } else { n.to_be_bytes() };
        let mut bytes = if little { b"II".to_vec() } else { b"MM".to_vec() };
        bytes.extend([u16(42), u16(0), u16(0), u16(1), u16(tag), u16(kind)].concat());
        bytes[4..8].copy_from_slice(&u32(8));
        bytes.extend(u32(count));
        if value.len() > 4 {
            bytes.extend([u32(26), u32(0)].concat());
            bytes.extend(value);
        } else {
            bytes.extend(value);
            bytes.resize(22, 0);
            bytes.extend(u32(0));
        }
        bytes
    }

    fn in_order(little: bool, value: &[u8]) -> Vec<u8> {
        let mut value = value.to_vec();
        if !little {
            value.reverse();
        }
        value
    }

    /// Six as each type that holds numbers, one value.
    fn sixes(little: bool) -> Vec<(u16, Vec<u8>)> {
        let order = |value: &[u8]| in_order(little, value);
        vec![
            (1, vec![6]),
            (3, order(&6u16.to_le_bytes())),
            (4, order(&6u32.to_le_bytes())),
            (5, [order(&12u32.to_le_bytes()), order(&2u32.to_le_bytes())].concat()),
            (6, vec![6]),
            (8, order(&6i16.to_le_bytes())),
            (9, order(&6i32.to_le_bytes())),
            (10, [order(&6i32.to_le_bytes()), order(&1i32.to_le_bytes())].concat()),
            (11, order(&6f32.to_le_bytes())),
            (12, order(&6f64.to_le_bytes())),
            (13, order(&6u32.to_le_bytes())),
            (16, order(&6u64.to_le_bytes())),
        ]
    }

    #[test]
    fn the_orientation_may_be_of_any_type_that_holds_a_number() {
        for little in [true, false] {
            for (kind, value) in sixes(little) {
                let one = block(little, 0x112, kind, 1, &value);
                assert_eq!(orientation(&one), Some(6), "type {kind}, little-endian: {little}");
                for before in [&b"Exif\0\0"[..], b"Exif\0\0Exif\0\0"] {
                    assert_eq!(orientation(&[before, &one].concat()), Some(6));
                }
                let two = block(little, 0x112, kind, 2, &[value.clone(), value].concat());
                assert_eq!(
                    orientation(&two),
                    Some(6),
                    "two of type {kind}, little-endian: {little}"
                );
            }
            for value in 1..=8u8 {
                assert_eq!(
                    orientation(&block(little, 0x112, 3, 1, &in_order(little, &[value, 0]))),
                    Some(value)
                );
            }
        }
    }

    #[test]
    fn what_is_damaged_or_no_orientation_is_ignored() {
        let whole = block(true, 0x112, 4, 1, &[6, 0, 0, 0]);
        assert_eq!(orientation(&whole), Some(6));
        for cut in 0..22 {
            assert_eq!(orientation(&whole[..cut]), None, "cut at {cut}");
        }
        for (kind, value) in [
            (4, [0, 0, 0, 0]),            // below 1
            (4, [9, 0, 0, 0]),            // above 8
            (9, [0xff; 4]),               // below 0
            (11, 6.5f32.to_le_bytes()),   // between two
            (11, f32::NAN.to_le_bytes()), // no number
        ] {
            assert_eq!(
                orientation(&block(true, 0x112, kind, 1, &value)),
                Some(0),
                "type {kind}: {value:?}"
            );
        }
        for (kind, count, value) in [
            (3, 0, [6, 0, 0, 0]),        // no value
            (2, 1, [b'6', 0, 0, 0]),     // text
            (7, 1, [6, 0, 0, 0]),        // bytes without a meaning
            (99, 1, [6, 0, 0, 0]),       // no such type
            (3, 3, [26, 0, 0, 0]),       // values that lie outside
            (3, u32::MAX, [6, 0, 0, 0]), // more than there can be
        ] {
            let block = block(true, 0x112, kind, count, &value);
            assert_eq!(orientation(&block), None, "{count} of type {kind}: {value:?}");
        }
        assert_eq!(orientation(&block(true, 0x113, 3, 1, &[6, 0])), None);
        assert_eq!(orientation(b"no block at all"), None);
        let mut far = whole.clone();
        far[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(orientation(&far), None);
    }
    #[test]
    fn of_several_tags_the_first_that_can_be_read_counts() {
        let entry = |kind: u16, value: u8| {
            let mut entry = [&0x112u16.to_le_bytes()[..], &kind.to_le_bytes(), &1u32.to_le_bytes()].concat();
            entry.extend([value, 0, 0, 0]);
            entry
        };
        for (entries, expected) in [
            ([(3, 6), (3, 3)], 6),
            ([(3, 6), (99, 3)], 6),
            ([(99, 3), (3, 6)], 6),
            ([(7, 3), (4, 8)], 8),
        ] {
            let directory: Vec<u8> = entries.iter().flat_map(|&(kind, value)| entry(kind, value)).collect();
            let block = [&b"II*\0\x08\0\0\0\x02\0"[..], &directory, &[0; 4]].concat();
            assert_eq!(orientation(&block), Some(expected), "{entries:?}");
        }
    }
}
