//! `--bake-prompts`: the text encoder runs here, and what it makes of the prompts travels in its place.

use std::{fs, path::Path, sync::Arc};

use anyhow::Context;
use sam3_model::Config;
use sam3_package::{
    Progress, StateDict,
    package::{self, BakedPrompts, Components, Options},
};

use crate::failure::Failure;

/// The prompts that the flag names: those in a file, one a line, or those between commas.
pub fn prompts(flag: &str) -> anyhow::Result<Vec<String>> {
    let file = Path::new(flag);
    let text = if file.is_file() {
        fs::read_to_string(file).with_context(|| format!("cannot read the prompts in {flag}"))?
    } else {
        flag.replace(',', "\n")
    };
    let prompts = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let prompts: Vec<String> = prompts.map(str::to_owned).collect();
    if prompts.is_empty() {
        return Err(Failure::usage(
            format!("--bake-prompts {flag}: no prompt in it"),
            "for example --bake-prompts \"boat,buoy\", or a file with one prompt a line",
        ));
    }
    Ok(prompts)
}

/// Encodes prompts with the weights that the package would have had: those of `options.precision`.
pub fn bake(
    source: &StateDict,
    config: &Config,
    prompts: &[String],
    options: &Options,
    progress: &dyn Progress,
) -> anyhow::Result<BakedPrompts> {
    if config.text.is_none() {
        return Err(Failure::input(
            format!(
                "{}: its prompts are baked already, and its text encoder is gone",
                source.path().display()
            ),
            "bake from the checkpoint that this package was made of",
        ));
    }
    let options = Options {
        components: Components::Text,
        archive: None,
        split: None,
        ..options.clone()
    };
    // Removed when it is dropped: only its rounding is wanted.
    let draft = package::draft(source, &options, progress)?;
    let text = Arc::new(StateDict::open(draft.path())?);
    Ok(sam3_model::bake_prompts(config, text, prompts)?)
}
