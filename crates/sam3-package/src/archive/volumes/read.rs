//! Reading an archive through all its parts, and telling which part is at fault when it cannot be read.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{LIST_HEAD, MAX_PARTS, PIECE, list_path, part_path, zstd};
use crate::{Error, Progress, Result, package::hex, regular};

/// A list of 1000 parts has 0.1 MB.
const MAX_LIST: u64 = 1 << 20;
const AGAIN: &str = "copy it again from where it was made";

/// An archive's files, in order.
#[derive(Debug)]
pub(in crate::archive) struct Volumes {
    paths: Vec<PathBuf>,
    /// SHA-256 of each, where a list stands beside them.
    digests: Option<Vec<String>>,
}

impl Volumes {
    /// Finds the files of the archive that `path` names: itself, or all parts where it names one, their list, or the
    /// name that they share.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming a part that is missing or a list that cannot be read.
    pub fn find(path: &Path) -> Result<Self> {
        let shared = match shared_name(path) {
            Some(shared) => shared,
            None if !path.exists() && part_path(path, 0).exists() => path.to_owned(),
            None => {
                return Ok(Self {
                    paths: vec![path.to_owned()],
                    digests: None,
                });
            }
        };
        let digests = read_list(&list_path(&shared))?;
        let present = (0..MAX_PARTS).rev().find(|number| part_path(&shared, *number).exists());
        let count = digests.as_ref().map_or(present.map_or(1, |last| last + 1), Vec::len);
        let paths: Vec<PathBuf> = (0..count).map(|number| part_path(&shared, number)).collect();
        if let Some(missing) = paths.iter().position(|path| !path.exists()) {
            let reason = format!("part {} of {count} is missing: {AGAIN}", missing + 1);
            return Err(Error::invalid(&paths[missing], reason));
        }
        Ok(Self { paths, digests })
    }

    /// The file that the archive begins in.
    pub fn first(&self) -> &Path {
        &self.paths[0]
    }

    /// How many files the archive is cut into.
    pub fn parts(&self) -> usize {
        self.paths.len()
    }

    /// Every file of the archive and, where there is one, the list of its parts.
    pub fn files(mut self) -> Vec<PathBuf> {
        if self.digests.is_some() {
            self.paths.extend(
                self.paths[0]
                    .file_stem()
                    .map(|shared| list_path(&self.paths[0].with_file_name(shared))),
            );
        }
        self.paths
    }

    /// Bytes of all files.
    pub fn size(&self) -> Result<u64> {
        let size = |path: &PathBuf| {
            let metadata = fs::metadata(path).map_err(|source| Error::io("open", path, source))?;
            Ok(metadata.len())
        };
        self.paths.iter().map(size).sum()
    }

    /// One stream of all files.
    pub fn open<'a>(&'a self, progress: &'a dyn Progress) -> Result<Reader<'a>> {
        let first = self.first();
        let file = regular::open(first)?;
        // A part that is a folder or has no end would be found out in the middle.
        self.paths.iter().try_for_each(|path| regular::open(path).map(drop))?;
        Ok(Reader {
            file,
            rest: &self.paths[1..],
            progress,
        })
    }

    /// The error that explains better than `error` why the archive is unreadable: the parts that are not what their list
    /// says.
    pub fn explain(&self, error: Error) -> Error {
        if !error.is_input() {
            return error;
        }
        let wrong = self.compare(hash);
        if wrong.is_empty() {
            return error;
        }
        Error::Mismatch {
            path: self.first().to_owned(),
            mismatches: wrong,
        }
    }

    /// A line for each part that is not what the list says, as far as `digest` knows what it is; none without a list.
    pub fn compare(&self, digest: impl Fn(&Path) -> Option<String>) -> Vec<String> {
        let digests = self.digests.as_deref().unwrap_or_default();
        let mut wrong = Vec::new();
        for (path, expected) in self.paths.iter().zip(digests) {
            let Some(found) = digest(path).filter(|found| found != expected) else {
                continue;
            };
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            wrong.push(match digests.iter().position(|digest| *digest == found) {
                Some(other) => format!("  {name}: holds part .{other:03}; the parts were swapped or renamed"),
                None => format!("  {name}: expected sha256 {expected}, found {found}; {AGAIN}"),
            });
        }
        wrong
    }
}

/// True for the name of a part or of a list.
pub(in crate::archive) fn is_part(path: &Path) -> bool {
    shared_name(path).is_some()
}

/// `X.tar.gz` of `X.tar.gz.000` and `X.tar.gz.sha256`; the same for Zstandard.
fn shared_name(path: &Path) -> Option<PathBuf> {
    let (shared, last) = path.file_name()?.to_str()?.rsplit_once('.')?;
    let numbered = last.len() == 3 && last.bytes().all(|digit| digit.is_ascii_digit());
    let compressed = [".gz", ".tgz", ".zst", ".tzst"].iter().any(|end| shared.ends_with(end));
    (compressed && (numbered || last == "sha256")).then(|| path.with_file_name(shared))
}

/// The digests of a list in the order of the parts, or `None` where there is no list.
fn read_list(path: &Path) -> Result<Option<Vec<String>>> {
    let Some(bytes) = regular::read(path, MAX_LIST)? else {
        return Ok(None);
    };
    // A list that `sha256sum` wrote has nothing around it.
    let text = match &bytes[..] {
        [a, b, c, d, _, _, _, _, b'\n', text @ ..] if [*a, *b, *c, *d] == zstd::SKIPPABLE => text,
        bytes => bytes.strip_prefix(&LIST_HEAD).unwrap_or(bytes),
    };
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let mut digests = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let fields = line.split_once(|c: char| c.is_ascii_whitespace());
        let named = fields.filter(|(digest, name)| {
            digest.len() == 64
                && digest.bytes().all(|digit| digit.is_ascii_hexdigit())
                && name.ends_with(&format!(".{:03}", digests.len()))
        });
        let Some((digest, _)) = named else {
            let reason = format!(
                "expected a SHA-256 and the name of part .{:03}, found {line:?}: {AGAIN}",
                digests.len()
            );
            return Err(Error::invalid(path, reason));
        };
        digests.push(digest.to_ascii_lowercase());
    }
    if digests.is_empty() || digests.len() > MAX_PARTS {
        return Err(Error::invalid(
            path,
            format!("it lists {} parts: {AGAIN}", digests.len()),
        ));
    }
    Ok(Some(digests))
}

/// None where it cannot be read.
fn hash(path: &Path) -> Option<String> {
    let (mut file, mut sha, mut buffer) = (regular::open(path).ok()?, Sha256::new(), vec![0; PIECE]);
    loop {
        let read = file.read(&mut buffer).ok()?;
        if read == 0 {
            return Some(hex(&sha.finalize()));
        }
        sha.update(&buffer[..read]);
    }
}

/// One file after the other; the progress hears of every byte.
pub(in crate::archive) struct Reader<'a> {
    file: File,
    rest: &'a [PathBuf],
    progress: &'a dyn Progress,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.file.read(buffer)?;
            self.progress.advance(read as u64);
            let Some((next, rest)) = self.rest.split_first().filter(|_| read == 0) else {
                return Ok(read);
            };
            self.file = File::open(next)?;
            self.rest = rest;
        }
    }
}
