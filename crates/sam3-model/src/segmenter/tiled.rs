//! A picture looked at as a whole and tile by tile.

use std::ops::ControlFlow;

use super::{Instance, Prompt, Segmenter, tour::Tour};
use crate::{
    error::Result,
    image::Image,
    model::Watch,
    tiling::{Seen, Tiling},
};

impl Segmenter {
    /// Finds every instance of what `prompt` means in a picture that is larger than what the model sees: in the whole
    /// picture, and in tiles of it, for what would be too small otherwise. One of each thing, the best first.
    ///
    /// A tile takes as long as a picture. Whether there is any such thing is asked of each tile, and the prompt's
    /// example boxes serve all of them, wherever they are.
    ///
    /// # Errors
    /// As [`encode`](Self::encode) and [`segment`](Self::segment); and where the picture cannot be cut into such tiles.
    pub fn segment_tiled(&self, image: &Image, prompt: &Prompt, tiling: &Tiling) -> Result<Vec<Instance>> {
        self.segment_tiled_watched(image, prompt, tiling, &mut |_| ControlFlow::Continue(()))
    }

    /// [`segment_tiled`](Self::segment_tiled), watched: of the whole picture's layers, then of tiles.
    ///
    /// # Errors
    /// As there, and [`Error::Stopped`](crate::Error::Stopped).
    pub fn segment_tiled_watched(
        &self,
        image: &Image,
        prompt: &Prompt,
        tiling: &Tiling,
        watch: &mut Watch<'_>,
    ) -> Result<Vec<Instance>> {
        let encoded = self.encode_watched(image, watch)?;
        let found = self.detect_watched(&encoded, prompt, watch)?;
        let scene = found.instances(&encoded, Self::THRESHOLD)?;
        let mut tour = Tour::plan(self, image, &encoded, std::slice::from_ref(prompt), tiling, watch)?;
        drop((encoded, found));
        if tour.tiles() == 0 {
            return Ok(scene);
        }
        let mut seen: Vec<Seen<()>> = scene
            .into_iter()
            .map(|instance| Seen::of_picture(instance, ()))
            .collect();
        for tile in 0..tour.tiles() {
            let encoded = tour.encode(tile, watch)?;
            let found = tour.detect(tile, &encoded, 0, watch)?;
            let found = found.instances(&encoded, Self::THRESHOLD)?;
            seen.extend(found.into_iter().map(|instance| tour.seen(tile, instance, ())));
        }
        Ok(tour.merge(seen).into_iter().map(|seen| seen.instance).collect())
    }
}
