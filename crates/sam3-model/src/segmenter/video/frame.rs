//! A frame of a video, encoded once and when it is first needed.

use std::sync::Arc;

use sam3_tensor::Tensor;

use super::super::{Segmenter, bytes_of, instances::finite};
use crate::{
    error::Result,
    image::Image,
    input_size::InputSize,
    model::{Detections, Features, Observer, TextFeatures},
    predictor::Frame,
    tracking::{Detection, thresholds::SCORE_THRESHOLD_DETECTION, video_score},
};

/// A frame that was pushed or looked at.
pub struct Seen {
    index: usize,
    /// Until it is encoded.
    image: Option<Image>,
    /// Once it is encoded, until it is looked through for texts or followed to.
    trunk: Option<Trunk>,
    /// Where it is looked through for texts, until it is followed to.
    features: Option<Features>,
    /// What the tracker needs of it.
    frame: Option<Frame>,
}

/// What the trunk made of a frame, and the size that it saw it at.
struct Trunk {
    map: Tensor,
    size: Arc<InputSize>,
}

impl Seen {
    pub fn new(index: usize, image: Image) -> Self {
        Self {
            index,
            image: Some(image),
            trunk: None,
            features: None,
            frame: None,
        }
    }

    /// Its number.
    pub fn index(&self) -> usize {
        self.index
    }

    /// What the tracker knows of it, once it is encoded.
    pub fn frame(&self) -> Option<&Frame> {
        self.frame.as_ref()
    }

    /// Whether it need not be encoded again: it was encoded for what is asked. A frame that was followed to is not
    /// looked through for texts once more.
    pub fn serves(&self, for_texts: bool) -> bool {
        let is_for_texts = self.trunk.is_some() || self.features.is_some();
        self.image.is_none() && (!for_texts || is_for_texts)
    }

    /// Encodes it, where that is not done yet: for texts, too, or for clicks alone. What was encoded for clicks is not
    /// encoded again for texts: these see it as it was resized for those.
    pub fn encode(&mut self, model: &Segmenter, for_texts: bool, observer: &mut dyn Observer) -> Result<()> {
        if let Some(image) = &self.image {
            let trunk = model.trunk_of(image, for_texts, observer)?;
            let features = model.tracker()?.encode(&trunk.map)?;
            self.frame = Some(Frame::new(self.index, Arc::new(features)));
            self.trunk = Some(trunk);
            self.image = None;
        }
        if let (true, Some(Trunk { map, size })) = (for_texts, &self.trunk) {
            self.features = Some(model.detector()?.encode_image(map.clone(), size, observer)?);
            self.trunk = None;
        }
        Ok(())
    }

    /// What it takes of memory.
    pub fn bytes(&self) -> u64 {
        let image = self.image.as_ref().map_or(0, |image| image.rgb().len() as u64);
        let trunk = self.trunk.as_ref().map_or(0, |trunk| bytes_of(&trunk.map));
        let features = self.features.iter().flat_map(Features::tensors).map(bytes_of);
        image + trunk + features.sum::<u64>() + self.frame.as_ref().map_or(0, Frame::bytes)
    }

    /// Frees what only looking through it needs.
    pub fn let_go(&mut self) {
        self.trunk = None;
        self.features = None;
    }

    /// What the detector finds on it of each text.
    ///
    /// # Panics
    /// When it is not encoded for texts, and there are some.
    pub fn detections(
        &self,
        model: &Segmenter,
        texts: &[TextFeatures],
        observer: &mut dyn Observer,
    ) -> Result<Vec<Vec<Detection>>> {
        let detect = |text: &TextFeatures| {
            let features = self.features.as_ref().expect("it is encoded for texts");
            detections(&model.detector()?.forward_grounding(features, text, &[], observer)?)
        };
        texts.iter().map(detect).collect()
    }
}

impl Segmenter {
    /// Resized as pictures are, or where no text looks at it, as the official tracker resizes frames.
    fn trunk_of(&self, image: &Image, for_texts: bool, observer: &mut dyn Observer) -> Result<Trunk> {
        let side = self.image_size as u32;
        let input = match for_texts {
            true => self.input(image)?,
            false => self.input(&image.resize_bicubic(side, side)?)?,
        };
        let map = self.shared.trunk.forward(input.pixels, &input.size, observer)?;
        Ok(Trunk { map, size: input.size })
    }
}

/// The queries whose score is above the threshold, with their masks' logits.
fn detections(found: &Detections) -> Result<Vec<Detection>> {
    let presence = found.presence_logits.to_vec::<f32>()?[0];
    let logits = found.pred_logits.to_vec::<f32>()?;
    finite("presence logits", [presence])?;
    finite("scores", logits.iter().copied())?;
    let scores: Vec<f32> = logits.into_iter().map(|logit| video_score(logit, presence)).collect();
    let kept: Vec<usize> = (0..scores.len())
        .filter(|&query| scores[query] > SCORE_THRESHOLD_DETECTION)
        .collect();
    if kept.is_empty() {
        return Ok(Vec::new());
    }
    let masks = found.pred_masks.of(&kept)?;
    let cells = masks.elem_count() / kept.len();
    let masks = masks.to_vec::<f32>()?;
    finite("masks", masks.iter().copied())?;
    let masks = masks.chunks_exact(cells).map(<[f32]>::to_vec);
    let detection = |(query, logits): (usize, Vec<f32>)| Detection {
        query,
        score: scores[query],
        logits,
    };
    Ok(kept.into_iter().zip(masks).map(detection).collect())
}
