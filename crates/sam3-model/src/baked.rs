//! Prompts that were encoded before a package left: their features travel in place of the text encoder.

use std::{collections::HashMap, sync::Arc};

use candle_core::Device;
use sam3_package::{
    StateDict,
    package::{BAKED_PROMPTS, BakedPrompts, Metadata},
};

use crate::{
    Config, Error, Result,
    model::{TextEncoder, TextFeatures},
    tokenizer::{CONTEXT_LENGTH, Tokenizer},
    weights::Weights,
};

/// What the official code asks for when there are boxes and no text.
pub const VISUAL: &str = "visual";

/// Features of texts, by their token ids: two spellings of the same tokens are one prompt.
pub type Texts = HashMap<Vec<u32>, TextFeatures>;

/// Encodes prompts with the text encoder of `dict`, as it stands there: with the weights that a device would have
/// used. "visual" goes along always, for example boxes without a text.
///
/// `dict` may hold the text encoder alone; `config` is that of the whole model.
///
/// # Errors
/// [`Error::Checkpoint`] where there is no text encoder or a key of it is missing; [`Error::Prompt`] for an empty prompt.
pub fn bake_prompts(config: &Config, dict: Arc<StateDict>, prompts: &[String]) -> Result<BakedPrompts> {
    let Some(text) = &config.text else {
        return Err(Error::Checkpoint {
            path: dict.path().to_owned(),
            reason: "it has no text encoder to bake prompts with".into(),
        });
    };
    let mut texts: Vec<String> = Vec::with_capacity(prompts.len() + 1);
    let tokenizer = Tokenizer::new();
    let mut known = Vec::new();
    for prompt in prompts.iter().map(String::as_str).chain([VISUAL]) {
        if prompt.trim().is_empty() {
            return Err(Error::Prompt("a prompt to bake is empty".into()));
        }
        let ids = token_ids(&tokenizer, prompt, config)?;
        if !known.contains(&ids) {
            known.push(ids);
            texts.push(prompt.to_owned());
        }
    }
    let weights = Weights::new(dict, Device::Cpu);
    let backbone = weights.pp("detector").pp("backbone").pp("language_backbone");
    let encoder = TextEncoder::load(&backbone, text, config.d_model)?;
    weights.finish()?;
    let mut features = Vec::with_capacity(texts.len() * text.context * config.d_model);
    for ids in &known {
        features.extend(encoder.forward(ids)?.features.flatten_all()?.to_vec1::<f32>()?);
    }
    Ok(BakedPrompts {
        shape: [texts.len(), text.context, config.d_model],
        texts,
        features,
    })
}

/// The prompts baked into `dict` and what to answer them with; nothing for a checkpoint with a text encoder.
pub fn load(
    dict: &StateDict,
    weights: &Weights,
    tokenizer: &Tokenizer,
    config: &Config,
) -> Result<(Vec<String>, Texts)> {
    let Some(index) = dict.position(BAKED_PROMPTS) else {
        return Ok((Vec::new(), Texts::new()));
    };
    let fault = |reason: String| Error::Checkpoint {
        path: dict.path().to_owned(),
        reason,
    };
    let metadata = dict.metadata_json().ok_or_else(|| {
        fault(format!(
            "{BAKED_PROMPTS} needs the package's metadata, which lists the prompts"
        ))
    })?;
    let prompts = Metadata::from_json(metadata).map_err(fault)?.baked_prompts;
    let expected = [prompts.len(), CONTEXT_LENGTH, config.d_model];
    let found = dict.info(index).shape;
    if found != expected {
        return Err(fault(format!(
            "{BAKED_PROMPTS}: expected {expected:?} for the {} prompts of the metadata, found {found:?}",
            prompts.len()
        )));
    }
    let features = weights.tensor(BAKED_PROMPTS, &expected)?;
    let mut texts = Texts::new();
    for (index, prompt) in prompts.iter().enumerate() {
        let ids = tokenizer.encode(prompt).ids.to_vec();
        texts.insert(ids.clone(), TextFeatures::new(features.get(index)?, &ids));
    }
    Ok((prompts, texts))
}

/// The tokens of a text, as long as the text encoder reads.
pub fn token_ids(tokenizer: &Tokenizer, text: &str, config: &Config) -> Result<Vec<u32>> {
    let ids = tokenizer.encode(text).ids;
    if let Some(text) = &config.text {
        let (context, vocab) = (text.context, text.vocab);
        if context != ids.len() || ids.iter().any(|&id| id as usize >= vocab) {
            return Err(Error::Prompt(format!(
                "this checkpoint's text encoder takes {context} tokens out of {vocab}, not CLIP's {} out of 49408; \
                 it cannot read text prompts",
                ids.len()
            )));
        }
    }
    Ok(ids.to_vec())
}
