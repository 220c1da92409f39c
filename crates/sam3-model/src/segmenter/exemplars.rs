//! Example boxes whose meaning goes along to other pictures.

use sam3_tensor::Tensor;

use super::{Encoded, ExemplarBox, Prompt, Segmenter};
use crate::{
    error::Result,
    model::{BoxPrompt, Detections, Watch, Watcher},
};

/// What example boxes mean, as one model sees it: `[boxes + 1, d_model]`, once or several times.
#[derive(Clone)]
pub(crate) struct Exemplars(Tensor);

impl Exemplars {
    /// Of several pictures together; none of none.
    pub(crate) fn of(parts: &[Self]) -> Result<Option<Self>> {
        let parts: Vec<&Tensor> = parts.iter().map(|Self(features)| features).collect();
        Ok(match parts[..] {
            [] => None,
            [part] => Some(Self(part.clone())),
            _ => Some(Self(Tensor::cat(&parts, 0)?)),
        })
    }
}

impl Segmenter {
    /// What boxes in an image mean.
    ///
    /// # Errors
    /// When a box is not in the image; and as [`detect_watched`](Self::detect_watched).
    pub(crate) fn encode_exemplars(
        &self,
        encoded: &Encoded,
        boxes: &[ExemplarBox],
        watch: &mut Watch<'_>,
    ) -> Result<Exemplars> {
        self.run(|| {
            let (detector, features) = self.detector_and(encoded)?;
            let boxes: Vec<BoxPrompt> = boxes
                .iter()
                .map(|exemplar| encoded.normalise(exemplar))
                .collect::<Result<_>>()?;
            let features = detector.encode_geometry(features, &boxes, &mut Watcher(watch))?;
            Ok(Exemplars(features))
        })
    }

    /// Looks for the prompt's text in an image, and for what is like the exemplars in place of the prompt's boxes.
    ///
    /// # Errors
    /// As [`detect_watched`](Self::detect_watched).
    pub(crate) fn detect_like(
        &self,
        encoded: &Encoded,
        prompt: &Prompt,
        Exemplars(geometry): &Exemplars,
        watch: &mut Watch<'_>,
    ) -> Result<Detections> {
        self.run(|| {
            let (detector, features) = self.detector_and(encoded)?;
            let mut observer = Watcher(watch);
            let text = self.text_features(prompt, &mut observer)?;
            detector.ground(features, &text, geometry, &mut observer)
        })
    }
}

impl ExemplarBox {
    /// The same in the part of the picture that begins at (x, y).
    pub(crate) fn in_part(&self, (x, y): (u32, u32)) -> Self {
        let [x1, y1, x2, y2] = self.xyxy;
        let (dx, dy) = (x as f32, y as f32);
        Self {
            xyxy: [x1 - dx, y1 - dy, x2 - dx, y2 - dy],
            positive: self.positive,
        }
    }
}
