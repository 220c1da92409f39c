//! Sizes read off tensor names and shapes, and beside them what the config states.

use std::collections::BTreeSet;

use sam3_package::{
    StateDict,
    layout::{Backbone, Stated},
    package::BAKED_PROMPTS,
};

use super::{StackConfig, TextConfig, VitConfig, is_sam3, limits, rotary::RotaryTables};
use crate::{
    error::{Error, Result},
    weights::not_read,
};

pub const TRUNK: &str = "detector.backbone.vision_backbone.trunk.";
const TEXT: &str = "detector.backbone.language_backbone.encoder.";

const PATCH_EMBED: &str = "detector.backbone.vision_backbone.trunk.patch_embed.proj.weight";
const FC1: &str = "detector.backbone.vision_backbone.trunk.blocks.0.mlp.fc1.weight";
const POS_EMBED: &str = "detector.backbone.vision_backbone.trunk.pos_embed";
const TOKEN_EMBEDDING: &str = "detector.backbone.language_backbone.encoder.token_embedding.weight";
const POSITIONAL_EMBEDDING: &str = "detector.backbone.language_backbone.encoder.positional_embedding";
const FINAL_PROJ: &str = "detector.geometry_encoder.final_proj.weight";
const BOXES_POOL_PROJECT: &str = "detector.geometry_encoder.boxes_pool_project.weight";
const QUERY_EMBED: &str = "detector.transformer.decoder.query_embed.weight";
const NO_MEM_EMBED: &str = "tracker.no_mem_embed";

/// The tensors that widths are read from.
const WIDTHS: [&str; 8] = [
    PATCH_EMBED,
    FC1,
    POS_EMBED,
    TOKEN_EMBEDDING,
    POSITIONAL_EMBEDDING,
    FINAL_PROJ,
    BOXES_POOL_PROJECT,
    QUERY_EMBED,
];

/// Reads one checkpoint.
pub struct Reader<'a> {
    dict: &'a StateDict,
    stated: Stated<'a>,
}

impl<'a> Reader<'a> {
    pub fn new(dict: &'a StateDict) -> Self {
        Self {
            dict,
            stated: Stated::of(dict.config()),
        }
    }

    pub fn vit(&self) -> Result<VitConfig> {
        let key = |name: &str| format!("vision_config.backbone_config.{name}");
        let [width, _, patch_size, _] =
            self.shape(PATCH_EMBED, [limits::WIDTH, 3, limits::PATCH_SIZE, limits::PATCH_SIZE])?;
        let [mlp, _] = self.shape(FC1, [limits::MLP, limits::WIDTH])?;
        let depth = self.depth(&format!("{TRUNK}blocks."))?;
        self.agrees(&key("hidden_size"), width)?;
        self.agrees(&key("num_hidden_layers"), depth)?;
        // All of it is read even where the tables tell: what is wrong there is none of this model's.
        let stated = self
            .stated
            .backbone(width, depth)
            .map_err(|reason| self.fault(reason))?;
        let rotary = RotaryTables::of(self.dict, depth);
        let window = stated.window.or(rotary.window).unwrap_or(Backbone::WINDOW);
        let of_tables = rotary.grid.map(|grid| grid * patch_size);
        let image_size = stated.image_size.or(of_tables).unwrap_or(Backbone::IMAGE_SIZE);
        let global_blocks = rotary.global_blocks(window, image_size / patch_size);
        let global_blocks = match global_blocks.map_err(|reason| self.fault(reason))? {
            Some(blocks) => blocks,
            None => stated.global_blocks.unwrap_or_else(|| {
                let blocks = Backbone::GLOBAL_BLOCKS.into_iter();
                blocks.filter(|&block| block < depth).collect()
            }),
        };
        let of_tables = rotary.head_dim.map(|dim| width / dim);
        let heads = stated.heads.or(of_tables).unwrap_or(Backbone::HEADS);
        rotary.agree(width, heads).map_err(|reason| self.fault(reason))?;
        // SAM 3's own code builds its ViT with 1e-5; the 1e-6 of the published config.json is a slip.
        let eps = self.stated.fraction(&key("layer_norm_eps"));
        let eps = eps.map_err(|reason| self.fault(reason))?;
        Ok(VitConfig {
            heads,
            image_size,
            patch_size,
            pretrain_grid: self.pretrain_grid()?,
            width,
            mlp,
            depth,
            window,
            global_blocks,
            eps: eps.filter(|_| !is_sam3(width, mlp)).unwrap_or(1e-5),
        })
    }

    /// Side of the position table, which has a row for the class token, too.
    fn pretrain_grid(&self) -> Result<usize> {
        let [_, positions, _] = self.shape(POS_EMBED, [1, limits::GRID * limits::GRID + 1, limits::WIDTH])?;
        exact_sqrt(positions - 1).ok_or_else(|| {
            self.fault(format!(
                "{POS_EMBED}: expected 1 + n² positions (577 in SAM 3), found {positions}"
            ))
        })
    }

    pub fn text(&self) -> Result<TextConfig> {
        let [vocab, width] = self.shape(TOKEN_EMBEDDING, [limits::VOCABULARY, limits::WIDTH])?;
        let [context, _] = self.shape(POSITIONAL_EMBEDDING, [limits::CONTEXT, limits::WIDTH])?;
        let depth = self.depth(&format!("{TEXT}transformer.resblocks."))?;
        self.agrees("text_config.hidden_size", width)?;
        self.agrees("text_config.num_hidden_layers", depth)?;
        Ok(TextConfig {
            vocab,
            width,
            depth,
            heads: self.heads("text_config", width)?.unwrap_or(16),
            context,
        })
    }

    /// The layers whose names begin with `prefix`, and the part `config` of the config that is about them.
    pub fn stack(&self, prefix: &str, config: &str) -> Result<StackConfig> {
        let depth = self.depth(prefix)?;
        self.agrees(&format!("{config}.hidden_size"), self.d_model()?)?;
        self.agrees(&format!("{config}.num_layers"), depth)?;
        Ok(StackConfig {
            depth,
            heads: self.heads(config, limits::D_MODEL)?.unwrap_or(8),
        })
    }

    /// The stated number of attention heads, of which there are no more than channels.
    pub fn heads(&self, config: &str, most: usize) -> Result<Option<usize>> {
        let heads = self.stated.number(&format!("{config}.num_attention_heads"), most);
        heads.map_err(|reason| self.fault(reason))
    }

    /// An error where the config states another number than the tensors have.
    fn agrees(&self, path: &str, found: usize) -> Result<()> {
        self.stated.agrees(path, found).map_err(|reason| self.fault(reason))
    }

    pub fn d_model(&self) -> Result<usize> {
        Ok(self.shape(FINAL_PROJ, [limits::D_MODEL; 2])?[0])
    }

    /// The same where there is no detector.
    pub fn tracker_d_model(&self) -> Result<usize> {
        Ok(self.shape(NO_MEM_EMBED, [1, 1, limits::D_MODEL])?[2])
    }

    pub fn queries(&self) -> Result<usize> {
        Ok(self.shape(QUERY_EMBED, [limits::QUERIES, limits::D_MODEL])?[0])
    }

    pub fn roi_size(&self) -> Result<usize> {
        let most = [limits::D_MODEL, limits::D_MODEL, limits::ROI, limits::ROI];
        Ok(self.shape(BOXES_POOL_PROJECT, most)?[2])
    }

    /// How many layers' names begin with `prefix`; they are numbered from 0 without a gap.
    fn depth(&self, prefix: &str) -> Result<usize> {
        let number = |name: &str| {
            let number = name.strip_prefix(prefix)?.split('.').next()?;
            let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            // A number too large for the type is one of no layer either.
            is_number.then(|| number.parse().unwrap_or(usize::MAX))
        };
        let found: BTreeSet<usize> = self.dict.tensors().filter_map(|tensor| number(tensor.name)).collect();
        let depth = found
            .iter()
            .zip(0..)
            .take_while(|&(&found, expected)| found == expected)
            .count();
        let reason = match found.last() {
            None => "found no layer".to_owned(),
            Some(last) if found.len() > depth => format!("found layer {last}, and no tensor of layer {depth}"),
            Some(last) if depth > limits::DEPTH => format!("found layer {last}"),
            Some(_) => return Ok(depth),
        };
        Err(self.fault(format!(
            "{prefix}*: expected layers from 0 on without a gap, at most {}, {reason}; \
             expected a whole SAM 3 checkpoint: copy it, or package it, again from the original",
            limits::DEPTH
        )))
    }

    /// A tensor's shape, with its largest extents.
    fn shape<const RANK: usize>(&self, name: &str, most: [usize; RANK]) -> Result<[usize; RANK]> {
        let Some(index) = self.dict.position(name) else {
            return Err(self.missing(name));
        };
        let found = self.dict.info(index).shape;
        let shape = <[usize; RANK]>::try_from(found).ok();
        let fits = |shape: &[usize; RANK]| {
            shape
                .iter()
                .zip(most)
                .all(|(&extent, most)| (1..=most).contains(&extent))
        };
        shape.filter(fits).ok_or_else(|| {
            self.fault(format!(
                "{name}: expected {RANK} dimensions, none of them empty and at most {most:?}, found {found:?}"
            ))
        })
    }

    /// Keys that fix a width are missing, so that no other can be looked for.
    fn missing(&self, name: &str) -> Error {
        if name == NO_MEM_EMBED {
            return self.fault(format!(
                "a key that clicks need is missing, so nothing was run:\n  {name}\n{}\
                 package it again from the original",
                not_read(self.dict)
            ));
        }
        // Baked prompts travel in place of the text encoder.
        let is_baked = self.dict.position(BAKED_PROMPTS).is_some();
        let needed: Vec<&str> = WIDTHS
            .into_iter()
            .filter(|name| !(is_baked && name.starts_with(TEXT)))
            .collect();
        let is_missing = |name: &&&str| self.dict.position(name).is_none();
        let missing: Vec<&str> = needed.iter().filter(is_missing).copied().collect();
        let not_read = not_read(self.dict);
        if missing.len() == needed.len() {
            return self.fault(format!(
                "not a SAM 3 image model: none of its keys is there; {not_read}\
                 expected those of facebook/sam3's sam3.pt or model.safetensors"
            ));
        }
        self.fault(format!(
            "keys that the image model needs are missing, so nothing was run:\n  {}\n{not_read}\
             expected a whole SAM 3 checkpoint; package it again from the original",
            missing.join("\n  ")
        ))
    }

    pub fn fault(&self, reason: impl Into<String>) -> Error {
        Error::Checkpoint {
            path: self.dict.path().to_owned(),
            reason: reason.into(),
        }
    }
}

pub fn exact_sqrt(n: usize) -> Option<usize> {
    let root = n.isqrt();
    (root > 0 && root * root == n).then_some(root)
}
