//! A frame's map and an object's mask become what is remembered (official `SimpleMaskEncoder`).

use sam3_tensor::{
    Result, Tensor,
    ops::{Conv3x3Stride2, DepthwiseConv7x7, LayerNorm, Linear, Mlp, gelu},
};

use crate::weights::Weights;

/// Of every norm here.
const EPS: f64 = 1e-6;
/// Channels of the mask, halving by halving: what a file without these tensors would have.
const CHANNELS: [usize; 5] = [1, 4, 16, 64, 256];

pub struct MemoryEncoder {
    mask_downsampler: MaskDownsampler,
    pix_feat_proj: Linear,
    fuser: Vec<CxBlock>,
    out_proj: Linear,
    /// `[1, memory width]`: added where the object is not there.
    no_obj_embed_spatial: Tensor,
}

impl MemoryEncoder {
    /// `tracker` is the place that holds `maskmem_backbone`.
    pub fn load(tracker: &Weights, [d_model, memory]: [usize; 2]) -> crate::Result<Self> {
        let weights = tracker.pp("maskmem_backbone");
        let fuser = weights.pp("fuser").pp("layers");
        let depth = (0..).take_while(|i| fuser.pp(i).rows("gamma").is_some()).count();
        Ok(Self {
            mask_downsampler: MaskDownsampler::load(&weights.pp("mask_downsampler").pp("encoder"), d_model)?,
            pix_feat_proj: weights.conv_1x1("pix_feat_proj", d_model, d_model)?,
            fuser: (0..depth.max(1))
                .map(|i| CxBlock::load(&fuser.pp(i), d_model))
                .collect::<crate::Result<_>>()?,
            out_proj: weights.conv_1x1("out_proj", d_model, memory)?,
            no_obj_embed_spatial: tracker.tensor("no_obj_embed_spatial", &[1, memory])?,
        })
    }

    /// What masks are added to, which is the same for all objects: `f` is the frame's map, `[grid², d_model]`.
    pub fn pix_feat(&self, f: &Tensor) -> Result<Tensor> {
        self.pix_feat_proj.forward(f)
    }

    /// `mask` is `[16 grid, 16 grid]`, −10 outside to 10 inside. Returns `[grid², memory width]`.
    pub fn forward(&self, pix_feat: &Tensor, mask: &Tensor, is_present: bool) -> Result<Tensor> {
        let mask = self.mask_downsampler.forward(mask)?;
        let (height, width, d_model) = mask.dims3()?;
        let mut x = (pix_feat.reshape((height, width, d_model))? + mask)?;
        for block in &self.fuser {
            x = block.forward(&x)?;
        }
        let memory = self.out_proj.forward(&x.reshape((height * width, d_model))?)?;
        if is_present {
            Ok(memory)
        } else {
            memory + &self.no_obj_embed_spatial
        }
    }
}

/// Four halvings of a mask, and a linear map of every pixel.
struct MaskDownsampler {
    halvings: Vec<(Conv3x3Stride2, LayerNorm)>,
    last: Linear,
}

impl MaskDownsampler {
    fn load(weights: &Weights, d_model: usize) -> crate::Result<Self> {
        let mut halvings = Vec::with_capacity(CHANNELS.len() - 1);
        let mut input = CHANNELS[0];
        for (i, otherwise) in CHANNELS.into_iter().skip(1).enumerate() {
            let (conv, norm) = ((3 * i).to_string(), (3 * i + 1).to_string());
            let output = weights.rows(&format!("{conv}.weight")).unwrap_or(otherwise);
            halvings.push((
                weights.conv_3x3_stride_2(&conv, input, output)?,
                weights.layer_norm(&norm, output, EPS)?,
            ));
            input = output;
        }
        Ok(Self {
            halvings,
            last: weights.conv_1x1("12", input, d_model)?,
        })
    }

    fn forward(&self, mask: &Tensor) -> Result<Tensor> {
        let mut x = mask.unsqueeze(2)?;
        for (conv, norm) in &self.halvings {
            x = gelu(&norm.forward(&conv.forward(&x)?)?)?;
        }
        self.last.forward(&x)
    }
}

/// A block of ConvNeXt.
struct CxBlock {
    dwconv: DepthwiseConv7x7,
    norm: LayerNorm,
    /// `pwconv1`, GELU, and `pwconv2` with `gamma` in it.
    mlp: Mlp,
}

impl CxBlock {
    fn load(weights: &Weights, d_model: usize) -> crate::Result<Self> {
        Ok(Self {
            dwconv: weights.depthwise_conv_7x7("dwconv", d_model)?,
            norm: weights.layer_norm_before_products("norm", d_model, EPS)?,
            mlp: weights.scaled_mlp(["pwconv1", "pwconv2"], d_model, "gamma")?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.mlp.forward_add(x, &self.norm.forward(&self.dwconv.forward(x)?)?)
    }
}
