//! Scores: the dot product of each query with the prompt's mean (official `DotProductScoring`).

use sam3_tensor::{
    Result, Tensor,
    ops::{LayerNorm, Linear, matmul_t},
};

use crate::{
    model::{Observer, Prompt, mlp::Mlp},
    weights::Weights,
};

const EPS: f64 = 1e-5;
/// Logits are clamped to ± this.
const CLAMP: f32 = 12.0;

pub struct DotProductScoring {
    prompt_mlp: Mlp,
    out_norm: LayerNorm,
    prompt_proj: Linear,
    hs_proj: Linear,
}

impl DotProductScoring {
    pub fn load(weights: &Weights, d_model: usize) -> crate::Result<Self> {
        let hidden = weights.rows("prompt_mlp.layers.0.weight").unwrap_or(8 * d_model);
        let mlp = weights.pp("prompt_mlp");
        Ok(Self {
            prompt_mlp: Mlp::load(&mlp, &[d_model, hidden, d_model])?,
            out_norm: mlp.layer_norm("out_norm", d_model, EPS)?,
            prompt_proj: weights.linear("prompt_proj", d_model, d_model)?,
            hs_proj: weights.linear("hs_proj", d_model, d_model)?,
        })
    }

    /// `queries` is `[queries, d_model]`; returns logits `[queries]`.
    pub fn forward(&self, queries: &Tensor, prompt: &Prompt, observer: &mut dyn Observer) -> Result<Tensor> {
        let d_model = queries.dim(1)?;
        let text = (&prompt.features + self.prompt_mlp.forward(&prompt.features)?)?;
        let text = self.out_norm.forward(&text)?;
        let mean = matmul_t(&prompt.mean_weights, &text.t()?)?;
        let text = self.prompt_proj.forward(&mean)?;
        observer.passed("scoring.prompt", None, &text);
        let scores = matmul_t(&self.hs_proj.forward(queries)?, &text)?.flatten_all();
        (scores / (d_model as f64).sqrt())?.clamp(-CLAMP, CLAMP)
    }
}
