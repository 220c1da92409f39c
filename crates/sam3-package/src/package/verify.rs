//! Checks a package against its own digests, and against the metadata file beside it.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use sha2::{Digest, Sha256};

use super::{
    metadata::{Metadata, Tallies, TensorRecord},
    stream::Streamed,
};
use crate::{
    Checkpoint, Error, Progress, Result,
    archive::ExtraFile,
    digest::hex,
    naming::{MAX_METADATA_BYTES, metadata_path},
    regular,
};

/// A package whose every digest was right.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Tensors checked.
    pub tensors: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The metadata file outside the package that was found equal to the one inside.
    pub beside: Option<PathBuf>,
    /// What the package says about itself.
    pub metadata: Metadata,
    /// Of an archive, what else is in it: each is what its list of digests says.
    pub extras: Vec<ExtraFile>,
    /// Sentences the user should read.
    pub warnings: Vec<String>,
}

/// Checks every tensor of a `.pth` or `.safetensors` package.
pub(crate) fn verify_file(path: &Path, progress: &dyn Progress) -> Result<Verified> {
    let checkpoint = Checkpoint::open(path)?;
    // Of a folder, the package in it.
    let path = checkpoint.path();
    let Some(text) = checkpoint.metadata_json() else {
        return Err(Error::NotAPackage { path: path.to_owned() });
    };
    let metadata = Metadata::from_json(text).map_err(|reason| Error::invalid(path, reason))?;
    let mut mismatches = structure(&checkpoint, &metadata);
    let beside = check_beside(path, text, &mut mismatches)?;
    if mismatches.is_empty() {
        mismatches = digests(&checkpoint, &metadata, progress);
    }
    conclude(path, metadata, beside, mismatches)
}

/// Checks what can be checked without reading a tensor: names, dtypes and shapes against the metadata, and the metadata
/// file beside the package. `None` for a checkpoint that is no package.
///
/// # Errors
/// As [`crate::verify`].
pub fn verify_structure(checkpoint: &Checkpoint) -> Result<Option<Metadata>> {
    let Some(text) = checkpoint.metadata_json() else {
        return Ok(None);
    };
    let path = checkpoint.path();
    let metadata = Metadata::from_json(text).map_err(|reason| Error::invalid(path, reason))?;
    let mut mismatches = structure(checkpoint, &metadata);
    check_beside(path, text, &mut mismatches)?;
    if mismatches.is_empty() {
        return Ok(Some(metadata));
    }
    Err(Error::Mismatch {
        path: path.to_owned(),
        mismatches,
    })
}

/// Compares names, dtypes and shapes; reads no tensor.
pub(crate) fn structure(checkpoint: &Checkpoint, metadata: &Metadata) -> Vec<String> {
    let recorded: HashMap<&str, &TensorRecord> = metadata.tensors.iter().map(|t| (t.name.as_str(), t)).collect();
    let mut mismatches = Vec::new();
    if recorded.len() != metadata.tensors.len() {
        let mut seen = HashSet::new();
        let again = metadata
            .tensors
            .iter()
            .filter(|record| !seen.insert(record.name.as_str()));
        mismatches.extend(again.map(|record| format!("  {}: twice in the metadata", record.name)));
    }
    for tensor in checkpoint.tensors() {
        match recorded.get(tensor.name) {
            None => mismatches.push(format!("  {}: in the file, not in its metadata", tensor.name)),
            Some(record) if record.dtype != tensor.dtype.name() || record.shape != tensor.shape => {
                mismatches.push(format!(
                    "  {}: expected {} {:?}, found {} {:?}",
                    tensor.name, record.dtype, record.shape, tensor.dtype, tensor.shape
                ));
            }
            Some(_) => {}
        }
    }
    for record in &metadata.tensors {
        if checkpoint.position(&record.name).is_none() {
            mismatches.push(format!("  {}: in the metadata, not in the file", record.name));
        }
    }
    let (total, found) = (metadata.total, Tallies::of(checkpoint.tensors()).total);
    if mismatches.is_empty() && total != found {
        mismatches.push(format!(
            "  in all: expected {} tensors, {} values and {} bytes, found {}, {} and {}",
            total.tensors, total.elements, total.bytes, found.tensors, found.elements, found.bytes
        ));
    }
    mismatches
}

/// Hashes every tensor of the file, on all threads.
fn digests(checkpoint: &Checkpoint, metadata: &Metadata, progress: &dyn Progress) -> Vec<String> {
    progress.stage("verifying", metadata.total.bytes);
    let next = AtomicUsize::new(0);
    let check = |_: rayon::BroadcastContext<'_>| {
        let mut mismatches = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(record) = metadata.tensors.get(index) else {
                return mismatches;
            };
            let position = checkpoint.position(&record.name).expect("the structure was compared");
            let mut sha = Sha256::new();
            for piece in checkpoint
                .view(position)
                .parts
                .iter()
                .flat_map(|part| part.chunks(1 << 20))
            {
                sha.update(piece);
                progress.advance(piece.len() as u64);
            }
            checkpoint.release(position);
            mismatches.extend(differs(record, &hex(&sha.finalize())).map(|line| (index, line)));
        }
    };
    let mut mismatches: Vec<(usize, String)> = rayon::broadcast(check).concat();
    mismatches.sort();
    mismatches.into_iter().map(|(_, line)| line).collect()
}

fn differs(record: &TensorRecord, found: &str) -> Option<String> {
    (record.sha256 != found).then(|| format!("  {}: expected sha256 {}, found {found}", record.name, record.sha256))
}

/// `X_metadata.json` beside `X.pth` must hold the same bytes as the metadata inside.
fn check_beside(package: &Path, inside: &[u8], mismatches: &mut Vec<String>) -> Result<Option<PathBuf>> {
    let beside = regular::existing(&metadata_path(package));
    match regular::read(&beside, MAX_METADATA_BYTES)? {
        None => Ok(None),
        Some(text) if text == inside => Ok(Some(beside)),
        Some(_) => {
            mismatches.push(format!(
                "  {}: differs from the metadata inside the package",
                beside.display()
            ));
            Ok(None)
        }
    }
}

/// The check of a package that streamed by: as [`verify_file`] of the file at `path`, which need not be there.
pub(crate) fn verify_streamed(path: &Path, streamed: Streamed) -> Result<(Metadata, Vec<u8>, Vec<String>)> {
    let Streamed { map, digests, .. } = streamed;
    let checkpoint = Checkpoint::from_map(path, map.into())?;
    let Some(text) = checkpoint.metadata_json() else {
        return Err(Error::NotAPackage { path: path.to_owned() });
    };
    let metadata = Metadata::from_json(text).map_err(|reason| Error::invalid(path, reason))?;
    let mut mismatches = structure(&checkpoint, &metadata);
    if !mismatches.is_empty() {
        return Ok((metadata, text.to_vec(), mismatches));
    }
    let mut by_place: HashMap<(u64, u64), [u8; 32]> = digests
        .into_iter()
        .map(|(start, length, sha256)| ((start, length), sha256))
        .collect();
    for record in &metadata.tensors {
        let position = checkpoint.position(&record.name).expect("the structure was compared");
        let place = checkpoint.stored(position);
        let found = by_place.remove(&(place.start as u64, place.byte_len() as u64));
        match found {
            Some(sha256) => mismatches.extend(differs(record, &hex(&sha256))),
            None if place.byte_len() == 0 => {}
            None => mismatches.push(format!(
                "  {}: its bytes do not lie as sam3 package writes them",
                record.name
            )),
        }
    }
    by_place.retain(|(_, length), _| *length > 0);
    mismatches.extend(
        by_place
            .keys()
            .map(|(start, length)| format!("  {length} bytes at {start} are no tensor's")),
    );
    Ok((metadata, text.to_vec(), mismatches))
}

/// A report where nothing differs, else the error.
pub(crate) fn conclude(
    path: &Path,
    metadata: Metadata,
    beside: Option<PathBuf>,
    mismatches: Vec<String>,
) -> Result<Verified> {
    if !mismatches.is_empty() {
        return Err(Error::Mismatch {
            path: path.to_owned(),
            mismatches,
        });
    }
    Ok(Verified {
        tensors: metadata.tensors.len() as u64,
        bytes: metadata.total.bytes,
        beside,
        metadata,
        extras: Vec::new(),
        warnings: Vec::new(),
    })
}
