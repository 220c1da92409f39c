//! safetensors: 8 bytes of header length, a JSON header, raw tensors. One file, or shards under an index.
//!
//! Read here rather than with the `safetensors` crate, which collects the header into a map: of two tensors of one
//! name it keeps the last without a word, and it loses the order of the file. Everything its documentation promises
//! about offsets is checked here too. Format: <https://github.com/huggingface/safetensors#format>.

use std::{borrow::Cow, collections::HashSet, fmt, marker::PhantomData, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    Contents, MAX_RANK, MAX_TENSORS, check_name, clip,
    tensor::{Dtype, Stored, byte_len},
};
use crate::naming::FORMAT;

/// A header of 1797 tensors takes 0.25 MB, that of a package twice as much.
pub(crate) const MAX_HEADER: u64 = 12 << 20;

/// True when the file begins like safetensors: a plausible length, then a JSON object.
pub(super) fn is_safetensors(file: &[u8]) -> bool {
    header_len(file).is_some_and(|n| n < 1 << 32) && file.get(8) == Some(&b'{')
}

fn header_len(file: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(file.get(..8)?.try_into().ok()?))
}

/// Lists the tensors of a mapped file, in header order.
pub(super) fn read(file: &[u8]) -> Result<Contents, String> {
    let len = header_len(file).ok_or("it is too short for a safetensors header")?;
    if len > MAX_HEADER {
        return Err(format!("its header claims {len} bytes; at most {MAX_HEADER} are read"));
    }
    let start = 8 + len as usize;
    let header = file.get(8..start).ok_or_else(|| {
        format!(
            "it is cut off: the header needs {start} bytes, found a file of {}",
            file.len()
        )
    })?;
    let Listed {
        tensors,
        unread,
        metadata,
        end,
        ..
    } = list(header, start)?;
    let found = file.len() - start;
    match end - start {
        expected if expected > found => Err(format!(
            "it is cut off: expected {end} bytes, found {}; copy or download it again",
            file.len()
        )),
        expected if expected < found => Err(format!(
            "it has {} bytes after its last tensor: expected {} bytes, found {}; bytes were added in copying, so copy \
             or download it again",
            found - expected,
            start + expected,
            file.len()
        )),
        _ => Ok(Contents {
            tensors,
            unread,
            metadata: metadata.map(String::into_bytes),
            ..Contents::default()
        }),
    }
}

/// The lengths of the tensors as they follow each other behind a header.
pub(crate) fn lengths(header: &[u8]) -> Result<Vec<u64>, String> {
    let places = list(header, 0)?.places;
    Ok(places.iter().map(|place| place.len() as u64).collect())
}

/// What a header lists: tensors in its order, and where the last of their bytes ends.
struct Listed {
    tensors: Vec<Stored>,
    /// Others' names, and why each is not read.
    unread: Vec<(String, String)>,
    /// Of all of them, in the order of the file.
    places: Vec<Range<usize>>,
    metadata: Option<String>,
    end: usize,
}

/// Parses a header; the tensors' bytes, which begin at `start`, must follow each other without a gap.
fn list(header: &[u8], start: usize) -> Result<Listed, String> {
    let malformed = |e: serde_json::Error| format!("its header is malformed ({e}): copy or download it again");
    // Their values are of two kinds, by their names.
    let header: ByName<&RawValue> = serde_json::from_slice(header).map_err(malformed)?;
    let mut metadata = None;
    let mut tensors = Vec::with_capacity(header.0.len());
    let mut unread = Vec::new();
    let mut places = Vec::with_capacity(header.0.len());
    for (name, value) in header.0 {
        if name == "__metadata__" {
            metadata = serde_json::from_str::<Metadata>(value.get())
                .map_err(malformed)?
                .sam3_metadata;
            continue;
        }
        let info: Info = serde_json::from_str(value.get()).map_err(malformed)?;
        let [begin, end] = info.data_offsets;
        let shape = info.shape.0;
        let Some(dtype) = Dtype::from_safetensors(&info.dtype) else {
            let dtype = clip(&info.dtype);
            unread.push((name.clone(), format!("has dtype {dtype:?}, which is not read")));
            places.push((start.saturating_add(begin)..start.saturating_add(end), name));
            continue;
        };
        let expected =
            byte_len(&shape, dtype).ok_or_else(|| format!("tensor \"{name}\" has the impossible shape {shape:?}"))?;
        if end.checked_sub(begin) != Some(expected) {
            return Err(format!(
                "tensor \"{name}\" of {dtype} {shape:?} needs {expected} bytes, but its offsets are {begin} to {end}"
            ));
        }
        places.push((start.saturating_add(begin)..start.saturating_add(end), name.clone()));
        tensors.push(Stored {
            name,
            dtype,
            shape,
            strides: None,
            file: 0,
            start: start.saturating_add(begin),
        });
    }
    places.sort_unstable_by_key(|(place, _)| (place.start, place.end));
    let mut at = start;
    for (place, name) in &places {
        if place.start != at || place.end < at {
            let what = if place.start <= at {
                "overlaps the one before it"
            } else {
                "leaves a gap before it"
            };
            return Err(format!(
                "tensor \"{name}\" {what}: it begins at byte {}, expected {at}",
                place.start
            ));
        }
        at = place.end;
    }
    Ok(Listed {
        tensors,
        unread,
        places: places.into_iter().map(|(place, _)| place).collect(),
        metadata,
        end: at,
    })
}

/// The `weight_map` of an index: tensor name and the shard that holds it, in order.
pub(super) fn read_index(text: &[u8]) -> Result<Vec<(String, String)>, String> {
    if text.len() as u64 > MAX_HEADER {
        return Err(format!(
            "as an index it has {} bytes; at most {MAX_HEADER} are read",
            text.len()
        ));
    }
    let index: Index = serde_json::from_slice(text).map_err(|e| {
        let head = String::from_utf8_lossy(&text[..text.len().min(100)]);
        if head.contains(&format!("{FORMAT:?}")) {
            return "it is the metadata of a package: name the .pth or .safetensors that it belongs to".to_owned();
        }
        if head.contains("\"error\"") {
            return format!(
                "it is a server's answer, {:?}: the download needs a login or another address",
                clip(&head)
            );
        }
        format!("it is JSON, but not the index of a sharded checkpoint ({e}): name the checkpoint file itself")
    })?;
    for (name, shard) in &index.weight_map.0 {
        let is_plain = !shard.is_empty()
            && shard.len() < 256
            && shard != "."
            && shard != ".."
            && !shard.contains(['/', '\\', '\0', ':']);
        if !is_plain {
            return Err(format!(
                "its tensor \"{name}\" is in {:?}, which is not a plain file name",
                clip(shard)
            ));
        }
    }
    Ok(index.weight_map.0)
}

#[derive(Deserialize)]
struct Info {
    dtype: String,
    shape: Shape,
    data_offsets: [usize; 2],
}

/// A list that cannot grow without bound while it is being parsed.
struct Shape(Vec<usize>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX_RANK} sizes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
        let mut shape = Vec::new();
        while let Some(extent) = seq.next_element()? {
            if shape.len() == MAX_RANK {
                return Err(de::Error::custom(format_args!("a shape has more than {MAX_RANK} axes")));
            }
            shape.push(extent);
        }
        Ok(Shape(shape))
    }
}

/// The value of `__metadata__`.
#[derive(Deserialize)]
struct Metadata {
    sam3_metadata: Option<String>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: ByName<String>,
}

/// An object whose keys are names of tensors, each once and in the file's order.
struct ByName<V>(Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for ByName<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(NamesVisitor(PhantomData))
    }
}

struct NamesVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for NamesVisitor<V> {
    type Value = ByName<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the names of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            next_name(&name, &mut names)?;
            entries.push((name.into_owned(), map.next_value()?));
        }
        Ok(ByName(entries))
    }
}

/// Refuses names that are long, repeated, or more than any model has.
fn next_name<E: de::Error>(name: &str, seen: &mut HashSet<String>) -> Result<(), E> {
    check_name(name).map_err(E::custom)?;
    if !seen.insert(name.to_owned()) {
        return Err(E::custom(format_args!("the key \"{name}\" is there twice")));
    }
    if seen.len() > MAX_TENSORS + 1 {
        return Err(E::custom(format_args!("it lists more than {MAX_TENSORS} tensors")));
    }
    Ok(())
}
