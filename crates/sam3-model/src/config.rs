//! Every architecture number of a SAM 3 image model, read from the checkpoint itself where it can be.
//!
//! Layer counts come from key names and widths from shapes. Heads, image size and windows are in neither:
//! they come from the package's metadata or the `config.json` beside the checkpoint (transformers' schema),
//! then from the `freqs_cis` tables, and last from SAM 3's own numbers.
//!
//! Each number is bounded where it is read (`limits`): what is allocated before any weight is read depends on them.

mod check;
mod limits;
mod reader;
mod rotary;
mod stated;

use std::{iter::StepBy, ops::RangeInclusive};

use reader::Reader;
use sam3_package::{StateDict, Tasks, package::BAKED_PROMPTS};

use crate::error::{Error, Result};

/// A whole SAM 3 image model's architecture.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The image encoder.
    pub vit: VitConfig,
    /// Width of everything after the encoders; 256.
    pub d_model: usize,
    /// What answers texts and example boxes; none in a package for clicks alone.
    pub detector: Option<DetectorConfig>,
}

/// The detector, behind the image encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectorConfig {
    /// The text encoder; none in a package of baked prompts.
    pub text: Option<TextConfig>,
    /// The geometry encoder; 3 layers, 8 heads.
    pub geometry: StackConfig,
    /// The fusion encoder; 6 layers, 8 heads.
    pub fusion: StackConfig,
    /// The decoder; 6 layers, 8 heads.
    pub decoder: StackConfig,
    /// Object queries; 200.
    pub queries: usize,
    /// Heads of the mask head's attention to the prompt; 8.
    pub mask_heads: usize,
    /// Side of the patch that a box prompt is pooled to; 7.
    pub roi_size: usize,
}

/// The ViT trunk.
#[derive(Clone, Debug, PartialEq)]
pub struct VitConfig {
    /// Side of the square input in pixels; 1008.
    pub image_size: usize,
    /// Side of a patch in pixels; 14.
    pub patch_size: usize,
    /// Side, in patches, of the position table that is tiled over the image; 24.
    pub pretrain_grid: usize,
    /// Embedding width; 1024.
    pub width: usize,
    /// Hidden width of a block's MLP; 4736.
    pub mlp: usize,
    /// Number of blocks; 32.
    pub depth: usize,
    /// Attention heads; 16.
    pub heads: usize,
    /// Side of an attention window in patches; 24.
    pub window: usize,
    /// Blocks that attend to the whole image, ascending; 7, 15, 23, 31.
    pub global_blocks: Vec<usize>,
    /// LayerNorm epsilon; 1e-5.
    pub eps: f64,
}

/// Tokens in a side of the largest input that is not the model's own: of SAM 3, 2016 pixels.
const MOST_TOKENS: usize = 144;

impl VitConfig {
    /// Side of the token grid: 72 at 1008 pixels.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// The sides that an input may have, in pixels, beside the model's own: multiples of the patch from one window to
    /// 144 tokens a side, of SAM 3 from 336 to 2016.
    pub fn image_sizes(&self) -> StepBy<RangeInclusive<usize>> {
        let (least, most) = (self.window * self.patch_size, MOST_TOKENS * self.patch_size);
        (least..=most).step_by(self.patch_size)
    }

    /// # Errors
    /// When an input cannot have that side.
    pub(crate) fn check_image_size(&self, found: usize) -> Result<()> {
        let mut sizes = self.image_sizes();
        if found == self.image_size || sizes.any(|size| size == found) {
            return Ok(());
        }
        Err(Error::ImageSize {
            found,
            vit: Box::new(self.clone()),
        })
    }
}

/// The text encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct TextConfig {
    /// Embedding width; 1024.
    pub width: usize,
    /// Number of blocks; 24.
    pub depth: usize,
    /// Attention heads; 16.
    pub heads: usize,
    /// Tokens per prompt; 32.
    pub context: usize,
    /// Rows of the token embedding; 49408.
    pub vocab: usize,
}

/// A stack of transformer layers of width `d_model`.
#[derive(Clone, Debug, PartialEq)]
pub struct StackConfig {
    /// Number of layers.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
}

impl Config {
    /// Reads the architecture of the checkpoint behind `dict`.
    ///
    /// # Errors
    /// When a tensor that fixes a width is missing, a layer is missing between others, a number is out of its range, or
    /// the numbers contradict each other.
    pub fn of(dict: &StateDict) -> Result<Self> {
        let reader = Reader::new(dict);
        let config = if Tasks::of(dict.tensors().map(|tensor| tensor.name)).is_for_clicks_alone() {
            Self {
                vit: reader.vit()?,
                d_model: reader.tracker_d_model()?,
                detector: None,
            }
        } else {
            Self {
                vit: reader.vit()?,
                d_model: reader.d_model()?,
                detector: Some(DetectorConfig::read(&reader, dict)?),
            }
        };
        check::fits(&config).map_err(|reason| reader.fault(reason))?;
        Ok(config)
    }

    /// The same numbers in transformers' `config.json` schema, as they travel in a package.
    pub fn to_json(&self) -> serde_json::Value {
        stated::write(self)
    }
}

impl DetectorConfig {
    fn read(reader: &Reader<'_>, dict: &StateDict) -> Result<Self> {
        let is_baked = dict.position(BAKED_PROMPTS).is_some();
        Ok(Self {
            text: if is_baked { None } else { Some(reader.text()?) },
            geometry: reader.stack("detector.geometry_encoder.encode.", "geometry_encoder_config")?,
            fusion: reader.stack("detector.transformer.encoder.layers.", "detr_encoder_config")?,
            decoder: reader.stack("detector.transformer.decoder.layers.", "detr_decoder_config")?,
            queries: reader.queries()?,
            mask_heads: reader.heads("mask_decoder_config", limits::D_MODEL)?.unwrap_or(8),
            roi_size: reader.roi_size()?,
        })
    }
}

/// Whether a trunk of these widths is SAM 3's.
fn is_sam3(width: usize, mlp: usize) -> bool {
    (width, mlp) == (1024, 4736)
}

#[cfg(test)]
mod tests;
