//! A checkpoint file as it lies on disk: recognised by content, mapped, listed, borrowed.
//!
//! Names are the file's own here; [`crate::layout`] turns them into official ones.

mod folder;
mod foreign;
mod pickle;
mod pth;
pub(crate) mod safetensors;
pub(crate) mod sets;
mod sniff;
mod tensor;
mod zip;

use std::{
    borrow::Cow,
    collections::HashMap,
    fs::File,
    path::{Path, PathBuf},
};

use crate::{Error, Result, mapped::Mapped, regular};
pub(crate) use foreign::foreign;
use sets::Choice;
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
#[derive(Default)]
struct Contents {
    tensors: Vec<Stored>,
    warnings: Vec<String>,
    /// Other tensors' names, and why each is not read.
    unread: Vec<(String, String)>,
    metadata: Option<Vec<u8>>,
    /// Names of the sets of weights.
    sets: Vec<String>,
    /// What was chosen of them, where nobody asked for one.
    choice: Option<Choice>,
    /// True where the set that was asked for by name is the one that was taken.
    is_wanted: bool,
}

impl Contents {
    /// Fails where not one of the tensors is read.
    fn check(&self) -> Result<(), String> {
        match (self.tensors.as_slice(), self.unread.as_slice()) {
            ([], [first, ..]) => Err(sentence(first)),
            _ => Ok(()),
        }
    }
}

/// A tensor that is not read, with the reason.
fn sentence((name, reason): &(String, String)) -> String {
    format!("tensor \"{name}\" {reason}")
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
    unread: Vec<String>,
    metadata: Option<Vec<u8>>,
    sets: Vec<String>,
    choice: Option<Choice>,
    wanted: Option<String>,
}

impl Checkpoint {
    /// Opens and validates a checkpoint: `.pt`/`.pth`, `.safetensors`, an index with shards, a package, or a folder
    /// that holds one of these.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be opened; [`Error::Invalid`] where it is not a checkpoint, is cut off, or
    /// anything in it is not as the format says.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_weights(path, None)
    }

    /// As [`open`](Self::open), of the weights that are called `wanted` in the file, as `ema` beside `model`. A name
    /// that no weights of the file have is left to [`StateDict`](crate::StateDict), as the prefix of some tensors'
    /// names.
    pub(crate) fn open_weights(path: &Path, wanted: Option<&str>) -> Result<Self> {
        if !path.is_dir() {
            return Self::read(path, map(path)?, wanted);
        }
        let (file, note) = folder::checkpoint_in(path).map_err(|reason| Error::invalid(path, reason))?;
        let mut checkpoint = Self::read(&file, map(&file)?, wanted)?;
        checkpoint.warnings.extend(note);
        Ok(checkpoint)
    }

    /// As [`open`](Self::open), of a file whose bytes are there already.
    pub(crate) fn from_map(path: &Path, map: Mapped) -> Result<Self> {
        Self::read(path, map, None)
    }

    fn read(path: &Path, map: Mapped, wanted: Option<&str>) -> Result<Self> {
        let kind = sniff::sniff(path, &map)?;
        if kind == sniff::Kind::Json {
            return Self::open_shards(path, map, wanted);
        }
        let (container, contents) = read_file(kind, &map, wanted).map_err(|reason| Error::invalid(path, reason))?;
        contents.check().map_err(|reason| Error::invalid(path, reason))?;
        Ok(Self::new(
            path,
            container,
            vec![(path.to_owned(), map)],
            contents,
            wanted,
        ))
    }

    fn open_shards(path: &Path, index: Mapped, wanted: Option<&str>) -> Result<Self> {
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
        let missing = shards.iter().filter(|shard| !folder.join(shard).exists());
        let missing: Vec<String> = missing.map(|&shard| shard.to_owned()).collect();
        if !missing.is_empty() {
            return Err(Error::MissingShards {
                path: path.to_owned(),
                missing,
            });
        }
        let mut files = Vec::new();
        let mut all = Contents::default();
        let mut container = Container::Safetensors;
        for (number, shard) in shards.iter().enumerate() {
            let shard_path = folder.join(shard);
            let map = map(&shard_path)?;
            let kind = sniff::sniff(&shard_path, &map)?;
            let (found, contents) =
                read_file(kind, &map, None).map_err(|reason| Error::invalid(&shard_path, reason))?;
            if number > 0 && found != container {
                let reason = "it is of another format than the first shard of its index";
                return Err(Error::invalid(&shard_path, reason));
            }
            container = found;
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
            all.warnings.extend(contents.warnings);
            // A tensor that the shard has is not missing, even where it is not read.
            for (name, _) in &contents.unread {
                if shard_of.get(name.as_str()) == Some(&number) {
                    shard_of.remove(name.as_str());
                }
            }
            all.unread.extend(contents.unread);
            files.push((shard_path, map));
        }
        if let Some((name, &number)) = shard_of.iter().min() {
            let reason = format!("it puts tensor \"{name}\" in {}, which lacks it", shards[number]);
            return Err(Error::invalid(path, reason));
        }
        all.check().map_err(|reason| Error::invalid(path, reason))?;
        Ok(Self::new(path, container, files, all, wanted))
    }

    fn new(
        path: &Path,
        container: Container,
        files: Vec<(PathBuf, Mapped)>,
        contents: Contents,
        wanted: Option<&str>,
    ) -> Self {
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
            unread: contents.unread.iter().map(sentence).collect(),
            metadata: contents.metadata,
            sets: contents.sets,
            choice: contents.choice,
            wanted: wanted.filter(|_| !contents.is_wanted).map(str::to_owned),
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

    /// Why some of its tensors are not read, a sentence each; a model that needs none of them runs.
    pub fn unread(&self) -> &[String] {
        &self.unread
    }

    /// Names of the whole sets of weights that were not taken, where nobody asked for one.
    pub(crate) fn other_weights(&self) -> &[String] {
        self.choice.as_ref().map_or(&[], |choice| &choice.others)
    }

    /// Names of the sets of weights that the file keeps apart, as `model` and `ema`.
    pub(crate) fn sets(&self) -> &[String] {
        &self.sets
    }

    /// The name of weights that was asked for and is none of [`sets`](Self::sets).
    pub(crate) fn wanted(&self) -> Option<&str> {
        self.wanted.as_deref()
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

/// Reads one file that is no index.
fn read_file(kind: sniff::Kind, file: &[u8], wanted: Option<&str>) -> Result<(Container, Contents), String> {
    match kind {
        sniff::Kind::Zip => Ok((Container::Pth, pth::read(file, wanted)?)),
        sniff::Kind::Safetensors => Ok((Container::Safetensors, safetensors::read(file)?)),
        sniff::Kind::Json => Err("it is JSON, where its index names a file of tensors".into()),
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
pub(crate) fn clip(words: &str) -> &str {
    let end = (0..=words.len().min(80)).rev();
    &words[..end.into_iter().find(|&i| words.is_char_boundary(i)).unwrap_or(0)]
}

/// Maps a regular file of at least one byte.
fn map(path: &Path) -> Result<Mapped> {
    // Asked before opening: opening a pipe would wait for its writer.
    let meta = std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?;
    regular::check(path, &meta)?;
    if meta.len() == 0 {
        return Err(Error::Empty { path: path.to_owned() });
    }
    let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
    Mapped::open(path, &file).map_err(|e| Error::io("map", path, e))
}

#[cfg(test)]
mod tests;
