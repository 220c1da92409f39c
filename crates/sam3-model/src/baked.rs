//! Prompts that were encoded before a package left: their features travel in place of the text encoder.

use std::{collections::HashMap, sync::Arc};

use sam3_package::{
    StateDict,
    package::{BAKED_PROMPTS, BakedPrompts, Metadata},
};
use sam3_tensor::Device;

use crate::{
    Config, Error, Result,
    model::{TextEncoder, TextFeatures},
    tokenizer::{CONTEXT_LENGTH, Tokenizer, clean},
    weights::Weights,
};

/// What the official code asks for when there are boxes and no text.
pub const VISUAL: &str = "visual";

/// Encodes prompts with the text encoder of `dict`, as it stands there: with the weights that a device would have
/// used. "visual" goes along always, for example boxes without a text.
///
/// `dict` may hold the text encoder alone; `config` is that of the whole model.
///
/// # Errors
/// [`Error::Checkpoint`] where there is no text encoder or a key of it is missing; [`Error::Prompt`] for an empty
/// prompt.
pub fn bake_prompts(config: &Config, dict: Arc<StateDict>, prompts: &[String]) -> Result<BakedPrompts> {
    let Some(text) = config.detector.as_ref().and_then(|detector| detector.text.as_ref()) else {
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
        features.extend(encoder.forward(ids, &mut ())?.features.to_vec::<f32>()?);
    }
    Ok(BakedPrompts {
        shape: [texts.len(), text.context, config.d_model],
        texts,
        features,
    })
}

/// Features of texts, by their token ids: two spellings of the same tokens are one prompt.
pub type Features = HashMap<Vec<u32>, TextFeatures>;

/// The prompts baked into `dict` and what to answer them with; nothing for a checkpoint with a text encoder.
pub fn load(
    dict: &StateDict,
    weights: &Weights,
    tokenizer: &Tokenizer,
    config: &Config,
) -> Result<(Vec<String>, Features)> {
    let Some(index) = dict.position(BAKED_PROMPTS) else {
        return Ok((Vec::new(), Features::new()));
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
    let mut texts = Features::new();
    for (index, prompt) in prompts.iter().enumerate() {
        let ids = tokenizer.encode(prompt).ids.to_vec();
        texts.insert(ids.clone(), TextFeatures::new(features.get(index)?, &ids));
    }
    Ok((prompts, texts))
}

/// Why a package of the prompts `baked` cannot be asked for `text`: [`Error::Prompt`] where it can be asked in another
/// way, else [`Error::NotBaked`].
pub fn not_baked(baked: &[String], text: &str) -> Error {
    let written = |text: &str| baked.iter().find(|prompt| are_alike(prompt, text));
    if let Some(prompt) = written(text) {
        return Error::Prompt(format!(
            "the prompt {text:?} is baked into this package as {prompt:?}: ask for it as it is written there"
        ));
    }
    let parts = text
        .split([',', ';', '\n'])
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let (known, missing): (Vec<&str>, Vec<&str>) = parts.partition(|part| written(part).is_some());
    let known = list(known.into_iter().filter_map(written));
    if known.is_empty() {
        return Error::NotBaked(format!(
            "the prompt {text:?} is not baked into this package, which has no text encoder; it knows: {}. \
             Ask for one of these, or package the checkpoint again with {text:?} among the prompts that are baked",
            baked.iter().map(|prompt| plain(prompt)).collect::<Vec<_>>().join(", ")
        ));
    }
    if missing.is_empty() {
        return Error::Prompt(format!(
            "{text:?} is one prompt, and its parts are baked into this package as prompts of their own: \
             ask for each by itself, {known}"
        ));
    }
    Error::NotBaked(format!(
        "{text:?} is one prompt. Of its parts, this package, which has no text encoder, knows {known}, \
         and does not know {}: ask for each part by itself, \
         or package the checkpoint again with all of them baked",
        list(missing)
    ))
}

/// Whether two texts differ only in spaces, punctuation and capitals.
fn are_alike(a: &str, b: &str) -> bool {
    let letters = |text| clean(text).chars().filter(|c| c.is_alphanumeric()).collect::<String>();
    letters(a) == letters(b) && !letters(a).is_empty()
}

/// A prompt in a list; in quotes where it could be taken for several.
fn plain(prompt: &str) -> String {
    if prompt.contains(',') {
        format!("{prompt:?}")
    } else {
        prompt.to_owned()
    }
}

fn list<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> String {
    let quoted = texts.into_iter().map(|text| format!("{:?}", text.as_ref()));
    quoted.collect::<Vec<_>>().join(", ")
}

/// The tokens of a text, as long as the text encoder reads.
pub fn token_ids(tokenizer: &Tokenizer, text: &str, config: &Config) -> Result<Vec<u32>> {
    let ids = tokenizer.encode(text).ids;
    if let Some(text) = config.detector.as_ref().and_then(|detector| detector.text.as_ref()) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_that_is_not_baked_is_told_what_to_ask_for() {
        let baked = ["boat", "buoy", "school bus", "cup, red", VISUAL].map(str::to_owned);
        let again = "package the checkpoint again";
        for (text, named, is_to_be_baked) in [
            ("boat, buoy", &["itself, \"boat\", \"buoy\""][..], false),
            (
                " BOAT ,Buoy;school  bus",
                &["itself, \"boat\", \"buoy\", \"school bus\""],
                false,
            ),
            ("boat\nschoolbus,", &["itself, \"boat\", \"school bus\""], false),
            ("boat,boat", &["itself, \"boat\", \"boat\""], false),
            ("boat, car", &["knows \"boat\", and does not know \"car\""], true),
            ("boat.", &["baked into this package as \"boat\""], false),
            ("School-Bus", &["baked into this package as \"school bus\""], false),
            (
                "red cup",
                &[
                    "it knows: boat, buoy, school bus, \"cup, red\", visual.",
                    "again with \"red cup\"",
                ],
                true,
            ),
            ("car, house", &["it knows: boat", "again with \"car, house\""], true),
            ("!?", &["it knows: boat"], true),
            (",", &["it knows: boat"], true),
        ] {
            let error = not_baked(&baked, text);
            assert_eq!(matches!(error, Error::NotBaked(_)), is_to_be_baked, "{error}");
            let reason = error.to_string();
            assert!(reason.contains(&format!("{text:?}")), "{reason}");
            for named in named {
                assert!(reason.contains(named), "{named} in: {reason}");
            }
            assert_eq!(reason.contains(again), is_to_be_baked, "{reason}");
        }
    }
}
