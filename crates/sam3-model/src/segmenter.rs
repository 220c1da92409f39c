//! The public API: open a checkpoint, encode images, ask for things in them by texts and by clicks.

mod batch;
mod click;
mod click_files;
mod clicks;
mod encoded;
mod everything;
mod exemplars;
mod instances;
mod options;
mod prompt;
mod texts;
mod tiled;
mod tour;
mod video;

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

pub(crate) use click::Answer;
use click::ForClicks;
pub use click::{ClickedMask, ClickedObject};
pub use click_files::SavedLogits;
pub use clicks::{Clicks, LowResMask};
pub(crate) use encoded::bytes_of;
pub use everything::{Everything, Segment};
pub use instances::Instance;
pub use options::Options;
pub use prompt::{ExemplarBox, Prompt};
use rayon::ThreadPool;
use sam3_package::StateDict;
use sam3_tensor::{
    Device, Tensor,
    ops::{self, Compute},
};
use texts::Texts;
pub(crate) use tour::Tour;
pub use video::{Session, VideoOptions};

use crate::{
    Config,
    baked::{self, VISUAL},
    error::{Error, Result},
    image::Image,
    input_size::{InputSize, InputSizes},
    model::{
        self, Clock, Detections, Observer, Sam3Image, Stage, StageTimes, TextEncoder, TextFeatures, Trace, Tracker,
        ViT, VideoTracker, Watch, Watcher,
    },
    precision,
    tokenizer::Tokenizer,
    weights::Weights,
};

/// A SAM 3 image model, ready to segment.
///
/// One [`encode`](Self::encode) serves many prompts and clicks; a text is encoded once, and serves many images. Threads
/// may share a segmenter: one that encodes an image or a text keeps no other one waiting.
///
/// A call that takes a [`Watch`] tells it of every layer that is done, and ends with [`Error::Stopped`] where it says
/// so.
///
/// A clone is the same model: weights and texts are shared.
#[derive(Clone)]
pub struct Segmenter {
    shared: Arc<Shared>,
    /// Pixels in a side of what the model sees.
    image_size: usize,
}

/// What a model's segmenters have in common.
struct Shared {
    /// Unlike any other's of this process.
    identity: Arc<()>,
    /// Its own threads, where it has some.
    pool: Option<ThreadPool>,
    dict: Arc<StateDict>,
    trunk: ViT,
    /// None in a package for clicks alone.
    detector: Option<Sam3Image>,
    /// Once something was clicked: until then it takes no memory.
    tracker: Mutex<Option<Arc<Tracker>>>,
    /// The same for videos.
    video_tracker: Mutex<Option<Arc<VideoTracker>>>,
    /// Whether encoded images keep what clicks need.
    takes_clicks: bool,
    sizes: InputSizes,
    config: Config,
    tokenizer: Tokenizer,
    device: Device,
    compute: Compute,
    texts: Texts<TextFeatures>,
    baked: Vec<String>,
    unexpected: Vec<String>,
}

/// An image as it goes into the model.
struct Input {
    /// `[3, image_size, image_size]`.
    pixels: Tensor,
    size: Arc<InputSize>,
    /// The image's own, in pixels.
    width: u32,
    height: u32,
}

/// An image as one model sees it.
pub struct Encoded {
    /// The model's.
    identity: Arc<()>,
    /// What the model saw it at.
    size: Arc<InputSize>,
    /// The detector's, where there is one.
    features: Option<model::Features>,
    for_clicks: Mutex<ForClicks>,
    width: u32,
    height: u32,
}

impl Segmenter {
    /// Scores above this are kept, as in the official processor.
    pub const THRESHOLD: f32 = 0.5;

    /// The number of texts whose features are kept, 32 kB each at SAM 3's size. The least recently used one leaves
    /// first; those that are baked into a package stay.
    pub const TEXTS_KEPT: usize = 1024;

    /// Opens a checkpoint or a package, to compute in f32 on `device`.
    ///
    /// # Errors
    /// When it cannot be read, is not a SAM 3 checkpoint, or lacks keys that the image model needs.
    pub fn open(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        Self::open_with(path, &Options::new(device))
    }

    /// As [`Segmenter::open`], in faster precisions, at another image size or on so many threads.
    ///
    /// # Errors
    /// As there; where the device has no products of that precision, where the model does not take that image size, and
    /// where no threads can be started.
    pub fn open_with(path: impl AsRef<Path>, options: &Options) -> Result<Self> {
        Self::load(Arc::new(StateDict::open(path.as_ref())?), options)
    }

    /// As [`Segmenter::open_with`], from an open state dict.
    ///
    /// # Errors
    /// When it is not a whole SAM 3 image model, or the device has no room for it; and as there.
    pub fn load(dict: Arc<StateDict>, options: &Options) -> Result<Self> {
        precision::check(options.compute, &options.device)?;
        let pool = options.pool()?;
        let config = Config::of(&dict)?;
        let image_size = options.image_size.unwrap_or(config.vit.image_size);
        config.vit.check_image_size(image_size)?;
        let weights = Weights::new(dict.clone(), options.device.clone()).with_compute(options.compute);
        let trunk = ViT::load(&weights.pp("detector.backbone.vision_backbone.trunk"), &config.vit)?;
        let of_texts = weights.on(options.device_of_texts());
        let detector = config.detector.as_ref();
        let detector = detector.map(|parts| Sam3Image::load(&weights, &of_texts, &config, parts));
        let tokenizer = Tokenizer::new();
        let (baked, texts) = baked::load(&dict, &weights, &tokenizer, &config)?;
        let shared = Shared {
            identity: Arc::new(()),
            pool,
            takes_clicks: options.clicks && click::may_have_click_head(&dict),
            dict,
            trunk,
            detector: detector.transpose()?,
            tracker: Mutex::default(),
            video_tracker: Mutex::default(),
            sizes: InputSizes::default(),
            config,
            tokenizer,
            device: options.device.clone(),
            compute: options.compute,
            texts: Texts::new(texts, Self::TEXTS_KEPT),
            baked,
            unexpected: weights.finish()?,
        };
        Ok(Self {
            shared: Arc::new(shared),
            image_size,
        })
    }

    /// The same model, to see pictures as squares of so many pixels a side: one of
    /// [`image_sizes`](crate::config::VitConfig::image_sizes), or its own.
    ///
    /// Time falls somewhat faster than the number of pixels, and so does what is found of small things: a model is best
    /// at the size that it was trained with. What one size encoded, any other answers prompts about.
    ///
    /// # Errors
    /// When the model does not take that size.
    pub fn at_image_size(&self, image_size: usize) -> Result<Self> {
        self.shared.config.vit.check_image_size(image_size)?;
        Ok(Self {
            shared: self.shared.clone(),
            image_size,
        })
    }

    /// Pixels in a side of the square that a picture is resized to.
    pub fn image_size(&self) -> usize {
        self.image_size
    }

    /// The model's architecture.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Where the model runs.
    pub fn device(&self) -> &Device {
        &self.shared.device
    }

    /// What the encoders' large products are computed in.
    pub fn compute(&self) -> Compute {
        self.shared.compute
    }

    /// Waits until everything that was asked of the device is done: a GPU computes while [`encode`](Self::encode) and
    /// [`detect`](Self::detect) have long returned. For clocks; nothing else needs it.
    ///
    /// # Errors
    /// What failed there in the meantime.
    pub fn synchronize(&self) -> Result<()> {
        Ok(self.shared.device.synchronize()?)
    }

    /// The only texts that a package without a text encoder knows; empty where any text will do.
    pub fn baked_prompts(&self) -> &[String] {
        &self.shared.baked
    }

    /// What the model reads of a text that is too long for it; none for a text that is read whole.
    ///
    /// As with the official tokenizer, a text's tokens beyond [`CONTEXT_LENGTH`](crate::tokenizer::CONTEXT_LENGTH) are
    /// ignored. What is returned is [`clean`](crate::tokenizer::clean)ed. [`Tokenizer::truncated`] needs no model for
    /// this.
    pub fn truncated_prompt(&self, text: &str) -> Option<String> {
        self.shared.tokenizer.truncated(text)
    }

    /// Whether the model answers texts and example boxes: a package for clicks alone does not.
    ///
    /// # Errors
    /// [`Error::NoDetector`] where it does not.
    pub fn check_texts(&self) -> Result<()> {
        self.detector().map(drop)
    }

    /// Keys of the checkpoint that the image model does not know.
    pub fn unexpected_keys(&self) -> &[String] {
        &self.shared.unexpected
    }

    /// Encodes an image: the expensive step, once an image.
    ///
    /// # Errors
    /// When memory runs out or the device fails.
    pub fn encode(&self, image: &Image) -> Result<Encoded> {
        self.run(|| self.encode_input(self.input(image)?, &mut ()))
    }

    /// [`encode`](Self::encode), watched.
    ///
    /// # Errors
    /// As there, and [`Error::Stopped`].
    pub fn encode_watched(&self, image: &Image, watch: &mut Watch<'_>) -> Result<Encoded> {
        self.run(|| self.encode_input(self.input(image)?, &mut Watcher(watch)))
    }

    /// Encodes a prompt's text ahead of time; later prompts with the same text find it done.
    ///
    /// # Errors
    /// When the prompt is empty, or a token has no embedding in this checkpoint.
    pub fn encode_text(&self, prompt: &Prompt) -> Result<()> {
        self.run(|| self.text_features(prompt, &mut ())).map(drop)
    }

    /// [`encode_text`](Self::encode_text), watched.
    ///
    /// # Errors
    /// As there, and [`Error::Stopped`].
    pub fn encode_text_watched(&self, prompt: &Prompt, watch: &mut Watch<'_>) -> Result<()> {
        self.run(|| self.text_features(prompt, &mut Watcher(watch))).map(drop)
    }

    /// Finds every instance of what `prompt` means, in the order of the model's queries.
    ///
    /// # Errors
    /// When the prompt is empty or a box is not in the image.
    pub fn segment(&self, encoded: &Encoded, prompt: &Prompt) -> Result<Vec<Instance>> {
        let detections = self.detect(encoded, prompt)?;
        self.run(|| detections.instances(encoded, Self::THRESHOLD))
    }

    /// [`encode`](Self::encode), a text of nobody's before, and [`detect`](Self::detect): once, with a clock between
    /// the stages.
    ///
    /// # Errors
    /// As [`Segmenter::segment`].
    pub fn time(&self, image: &Image, text: &str) -> Result<(Encoded, Detections, StageTimes)> {
        self.run(|| {
            let input = self.input(image)?;
            let mut clock = Clock::start();
            let (encoded, detections) = self.observe(input, text, &mut clock)?;
            Ok((encoded, detections, clock.times))
        })
    }

    /// As [`time`](Self::time), but keeps what each stage hands on: some 250 MB at SAM 3's size.
    ///
    /// # Errors
    /// As [`Segmenter::segment`].
    pub fn trace(&self, image: &Image, text: &str) -> Result<(Encoded, Detections, Trace)> {
        self.run(|| {
            let mut trace = Trace::default();
            let (encoded, detections) = self.observe(self.input(image)?, text, &mut trace)?;
            Ok((encoded, detections, trace))
        })
    }

    /// The model's raw outputs, for a caller with a threshold of its own.
    ///
    /// # Errors
    /// As [`Segmenter::segment`]; and where another model encoded the image.
    pub fn detect(&self, encoded: &Encoded, prompt: &Prompt) -> Result<Detections> {
        self.run(|| self.detect_observed(encoded, prompt, &mut ()))
    }

    /// [`detect`](Self::detect), watched.
    ///
    /// # Errors
    /// As there, and [`Error::Stopped`].
    pub fn detect_watched(&self, encoded: &Encoded, prompt: &Prompt, watch: &mut Watch<'_>) -> Result<Detections> {
        self.run(|| self.detect_observed(encoded, prompt, &mut Watcher(watch)))
    }

    /// On the model's own threads, where it has some.
    fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.shared.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    /// # Errors
    /// When the package is for clicks alone.
    fn detector(&self) -> Result<&Sam3Image> {
        self.shared.detector.as_ref().ok_or_else(|| Error::NoDetector {
            path: self.shared.dict.path().to_owned(),
        })
    }

    /// # Errors
    /// When another model encoded the image.
    fn is_own(&self, encoded: &Encoded) -> Result<()> {
        if Arc::ptr_eq(&self.shared.identity, &encoded.identity) {
            Ok(())
        } else {
            Err(Error::OtherModel)
        }
    }

    /// The detector, and what it made of an image.
    fn detector_and<'a>(&'a self, encoded: &'a Encoded) -> Result<(&'a Sam3Image, &'a model::Features)> {
        self.is_own(encoded)?;
        let detector = self.detector()?;
        Ok((detector, encoded.features.as_ref().expect("the detector encoded it")))
    }

    fn detect_observed(&self, encoded: &Encoded, prompt: &Prompt, observer: &mut dyn Observer) -> Result<Detections> {
        let (detector, features) = self.detector_and(encoded)?;
        let boxes = prompt
            .boxes
            .iter()
            .map(|exemplar| encoded.normalise(exemplar))
            .collect::<Result<Vec<_>>>()?;
        let text = self.text_features(prompt, observer)?;
        detector.forward_grounding(features, &text, &boxes, observer)
    }

    fn input(&self, image: &Image) -> Result<Input> {
        let Shared {
            config, device, sizes, ..
        } = &*self.shared;
        let size = sizes.get(self.image_size, config, device)?;
        let extents = (image.height() as usize, image.width() as usize);
        Ok(Input {
            pixels: ops::pixels(image.rgb(), extents, size.image_size, device)?,
            size,
            width: image.width(),
            height: image.height(),
        })
    }

    fn encode_input(&self, input: Input, observer: &mut dyn Observer) -> Result<Encoded> {
        let trunk = self.shared.trunk.forward(input.pixels, &input.size, observer)?;
        self.encode_trunk(trunk, input.size, (input.width, input.height), observer)
    }

    /// What the detector, and later the clicks, make of the trunk's map.
    fn encode_trunk(
        &self,
        trunk: Tensor,
        size: Arc<InputSize>,
        (width, height): (u32, u32),
        observer: &mut dyn Observer,
    ) -> Result<Encoded> {
        let shared = &*self.shared;
        let for_clicks = if shared.takes_clicks {
            ForClicks::Trunk(trunk.clone())
        } else {
            ForClicks::NotKept
        };
        let detector = shared.detector.as_ref();
        let features = detector.map(|detector| detector.encode_image(trunk, &size, observer));
        Ok(Encoded {
            identity: shared.identity.clone(),
            features: features.transpose()?,
            size,
            for_clicks: Mutex::new(for_clicks),
            width,
            height,
        })
    }

    /// One image and one text, every stage afresh (but for a text that is baked).
    fn observe(&self, input: Input, text: &str, observer: &mut dyn Observer) -> Result<(Encoded, Detections)> {
        let detector = self.detector()?;
        let encoded = self.encode_input(input, observer)?;
        let text = match detector.text_encoder() {
            Some(encoder) => self.encode_ids(encoder, &self.token_ids(text)?, observer)?,
            None => self.features_of(text, observer)?,
        };
        observer.made(Stage::Text, "text features", &text.features);
        let features = encoded.features.as_ref().expect("the detector encoded it");
        let detections = detector.forward_grounding(features, &text, &[], observer)?;
        Ok((encoded, detections))
    }

    fn text_features(&self, prompt: &Prompt, observer: &mut dyn Observer) -> Result<TextFeatures> {
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
        self.features_of(text, observer)
    }

    fn features_of(&self, text: &str, observer: &mut dyn Observer) -> Result<TextFeatures> {
        let Shared { texts, baked, .. } = &*self.shared;
        let detector = self.detector()?;
        let ids = self.token_ids(text)?;
        texts.get_or_encode(&ids, || match detector.text_encoder() {
            Some(encoder) => self.encode_ids(encoder, &ids, observer),
            None => Err(baked::not_baked(baked, text)),
        })
    }

    /// What the text encoder, wherever it is, makes of tokens, where the detector is.
    fn encode_ids(&self, encoder: &TextEncoder, ids: &[u32], observer: &mut dyn Observer) -> Result<TextFeatures> {
        let mut text = encoder.forward(ids, observer)?;
        text.features = text.features.to_device(&self.shared.device)?;
        Ok(text)
    }

    fn token_ids(&self, text: &str) -> Result<Vec<u32>> {
        baked::token_ids(&self.shared.tokenizer, text, &self.shared.config)
    }
}

#[cfg(test)]
mod accelerator_tests;
#[cfg(test)]
mod call_tests;
#[cfg(test)]
mod click_tests;
#[cfg(test)]
mod finite_tests;
#[cfg(test)]
mod tiled_tests;
