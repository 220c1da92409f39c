//! One pass through an archive: every entry is judged by its head, then read, hashed and handed on.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};

use sha2::{Digest, Sha256};

use crate::{
    Error, Progress, Result,
    archive::{
        elf,
        entries::{MAX_ENTRIES, SPARE, check_claim, most, pass_over, read_rest, safe_name, stopped, unreadable},
        extras::Extra,
        layers::tar_in,
        names::{Role, refuse_other, role},
        tar::{self, Kind},
        volumes::Volumes,
    },
    digest::{self, hex},
    naming::MAX_METADATA_BYTES,
    package::{Metadata, PackageHasher, Streamed},
};

/// Bytes handed from the decompressing to the hashing thread at a time, and how many such pieces may wait.
const PIECE: usize = 256 << 10;
const WAITING: usize = 8;
/// More than any SAM 3 and its package could have, whatever the metadata promises.
const MAX_SIZE: u64 = 64 << 30;
/// What went by.
#[derive(Default)]
pub(super) struct Found {
    pub files: Vec<FoundFile>,
    /// Sentences the user should read.
    pub warnings: Vec<String>,
}

pub(super) struct FoundFile {
    pub name: PathBuf,
    pub size: u64,
    /// Of all its bytes; `None` for a package where no list of digests came before it.
    pub sha256: Option<String>,
    pub content: Content,
}

pub(super) enum Content {
    Package(Streamed),
    Metadata(Vec<u8>),
    /// With as many of its first bytes as tell what it is; of [`Extra::Sums`] all.
    Extra(Extra, Vec<u8>),
}

/// Reads the whole archive, hands every entry's name to `open` and writes its bytes to the file that returns.
pub(super) fn walk(
    path: &Path,
    volumes: &Volumes,
    progress: &dyn Progress,
    mut open: impl FnMut(&Path, Kind, u64) -> Result<Option<File>>,
) -> Result<Found> {
    let size = volumes.size()?;
    progress.stage("unpacking", size);
    let mut reader = tar_in(volumes.open(progress)?).map_err(|error| unreadable(path, error))?;
    let mut found = Found::default();
    let (mut entries, mut promised) = (0, None);
    while let Some(entry) = tar::next_entry(&mut reader).map_err(|stop| stopped(path, stop))? {
        let name = safe_name(path, &entry.name)?;
        entries += 1;
        if entries > MAX_ENTRIES {
            return Err(Error::invalid(
                path,
                format!("it has more than {MAX_ENTRIES} files and folders: not a package"),
            ));
        }
        let role = role(&name);
        let limit = match (role, promised) {
            (Role::Metadata, _) => MAX_METADATA_BYTES,
            (Role::Extra(extra), _) => extra.limit(),
            (_, Some(promised)) => promised,
            (_, None) => most(size),
        };
        check_claim(path, &entry, limit)?;
        if name.as_os_str().is_empty() {
            continue; // "./"
        }
        if role == Role::Companion {
            pass_over(&mut reader, path, &entry)?;
            continue;
        }
        if entry.kind == Kind::File {
            let before: Vec<&Path> = found.files.iter().map(|file| &*file.name).collect();
            refuse_other(path, &entry.name, &name, &before)?;
        }
        let mut output = open(&name, entry.kind, entry.size)?.map(|file| (file, name.clone()));
        if entry.kind == Kind::Folder {
            continue;
        }
        let (content, sha256) = match role {
            Role::Metadata => {
                let (text, sha256) = copy(&mut reader, entry.size, path, &mut output, usize::MAX)?;
                // What it promises only bounds sizes; whether it is right is compared later.
                promised = Metadata::from_json(&text).ok().map(|metadata| {
                    let overhead = metadata.total.tensors.saturating_mul(4096).saturating_add(SPARE);
                    metadata.total.bytes.saturating_add(overhead).min(MAX_SIZE)
                });
                (Content::Metadata(text), Some(sha256))
            }
            Role::Extra(extra) => {
                let keep = if extra == Extra::Sums { usize::MAX } else { elf::HEADER };
                let (head, sha256) = copy(&mut reader, entry.size, path, &mut output, keep)?;
                (Content::Extra(extra, head), Some(sha256))
            }
            _ => {
                let is_listed = found
                    .files
                    .iter()
                    .any(|file| matches!(file.content, Content::Extra(..)));
                let (streamed, sha256) = copy_and_hash(&mut reader, entry.size, path, &mut output, is_listed)?
                    .map_err(|reason| Error::invalid(path, format!("{}: {reason}", entry.name)))?;
                (Content::Package(streamed), sha256)
            }
        };
        let padding = (entry.size.next_multiple_of(tar::BLOCK as u64) - entry.size) as usize;
        reader
            .read_exact(&mut [0; tar::BLOCK][..padding])
            .map_err(|error| unreadable(path, error))?;
        found.files.push(FoundFile {
            name,
            size: entry.size,
            sha256,
            content,
        });
    }
    found.warnings.extend(read_rest(&mut reader, path)?);
    if found
        .files
        .iter()
        .any(|file| matches!(file.content, Content::Extra(..)))
    {
        for file in found.files.iter_mut().filter(|file| file.sha256.is_none()) {
            file.sha256 = Some(hash_again(path, volumes, &file.name)?);
        }
    }
    Ok(found)
}

/// The digest of a package that comes before the list of digests, as in archives of tools that sort files by name. It
/// takes a second pass; to hash every package as a whole would slow down all those without a list.
fn hash_again(path: &Path, volumes: &Volumes, wanted: &Path) -> Result<String> {
    let mut reader = tar_in(volumes.open(&())?).map_err(|error| unreadable(path, error))?;
    while let Some(entry) = tar::next_entry(&mut reader).map_err(|stop| stopped(path, stop))? {
        if safe_name(path, &entry.name)? == wanted {
            let bytes = (&mut reader).take(entry.size);
            return digest::hash(bytes, |_| Ok(())).map_err(|error| unreadable(path, error));
        }
        pass_over(&mut reader, path, &entry)?;
    }
    Err(unreadable(path, io::ErrorKind::UnexpectedEof.into()))
}

/// Copies `size` bytes to the output; returns the first `keep` of them and the digest of all.
fn copy(
    reader: &mut impl Read,
    size: u64,
    archive: &Path,
    output: &mut Option<(File, PathBuf)>,
    keep: usize,
) -> Result<(Vec<u8>, String)> {
    let (mut left, mut kept, mut sha) = (size, Vec::new(), Sha256::new());
    let mut buffer = vec![0; PIECE];
    while left > 0 {
        let take = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let piece = &mut buffer[..take];
        reader.read_exact(piece).map_err(|error| unreadable(archive, error))?;
        write(output, piece)?;
        sha.update(&*piece);
        kept.extend(&piece[..take.min(keep - kept.len())]);
        left -= take as u64;
    }
    Ok((kept, hex(&sha.finalize())))
}

/// Copies `size` bytes while another thread hashes the tensors in them and, where it `is_listed`, the whole. The inner
/// error is the hasher's.
fn copy_and_hash(
    reader: &mut impl Read,
    size: u64,
    archive: &Path,
    output: &mut Option<(File, PathBuf)>,
    is_listed: bool,
) -> Result<Result<(Streamed, Option<String>), String>> {
    let (full, filled) = mpsc::sync_channel::<Vec<u8>>(WAITING);
    let (empty, emptied) = mpsc::channel::<Vec<u8>>();
    thread::scope(|scope| {
        let hash = move || {
            let mut hasher = PackageHasher::new(size)?;
            let mut whole = is_listed.then(Sha256::new);
            for piece in filled {
                hasher.update(&piece)?;
                if let Some(whole) = &mut whole {
                    whole.update(&piece);
                }
                // The other side is gone once it has read everything.
                let _ = empty.send(piece);
            }
            Ok((hasher.finish()?, whole.map(|whole| hex(&whole.finalize()))))
        };
        let hashing = thread::Builder::new()
            .spawn_scoped(scope, hash)
            .map_err(|error| Error::io("start a thread for", archive, error))?;
        let mut left = size;
        while left > 0 {
            let mut piece = emptied.try_recv().unwrap_or_default();
            piece.resize(PIECE.min(usize::try_from(left).unwrap_or(usize::MAX)), 0);
            reader
                .read_exact(&mut piece)
                .map_err(|error| unreadable(archive, error))?;
            write(output, &piece)?;
            left -= piece.len() as u64;
            if full.send(piece).is_err() {
                break; // the hasher stopped, and its result says why
            }
        }
        drop(full);
        Ok(hashing.join().expect("the hasher does not panic"))
    })
}

fn write(output: &mut Option<(File, PathBuf)>, bytes: &[u8]) -> Result<()> {
    match output {
        Some((file, name)) => io::Write::write_all(file, bytes).map_err(|source| Error::Output {
            path: name.clone(),
            source,
        }),
        None => Ok(()),
    }
}
