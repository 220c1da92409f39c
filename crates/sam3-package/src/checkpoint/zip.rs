//! Just enough zip to find the stored entries of a PyTorch file: names and byte ranges, nothing inflated.
//!
//! `torch.save` writes every entry STORED, with sizes only in the central directory (the local headers hold zeros and
//! a data descriptor follows), and a zip64 end record. Anything else is refused rather than guessed at: a compressed
//! or encrypted entry, two entries of one name, entries that overlap, a directory that is not where it says.

use std::{collections::HashSet, ops::Range};

/// More entries than any checkpoint has; bounds what a hostile directory can make us hold.
const MAX_ENTRIES: u64 = 65_536;
/// The archive is named for its file, so a name is little longer than a file's may be.
const MAX_NAME: usize = 512;

const END: &[u8] = b"PK\x05\x06";
const END_LEN: usize = 22;
const END64: &[u8] = b"PK\x06\x06";
const END64_LOCATOR: &[u8] = b"PK\x06\x07";
const CENTRAL: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";

/// One stored entry.
pub(super) struct Entry<'a> {
    pub name: &'a str,
    /// Where its bytes lie in the file.
    pub data: Range<usize>,
}

/// All entries in directory order, checked against the file and each other.
pub(super) fn entries(file: &[u8]) -> Result<Vec<Entry<'_>>, String> {
    let directory = find_directory(file)?;
    let mut at = directory.start;
    let mut entries = Vec::with_capacity(directory.count.min(4096) as usize);
    let mut extents = Vec::new();
    let mut names = HashSet::new();
    for index in 0..directory.count {
        let (raw, next) = central_entry(file, at, directory.end).ok_or_else(|| {
            format!(
                "zip directory entry {index} of {} is cut off or malformed",
                directory.count
            )
        })?;
        at = next;
        let name =
            std::str::from_utf8(raw.name).map_err(|_| format!("zip entry {index} has a name that is not UTF-8"))?;
        if name.len() > MAX_NAME {
            return Err(format!("zip entry {index} has a name of {} bytes", name.len()));
        }
        if raw.flags & 1 != 0 {
            return Err(format!("zip entry {name:?} is encrypted"));
        }
        if raw.method != 0 {
            return Err(format!(
                "zip entry {name:?} is compressed (method {}); a PyTorch file stores its entries uncompressed: \
                 save it again with torch.save",
                raw.method
            ));
        }
        if raw.size != raw.stored {
            return Err(format!(
                "zip entry {name:?} is stored in {} bytes but claims {}",
                raw.stored, raw.size
            ));
        }
        let (header, data) = local_range(file, &raw, directory.start).map_err(|e| format!("zip entry {name:?} {e}"))?;
        if !names.insert(name) {
            return Err(format!("two zip entries are named {name:?}"));
        }
        extents.push((header, data.end, entries.len()));
        entries.push(Entry { name, data });
    }
    if at != directory.end {
        return Err(format!(
            "the zip directory holds more than the {} entries it counts",
            directory.count
        ));
    }
    extents.sort_unstable();
    for pair in extents.windows(2) {
        if pair[1].0 < pair[0].1 {
            return Err(format!(
                "zip entries {:?} and {:?} overlap",
                entries[pair[0].2].name, entries[pair[1].2].name
            ));
        }
    }
    Ok(entries)
}

/// The names in the directory, unchecked: for telling what kind of zip it is. Empty where there is no directory.
pub(super) fn names(file: &[u8]) -> Vec<&str> {
    let Ok(directory) = find_directory(file) else {
        return Vec::new();
    };
    let mut at = directory.start;
    let mut names = Vec::new();
    for _ in 0..directory.count {
        let Some((raw, next)) = central_entry(file, at, directory.end) else {
            break;
        };
        names.extend(std::str::from_utf8(raw.name));
        at = next;
    }
    names
}

/// Bytes after the end record: a comment, or what was added to the file.
pub(super) fn bytes_after(file: &[u8]) -> usize {
    end_record(file).map_or(0, |end| file.len() - end - END_LEN)
}

/// Where the last end record begins: it is followed by a comment of at most 65535 bytes.
fn end_record(file: &[u8]) -> Option<usize> {
    let lowest = file.len().saturating_sub(END_LEN + 65_535);
    let mut places = (lowest..file.len().saturating_sub(END_LEN - 1)).rev();
    places.find(|&i| file[i..].starts_with(END))
}

struct Directory {
    start: usize,
    end: usize,
    count: u64,
}

fn find_directory(file: &[u8]) -> Result<Directory, String> {
    let end = end_record(file).ok_or("the zip directory at its end is missing: the file is cut off")?;
    let mut disks = (
        u32::from(u16_at(file, end + 4).unwrap_or(0)),
        u32::from(u16_at(file, end + 6).unwrap_or(0)),
    );
    let mut count = u64::from(u16_at(file, end + 10).unwrap_or(0));
    let mut size = u64::from(u32_at(file, end + 12).unwrap_or(0));
    let mut start = u64::from(u32_at(file, end + 16).unwrap_or(0));
    let mut limit = end;
    if end >= 20 && file[end - 20..].starts_with(END64_LOCATOR) {
        let broken = "its zip64 end record is not where the locator says";
        let at = u64_at(file, end - 12)
            .and_then(|v| usize::try_from(v).ok())
            .ok_or(broken)?;
        if at.checked_add(56).is_none_or(|e| e > end - 20) || !file[at..].starts_with(END64) {
            return Err(broken.into());
        }
        disks = (
            u32_at(file, at + 16).ok_or(broken)?,
            u32_at(file, at + 20).ok_or(broken)?,
        );
        count = u64_at(file, at + 32).ok_or(broken)?;
        size = u64_at(file, at + 40).ok_or(broken)?;
        start = u64_at(file, at + 48).ok_or(broken)?;
        limit = at;
    }
    if disks != (0, 0) {
        return Err("it is one part of a multi-part zip: join the parts first".into());
    }
    if count > MAX_ENTRIES {
        return Err(format!(
            "its zip directory counts {count} entries; at most {MAX_ENTRIES} are read"
        ));
    }
    let found = file.len();
    match start.checked_add(size) {
        Some(stop) if stop == limit as u64 => Ok(Directory {
            start: start as usize,
            end: limit,
            count,
        }),
        stop => Err(format!(
            "its zip directory should end at byte {} but ends at byte {limit} of {found}: bytes were lost or added in copying",
            stop.map_or("beyond 2^64".into(), |s| s.to_string()),
        )),
    }
}

struct Raw<'a> {
    name: &'a [u8],
    flags: u16,
    method: u16,
    stored: u64,
    size: u64,
    header: u64,
}

fn central_entry(file: &[u8], at: usize, end: usize) -> Option<(Raw<'_>, usize)> {
    let fixed = file.get(at..end)?.get(..46)?;
    if !fixed.starts_with(CENTRAL) {
        return None;
    }
    let name_len = usize::from(u16_at(fixed, 28)?);
    let extra_len = usize::from(u16_at(fixed, 30)?);
    let comment_len = usize::from(u16_at(fixed, 32)?);
    let name_at = at + 46;
    let extra_at = name_at + name_len;
    let next = extra_at + extra_len + comment_len;
    if next > end {
        return None;
    }
    let mut raw = Raw {
        name: &file[name_at..extra_at],
        flags: u16_at(fixed, 8)?,
        method: u16_at(fixed, 10)?,
        stored: u64::from(u32_at(fixed, 20)?),
        size: u64::from(u32_at(fixed, 24)?),
        header: u64::from(u32_at(fixed, 42)?),
    };
    zip64(&file[extra_at..extra_at + extra_len], &mut raw)?;
    Some((raw, next))
}

/// Fills in the fields that did not fit 32 bits, in the order the format gives them.
fn zip64(mut extra: &[u8], raw: &mut Raw<'_>) -> Option<()> {
    const FULL: u64 = u32::MAX as u64;
    while extra.len() >= 4 {
        let (tag, len) = (u16_at(extra, 0)?, usize::from(u16_at(extra, 2)?));
        let mut body = extra.get(4..4 + len)?;
        extra = &extra[4 + len..];
        if tag != 1 {
            continue;
        }
        for field in [&mut raw.size, &mut raw.stored, &mut raw.header] {
            if *field == FULL {
                *field = u64_at(body, 0)?;
                body = &body[8..];
            }
        }
        return Some(());
    }
    (raw.size != FULL && raw.stored != FULL && raw.header != FULL).then_some(())
}

/// Where the local header begins and the entry's bytes lie; both before the directory.
fn local_range(file: &[u8], raw: &Raw<'_>, limit: usize) -> Result<(usize, Range<usize>), String> {
    let header = usize::try_from(raw.header)
        .ok()
        .filter(|&h| h.checked_add(30).is_some_and(|e| e <= limit));
    let header =
        header.ok_or_else(|| format!("should begin at byte {} but the data ends at byte {limit}", raw.header))?;
    let local = &file[header..limit];
    if !local.starts_with(LOCAL) {
        return Err(format!("has no local header at byte {header}"));
    }
    let name_len = usize::from(u16_at(local, 26).unwrap_or(0));
    let extra_len = usize::from(u16_at(local, 28).unwrap_or(0));
    if local.get(30..30 + name_len) != Some(raw.name) {
        return Err(format!("has another name in its local header at byte {header}"));
    }
    let start = header + 30 + name_len + extra_len;
    match usize::try_from(raw.size).ok().and_then(|n| start.checked_add(n)) {
        Some(end) if end <= limit => Ok((header, start..end)),
        _ => Err(format!(
            "should hold {} bytes from byte {start}, but only {} are there",
            raw.size,
            limit.saturating_sub(start)
        )),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}
