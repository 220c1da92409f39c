//! The tar format (POSIX ustar with GNU's long names): headers of regular files out, restricted entries in.
//!
//! Reading knows regular files, folders, long names (GNU `L`, pax `path` and `size`) and nothing else: links and
//! devices have no place in a package.

use std::io::{self, Read};

/// Unit of the format.
pub(crate) const BLOCK: usize = 512;
/// Longest name taken from a GNU or pax header, and most bytes of a pax header: macOS puts a file's attributes there.
const MAX_NAME: u64 = 4096;
const MAX_PAX: u64 = 1 << 20;
/// Who may do what with a file that nobody runs.
pub(super) const FILE: u32 = 0o644;
/// Headers before one entry's own; tar writes two at most.
const MAX_EXTENSIONS: usize = 8;

/// The header of a regular file: root's, nothing of this machine.
pub(super) fn header(name: &str, mode: u32, size: u64, mtime: u64) -> Vec<u8> {
    let mut out = Vec::new();
    if name.len() > 100 {
        out.extend(block("././@LongLink", b'L', FILE, name.len() as u64 + 1, 0));
        out.extend(name.as_bytes());
        out.extend(padding(name.len() as u64));
        if name.len().is_multiple_of(BLOCK) {
            out.extend([0; BLOCK]); // the name's closing zero needs a block of its own
        }
    }
    out.extend(block(name, b'0', mode, size, mtime));
    out
}

/// Zeros that fill the last block of so many bytes.
pub(super) fn padding(size: u64) -> Vec<u8> {
    vec![0; (size.next_multiple_of(BLOCK as u64) - size) as usize]
}

fn block(name: &str, kind: u8, mode: u32, size: u64, mtime: u64) -> [u8; BLOCK] {
    let mut out = [0; BLOCK];
    let mut cut = name.len().min(100);
    while !name.is_char_boundary(cut) {
        cut -= 1;
    }
    out[..cut].copy_from_slice(&name.as_bytes()[..cut]);
    out[100..108].copy_from_slice(format!("{mode:07o}\0").as_bytes());
    out[108..116].copy_from_slice(b"0000000\0");
    out[116..124].copy_from_slice(b"0000000\0");
    number(&mut out[124..136], size);
    number(&mut out[136..148], mtime);
    out[148..156].fill(b' '); // the checksum counts itself as spaces
    out[156] = kind;
    // GNU's magic: long names and base-256 sizes are its extensions.
    out[257..265].copy_from_slice(b"ustar  \0");
    let sum: u32 = out.iter().map(|byte| u32::from(*byte)).sum();
    out[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out
}

/// Octal digits, or base 256 behind a set top bit where eleven digits do not do.
fn number(field: &mut [u8], value: u64) {
    if value < 1 << 33 {
        field.copy_from_slice(format!("{value:011o}\0").as_bytes());
    } else {
        field[0] = 0x80;
        field[4..].copy_from_slice(&value.to_be_bytes());
    }
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
}

/// One entry's head; its bytes follow in the reader.
#[derive(Debug)]
pub(crate) struct Entry {
    pub name: String,
    pub kind: Kind,
    pub size: u64,
}

/// Why reading stopped: the stream below failed, or what it gave is no archive that this program extracts.
#[derive(Debug)]
pub(crate) enum Stop {
    Io(io::Error),
    Refused(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn refuse<T>(reason: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Refused(reason.into()))
}

/// True for the first block of a tar. PyTorch's own tar, of before version 0.2, is a checkpoint and no archive.
pub(super) fn is_tar(head: &[u8]) -> bool {
    let Some(head) = head.first_chunk::<BLOCK>() else {
        return false;
    };
    const PYTORCH: [&[u8]; 4] = [b"sys_info", b"pickle", b"storages", b"tensors"];
    // Older tars have no magic, only the checksum; a block of zeros has a right checksum, too.
    let is_header = &head[257..262] == b"ustar" || (head[0] != 0 && has_checksum(head));
    is_header && !PYTORCH.contains(&until_zero(&head[..100]))
}

/// True where a header's checksum is that of its bytes.
fn has_checksum(head: &[u8; BLOCK]) -> bool {
    let counted = |(i, byte): (usize, &u8)| u32::from(if (148..156).contains(&i) { b' ' } else { *byte });
    let sum: u32 = head.iter().enumerate().map(counted).sum();
    parse_number(&head[148..156]) == Some(u64::from(sum))
}

/// Reads the next entry's head, or `None` at the end. The caller has read the previous entry and its padding.
pub(crate) fn next_entry(reader: &mut impl Read) -> Result<Option<Entry>, Stop> {
    let (mut long_name, mut long_size) = (None, None);
    for _ in 0..=MAX_EXTENSIONS {
        let mut head = [0; BLOCK];
        reader.read_exact(&mut head)?;
        if head == [0; BLOCK] {
            return Ok(None);
        }
        if !has_checksum(&head) {
            return refuse("a tar header's checksum is wrong: the archive is damaged or not a tar");
        }
        let Some(size) = parse_number(&head[124..136]) else {
            return refuse("a tar header's size is no number");
        };
        match head[156] {
            b'L' => long_name = Some(text(until_zero(&body(reader, size, MAX_NAME)?))?),
            // `X` is Solaris' letter for it.
            b'x' | b'X' => (long_name, long_size) = pax(&body(reader, size, MAX_PAX)?, long_name)?,
            b'g' => drop(body(reader, size, MAX_PAX)?),
            kind => {
                let name = match long_name {
                    Some(name) => name,
                    None => short_name(&head)?,
                };
                let kind = match kind {
                    b'0' | 0 | b'7' if name.ends_with('/') => Kind::Folder,
                    b'0' | 0 | b'7' => Kind::File,
                    b'5' => Kind::Folder,
                    b'1' => {
                        return refuse(format!("entry {name:?} is a hard link; a package has none"));
                    }
                    b'2' => {
                        return refuse(format!("entry {name:?} is a symbolic link; a package has none"));
                    }
                    b'3' | b'4' => {
                        return refuse(format!("entry {name:?} is a device; a package has none"));
                    }
                    b'6' => return refuse(format!("entry {name:?} is a pipe; a package has none")),
                    other => {
                        return refuse(format!("entry {name:?} is of kind {:?}, not a file", char::from(other)));
                    }
                };
                return Ok(Some(Entry {
                    name,
                    kind,
                    size: long_size.unwrap_or(size),
                }));
            }
        }
    }
    refuse(format!(
        "more than {MAX_EXTENSIONS} tar header extensions follow each other"
    ))
}

fn short_name(head: &[u8; BLOCK]) -> Result<String, Stop> {
    let name = text(until_zero(&head[..100]))?;
    // Only POSIX's ustar has a prefix there; GNU keeps times in those bytes.
    let prefix = if &head[257..263] == b"ustar\0" {
        text(until_zero(&head[345..500]))?
    } else {
        String::new()
    };
    Ok(if prefix.is_empty() {
        name
    } else {
        format!("{prefix}/{name}")
    })
}

/// The bytes of a header's own entry and its padding.
fn body(reader: &mut impl Read, size: u64, limit: u64) -> Result<Vec<u8>, Stop> {
    if size > limit {
        return refuse(format!(
            "a tar header extension has {size} bytes; at most {limit} are read"
        ));
    }
    let mut bytes = vec![0; size.next_multiple_of(BLOCK as u64) as usize];
    reader.read_exact(&mut bytes)?;
    bytes.truncate(size as usize);
    Ok(bytes)
}

/// `path` and `size` of a pax header: records "LENGTH KEY=VALUE\n".
fn pax(mut records: &[u8], mut name: Option<String>) -> Result<(Option<String>, Option<u64>), Stop> {
    let mut size = None;
    while !records.is_empty() {
        let record = || -> Option<(&[u8], &[u8], &[u8])> {
            let space = records.iter().position(|byte| *byte == b' ')?;
            let length: usize = std::str::from_utf8(&records[..space]).ok()?.parse().ok()?;
            let record = records.get(space + 1..length)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|byte| *byte == b'=')?;
            Some((&record[..equals], &record[equals + 1..], &records[length..]))
        };
        let Some((key, value, rest)) = record() else {
            return refuse("a pax header is malformed");
        };
        match key {
            b"path" => name = Some(text(value)?),
            b"size" => match std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok()) {
                Some(value) => size = Some(value),
                None => return refuse("a pax header's size is no number"),
            },
            key if key.starts_with(b"GNU.sparse") => {
                return refuse("an entry is sparse; write the archive without --sparse");
            }
            _ => {}
        }
        records = rest;
    }
    Ok((name, size))
}

fn until_zero(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|byte| *byte == 0).unwrap_or(field.len())]
}

fn text(bytes: &[u8]) -> Result<String, Stop> {
    match std::str::from_utf8(bytes) {
        Ok(name) if !name.contains('\0') => Ok(name.to_owned()),
        _ => refuse(format!(
            "entry {:?} has a name that is not UTF-8",
            String::from_utf8_lossy(bytes)
        )),
    }
}

fn parse_number(field: &[u8]) -> Option<u64> {
    if field[0] == 0x80 {
        let shifted = |number: u64, byte: &u8| number.checked_mul(256).map(|number| number | u64::from(*byte));
        return field[1..].iter().try_fold(0, shifted);
    }
    let digits = std::str::from_utf8(until_zero(field)).ok()?.trim();
    if digits.is_empty() {
        Some(0)
    } else {
        u64::from_str_radix(digits, 8).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by fuzzing: the checksum's field is shorter than a base-256 number of eight bytes.
    #[test]
    fn numbers_of_any_field_are_read() {
        assert_eq!(parse_number(&[0x80, 0, 0, 0, 0, 0, 1, 2]), Some(258));
        assert_eq!(
            parse_number(&[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            Some(u64::MAX)
        );
        assert_eq!(parse_number(&[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(parse_number(b"0000644\0"), Some(0o644));
        assert_eq!(parse_number(b"\0\0\0\0\0\0\0\0"), Some(0));
    }

    #[test]
    fn headers_come_back() {
        let long = "ä".repeat(256);
        for (name, size) in [
            ("x.pth", 0),
            ("x.pth", 8 << 30),
            ("x.pth", u64::MAX),
            (&"n".repeat(101), 5),
            (&long, 7),
        ] {
            let head = header(name, FILE, size, 1_700_000_000);
            assert_eq!(head.len() % BLOCK, 0);
            let mut reader = &head[..];
            let entry = next_entry(&mut reader).unwrap().unwrap();
            assert_eq!((entry.name.as_str(), entry.size, entry.kind), (name, size, Kind::File));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn everything_but_files_and_folders_is_refused_by_name() {
        for (kind, word) in [
            (b'1', "hard link"),
            (b'2', "symbolic link"),
            (b'3', "device"),
            (b'6', "pipe"),
            (b'S', "kind"),
        ] {
            let head = block("evil", kind, FILE, 0, 0);
            match next_entry(&mut &head[..]) {
                Err(Stop::Refused(reason)) => {
                    assert!(reason.contains("evil") && reason.contains(word), "{reason}")
                }
                other => panic!("{other:?}"),
            }
        }
        let huge = block("name", b'L', FILE, 1 << 40, 0);
        assert!(matches!(next_entry(&mut &huge[..]), Err(Stop::Refused(_))));
        let endless = block("", b'g', FILE, 0, 0).repeat(100);
        match next_entry(&mut &endless[..]) {
            Err(Stop::Refused(reason)) => assert!(reason.contains("more than 8"), "{reason}"),
            other => panic!("{other:?}"),
        }
        let mut damaged = block("x", b'0', FILE, 0, 0);
        damaged[0] ^= 1;
        assert!(matches!(next_entry(&mut &damaged[..]), Err(Stop::Refused(_))));
    }

    /// What lies where POSIX has the rest of a long name is something else to GNU.
    #[test]
    fn only_ustar_has_a_prefix() {
        for (magic, expected) in [(b"ustar\x0000", "folder/x.pth"), (b"ustar  \0", "x.pth")] {
            let mut head = block("x.pth", b'0', FILE, 0, 0);
            head[257..265].copy_from_slice(magic);
            head[345..351].copy_from_slice(b"folder");
            head[148..156].fill(b' ');
            let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
            head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            assert_eq!(next_entry(&mut &head[..]).unwrap().unwrap().name, expected);
        }
    }

    #[test]
    fn pax_paths_and_sizes_are_read() {
        let records = b"16 path=a/b.pth\n14 size=12345\n11 mtime=1\n";
        let (name, size) = pax(records, None).unwrap();
        assert_eq!((name.as_deref(), size), (Some("a/b.pth"), Some(12345)));
    }

    /// "15 path=a/b.pth\n" has 16 bytes; the others lack a length, a line end, an equals sign or a number.
    #[test]
    fn malformed_pax_headers_are_refused() {
        for records in [
            &b"15 path=a/b.pth\n13 size=12345\n"[..],
            b"path=a\n",
            b"9 path=a.",
            b"7 path\n",
            b"99 path=a\n",
            b"0 path=a\n",
            b"10 size=1x\n",
            b"22 GNU.sparse.major=1\n",
        ] {
            let Err(Stop::Refused(reason)) = pax(records, None) else {
                panic!("{:?} was taken", String::from_utf8_lossy(records));
            };
            assert!(
                ["malformed", "no number", "sparse"]
                    .iter()
                    .any(|word| reason.contains(word)),
                "{reason}"
            );
        }
    }

    #[test]
    fn a_tar_is_known_by_its_first_block() {
        let head = block("x_metadata.json", b'0', FILE, 5, 0);
        assert!(is_tar(&head) && is_tar(&[&head[..], b"more"].concat()));
        assert!(!is_tar(&head[..511]) && !is_tar(&[0; BLOCK]) && !is_tar(&[b'x'; BLOCK]));
        assert!(!is_tar(&block("sys_info", b'0', FILE, 5, 0)));
        let mut old = head;
        old[257..265].fill(0);
        let sum: u32 = old
            .iter()
            .enumerate()
            .map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) })
            .sum();
        old[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert!(is_tar(&old));
        old[0] ^= 1;
        assert!(!is_tar(&old));
    }
}
