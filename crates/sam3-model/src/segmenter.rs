//! The public API: open a checkpoint, encode images, ask for things in them.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use candle_core::{Device, Tensor};
use sam3_package::StateDict;

use crate::{
    Config,
    baked::{self, Texts, VISUAL},
    error::{Error, Result},
    image::Image,
    masks::Mask,
    model::{self, BoxPrompt, Clock, Detections, Observer, Sam3Image, Stage, StageTimes, TextFeatures, Trace},
    ops::{self, Compute},
    tokenizer::Tokenizer,
    weights::Weights,
};

/// A SAM 3 image model, ready to segment.
///
/// One [`encode`](Self::encode) serves many prompts; a text is encoded once, and serves many images.
pub struct Segmenter {
    model: Sam3Image,
    config: Config,
    tokenizer: Tokenizer,
    device: Device,
    /// What texts became, those of the package at first.
    texts: Mutex<Texts>,
    baked: Vec<String>,
    unexpected: Vec<String>,
}

/// An image as the detector sees it.
pub struct Encoded {
    features: model::Features,
    width: u32,
    height: u32,
}

/// What to look for: a text, example boxes, or both.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prompt {
    /// A noun phrase; `None` asks for what the boxes show.
    pub text: Option<String>,
    /// Examples in the same image.
    pub boxes: Vec<ExemplarBox>,
}

/// A box around an example.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExemplarBox {
    /// `x1, y1, x2, y2` in pixels of the image.
    pub xyxy: [f32; 4],
    /// An example of what is meant, or of what is not.
    pub positive: bool,
}

/// One thing that was found.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Confidence, 0 to 1.
    pub score: f32,
    /// `x1, y1, x2, y2` in pixels; the model's own box, not the mask's.
    pub bbox: [f32; 4],
    /// Its pixels, at the image's size.
    pub mask: Mask,
}

impl Segmenter {
    /// Scores above this are kept, as in the official processor.
    pub const THRESHOLD: f32 = 0.5;

    /// Opens a checkpoint or a package, to compute in f32; [`open_with`](Self::open_with) takes faster precisions, and
    /// [`Compute::auto_for`] tells the one that suits checkpoint and device.
    ///
    /// # Errors
    /// When it cannot be read, is not a SAM 3 checkpoint, or lacks keys that the image model needs.
    pub fn open(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        Self::load(Arc::new(StateDict::open(path.as_ref())?), device)
    }

    /// As [`Segmenter::open`], with the encoders' large products in the precision `compute`.
    ///
    /// # Errors
    /// As there.
    pub fn open_with(path: impl AsRef<Path>, device: &Device, compute: Compute) -> Result<Self> {
        Self::load_with(Arc::new(StateDict::open(path.as_ref())?), device, compute)
    }

    /// As [`Segmenter::open`], from an open state dict.
    ///
    /// # Errors
    /// When it is not a whole SAM 3 image model, or the device has no room for it.
    pub fn load(dict: Arc<StateDict>, device: &Device) -> Result<Self> {
        Self::load_with(dict, device, Compute::F32)
    }

    /// As [`Segmenter::load`], with the encoders' large products in the precision `compute`.
    ///
    /// # Errors
    /// As there; and where the device has no products of that precision.
    pub fn load_with(dict: Arc<StateDict>, device: &Device, compute: Compute) -> Result<Self> {
        compute.check(device)?;
        let config = Config::of(&dict)?;
        let weights = Weights::new(dict.clone(), device.clone()).with_compute(compute);
        let model = Sam3Image::load(&weights, &config)?;
        let tokenizer = Tokenizer::new();
        let (baked, texts) = baked::load(&dict, &weights, &tokenizer, &config)?;
        Ok(Self {
            model,
            config,
            tokenizer,
            device: device.clone(),
            texts: Mutex::new(texts),
            baked,
            unexpected: weights.finish()?,
        })
    }

    /// The model's architecture.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where the model runs.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Waits until everything that was asked of the device is done: a GPU computes while [`encode`](Self::encode) and
    /// [`detect`](Self::detect) have long returned. For clocks; nothing else needs it.
    ///
    /// # Errors
    /// What failed there in the meantime.
    pub fn synchronize(&self) -> Result<()> {
        Ok(self.device.synchronize()?)
    }

    /// The only texts that a package without a text encoder knows; empty where any text will do.
    pub fn baked_prompts(&self) -> &[String] {
        &self.baked
    }

    /// Keys of the checkpoint that the image model does not know.
    pub fn unexpected_keys(&self) -> &[String] {
        &self.unexpected
    }

    /// Encodes an image: the expensive step, once an image.
    ///
    /// # Errors
    /// When memory runs out or the device fails.
    pub fn encode(&self, image: &Image) -> Result<Encoded> {
        self.encode_pixels(&self.pixels(image)?, image, &mut ())
    }

    /// Encodes a prompt's text ahead of time; later prompts with the same text find it done.
    ///
    /// # Errors
    /// When the prompt is empty, or a token has no embedding in this checkpoint.
    pub fn encode_text(&self, prompt: &Prompt) -> Result<()> {
        self.text_features(prompt).map(drop)
    }

    /// Finds every instance of what `prompt` means, in the order of the model's queries.
    ///
    /// # Errors
    /// When the prompt is empty or a box is not in the image.
    pub fn segment(&self, encoded: &Encoded, prompt: &Prompt) -> Result<Vec<Instance>> {
        self.detect(encoded, prompt)?.instances(encoded, Self::THRESHOLD)
    }

    /// [`encode`](Self::encode), a text of nobody's before, and [`detect`](Self::detect): once, with a clock between the stages.
    ///
    /// # Errors
    /// As [`Segmenter::segment`].
    pub fn time(&self, image: &Image, text: &str) -> Result<(Encoded, Detections, StageTimes)> {
        let pixels = self.pixels(image)?;
        let mut clock = Clock::start();
        let (encoded, detections) = self.observe(&pixels, image, text, &mut clock)?;
        Ok((encoded, detections, clock.times))
    }

    /// As [`time`](Self::time), but keeps what each stage hands on: some 250 MB at SAM 3's size.
    ///
    /// # Errors
    /// As [`Segmenter::segment`].
    pub fn trace(&self, image: &Image, text: &str) -> Result<(Encoded, Detections, Trace)> {
        let mut trace = Trace::default();
        let (encoded, detections) = self.observe(&self.pixels(image)?, image, text, &mut trace)?;
        Ok((encoded, detections, trace))
    }

    /// The model's raw outputs, for a caller with a threshold of its own.
    ///
    /// # Errors
    /// As [`Segmenter::segment`].
    pub fn detect(&self, encoded: &Encoded, prompt: &Prompt) -> Result<Detections> {
        let boxes = prompt
            .boxes
            .iter()
            .map(|exemplar| encoded.normalise(exemplar))
            .collect::<Result<Vec<_>>>()?;
        let text = self.text_features(prompt)?;
        Ok(self
            .model
            .forward_grounding(&encoded.features, &text, &boxes, &mut ())?)
    }

    fn pixels(&self, image: &Image) -> Result<Tensor> {
        Ok(ops::pixels(image, self.config.vit.image_size, &self.device)?)
    }

    fn encode_pixels(&self, pixels: &Tensor, image: &Image, observer: &mut dyn Observer) -> Result<Encoded> {
        Ok(Encoded {
            features: self.model.encode_image(pixels, observer)?,
            width: image.width,
            height: image.height,
        })
    }

    /// One image and one text, every stage afresh (but for a text that is baked).
    fn observe(
        &self,
        pixels: &Tensor,
        image: &Image,
        text: &str,
        observer: &mut dyn Observer,
    ) -> Result<(Encoded, Detections)> {
        let encoded = self.encode_pixels(pixels, image, observer)?;
        let text = match self.model.text_encoder() {
            Some(encoder) => encoder.forward(&baked::token_ids(&self.tokenizer, text, &self.config)?)?,
            None => self.features_of(text)?,
        };
        observer.made(Stage::Text, "text features", &text.features);
        let detections = self.model.forward_grounding(&encoded.features, &text, &[], observer)?;
        Ok((encoded, detections))
    }

    fn text_features(&self, prompt: &Prompt) -> Result<TextFeatures> {
        let text = match &prompt.text {
            Some(text) if text.trim().is_empty() => {
                return Err(Error::Prompt(
                    "the prompt is empty; name what to look for, such as \"boat\"".into(),
                ));
            }
            Some(text) => text.as_str(),
            None if prompt.boxes.is_empty() => {
                return Err(Error::Prompt("nothing to look for: give a text, a box, or both".into()));
            }
            None => VISUAL,
        };
        self.features_of(text)
    }

    fn features_of(&self, text: &str) -> Result<TextFeatures> {
        let ids = baked::token_ids(&self.tokenizer, text, &self.config)?;
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(features) = texts.get(&ids) {
            return Ok(features.clone());
        }
        let Some(encoder) = self.model.text_encoder() else {
            return Err(Error::Prompt(format!(
                "the prompt {text:?} is not baked into this package, which has no text encoder; it knows: {}. \
                 Ask for one of these, or package the checkpoint again with {text:?} in --bake-prompts",
                self.baked.join(", ")
            )));
        };
        let features = encoder.forward(&ids)?;
        texts.insert(ids, features.clone());
        Ok(features)
    }
}

impl Encoded {
    fn normalise(&self, exemplar: &ExemplarBox) -> Result<BoxPrompt> {
        let [x1, y1, x2, y2] = exemplar.xyxy;
        let (width, height) = (self.width as f32, self.height as f32);
        let inside = |low: f32, high: f32, size: f32| 0.0 <= low && low < high && high <= size;
        if !(inside(x1, x2, width) && inside(y1, y2, height)) {
            return Err(Error::Prompt(format!(
                "box {x1},{y1},{x2},{y2} is not inside the image; \
                 expected x1,y1,x2,y2 in pixels with 0 <= x1 < x2 <= {width} and 0 <= y1 < y2 <= {height}"
            )));
        }
        Ok(BoxPrompt {
            cxcywh: [
                (x1 + x2) / 2.0 / width,
                (y1 + y2) / 2.0 / height,
                (x2 - x1) / width,
                (y2 - y1) / height,
            ],
            positive: exemplar.positive,
        })
    }
}

impl Detections {
    /// Probability that the image holds what was asked for at all.
    ///
    /// # Errors
    /// When it is no number, or the device fails.
    pub fn presence(&self) -> Result<f32> {
        let logit = self.presence_logits.flatten_all()?.to_vec1::<f32>()?[0];
        finite("presence logits", [logit])?;
        Ok(sigmoid(logit))
    }

    /// The queries whose score is above `threshold`, with masks at the size of the image that was encoded.
    ///
    /// # Errors
    /// When a score, or the box or the mask of a query that is kept, is no number; or the device fails.
    pub fn instances(&self, encoded: &Encoded, threshold: f32) -> Result<Vec<Instance>> {
        let presence = self.presence()?;
        let logits = self.pred_logits.squeeze(0)?.to_vec1::<f32>()?;
        let boxes = self.pred_boxes.squeeze(0)?.to_vec2::<f32>()?;
        let (width, height) = (encoded.width as f32, encoded.height as f32);
        finite("scores", logits.iter().copied())?;
        let scores: Vec<f32> = logits.into_iter().map(|logit| sigmoid(logit) * presence).collect();
        let kept: Vec<usize> = (0..scores.len()).filter(|&query| scores[query] > threshold).collect();
        let size = (encoded.height as usize, encoded.width as usize);
        let masks = ops::masks(&self.pred_masks.squeeze(0)?, &kept, size.0, size.1)?;
        let instance = |(query, mask): (usize, Option<Mask>)| {
            let xyxy = &boxes[query];
            finite("boxes", xyxy.iter().copied())?;
            Ok(Instance {
                score: scores[query],
                bbox: [xyxy[0] * width, xyxy[1] * height, xyxy[2] * width, xyxy[3] * height],
                mask: mask.ok_or_else(|| not_finite("masks"))?,
            })
        };
        kept.into_iter().zip(masks).map(instance).collect()
    }
}

/// That every value of one of the model's outputs is a number.
fn finite(output: &str, values: impl IntoIterator<Item = f32>) -> Result<()> {
    if values.into_iter().all(f32::is_finite) {
        return Ok(());
    }
    Err(not_finite(output))
}

fn not_finite(output: &str) -> Error {
    Error::NotFinite(format!(
        "the model's {output} hold an infinity or NaN: a value in the model was beyond the range of what it was computed in"
    ))
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod accelerator_tests;
#[cfg(test)]
mod finite_tests;
