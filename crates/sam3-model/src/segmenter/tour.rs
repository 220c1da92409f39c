//! The tiles of a picture, looked at one after the other, and the example boxes that serve all of them.

use std::ops::ControlFlow;

use super::{Encoded, ExemplarBox, Instance, Prompt, Segmenter, exemplars::Exemplars};
use crate::{
    error::Result,
    image::Image,
    model::{Detections, Progress, Watch},
    tiling::{Blur, Seen, Tiling, Window, merge},
};

/// Pixels of what the model sees in a cell of its masks, and about as far as its boxes are from the objects' edges.
const CELL: f32 = 4.0;

/// What a picture's tiles are asked.
pub(crate) struct Tour<'a> {
    model: &'a Segmenter,
    image: &'a Image,
    prompts: &'a [Prompt],
    windows: Vec<Window>,
    /// What the boxes of each prompt mean; none of a prompt without boxes.
    exemplars: Vec<Option<Exemplars>>,
    /// How many tiles are encoded at once.
    batch: usize,
    /// Tiles that are encoded already: for the boxes in them, or with the one before them.
    ready: Vec<(usize, Encoded)>,
}

impl<'a> Tour<'a> {
    /// Plans the tour, and encodes the example boxes: each in the tile that shows it best, those that no tile shows
    /// whole in the whole picture, which is `encoded`.
    pub(crate) fn plan(
        model: &'a Segmenter,
        image: &'a Image,
        encoded: &Encoded,
        prompts: &'a [Prompt],
        tiling: &Tiling,
        watch: &mut Watch<'_>,
    ) -> Result<Self> {
        let mut tour = Self {
            windows: tiling.windows((image.width(), image.height()), model.image_size())?,
            exemplars: prompts.iter().map(|_| None).collect(),
            batch: tiling.batch.max(1),
            ready: Vec::new(),
            model,
            image,
            prompts,
        };
        if tour.windows.is_empty() {
            return Ok(tour);
        }
        for (index, prompt) in prompts.iter().enumerate() {
            // Most often all prompts have the same boxes.
            let before = prompts[..index].iter().position(|other| other.boxes == prompt.boxes);
            tour.exemplars[index] = match before {
                Some(before) => tour.exemplars[before].clone(),
                None => tour.encode_exemplars(encoded, &prompt.boxes, watch)?,
            };
        }
        Ok(tour)
    }

    /// How many tiles there are: none where the whole picture is enough.
    pub(crate) fn tiles(&self) -> usize {
        self.windows.len()
    }

    /// Encodes a tile; the next ones with it where that is asked for.
    pub(crate) fn encode(&mut self, index: usize, watch: &mut Watch<'_>) -> Result<Encoded> {
        if let Some(at) = self.ready.iter().position(|(ready, _)| *ready == index) {
            return Ok(self.ready.swap_remove(at).1);
        }
        let is_ready = |index: &usize| self.ready.iter().any(|(ready, _)| ready == index);
        let next = (index..self.windows.len()).filter(|index| !is_ready(index));
        let indices: Vec<usize> = next.take(self.batch).collect();
        let parts: Vec<Image> = indices
            .iter()
            .map(|&index| self.image.crop(self.windows[index].xyxy))
            .collect();
        let parts: Vec<&Image> = parts.iter().collect();
        let mut encoded = self.model.encode_batch_watched(&parts, &mut self.watch(index, watch))?;
        let first = encoded.remove(0);
        self.ready.extend(indices.into_iter().skip(1).zip(encoded));
        Ok(first)
    }

    /// Looks for a prompt in a tile.
    pub(crate) fn detect(
        &self,
        index: usize,
        encoded: &Encoded,
        prompt: usize,
        watch: &mut Watch<'_>,
    ) -> Result<Detections> {
        let mut watch = self.watch(index, watch);
        match &self.exemplars[prompt] {
            Some(exemplars) => self
                .model
                .detect_like(encoded, &self.prompts[prompt], exemplars, &mut watch),
            None => self.model.detect_watched(encoded, &self.prompts[prompt], &mut watch),
        }
    }

    /// What was found in a tile, in the whole picture.
    pub(crate) fn seen<T>(&self, index: usize, instance: Instance, note: T) -> Seen<T> {
        let window = self.windows[index];
        let [x, y, ..] = window.xyxy;
        let extents = (self.image.width(), self.image.height());
        Seen {
            instance: instance.in_picture(extents, (x, y)),
            note,
            window: Some(window),
        }
    }

    /// One of each thing, of all that was found by one prompt.
    pub(crate) fn merge<T>(&self, seen: Vec<Seen<T>>) -> Vec<Seen<T>> {
        let side = |[x1, y1, x2, y2]: [u32; 4]| (x2 - x1).max(y2 - y1) as f32;
        let cell = |longest: f32| CELL * longest / self.model.image_size() as f32;
        let longest = self.windows.iter().map(|window| side(window.xyxy)).fold(0.0, f32::max);
        let blur = Blur {
            tile: cell(longest),
            picture: cell(side([0, 0, self.image.width(), self.image.height()])).ceil() as u32,
        };
        merge(seen, blur)
    }

    /// Tells of tiles in place of layers; both can be stopped at.
    fn watch<'w>(&self, done: usize, watch: &'w mut Watch<'_>) -> impl FnMut(Progress) -> ControlFlow<()> + Send + 'w {
        let of = self.windows.len();
        let stage = "tiles";
        move |_| watch(Progress { stage, done, of })
    }

    fn encode_exemplars(
        &mut self,
        whole: &Encoded,
        boxes: &[ExemplarBox],
        watch: &mut Watch<'_>,
    ) -> Result<Option<Exemplars>> {
        let mut homes: Vec<Option<usize>> = boxes.iter().map(|exemplar| self.home(exemplar)).collect();
        homes.sort_unstable();
        homes.dedup();
        let mut parts = Vec::with_capacity(homes.len());
        for home in homes {
            let here: Vec<_> = boxes.iter().filter(|exemplar| self.home(exemplar) == home).collect();
            parts.push(match home {
                None => {
                    let boxes: Vec<ExemplarBox> = here.into_iter().copied().collect();
                    self.model.encode_exemplars(whole, &boxes, watch)?
                }
                Some(index) => {
                    let [x, y, ..] = self.windows[index].xyxy;
                    let boxes: Vec<_> = here.into_iter().map(|exemplar| exemplar.in_part((x, y))).collect();
                    let part = self.image.crop(self.windows[index].xyxy);
                    let encoded = self.model.encode_watched(&part, &mut self.watch(index, watch))?;
                    let exemplars = self.model.encode_exemplars(&encoded, &boxes, watch)?;
                    // One tile alone: the others are encoded twice, and none takes memory meanwhile.
                    self.ready = vec![(index, encoded)];
                    exemplars
                }
            });
        }
        Exemplars::of(&parts)
    }

    /// The tile that shows a box best: whole, and in its middle.
    fn home(&self, exemplar: &ExemplarBox) -> Option<usize> {
        let [x1, y1, x2, y2] = exemplar.xyxy;
        let is_whole = |window: &Window| {
            let [left, top, right, bottom] = window.xyxy.map(|side| side as f32);
            left <= x1 && top <= y1 && x2 <= right && y2 <= bottom
        };
        let from_middle = |window: &Window| {
            let [left, top, right, bottom] = window.xyxy.map(|side| side as f32);
            (left + right - x1 - x2).abs().max((top + bottom - y1 - y2).abs())
        };
        let whole = self.windows.iter().enumerate().filter(|(_, window)| is_whole(window));
        let best = whole.min_by(|(_, a), (_, b)| from_middle(a).total_cmp(&from_middle(b)));
        best.map(|(index, _)| index)
    }
}
