//! A checkpoint file as it lies on disk: recognised by content, mapped, listed, borrowed.
//!
//! Names are the file's own here; [`crate::layout`] turns them into official ones.

mod pickle;
mod pth;
pub(crate) mod safetensors;
mod sniff;
mod tensor;
mod zip;

use std::{
    borrow::Cow,
    collections::HashMap,
    fs::File,
    path::{Path, PathBuf},
};

use crate::{Error, Result, mapped::Mapped};
pub use tensor::{Dtype, TensorView};
pub(crate) use tensor::{Stored, byte_len, gather};

/// More tensors than any SAM 3 file has (1797), by far; bounds the memory of a hostile one.
pub(crate) const MAX_TENSORS: usize = 16_384;
/// Bytes of a tensor's name; the longest real one has 89.
const MAX_NAME: usize = 256;
/// Axes of a tensor.
const MAX_RANK: usize = 8;
/// Files under one index.
const MAX_SHARDS: usize = 512;

/// What kind of file a checkpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// PyTorch's zip of a pickle and raw storages.
    Pth,
    /// One safetensors file, or an index with its shards.
    Safetensors,
}

/// What a container's reader found in one file.
struct Contents {
    tensors: Vec<Stored>,
    warnings: Vec<String>,
    metadata: Option<Vec<u8>>,
}

/// A file of the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Dtype and shape of a tensor, by its name in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorInfo<'a> {
    /// Name in the dictionary that was asked.
    pub name: &'a str,
    /// Element type as stored.
    pub dtype: Dtype,
    /// Extent of each axis.
    pub shape: &'a [usize],
}

/// An open checkpoint: every tensor's place checked against its file, nothing read yet.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    container: Container,
    files: Vec<SourceFile>,
    maps: Vec<Mapped>,
    tensors: Vec<Stored>,
    by_name: HashMap<String, usize>,
    warnings: Vec<String>,
    metadata: Option<Vec<u8>>,
}

impl Checkpoint {
    /// Opens and validates a checkpoint: `.pt`/`.pth`, `.safetensors`, an index with shards, or a package.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be opened; [`Error::Invalid`] where it is not a checkpoint, is cut off, or
    /// anything in it is not as the format says.
    pub fn open(path: &Path) -> Result<Self> {
        Self::from_map(path, map(path)?)
    }

    /// As [`open`](Self::open), of a file whose bytes are there already.
    pub(crate) fn from_map(path: &Path, map: Mapped) -> Result<Self> {
        let read = match sniff::sniff(&map).map_err(|reason| Error::invalid(path, reason))? {
            sniff::Kind::Zip => pth::read(&map).map(|contents| (Container::Pth, contents)),
            sniff::Kind::Safetensors => safetensors::read(&map).map(|contents| (Container::Safetensors, contents)),
            sniff::Kind::Json => return Self::open_shards(path, map),
        };
        let (container, contents) = read.map_err(|reason| Error::invalid(path, reason))?;
        Ok(Self::new(path, container, vec![(path.to_owned(), map)], contents))
    }

    fn open_shards(path: &Path, index: Mapped) -> Result<Self> {
        let weight_map = safetensors::read_index(&index).map_err(|reason| Error::invalid(path, reason))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut shards: Vec<&str> = Vec::new();
        let mut shard_of = HashMap::new();
        for (name, shard) in &weight_map {
            let number = shards.iter().position(|s| s == shard).unwrap_or_else(|| {
                shards.push(shard);
                shards.len() - 1
            });
            if number >= MAX_SHARDS {
                return Err(Error::invalid(path, format!("it names more than {MAX_SHARDS} shards")));
            }
            shard_of.insert(name.as_str(), number);
        }
        let missing: Vec<&str> = shards.iter().copied().filter(|s| !folder.join(s).exists()).collect();
        if !missing.is_empty() {
            return Err(Error::invalid(
                path,
                format!(
                    "it needs {}, not found beside it",
                    missing[..missing.len().min(5)].join(", ")
                ),
            ));
        }
        let mut files = Vec::new();
        let mut all = Contents {
            tensors: Vec::new(),
            warnings: Vec::new(),
            metadata: None,
        };
        for (number, shard) in shards.iter().enumerate() {
            let shard_path = folder.join(shard);
            let map = map(&shard_path)?;
            if !safetensors::is_safetensors(&map) {
                return Err(Error::invalid(
                    &shard_path,
                    "it is not a safetensors file, as its index says",
                ));
            }
            let contents = safetensors::read(&map).map_err(|reason| Error::invalid(&shard_path, reason))?;
            for mut tensor in contents.tensors {
                match shard_of.remove(tensor.name.as_str()) {
                    Some(n) if n == number => {}
                    Some(n) => {
                        let reason = format!(
                            "it holds tensor \"{}\", which its index puts in {}",
                            tensor.name, shards[n]
                        );
                        return Err(Error::invalid(&shard_path, reason));
                    }
                    None => {
                        let reason = format!(
                            "it holds tensor \"{}\", which its index does not list here",
                            tensor.name
                        );
                        return Err(Error::invalid(&shard_path, reason));
                    }
                }
                tensor.file = number;
                all.tensors.push(tensor);
            }
            all.metadata = all.metadata.or(contents.metadata);
            files.push((shard_path, map));
        }
        if let Some((name, &number)) = shard_of.iter().min() {
            let reason = format!("it puts tensor \"{name}\" in {}, which lacks it", shards[number]);
            return Err(Error::invalid(path, reason));
        }
        Ok(Self::new(path, Container::Safetensors, files, all))
    }

    fn new(path: &Path, container: Container, files: Vec<(PathBuf, Mapped)>, contents: Contents) -> Self {
        let (files, maps) = files
            .into_iter()
            .map(|(path, map)| {
                (
                    SourceFile {
                        path,
                        bytes: map.len() as u64,
                    },
                    map,
                )
            })
            .unzip();
        let by_name = contents
            .tensors
            .iter()
            .enumerate()
            .map(|(i, t)| (t.name.clone(), i))
            .collect();
        Self {
            path: path.to_owned(),
            container,
            files,
            maps,
            tensors: contents.tensors,
            by_name,
            warnings: contents.warnings,
            metadata: contents.metadata,
        }
    }

    /// The path that was opened: the file, or the index of its shards.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What kind of file it is.
    pub fn container(&self) -> Container {
        self.container
    }

    /// The files that hold the tensors: one, or the shards in the index's order.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// What was ignored, in sentences.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The metadata inside one of our packages, as JSON text.
    pub fn metadata_json(&self) -> Option<&[u8]> {
        self.metadata.as_deref()
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// True when the file holds no tensor.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Every tensor under its own name, in the file's order.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = TensorInfo<'_>> {
        self.tensors.iter().map(|t| TensorInfo {
            name: &t.name,
            dtype: t.dtype,
            shape: &t.shape,
        })
    }

    /// Position of a name of the file's own.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The tensor at a position of [`Checkpoint::tensors`]; borrows the mapped bytes where they are dense.
    pub fn view(&self, index: usize) -> TensorView<'_> {
        let tensor = &self.tensors[index];
        TensorView {
            name: &tensor.name,
            dtype: tensor.dtype,
            shape: &tensor.shape,
            parts: vec![self.bytes(index)],
        }
    }

    /// Lets go of a tensor's pages: they no longer count as this process's memory, and are read again if needed.
    pub(crate) fn release(&self, index: usize) {
        let tensor = &self.tensors[index];
        if tensor.strides.is_none() && tensor.byte_len() > 0 {
            let map = &self.maps[tensor.file];
            // SAFETY: the map is read-only and backed by its file, so dropped pages come back with the same bytes.
            // A failure only leaves the pages where they are.
            let _ = unsafe {
                map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, tensor.start, tensor.byte_len())
            };
        }
    }

    pub(crate) fn bytes(&self, index: usize) -> Cow<'_, [u8]> {
        let tensor = &self.tensors[index];
        tensor.bytes(&self.maps[tensor.file])
    }

    pub(crate) fn stored(&self, index: usize) -> &Stored {
        &self.tensors[index]
    }
}

/// Refuses names that would flood or forge a message.
fn check_name(name: &str) -> Result<(), String> {
    if name.len() > MAX_NAME {
        return Err(format!(
            "a tensor name has {} bytes; at most {MAX_NAME} are read",
            name.len()
        ));
    }
    if name.chars().any(char::is_control) {
        return Err(format!("the tensor name {name:?} has control characters"));
    }
    Ok(())
}

/// Other words in messages come from the file too: keeps them short.
fn clip(words: &str) -> &str {
    let end = (0..=words.len().min(80)).rev();
    &words[..end.into_iter().find(|&i| words.is_char_boundary(i)).unwrap_or(0)]
}

/// Maps a regular file of at least one byte.
fn map(path: &Path) -> Result<Mapped> {
    // Asked before opening: opening a pipe would wait for its writer.
    let meta = std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?;
    if meta.is_dir() {
        return Err(Error::invalid(path, sniff::directory_hint(path)));
    }
    if !meta.is_file() {
        return Err(Error::invalid(
            path,
            "it is not a regular file, so it cannot be mapped: copy it to a file first",
        ));
    }
    if meta.len() == 0 {
        return Err(Error::invalid(path, "it is empty: copy or download it again"));
    }
    let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
    Mapped::open(path, &file).map_err(|e| Error::io("map", path, e))
}

#[cfg(test)]
mod tests;
