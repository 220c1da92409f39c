//! The layers that stages are made of, by the names that their parameters have in the checkpoint.

use sam3_tensor::{
    Tensor, Weight,
    ops::{
        Activation, Attention, BoxBias, Conv3x3, Conv3x3Stride2, ConvTranspose2x2, DepthwiseConv7x7, GroupNorm,
        LayerNorm, Linear, Mlp, RotaryAttention, SineEncoding, WindowAttention, matmul_t,
    },
};

use super::Weights;
use crate::error::Result;

/// Every one fails where a parameter has another shape or element type than is expected, or the device has no room for
/// it.
impl Weights {
    /// `nn.Linear(input, output)`.
    pub fn linear(&self, name: &str, input: usize, output: usize) -> Result<Linear> {
        let weight = self.pp(name).weight("weight", &[output, input])?;
        self.linear_of(weight, Some(self.pp(name).tensor("bias", &[output])?))
    }

    /// `nn.Conv2d(input, output, kernel_size=1)`: a linear map of every pixel.
    pub fn conv_1x1(&self, name: &str, input: usize, output: usize) -> Result<Linear> {
        let weight = self.pp(name).weight("weight", &[output, input, 1, 1])?;
        self.linear_of(weight.flatten(), Some(self.pp(name).tensor("bias", &[output])?))
    }

    /// `nn.Conv2d(input, output, kernel_size=2, stride=2)`: a linear map of every 2 × 2 square, row by row, each
    /// pixel's channels together.
    pub fn conv_2x2(&self, name: &str, input: usize, output: usize) -> Result<Linear> {
        let conv = self.pp(name);
        let kernel = conv.tensor("weight", &[output, input, 2, 2])?;
        let kernel = kernel.permute([0, 2, 3, 1])?.reshape((output, 4 * input))?;
        self.linear_of(Weight::from_tensor(&kernel)?, Some(conv.tensor("bias", &[output])?))
    }

    /// The linear map of a weight, `[output, input]`, that was taken from the checkpoint in another way.
    pub fn linear_of(&self, weight: Weight, bias: Option<Tensor>) -> Result<Linear> {
        Ok(Linear::new(weight, bias).with_compute(self.compute))
    }

    /// `nn.LayerNorm(width, eps)`.
    pub fn layer_norm(&self, name: &str, width: usize, eps: f64) -> Result<LayerNorm> {
        let norm = self.pp(name);
        Ok(LayerNorm::new(
            norm.tensor("weight", &[width])?,
            norm.tensor("bias", &[width])?,
            eps,
        ))
    }

    /// The same where only linear layers and attention look at what it makes.
    pub fn layer_norm_before_products(&self, name: &str, width: usize, eps: f64) -> Result<LayerNorm> {
        Ok(self.layer_norm(name, width, eps)?.before_products(self.compute))
    }

    /// `nn.GroupNorm(8, channels)`.
    pub fn group_norm(&self, name: &str, channels: usize) -> Result<GroupNorm> {
        let norm = self.pp(name);
        Ok(GroupNorm::new(
            norm.tensor("weight", &[channels])?,
            norm.tensor("bias", &[channels])?,
        ))
    }

    /// Two linear layers of these names with an activation between them.
    pub fn mlp(&self, names: [&str; 2], [width, hidden]: [usize; 2], activation: Activation) -> Result<Mlp> {
        let [first, second] = names;
        Ok(Mlp::new(
            self.linear(first, width, hidden)?,
            activation,
            self.linear(second, hidden, width)?,
        ))
    }

    /// `linear1`, ReLU, `linear2`: the feed-forward of every layer behind the encoders.
    pub fn feed_forward(&self, width: usize) -> Result<Mlp> {
        self.relu_mlp(["linear1", "linear2"], width)
    }

    /// Two linear layers of these names with ReLU between them, of the hidden width that the file tells.
    pub fn relu_mlp(&self, names: [&str; 2], width: usize) -> Result<Mlp> {
        let hidden = self.rows(&format!("{}.weight", names[0])).unwrap_or(8 * width);
        self.mlp(names, [width, hidden], Activation::Relu)
    }

    /// `nn.MultiheadAttention(width, heads)`: `in_proj_weight` is `[3 width, width]`, rows `q | k | v`.
    pub fn attention(&self, name: &str, width: usize, heads: usize) -> Result<Attention> {
        let attention = self.pp(name);
        let in_proj = attention.weight("in_proj_weight", &[3 * width, width])?;
        let bias = attention.tensor("in_proj_bias", &[3 * width])?;
        let part = |index: usize| {
            let rows = index * width..(index + 1) * width;
            self.linear_of(in_proj.rows(rows.clone()), Some(bias.narrow(0, rows.start, width)?))
        };
        let out_proj = attention.linear("out_proj", width, width)?;
        Ok(Attention::new([part(0)?, part(1)?, part(2)?], out_proj, heads))
    }

    /// The tracker's `Attention`: `q_proj`, `k_proj` and `v_proj` to a width that the file tells, and `out_proj` back
    /// to `width`.
    pub fn projected_attention(&self, name: &str, width: usize, heads: usize) -> Result<Attention> {
        let attention = self.pp(name);
        let inner = attention.rows("q_proj.weight").unwrap_or(width);
        if !inner.is_multiple_of(heads) {
            return Err(self.fault(format!(
                "{}q_proj.weight: expected a multiple of {heads} rows, one part a head, found {inner}",
                attention.prefix
            )));
        }
        let project = |name| attention.linear(name, width, inner);
        let projections = [project("q_proj")?, project("k_proj")?, project("v_proj")?];
        Ok(Attention::new(
            projections,
            attention.linear("out_proj", inner, width)?,
            heads,
        ))
    }

    /// The same with one head, whose queries and keys are turned by their places.
    pub fn rotary_attention(&self, name: &str, width: usize) -> Result<RotaryAttention> {
        let attention = self.pp(name);
        let project = |name| attention.linear(name, width, width);
        let v = Some(project("v_proj")?);
        Ok(RotaryAttention::new(
            [project("q_proj")?, project("k_proj")?],
            v,
            project("out_proj")?,
        ))
    }

    /// The same to tokens that are `memory` wide. Shares of one head add up to 1: so the projection of values is folded
    /// into that of the result, and attention is to values of a quarter of the width.
    pub fn rotary_attention_to(&self, name: &str, width: usize, memory: usize) -> Result<RotaryAttention> {
        let attention = self.pp(name);
        let matrix = |name: &str, input| -> Result<(Tensor, Tensor)> {
            let layer = attention.pp(name);
            Ok((
                layer.tensor("weight", &[width, input])?,
                layer.tensor("bias", &[width])?,
            ))
        };
        let ((v, v_bias), (out, out_bias)) = (matrix("v_proj", memory)?, matrix("out_proj", width)?);
        let bias = (matmul_t(&out, &v_bias.unsqueeze(0)?)?.squeeze(1)? + out_bias)?;
        let out = Weight::for_products(&matmul_t(&out, &v.t()?)?, self.compute)?;
        let projections = [
            attention.linear("q_proj", width, width)?,
            attention.linear("k_proj", memory, width)?,
        ];
        Ok(RotaryAttention::new(
            projections,
            None,
            attention.linear_of(out, Some(bias))?,
        ))
    }

    /// Two linear layers of these names with GELU between them, of the hidden width that the file tells, and each of
    /// the result's channels times its value of `scale`.
    pub fn scaled_mlp(&self, [first, second]: [&str; 2], width: usize, scale: &str) -> Result<Mlp> {
        let hidden = self.rows(&format!("{first}.weight")).unwrap_or(4 * width);
        let (scale, layer) = (self.tensor(scale, &[width])?, self.pp(second));
        let weight = (layer.tensor("weight", &[width, hidden])? * scale.unsqueeze(1)?)?;
        let bias = (layer.tensor("bias", &[width])? * scale)?;
        Ok(Mlp::new(
            self.linear(first, width, hidden)?,
            Activation::Gelu,
            self.linear_of(Weight::for_products(&weight, self.compute)?, Some(bias))?,
        ))
    }

    /// ViTDet's self-attention: a fused `qkv`, and `proj`. Without a `window`, every token sees the whole map.
    pub fn window_attention(
        &self,
        name: &str,
        width: usize,
        heads: usize,
        window: Option<usize>,
    ) -> Result<WindowAttention> {
        let attention = self.pp(name);
        let qkv = attention.linear("qkv", width, 3 * width)?;
        let proj = attention.linear("proj", width, width)?;
        Ok(WindowAttention::new(qkv, proj, heads, window))
    }

    /// `nn.Conv2d(input, output, kernel_size=3, padding=1)`.
    pub fn conv_3x3(&self, name: &str, input: usize, output: usize) -> Result<Conv3x3> {
        let conv = self.pp(name);
        let kernel = conv.tensor("weight", &[output, input, 3, 3])?;
        let kernel = kernel.permute([0, 2, 3, 1])?.reshape((output, 9 * input))?;
        Ok(Conv3x3::new(&kernel, conv.tensor("bias", &[output])?, self.compute)?)
    }

    /// `nn.Conv2d(input, output, kernel_size=3, stride=2, padding=1)`.
    pub fn conv_3x3_stride_2(&self, name: &str, input: usize, output: usize) -> Result<Conv3x3Stride2> {
        let conv = self.pp(name);
        let kernel = conv.tensor("weight", &[output, input, 3, 3])?;
        let kernel = kernel.permute([0, 2, 3, 1])?.reshape((output, 9 * input))?;
        Ok(Conv3x3Stride2::new(
            &kernel,
            conv.tensor("bias", &[output])?,
            self.compute,
        )?)
    }

    /// `nn.Conv2d(channels, channels, kernel_size=7, padding=3, groups=channels)`.
    pub fn depthwise_conv_7x7(&self, name: &str, channels: usize) -> Result<DepthwiseConv7x7> {
        let conv = self.pp(name);
        let kernel = conv.tensor("weight", &[channels, 1, 7, 7])?;
        let kernel = kernel.reshape((channels, 49))?.t()?;
        Ok(DepthwiseConv7x7::new(kernel, conv.tensor("bias", &[channels])?))
    }

    /// `nn.Conv2d(channels, channels, kernel_size=3, padding=1)`, and a 1 × 1 convolution behind it, of the name `then`
    /// in `of` with `end` channels, as one.
    pub fn conv_3x3_then_1x1(
        &self,
        name: &str,
        channels: usize,
        (of, then, end): (&Self, &str, usize),
    ) -> Result<Conv3x3> {
        let (conv, then) = (self.pp(name), of.pp(then));
        let kernel = conv.tensor("weight", &[channels, channels, 3, 3])?;
        let kernel = kernel.permute([2, 3, 1, 0])?.reshape((9 * channels, channels))?;
        let bias = conv.tensor("bias", &[channels])?.unsqueeze(0)?;
        let then_kernel = then
            .tensor("weight", &[end, channels, 1, 1])?
            .reshape((end, channels))?;
        let bias = (matmul_t(&then_kernel, &bias)?.squeeze(1)? + then.tensor("bias", &[end])?)?;
        Ok(Conv3x3::new(&matmul_t(&then_kernel, &kernel)?, bias, self.compute)?)
    }

    /// `nn.ConvTranspose2d(input, output, kernel_size=2, stride=2)`.
    pub fn conv_transpose_2x2(&self, name: &str, input: usize, output: usize) -> Result<ConvTranspose2x2> {
        let conv = self.pp(name);
        let kernel = conv.tensor("weight", &[input, output, 2, 2])?;
        let kernel = kernel.permute([2, 3, 1, 0])?.reshape((4 * output, input))?;
        Ok(ConvTranspose2x2::new(
            &kernel,
            conv.tensor("bias", &[output])?,
            self.compute,
        )?)
    }

    /// The same and the 1 × 1 convolution behind it, of the name `then` with `end` channels, as one: no activation lies
    /// between the two.
    pub fn conv_transpose_2x2_then_1x1(
        &self,
        name: &str,
        [input, output]: [usize; 2],
        (then, end): (&str, usize),
    ) -> Result<ConvTranspose2x2> {
        let (conv, then) = (self.pp(name), self.pp(then));
        let step = conv.tensor("weight", &[input, output, 2, 2])?;
        let step_bias = conv.tensor("bias", &[output])?;
        let kernel = then.tensor("weight", &[end, output, 1, 1])?;
        let bias = then.tensor("bias", &[end])?;
        Ok(ConvTranspose2x2::fold(&step, &step_bias, &kernel, &bias, self.compute)?)
    }

    /// `boxRPB_embed_x` and `boxRPB_embed_y`.
    pub fn box_bias(&self, d_model: usize, heads: usize) -> Result<BoxBias> {
        let network = |name: &str| -> Result<[Linear; 2]> {
            let layers = self.pp(name).pp("layers");
            Ok([layers.linear("0", 2, d_model)?, layers.linear("1", d_model, heads)?])
        };
        Ok(BoxBias::new([network("boxRPB_embed_x")?, network("boxRPB_embed_y")?])?)
    }

    /// `width` sines and cosines of each value.
    pub fn sine_encoding(&self, width: usize) -> Result<SineEncoding> {
        Ok(SineEncoding::new(width, &self.device)?)
    }
}
