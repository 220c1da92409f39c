//! A frame of a video, encoded once and when it is first needed.

use std::sync::Mutex;

use super::super::{Encoded, ForClicks, Input, Segmenter, instances::finite};
use crate::{
    error::Result,
    image::Image,
    model::{Detections, Observer, TextFeatures},
    predictor::Frame,
    tracking::{Detection, thresholds::SCORE_THRESHOLD_DETECTION, video_score},
};

/// A frame that was pushed or looked at.
pub struct Seen {
    index: usize,
    /// Until it is encoded.
    image: Option<Image>,
    /// The video's width and height, which may not be the picture's.
    size: (u32, u32),
    /// Until it has been pushed.
    encoded: Option<Encoded>,
    /// What the tracker needs of it.
    frame: Option<Frame>,
}

impl Seen {
    pub fn new(index: usize, image: Image, size: (u32, u32)) -> Self {
        Self {
            index,
            image: Some(image),
            size,
            encoded: None,
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

    /// Whether it need not be encoded again: it is not encoded yet, or for what is asked.
    pub fn serves(&self, for_texts: bool) -> bool {
        let encoded = self.encoded.as_ref();
        self.image.is_some() || !for_texts || encoded.is_some_and(|encoded| encoded.features.is_some())
    }

    /// Encodes it, where that is not done yet: for texts, too, or for clicks alone.
    pub fn encode(&mut self, model: &Segmenter, for_texts: bool, observer: &mut dyn Observer) -> Result<()> {
        let Some(image) = &self.image else { return Ok(()) };
        let encoded = match for_texts {
            true => model.encode_input(sized(model.input(image)?, self.size), observer)?,
            false => model.encode_for_clicks(image, self.size, observer)?,
        };
        let features = encoded.tracker_features(&*model.tracker()?)?;
        self.frame = Some(Frame::new(self.index, features));
        self.encoded = Some(encoded);
        self.image = None;
        Ok(())
    }

    /// Frees what only the push of this frame needs.
    pub fn let_go(&mut self) {
        self.encoded = None;
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
            let encoded = self.encoded.as_ref().and_then(|encoded| encoded.features.as_ref());
            let features = encoded.expect("it is encoded for texts");
            detections(&model.detector()?.forward_grounding(features, text, &[], observer)?)
        };
        texts.iter().map(detect).collect()
    }
}

impl Segmenter {
    /// Without the detector's neck, and resized as the official tracker resizes frames.
    fn encode_for_clicks(&self, image: &Image, size: (u32, u32), observer: &mut dyn Observer) -> Result<Encoded> {
        let side = self.image_size as u32;
        let input = sized(self.input(&image.resize_bicubic(side, side)?)?, size);
        let trunk = self.shared.trunk.forward(input.pixels, &input.size, observer)?;
        Ok(Encoded {
            identity: self.shared.identity.clone(),
            size: input.size,
            features: None,
            for_clicks: Mutex::new(ForClicks::Trunk(trunk)),
            width: input.width,
            height: input.height,
        })
    }
}

/// The same input, as one of a video of this size.
fn sized(input: Input, (width, height): (u32, u32)) -> Input {
    Input { width, height, ..input }
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
