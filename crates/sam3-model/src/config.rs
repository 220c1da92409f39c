//! Every architecture number of a SAM 3 image model, read from the checkpoint itself where it can be.
//!
//! Layer counts come from key names and widths from shapes. Heads, image size and windows are in neither:
//! they come from the package's metadata or the `config.json` beside the checkpoint (transformers' schema),
//! then from the `freqs_cis` tables, and last from SAM 3's own numbers.

mod json;

use sam3_package::{StateDict, package::BAKED_PROMPTS};

use crate::error::{Error, Result};

/// A whole SAM 3 image model's architecture.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The image encoder.
    pub vit: VitConfig,
    /// The text encoder; none in a package of baked prompts.
    pub text: Option<TextConfig>,
    /// Width of everything after the encoders; 256.
    pub d_model: usize,
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

impl VitConfig {
    /// Side of the token grid: 72 at 1008 pixels.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
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

const TRUNK: &str = "detector.backbone.vision_backbone.trunk.";
const TEXT: &str = "detector.backbone.language_backbone.encoder.";

/// The tensors that widths are read from.
const WIDTHS: [&str; 8] = [
    "detector.backbone.vision_backbone.trunk.patch_embed.proj.weight",
    "detector.backbone.vision_backbone.trunk.blocks.0.mlp.fc1.weight",
    "detector.backbone.vision_backbone.trunk.pos_embed",
    "detector.backbone.language_backbone.encoder.token_embedding.weight",
    "detector.backbone.language_backbone.encoder.positional_embedding",
    "detector.geometry_encoder.final_proj.weight",
    "detector.geometry_encoder.boxes_pool_project.weight",
    "detector.transformer.decoder.query_embed.weight",
];

impl Config {
    /// Reads the architecture of the checkpoint behind `dict`.
    ///
    /// # Errors
    /// When a tensor that fixes a width is missing, or the numbers contradict each other.
    pub fn of(dict: &StateDict) -> Result<Self> {
        let reader = Reader { dict };
        let json = json::Sam3Config::of(dict)?;
        let vit = reader.vit(&json)?;
        let is_baked = dict.position(BAKED_PROMPTS).is_some();
        let text = if is_baked { None } else { Some(reader.text(&json)?) };
        let d_model = reader.shape("detector.geometry_encoder.final_proj.weight", 2)?[0];
        let stack = |prefix: &str, config: &json::Stack| StackConfig {
            depth: reader.depth(prefix),
            heads: config.num_attention_heads.unwrap_or(8),
        };
        let config = Self {
            geometry: stack("detector.geometry_encoder.encode.", &json.geometry_encoder_config),
            fusion: stack("detector.transformer.encoder.layers.", &json.detr_encoder_config),
            decoder: stack("detector.transformer.decoder.layers.", &json.detr_decoder_config),
            queries: reader.shape("detector.transformer.decoder.query_embed.weight", 2)?[0],
            mask_heads: json.mask_decoder_config.num_attention_heads.unwrap_or(8),
            roi_size: reader.shape("detector.geometry_encoder.boxes_pool_project.weight", 4)?[2],
            vit,
            text,
            d_model,
        };
        config.validate().map_err(|reason| reader.fault(reason))?;
        Ok(config)
    }

    /// The same numbers in transformers' `config.json` schema, as they travel in a package.
    pub fn to_json(&self) -> serde_json::Value {
        json::write(self)
    }

    fn validate(&self) -> Result<(), String> {
        let divides = |what: &str, whole: usize, parts: usize, unit: usize| {
            if parts == 0 || !whole.is_multiple_of(parts * unit) {
                return Err(format!(
                    "{what}: width {whole} is not a multiple of {unit} × {parts} heads; \
                     put a config.json with the right num_attention_heads beside the checkpoint"
                ));
            }
            Ok(())
        };
        let vit = &self.vit;
        // Axial RoPE rotates pairs, half of them by x and half by y.
        divides("ViT", vit.width, vit.heads, 4)?;
        if let Some(text) = &self.text {
            divides("text encoder", text.width, text.heads, 1)?;
        }
        for (what, heads) in [
            ("geometry encoder", self.geometry.heads),
            ("fusion encoder", self.fusion.heads),
            ("decoder", self.decoder.heads),
            ("mask head", self.mask_heads),
        ] {
            divides(what, self.d_model, heads, 1)?;
        }
        if !self.d_model.is_multiple_of(8) {
            return Err(format!(
                "model width {} is not a multiple of GroupNorm's 8 groups",
                self.d_model
            ));
        }
        if vit.patch_size == 0 || vit.image_size == 0 || !vit.image_size.is_multiple_of(vit.patch_size) {
            return Err(format!(
                "image size {} is not a multiple of the patch size {}",
                vit.image_size, vit.patch_size
            ));
        }
        if vit.window == 0 || vit.pretrain_grid == 0 {
            return Err("the ViT's window and its position table must not be empty".into());
        }
        if let Some(block) = vit.global_blocks.iter().find(|&&block| block >= vit.depth) {
            return Err(format!(
                "global attention in block {block}, but the ViT has {} blocks",
                vit.depth
            ));
        }
        Ok(())
    }
}

/// Reads sizes off tensor names and shapes.
struct Reader<'a> {
    dict: &'a StateDict,
}

impl Reader<'_> {
    fn vit(&self, json: &json::Sam3Config) -> Result<VitConfig> {
        let json = &json.vision_config.backbone_config;
        let patch = self.shape(&format!("{TRUNK}patch_embed.proj.weight"), 4)?;
        let (width, patch_size) = (patch[0], patch[2]);
        let mlp = self.shape(&format!("{TRUNK}blocks.0.mlp.fc1.weight"), 2)?[0];
        let positions = self.shape(&format!("{TRUNK}pos_embed"), 3)?[1];
        let pretrain_grid = exact_sqrt(positions.saturating_sub(1)).ok_or_else(|| {
            self.fault(format!(
                "{TRUNK}pos_embed: expected 1 + n² positions (577 in SAM 3), found {positions}"
            ))
        })?;
        let depth = self.depth(&format!("{TRUNK}blocks."));
        let rope = RopeTables::of(self, depth)?;
        let window = json.window_size.or(rope.window).unwrap_or(24);
        let image_size = json
            .image_size
            .map(json::Size::side)
            .or(rope.grid.map(|grid| grid * patch_size))
            .unwrap_or(1008);
        let global_blocks = match rope.global_blocks(window, image_size / patch_size.max(1)) {
            Some(blocks) => blocks.map_err(|reason| self.fault(reason))?,
            None => json
                .global_attn_indexes
                .clone()
                .unwrap_or_else(|| [7, 15, 23, 31].into_iter().filter(|&block| block < depth).collect()),
        };
        // SAM 3's own code builds its ViT with 1e-5; the 1e-6 of the published config.json is a slip.
        let sam3_widths = (width, mlp) == (1024, 4736);
        let eps = if sam3_widths {
            1e-5
        } else {
            json.layer_norm_eps.unwrap_or(1e-5)
        };
        Ok(VitConfig {
            heads: json
                .num_attention_heads
                .or(rope.head_dim.map(|dim| width / dim))
                .unwrap_or(16),
            image_size,
            patch_size,
            pretrain_grid,
            width,
            mlp,
            depth,
            window,
            global_blocks,
            eps,
        })
    }

    fn text(&self, json: &json::Sam3Config) -> Result<TextConfig> {
        let embedding = self.shape(&format!("{TEXT}token_embedding.weight"), 2)?;
        Ok(TextConfig {
            vocab: embedding[0],
            width: embedding[1],
            depth: self.depth(&format!("{TEXT}transformer.resblocks.")),
            heads: json.text_config.num_attention_heads.unwrap_or(16),
            context: self.shape(&format!("{TEXT}positional_embedding"), 2)?[0],
        })
    }

    /// One more than the highest index that follows `prefix` in any name.
    fn depth(&self, prefix: &str) -> usize {
        let index = |name: &str| name.strip_prefix(prefix)?.split('.').next()?.parse::<usize>().ok();
        self.dict
            .tensors()
            .filter_map(|tensor| index(tensor.name))
            .max()
            .map_or(0, |last| last.saturating_add(1))
    }

    fn shape(&self, name: &str, rank: usize) -> Result<Vec<usize>> {
        let Some(index) = self.dict.position(name) else {
            return Err(self.missing());
        };
        let shape = self.dict.info(index).shape.to_vec();
        if shape.len() != rank || shape.contains(&0) {
            return Err(self.fault(format!("{name}: expected {rank} non-empty dimensions, found {shape:?}")));
        }
        Ok(shape)
    }

    /// Keys that fix a width are missing, so that no other can be looked for.
    fn missing(&self) -> Error {
        let missing: Vec<&str> = WIDTHS
            .into_iter()
            .filter(|name| self.dict.position(name).is_none())
            .collect();
        if missing.len() == WIDTHS.len() {
            return self.fault(
                "not a SAM 3 image model: none of its keys is there; \
                 expected those of facebook/sam3's sam3.pt or model.safetensors",
            );
        }
        self.fault(format!(
            "keys that the image model needs are missing, so nothing was run:\n  {}\n\
             expected a whole SAM 3 checkpoint; package it again from the original",
            missing.join("\n  ")
        ))
    }

    fn fault(&self, reason: impl Into<String>) -> Error {
        Error::Checkpoint {
            path: self.dict.path().to_owned(),
            reason: reason.into(),
        }
    }
}

/// What the stored `freqs_cis` tables `[tokens, head_dim / 2]` say.
struct RopeTables {
    /// Tokens that each block attends to, where the file says so for every block.
    lengths: Option<Vec<usize>>,
    head_dim: Option<usize>,
    window: Option<usize>,
    grid: Option<usize>,
}

impl RopeTables {
    fn of(reader: &Reader, depth: usize) -> Result<Self> {
        let dict = reader.dict;
        let mut lengths = Vec::with_capacity(depth.min(dict.len()));
        let mut head_dim = None;
        for block in 0..depth.min(dict.len()) {
            let name = format!("{TRUNK}blocks.{block}.attn.freqs_cis");
            if dict.position(&name).is_none() {
                break;
            }
            let shape = reader.shape(&name, 2)?;
            lengths.push(shape[0]);
            head_dim = Some(shape[1] * 2);
        }
        let complete = depth > 0 && lengths.len() == depth;
        // Only two different lengths tell a window from the whole grid.
        let (shortest, longest) = (lengths.iter().min().copied(), lengths.iter().max().copied());
        let both = complete && shortest != longest;
        let side = |length: Option<usize>| length.filter(|_| both).and_then(exact_sqrt);
        Ok(Self {
            window: side(shortest),
            grid: side(longest),
            lengths: complete.then_some(lengths),
            head_dim,
        })
    }

    fn global_blocks(&self, window: usize, grid: usize) -> Option<Result<Vec<usize>, String>> {
        let lengths = self.lengths.as_ref()?;
        let mut blocks = Vec::new();
        for (block, &length) in lengths.iter().enumerate() {
            if length == grid * grid {
                blocks.push(block);
            } else if length != window * window {
                return Some(Err(format!(
                    "{TRUNK}blocks.{block}.attn.freqs_cis: expected {} rows (a window) or {} (the image), found {length}",
                    window * window,
                    grid * grid
                )));
            }
        }
        Some(Ok(blocks))
    }
}

fn exact_sqrt(n: usize) -> Option<usize> {
    let root = n.isqrt();
    (root > 0 && root * root == n).then_some(root)
}
