//! The lines of `track.jsonl`, read again in the order of their frames, whatever order they were written in.
//!
//! One line is in memory at a time; of the others it is known where they are, 24 bytes each.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufRead, BufReader},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use sam3_model::{masks::Rle, tracking::ObjectId};
use serde::Deserialize;
use serde_json::value::RawValue;

/// What a run wrote.
pub struct Lines {
    path: PathBuf,
    file: File,
    /// By the numbers of their frames.
    places: Vec<Place>,
    /// Objects that a line has, and of these those that turned out to be none.
    ids: BTreeSet<ObjectId>,
    removed: BTreeSet<ObjectId>,
}

struct Place {
    frame: usize,
    offset: u64,
    length: usize,
}

/// An object on a frame.
pub struct Object {
    pub id: ObjectId,
    pub prompt: String,
    pub score: f32,
    /// The first and the last column and row.
    pub xyxy: [u32; 4],
    pub segmentation: Rle,
}

/// Where an object is in the file, and on which of the frames, by its place.
#[derive(Clone, Copy)]
pub struct Spot {
    offset: u64,
    length: u32,
    pub frame: u32,
}

#[derive(Deserialize)]
struct FrameLine<'a> {
    frame: usize,
    #[serde(borrow)]
    objects: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct ObjectLine {
    id: ObjectId,
    prompt: String,
    score: Option<f32>,
    #[serde(rename = "box")]
    xyxy: Option<[u32; 4]>,
    segmentation: Option<Rle>,
}

impl Lines {
    /// Goes through the file once.
    ///
    /// # Errors
    /// When it cannot be read, or a line is none of a frame.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let unread = || format!("{}: cannot read it again", path.display());
        let file = File::open(path).with_context(unread)?;
        let mut lines = Self {
            path: path.to_owned(),
            places: Vec::new(),
            ids: BTreeSet::new(),
            removed: BTreeSet::new(),
            file: file.try_clone().with_context(unread)?,
        };
        let mut reader = BufReader::with_capacity(1 << 18, file);
        let (mut line, mut offset) = (Vec::new(), 0);
        loop {
            line.clear();
            let length = reader.read_until(b'\n', &mut line).with_context(unread)?;
            // A full disk may have cut the last one.
            if !line.ends_with(b"\n") {
                break;
            }
            let found: FrameLine = lines.parsed(&line)?;
            for object in &found.objects {
                let object: ObjectLine = lines.parsed(object.get().as_bytes())?;
                lines.ids.insert(object.id);
                if object.segmentation.is_none() {
                    lines.removed.insert(object.id);
                }
            }
            lines.places.push(Place {
                frame: found.frame,
                offset,
                length,
            });
            offset += length as u64;
        }
        lines.places.sort_by_key(|place| place.frame);
        Ok(lines)
    }

    /// The numbers of the frames.
    pub fn frames(&self) -> impl ExactSizeIterator<Item = usize> {
        self.places.iter().map(|place| place.frame)
    }

    /// The largest id of an object, but for those that turned out to be none.
    pub fn largest_id(&self) -> Option<ObjectId> {
        self.ids.difference(&self.removed).max().copied()
    }

    /// The objects on each frame, without those that turned out to be none.
    pub fn objects(&self) -> impl Iterator<Item = anyhow::Result<(usize, Vec<Object>)>> {
        let mut line = Vec::new();
        self.places.iter().map(move |place| {
            self.read(place.offset, place.length, &mut line)?;
            let found: FrameLine = self.parsed(&line)?;
            let objects = found.objects.iter().map(|object| self.object(object.get().as_bytes()));
            let objects: Vec<Option<Object>> = objects.collect::<anyhow::Result<_>>()?;
            Ok((found.frame, objects.into_iter().flatten().collect()))
        })
    }

    /// Where each object is, frame by frame.
    ///
    /// # Errors
    /// When a line cannot be read.
    pub fn spots(&self) -> anyhow::Result<BTreeMap<ObjectId, Vec<Spot>>> {
        let mut spots: BTreeMap<ObjectId, Vec<Spot>> = BTreeMap::new();
        let mut line = Vec::new();
        for (frame, place) in (0..).zip(&self.places) {
            self.read(place.offset, place.length, &mut line)?;
            let found: FrameLine = self.parsed(&line)?;
            for own in found.objects {
                let Some(object) = self.object(own.get().as_bytes())? else {
                    continue;
                };
                let before = own.get().as_ptr() as usize - line.as_ptr() as usize;
                spots.entry(object.id).or_default().push(Spot {
                    offset: place.offset + before as u64,
                    length: own.get().len().try_into()?,
                    frame,
                });
            }
        }
        Ok(spots)
    }

    /// The object at a spot.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn at(&self, spot: Spot) -> anyhow::Result<Object> {
        let mut text = Vec::new();
        self.read(spot.offset, spot.length as usize, &mut text)?;
        let object = self.object(&text)?;
        object.with_context(|| format!("{}: it changed", self.path.display()))
    }

    fn object(&self, text: &[u8]) -> anyhow::Result<Option<Object>> {
        let line: ObjectLine = self.parsed(text)?;
        let (false, Some(xyxy), Some(segmentation)) = (self.removed.contains(&line.id), line.xyxy, line.segmentation)
        else {
            return Ok(None);
        };
        Ok(Some(Object {
            id: line.id,
            prompt: line.prompt,
            score: line.score.unwrap_or_default(),
            xyxy,
            segmentation,
        }))
    }

    fn read(&self, offset: u64, length: usize, bytes: &mut Vec<u8>) -> anyhow::Result<()> {
        bytes.resize(length, 0);
        let read: io::Result<()> = self.file.read_exact_at(bytes, offset);
        read.with_context(|| format!("{}: cannot read it again", self.path.display()))
    }

    fn parsed<'a, T: Deserialize<'a>>(&self, text: &'a [u8]) -> anyhow::Result<T> {
        serde_json::from_slice(text).with_context(|| format!("{}: a line is none of a frame", self.path.display()))
    }
}
