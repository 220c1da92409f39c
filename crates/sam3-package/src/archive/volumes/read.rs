//! Reading an archive through all its parts, and telling which part is at fault when it cannot be read.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{super::layers::Form, LIST_HEAD, MAX_PARTS, list_path, part_path, zstd};
use crate::{Error, Progress, Result, digest, regular, staged::folder_of};

/// A list of 1000 parts has 0.1 MB.
const MAX_LIST: u64 = 1 << 20;
const AGAIN: &str = "copy it again from where it was made";

/// An archive's files, in order.
#[derive(Debug)]
pub(crate) struct Volumes {
    paths: Vec<PathBuf>,
    /// The number of the first, where they are parts: 0 in ours, 1 in 7-Zip's.
    first: usize,
    list: Option<List>,
}

/// The digests of the parts, in their order.
#[derive(Debug)]
struct List {
    path: PathBuf,
    first: usize,
    digests: Vec<String>,
}

impl Volumes {
    /// Finds the files of the archive that `path` names: itself, or all parts where it names one, their list, or the
    /// name that they share.
    ///
    /// # Errors
    /// [`Error::MissingPart`]; [`Error::Invalid`] naming a list that cannot be read.
    pub fn find(path: &Path) -> Result<Self> {
        let named = shared_name(path);
        let shared = named.clone().unwrap_or_else(|| path.to_owned());
        let found = if named.is_some() || !path.exists() {
            parts_of(&shared)
        } else {
            BTreeMap::new()
        };
        let first = if path == part_path(&shared, 0) {
            0
        } else {
            first_number(&found)
        };
        if named.is_none() && !found.contains_key(&first) {
            return Ok(Self {
                paths: vec![path.to_owned()],
                first: 0,
                list: None,
            });
        }
        let list = List::read(&regular::existing(&list_path(&shared)))?;
        let first = list.as_ref().map_or(first, |list| list.first);
        let last = found.last_key_value().map_or(first, |(last, _)| *last);
        let count = list.as_ref().map_or(last + 1 - first, |list| list.digests.len());
        let path_of = |number| {
            found
                .get(&number)
                .cloned()
                .unwrap_or_else(|| part_path(&shared, number))
        };
        let paths: Vec<PathBuf> = (first..first + count).map(path_of).collect();
        if let Some(missing) = paths.iter().position(|path| !path.exists()) {
            return Err(Error::MissingPart {
                path: paths[missing].clone(),
                number: missing + 1,
                count,
            });
        }
        Ok(Self { paths, first, list })
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
        self.paths.extend(self.list.map(|list| list.path));
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
        // Otherwise a part that is a folder or has no end would be noticed only in the middle.
        self.paths.iter().try_for_each(|path| regular::open(path).map(drop))?;
        Ok(Reader {
            file,
            rest: &self.paths[1..],
            progress,
        })
    }

    /// The error that explains better than `error` why the archive is unreadable: the parts that are not what their
    /// list says.
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
        let digests = self.list.as_ref().map_or(&[][..], |list| &list.digests);
        let mut wrong = Vec::new();
        for (path, expected) in self.paths.iter().zip(digests) {
            let Some(found) = digest(path).filter(|found| found != expected) else {
                continue;
            };
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            wrong.push(match digests.iter().position(|digest| *digest == found) {
                Some(other) => {
                    let other = self.first + other;
                    format!("  {name}: holds part .{other:03}; the parts were swapped or renamed")
                }
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

/// `X.tar.gz` of `X.tar.gz.000` and `X.tar.gz.sha256`; the same for the other archives, and in upper case.
fn shared_name(path: &Path) -> Option<PathBuf> {
    let (shared, last) = path.file_name()?.to_str()?.rsplit_once('.')?;
    let is_part = number_of(last).is_some() || last.eq_ignore_ascii_case("sha256");
    (is_part && ends_as_archive(shared)).then(|| path.with_file_name(shared))
}

/// True for the name of an archive or of a part of one.
pub(crate) fn is_archive_name(path: &Path) -> bool {
    let is_whole = path
        .file_name()
        .is_some_and(|name| ends_as_archive(&name.to_string_lossy()));
    is_whole || is_part(path)
}

fn ends_as_archive(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [".gz", ".tgz", ".zst", ".tzst", ".tar"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// The number that a part's name ends in.
fn number_of(end: &str) -> Option<usize> {
    let is_number = end.len() == 3 && end.bytes().all(|digit| digit.is_ascii_digit());
    end.parse().ok().filter(|_| is_number)
}

/// The parts of an archive that exist, by their numbers. FAT may have changed the case of some names; where a number is
/// there in both, they are two archives.
fn parts_of(shared: &Path) -> BTreeMap<usize, PathBuf> {
    let (mut exact, mut others) = (BTreeMap::new(), BTreeMap::new());
    let entries = fs::read_dir(folder_of(shared)).into_iter().flatten().flatten();
    let own = shared.file_name().unwrap_or_default();
    for name in entries.map(|entry| entry.file_name()) {
        let Some((stem, end)) = name.to_str().and_then(|name| name.rsplit_once('.')) else {
            continue;
        };
        if let Some(number) = number_of(end).filter(|_| own.eq_ignore_ascii_case(stem)) {
            let parts = if own == stem { &mut exact } else { &mut others };
            parts.insert(number, shared.with_file_name(&name));
        }
    }
    if exact.keys().all(|number| !others.contains_key(number)) {
        exact.append(&mut others);
    }
    exact
}

/// The number of the first part. Parts that exist from 1 on are 7-Zip's, or ours without their first; only 7-Zip's part
/// 1 begins as an archive does.
fn first_number(found: &BTreeMap<usize, PathBuf>) -> usize {
    let begins = |path: &PathBuf| Form::of_file(path).is_some();
    usize::from(!found.contains_key(&0) && found.get(&1).is_some_and(begins))
}

impl List {
    /// Reads a list; `None` where there is none.
    fn read(path: &Path) -> Result<Option<Self>> {
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
        let mut list = Self {
            path: path.to_owned(),
            first: 0,
            digests: Vec::new(),
        };
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            list.add(line)?;
        }
        if list.digests.is_empty() || list.digests.len() > MAX_PARTS {
            return Err(Error::invalid(
                path,
                format!("it lists {} parts: {AGAIN}", list.digests.len()),
            ));
        }
        Ok(Some(list))
    }

    /// Takes a line: the digest and the name of the next part.
    fn add(&mut self, line: &str) -> Result<()> {
        let (digest, name) = line.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or_default();
        let number = name.rsplit_once('.').and_then(|(_, end)| number_of(end));
        if self.digests.is_empty() && number == Some(1) {
            self.first = 1;
        }
        let next = self.first + self.digests.len();
        let is_digest = digest.len() == 64 && digest.bytes().all(|digit| digit.is_ascii_hexdigit());
        if !is_digest || number != Some(next) {
            let reason = format!("expected a SHA-256 and the name of part .{next:03}, found {line:?}: {AGAIN}");
            return Err(Error::invalid(&self.path, reason));
        }
        self.digests.push(digest.to_ascii_lowercase());
        Ok(())
    }
}

/// None where it cannot be read.
fn hash(path: &Path) -> Option<String> {
    digest::hash(regular::open(path).ok()?, |_| Ok(())).ok()
}

/// One file after the other; the progress hears of every byte.
pub(crate) struct Reader<'a> {
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn parts_of_two_archives_are_not_mixed() {
        let folder = std::env::temp_dir().join(format!("sam3-parts-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let add = |name: &str| fs::write(folder.join(name), "").unwrap();
        let numbers = || parts_of(&folder.join("x.tar.gz")).into_keys().collect::<Vec<_>>();
        let names = [
            "x.tar.gz.000",
            "X.TAR.GZ.001",
            "x.tar.gz",
            "x.tar.gz.02",
            "y.tar.gz.003",
        ];
        names.into_iter().for_each(add);
        assert_eq!(numbers(), [0, 1]);
        add("X.TAR.GZ.000");
        assert_eq!(numbers(), [0]);
        fs::remove_dir_all(folder).unwrap();
    }
}
