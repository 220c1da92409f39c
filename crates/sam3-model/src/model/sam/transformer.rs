//! Tokens and the image attend to each other (official `sam/transformer.py`).

use sam3_tensor::{
    Result, Tensor,
    ops::{Attention, Keys, LayerNorm, Mlp, Queries},
};

use crate::weights::Weights;

/// Layers, and heads of every attention: neither names nor shapes tell them.
const DEPTH: usize = 2;
const HEADS: usize = 8;
const EPS: f64 = 1e-5;

pub struct TwoWayTransformer {
    layers: Vec<TwoWayAttentionBlock>,
    final_attn_token_to_image: Attention,
    norm_final_attn: LayerNorm,
}

/// What both sides became.
pub struct Attended {
    /// `[tokens, d_model]`.
    pub tokens: Tensor,
    /// `[grid², d_model]`.
    pub image: Tensor,
}

impl TwoWayTransformer {
    pub fn load(weights: &Weights, d_model: usize) -> crate::Result<Self> {
        let layers = weights.pp("layers");
        Ok(Self {
            layers: (0..DEPTH)
                .map(|i| TwoWayAttentionBlock::load(&layers.pp(i), d_model, i == 0))
                .collect::<crate::Result<_>>()?,
            final_attn_token_to_image: weights.projected_attention("final_attn_token_to_image", d_model, HEADS)?,
            norm_final_attn: weights.layer_norm("norm_final_attn", d_model, EPS)?,
        })
    }

    /// What the first layer makes of an image, `[grid², d_model]`, and its positions, `image_pe`, before it knows any
    /// token.
    pub fn project(&self, image: &Tensor, image_pe: &Tensor) -> Result<Projected> {
        self.layers[0].project(image, image_pe)
    }

    /// `tokens` is `[tokens, d_model]` and their positions too, `first` what [`project`](Self::project) made of the
    /// image.
    pub fn forward(&self, tokens: &Tensor, first: &Projected, image_pe: &Tensor) -> Result<Attended> {
        let (mut queries, mut image) = self.layers[0].forward(tokens, tokens, Image::Projected(first))?;
        let mut placed = (&image + image_pe)?;
        for layer in &self.layers[1..] {
            let image_before = Image::Plain {
                image: &image,
                placed: &placed,
            };
            (queries, image) = layer.forward(&queries, tokens, image_before)?;
            placed = (&image + image_pe)?;
        }
        let q = (&queries + tokens)?;
        let queries = self
            .final_attn_token_to_image
            .forward_add(&queries, [&q, &placed, &image], None)?;
        Ok(Attended {
            tokens: self.norm_final_attn.forward(&queries)?,
            image,
        })
    }
}

/// An image as the first layer sees it: the same for every object.
pub struct Projected {
    image: Tensor,
    /// Of [`cross_attn_token_to_image`](TwoWayAttentionBlock::cross_attn_token_to_image).
    keys: Keys,
    /// Of [`cross_attn_image_to_token`](TwoWayAttentionBlock::cross_attn_image_to_token).
    queries: Queries,
}

impl Projected {
    /// What is kept of the image.
    pub fn tensors(&self) -> [&Tensor; 4] {
        let [keys, values] = self.keys.tensors();
        [&self.image, keys, values, self.queries.tensor()]
    }
}

/// An image before a layer.
enum Image<'a> {
    Projected(&'a Projected),
    /// Itself, and with its positions.
    Plain {
        image: &'a Tensor,
        placed: &'a Tensor,
    },
}

/// One post-norm layer.
struct TwoWayAttentionBlock {
    self_attn: Attention,
    /// Of the first layer, whose tokens are their positions: nothing is added to what self-attention makes.
    skip_first_layer_pe: bool,
    norm1: LayerNorm,
    cross_attn_token_to_image: Attention,
    norm2: LayerNorm,
    mlp: Mlp,
    norm3: LayerNorm,
    cross_attn_image_to_token: Attention,
    norm4: LayerNorm,
}

impl TwoWayAttentionBlock {
    fn load(weights: &Weights, d_model: usize, skip_first_layer_pe: bool) -> crate::Result<Self> {
        let norm = |name| weights.layer_norm(name, d_model, EPS);
        let attention = |name| weights.projected_attention(name, d_model, HEADS);
        Ok(Self {
            self_attn: attention("self_attn")?,
            skip_first_layer_pe,
            norm1: norm("norm1")?,
            cross_attn_token_to_image: attention("cross_attn_token_to_image")?,
            norm2: norm("norm2")?,
            mlp: weights.pp("mlp").relu_mlp(["lin1", "lin2"], d_model)?,
            norm3: norm("norm3")?,
            cross_attn_image_to_token: attention("cross_attn_image_to_token")?,
            norm4: norm("norm4")?,
        })
    }

    fn project(&self, image: &Tensor, image_pe: &Tensor) -> Result<Projected> {
        let placed = (image + image_pe)?;
        Ok(Projected {
            image: image.clone(),
            keys: self.cross_attn_token_to_image.keys(&placed, image)?,
            queries: self.cross_attn_image_to_token.queries(&placed)?,
        })
    }

    /// The tokens look at each other and at the image, and then the image at the tokens.
    fn forward(&self, x: &Tensor, pe: &Tensor, image: Image<'_>) -> Result<(Tensor, Tensor)> {
        let x = if self.skip_first_layer_pe {
            self.self_attn.forward([x, x, x], None)?
        } else {
            let q = (x + pe)?;
            self.self_attn.forward_add(x, [&q, &q, x], None)?
        };
        let x = self.norm1.forward(&x)?;
        let (to_image, to_token) = (&self.cross_attn_token_to_image, &self.cross_attn_image_to_token);
        let q = (&x + pe)?;
        let x = match image {
            Image::Projected(projected) => {
                to_image.forward_add_projected(&x, &to_image.queries(&q)?, &projected.keys)?
            }
            Image::Plain { image, placed } => to_image.forward_add(&x, [&q, placed, image], None)?,
        };
        let x = self.norm2.forward(&x)?;
        let x = self.norm3.forward(&self.mlp.forward_add(&x, &x)?)?;

        let k = (&x + pe)?;
        let seen = match image {
            Image::Projected(projected) => {
                let keys = to_token.keys(&k, &x)?;
                to_token.forward_add_projected(&projected.image, &projected.queries, &keys)?
            }
            Image::Plain { image, placed } => to_token.forward_add(image, [placed, &k, &x], None)?,
        };
        Ok((x, self.norm4.forward(&seen)?))
    }
}
