//! Several images encoded at once.

use sam3_tensor::Tensor;

use super::{Encoded, Input, Segmenter};
use crate::{
    error::Result,
    image::Image,
    model::{Observer, Watch, Watcher},
};

impl Segmenter {
    /// Encodes several images at once, each as [`encode`](Self::encode) would: a weight is made ready for its products
    /// once for all of them. Takes the memory of as many images.
    ///
    /// # Errors
    /// As there.
    pub fn encode_batch(&self, images: &[&Image]) -> Result<Vec<Encoded>> {
        self.run(|| self.encode_inputs(images, &mut ()))
    }

    /// [`encode_batch`](Self::encode_batch), watched.
    ///
    /// # Errors
    /// As there, and [`Error::Stopped`](crate::Error::Stopped).
    pub fn encode_batch_watched(&self, images: &[&Image], watch: &mut Watch<'_>) -> Result<Vec<Encoded>> {
        self.run(|| self.encode_inputs(images, &mut Watcher(watch)))
    }

    fn encode_inputs(&self, images: &[&Image], observer: &mut dyn Observer) -> Result<Vec<Encoded>> {
        let inputs: Vec<Input> = images.iter().map(|image| self.input(image)).collect::<Result<_>>()?;
        let Some(first) = inputs.first() else {
            return Ok(Vec::new());
        };
        let size = first.size.clone();
        let pixels = inputs.into_iter().map(|input| input.pixels).collect();
        let trunk = self.shared.trunk.forward_stacked(pixels, &size, observer)?;
        let grid = trunk.dim(1)?;
        let mut encoded = Vec::with_capacity(images.len());
        for (start, image) in (0..).step_by(grid).zip(images) {
            // A copy, so that what is kept of one picture keeps none of the others.
            let map = match images.len() {
                1 => trunk.clone(),
                _ => Tensor::cat(&[trunk.rows(start, grid)?], 0)?,
            };
            let extents = (image.width(), image.height());
            encoded.push(self.encode_trunk(map, size.clone(), extents, observer)?);
        }
        Ok(encoded)
    }
}
