//! The feature pyramid: the trunk's map at 4, 2 and 1 times its resolution (official `necks.py`).

use sam3_tensor::{
    Result, Tensor,
    ops::{Activation, Conv3x3, ConvTranspose2x2, Linear},
};

use crate::{
    config::Config,
    model::{Observer, Stage},
    weights::Weights,
};

/// The official neck has a fourth level at half resolution that the detector throws away; it is not computed.
pub struct Neck {
    levels: [Level; 3],
}

/// Three maps, each `[side, side, d_model]`; the tracker's finer two have fewer channels.
pub struct Pyramid {
    /// 288 × 288 in SAM 3.
    pub x4: Tensor,
    /// 144 × 144.
    pub x2: Tensor,
    /// 72 × 72: what the detector looks at.
    pub x1: Tensor,
}

impl Neck {
    pub fn load(weights: &Weights, config: &Config) -> crate::Result<Self> {
        Self::load_with(weights, config, [None, None])
    }

    /// The tracker's, whose mask decoder looks at the two finer maps through a 1 × 1 convolution of its own,
    /// `decoder`'s `conv_s0` and `conv_s1`, to an eighth and a quarter of the channels: folded into the neck, they
    /// leave two fifths of its work.
    pub fn load_for_tracker(weights: &Weights, decoder: &Weights, config: &Config) -> crate::Result<Self> {
        let narrowed = |name, channels| {
            Some(Narrowed {
                weights: decoder,
                name,
                channels,
            })
        };
        let narrowed = [
            narrowed("conv_s0", config.d_model / 8),
            narrowed("conv_s1", config.d_model / 4),
        ];
        Self::load_with(weights, config, narrowed)
    }

    fn load_with(weights: &Weights, config: &Config, [x4, x2]: [Option<Narrowed<'_>>; 2]) -> crate::Result<Self> {
        let (width, d_model) = (config.vit.width, config.d_model);
        let level = |index: usize, upsample: &[&str], narrowed: Option<Narrowed<'_>>| {
            Level::load(&weights.pp(index), upsample, [width, d_model], narrowed)
        };
        Ok(Self {
            levels: [
                level(0, &["dconv_2x2_0", "dconv_2x2_1"], x4)?,
                level(1, &["dconv_2x2"], x2)?,
                level(2, &[], None)?,
            ],
        })
    }

    /// `x` is the trunk's `[grid, grid, width]`.
    pub fn forward(&self, x: &Tensor, observer: &mut dyn Observer) -> crate::Result<Pyramid> {
        let [x4, x2, x1] = &self.levels;
        // The finest last: what it leaves free is in one piece then, and the mask head finds room there for a map of
        // that size. With the coarsest before x2, what the trunk left free is cut in two: 40 MB more at SAM 3's peak.
        let x2 = x2.forward(x)?;
        observer.layer(Stage::Neck, 1, self.levels.len())?;
        let x1 = x1.forward(x)?;
        observer.layer(Stage::Neck, 2, self.levels.len())?;
        let x4 = x4.forward(x)?;
        observer.layer(Stage::Neck, 3, self.levels.len())?;
        Ok(Pyramid { x4, x2, x1 })
    }
}

/// A 1 × 1 convolution behind a level.
struct Narrowed<'a> {
    weights: &'a Weights,
    name: &'static str,
    channels: usize,
}

struct Level {
    upsample: Vec<ConvTranspose2x2>,
    /// None where it is in the last of `upsample`: no activation lies between the two.
    conv_1x1: Option<Linear>,
    conv_3x3: Conv3x3,
}

impl Level {
    fn load(
        weights: &Weights,
        upsample: &[&str],
        [mut width, d_model]: [usize; 2],
        narrowed: Option<Narrowed<'_>>,
    ) -> crate::Result<Self> {
        let mut steps = Vec::with_capacity(upsample.len());
        for (i, name) in upsample.iter().enumerate() {
            let (input, output) = (width, width / 2);
            steps.push(if i + 1 < upsample.len() {
                weights.conv_transpose_2x2(name, input, output)?
            } else {
                weights.conv_transpose_2x2_then_1x1(name, [input, output], ("conv_1x1", d_model))?
            });
            width = output;
        }
        let conv_1x1 = if upsample.is_empty() {
            Some(weights.conv_1x1("conv_1x1", width, d_model)?.before_products())
        } else {
            None
        };
        let conv_3x3 = match narrowed {
            Some(Narrowed {
                weights: of,
                name,
                channels,
            }) => weights.conv_3x3_then_1x1("conv_3x3", d_model, (of, name, channels))?,
            None if upsample.is_empty() => weights.conv_3x3("conv_3x3", d_model, d_model)?,
            // The mask head convolves it, and nothing else looks at it.
            None => weights.conv_3x3("conv_3x3", d_model, d_model)?.before_products(),
        };
        Ok(Self {
            upsample: steps,
            conv_1x1,
            conv_3x3,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for (i, step) in self.upsample.iter().enumerate() {
            let last = i + 1 == self.upsample.len();
            x = step.forward(&x, if last { Activation::None } else { Activation::Gelu })?;
        }
        // Each map is freed before the next but one is made: the finest have 85 MB.
        if let Some(conv_1x1) = &self.conv_1x1 {
            x = conv_1x1.forward(&x)?;
        }
        self.conv_3x3.forward(&x)
    }
}
