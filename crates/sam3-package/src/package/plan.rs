//! Which tensor gets which precision, by rules on official names and shapes.

use crate::{
    Error, Result, StateDict,
    checkpoint::{Dtype, TensorInfo},
    layout::{Component, is_part, is_unused_for_clicks, is_unused_for_images},
    naming::Format,
    precision::Precision,
};

/// Suffix of an int8 weight's scales, as in compressed-tensors.
pub const SCALE_SUFFIX: &str = "_scale";

/// Linear weights below this many elements are not worth a scale per row.
const INT8_MIN_ELEMENTS: usize = 1 << 14;

/// A tensor as the package stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Official name.
    pub name: String,
    /// Element type in the package.
    pub dtype: Dtype,
    /// Extent of each axis.
    pub shape: Vec<usize>,
}

impl Planned {
    /// The same, borrowed.
    pub fn info(&self) -> TensorInfo<'_> {
        TensorInfo {
            name: &self.name,
            dtype: self.dtype,
            shape: &self.shape,
        }
    }

    /// Bytes of the tensor.
    pub fn bytes(&self) -> u64 {
        self.elements() * self.dtype.size() as u64
    }

    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.shape.iter().map(|extent| *extent as u64).product()
    }
}

/// Prompts whose features travel in place of the text encoder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BakedPrompts {
    /// Each prompt, as it was given.
    pub texts: Vec<String>,
    /// `[texts, tokens, width]`: what the text encoder made of each, row-major.
    pub features: Vec<f32>,
    /// Extents of `features`.
    pub shape: [usize; 3],
}

/// Name of the tensor of [`BakedPrompts::features`].
pub const BAKED_PROMPTS: &str = "baked_prompts.features";

/// Which parts of a checkpoint a package holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Components {
    /// Every tensor of the source.
    #[default]
    All,
    /// What segmenting images by text and boxes reads: no tracker, and nothing that the image model never touches.
    Image,
    /// What clicks and the video tracker read: the image encoder and the whole tracker, no text encoder and no
    /// detector.
    Click,
    /// The text encoder alone: a draft from which prompts are baked.
    Text,
}

impl Components {
    fn holds(self, name: &str) -> bool {
        let weight = name.strip_suffix(SCALE_SUFFIX).unwrap_or(name);
        match self {
            Self::All => true,
            Self::Image => !is_unused_for_images(weight),
            Self::Click => !is_unused_for_clicks(weight),
            Self::Text => Component::of(weight) == Component::Text,
        }
    }
}

/// One tensor's way from the source into the package.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// Position in the source.
    pub source: usize,
    /// Position of its scales, where the source holds it as int8 and the package does not.
    pub scale: Option<usize>,
    /// Position in [`Plan::stored`]; an int8 weight's scales follow at the next one where `makes_scale`.
    pub output: usize,
    /// The package's int8 codes and scales are computed here.
    pub makes_scale: bool,
}

/// Everything the package will hold, in order, and where each tensor comes from.
#[derive(Debug)]
pub(super) struct Plan {
    pub stored: Vec<Planned>,
    pub steps: Vec<Step>,
    /// The last of `stored`, where prompts are baked: its bytes are at hand and come from no source.
    pub baked: Option<Vec<u8>>,
    /// What is no part of the model and cannot be stored in the package's format, with its element type.
    pub left_out: Vec<String>,
}

impl Plan {
    pub fn new(
        source: &StateDict,
        format: Format,
        precision: Precision,
        components: Components,
        baked: Option<&BakedPrompts>,
    ) -> Result<Self> {
        let mut plan = Self {
            stored: Vec::new(),
            steps: Vec::new(),
            baked: None,
            left_out: Vec::new(),
        };
        for index in 0..source.len() {
            let info = source.info(index);
            if precision != Precision::Int8 && is_scale_of_int8(source, info.name) {
                continue;
            }
            let replaced =
                baked.is_some() && matches!(Component::of(info.name), Component::Text | Component::BakedPrompts);
            if !components.holds(info.name) || replaced {
                continue;
            }
            if format == Format::Pth && info.dtype.storage().is_none() && !is_part(info.name) {
                plan.left_out.push(format!("{} ({})", info.name, info.dtype));
                continue;
            }
            plan.add(source, index, info, precision)?;
        }
        if let Some(baked) = baked {
            plan.stored.push(Planned {
                name: BAKED_PROMPTS.to_owned(),
                dtype: Dtype::F32,
                shape: baked.shape.to_vec(),
            });
            plan.baked = Some(baked.features.iter().flat_map(|value| value.to_le_bytes()).collect());
        }
        Ok(plan)
    }

    fn add(&mut self, source: &StateDict, index: usize, info: TensorInfo<'_>, precision: Precision) -> Result<()> {
        let dtype = stored_dtype(info.name, info.shape, info.dtype, precision);
        let mut step = Step {
            source: index,
            scale: None,
            output: self.stored.len(),
            makes_scale: false,
        };
        if info.dtype == Dtype::I8 && dtype != Dtype::I8 {
            step.scale = Some(scale_of(source, info)?);
        }
        self.stored.push(Planned {
            name: info.name.to_owned(),
            dtype,
            shape: info.shape.to_vec(),
        });
        if dtype == Dtype::I8 && info.dtype != Dtype::I8 {
            step.makes_scale = true;
            let name = format!("{}{SCALE_SUFFIX}", info.name);
            self.stored.push(Planned {
                name,
                dtype: Dtype::F32,
                shape: vec![info.shape[0], 1],
            });
        }
        self.steps.push(step);
        Ok(())
    }
}

fn is_scale_of_int8(source: &StateDict, name: &str) -> bool {
    name.strip_suffix(SCALE_SUFFIX)
        .and_then(|weight| source.position(weight))
        .is_some_and(|weight| source.info(weight).dtype == Dtype::I8)
}

/// The scales of an int8 weight of the source: f32, one a row.
fn scale_of(source: &StateDict, info: TensorInfo<'_>) -> Result<usize> {
    let name = format!("{}{SCALE_SUFFIX}", info.name);
    let rows = info.shape.first().copied().unwrap_or(0);
    let found = source.position(&name).map(|position| (position, source.info(position)));
    match found {
        Some((position, scale)) if scale.dtype == Dtype::F32 && scale.shape.iter().product::<usize>() == rows => {
            Ok(position)
        }
        Some((_, scale)) => Err(Error::invalid(
            source.path(),
            format!(
                "{name}: expected F32 [{rows}, 1] for the int8 weight, found {} {:?}",
                scale.dtype, scale.shape
            ),
        )),
        None => Err(Error::invalid(
            source.path(),
            format!(
                "{}: stored as int8, but its scales {name} are missing, so its values are unknown",
                info.name
            ),
        )),
    }
}

/// The element type a tensor gets in the package.
fn stored_dtype(name: &str, shape: &[usize], source: Dtype, precision: Precision) -> Dtype {
    let narrow = match precision {
        Precision::None => {
            return if source == Dtype::I8 { Dtype::F32 } else { source };
        }
        Precision::Fp16 | Precision::Int8 => Dtype::F16,
        Precision::Bf16 => Dtype::BF16,
    };
    match source {
        Dtype::I8 if precision == Precision::Int8 => Dtype::I8,
        Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::I8 => {
            if precision == Precision::Int8 && is_int8_weight(name, shape) {
                Dtype::I8
            } else if !stays_full(name, shape) {
                narrow
            } else if source == Dtype::I8 {
                Dtype::F32
            } else {
                // Already narrower than f32 is how it came: widening would cost bytes and restore nothing.
                source
            }
        }
        // freqs_cis (C64), and counters and the like: no precision to choose.
        other => other,
    }
}

/// Vectors, position tables and the few small tensors whose values are coordinates: 0.2 % of the bytes.
fn stays_full(name: &str, shape: &[usize]) -> bool {
    const TABLES: [&str; 10] = [
        "baked_prompts",
        "pos_embed",
        "positional_embedding",
        "positional_encoding_gaussian_matrix",
        "maskmem_tpos_enc",
        "no_mem_pos_enc",
        "reference_points",
        "query_embed",
        "boxRPB_embed_x",
        "boxRPB_embed_y",
    ];
    shape.len() <= 1 || name.ends_with(SCALE_SUFFIX) || name.split('.').any(|part| TABLES.contains(&part))
}

/// A Linear weight large enough for int8, or the token embedding.
fn is_int8_weight(name: &str, shape: &[usize]) -> bool {
    shape.len() == 2
        && !stays_full(name, shape)
        && (name.ends_with("token_embedding.weight") || (is_linear(name) && shape[0] * shape[1] >= INT8_MIN_ELEMENTS))
}

/// True for `nn.Linear` weights and the fused input projections of attention, given a 2-D tensor.
///
/// The rest that is 2-D are embeddings and bare parameters (`text_projection`, `no_obj_ptr`).
fn is_linear(name: &str) -> bool {
    let Some((module, parameter)) = name.rsplit_once('.') else {
        return false;
    };
    let module = module.rsplit('.').next().unwrap_or(module);
    let numbered_embedding = name.contains("point_embeddings.");
    let embedding = module.ends_with("_embed") || module.ends_with("_embedding") || module.ends_with("_token");
    match parameter {
        "in_proj_weight" => true,
        "weight" => !embedding && !numbered_embedding && !module.ends_with("_tokens") && module != "reference_points",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_follows_the_rules() {
        use Dtype::{BF16, C64, F16, F32, I8};
        let trunk = "detector.backbone.vision_backbone.trunk";
        let decoder = "detector.transformer.decoder";
        #[rustfmt::skip]
        let cases: &[(&str, &[usize], Dtype, Dtype, Dtype)] = &[
            // name, shape, source, fp16, int8
            (&format!("{trunk}.pos_embed"), &[1, 577, 1024], F32, F32, F32),
            (&format!("{trunk}.patch_embed.proj.weight"), &[1024, 3, 14, 14], F32, F16, F16),
            (&format!("{trunk}.blocks.0.attn.qkv.weight"), &[3072, 1024], F32, F16, I8),
            (&format!("{trunk}.blocks.0.attn.qkv.bias"), &[3072], F32, F32, F32),
            (&format!("{trunk}.blocks.0.attn.freqs_cis"), &[576, 32], C64, C64, C64),
            (&format!("{trunk}.blocks.0.mlp.fc1.weight"), &[4736, 1024], BF16, F16, I8),
            (&format!("{trunk}.blocks.0.norm1.weight"), &[1024], BF16, BF16, BF16),
            ("detector.backbone.language_backbone.encoder.token_embedding.weight", &[49408, 1024], F32, F16, I8),
            ("detector.backbone.language_backbone.encoder.positional_embedding", &[32, 1024], F32, F32, F32),
            ("detector.backbone.language_backbone.encoder.text_projection", &[1024, 512], F32, F16, F16),
            (&format!("{decoder}.layers.0.self_attn.in_proj_weight"), &[768, 256], F32, F16, I8),
            (&format!("{decoder}.query_embed.weight"), &[200, 256], F32, F32, F32),
            (&format!("{decoder}.reference_points.weight"), &[200, 4], F32, F32, F32),
            (&format!("{decoder}.boxRPB_embed_x.layers.0.weight"), &[256, 2], F32, F32, F32),
            (&format!("{decoder}.presence_token.weight"), &[1, 256], F32, F16, F16),
            (&format!("{decoder}.bbox_embed.layers.0.weight"), &[256, 256], F32, F16, I8),
            // A scale a row is worth it from 16384 elements on.
            (&format!("{decoder}.bbox_embed.layers.1.weight"), &[128, 128], F32, F16, I8),
            (&format!("{decoder}.bbox_embed.layers.2.weight"), &[1, 16_383], F32, F16, F16),
            ("detector.geometry_encoder.boxes_direct_project.weight", &[256, 4], F32, F16, F16),
            ("tracker.sam_mask_decoder.mask_tokens.weight", &[128, 256], F32, F16, F16),
            ("tracker.sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", &[2, 128], F32, F32, F32),
            ("tracker.maskmem_tpos_enc", &[7, 1, 1, 64], F32, F32, F32),
        ];
        for (name, shape, source, fp16, int8) in cases {
            assert_eq!(
                stored_dtype(name, shape, *source, Precision::Fp16),
                *fp16,
                "fp16 {name}"
            );
            assert_eq!(
                stored_dtype(name, shape, *source, Precision::Int8),
                *int8,
                "int8 {name}"
            );
            assert_eq!(
                stored_dtype(name, shape, *source, Precision::None),
                *source,
                "none {name}"
            );
        }
        assert_eq!(stored_dtype("a.fc.weight", &[256, 256], I8, Precision::None), F32);
        assert_eq!(stored_dtype("a.fc.weight", &[256, 256], I8, Precision::Bf16), BF16);
    }
}
