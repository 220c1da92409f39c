//! A folder named in place of a checkpoint: which of its files is meant.

use std::path::{Path, PathBuf};

/// What Hugging Face and Meta call the whole model, in the order in which they are taken.
const USUAL: [&str; 5] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "sam3.pt",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// What lies beside a model in a trainer's folder and is none.
const BESIDE: [&str; 4] = ["optimizer.", "scheduler.", "rng_state", "training_args."];

/// The checkpoint in a folder, and what to tell of the choice where there was one.
pub(super) fn checkpoint_in(folder: &Path) -> Result<(PathBuf, Option<String>), String> {
    let entries = std::fs::read_dir(folder).map_err(|e| format!("the folder cannot be listed: {e}"))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    let found: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| is_checkpoint(name))
        .collect();
    // FAT drives hand names back in upper case.
    let usual = |usual: &str| found.iter().find(|name| name.eq_ignore_ascii_case(usual));
    // An index stands for its shards.
    let index = || found.iter().find(|name| lower_case(name).ends_with(".index.json"));
    if let Some(&taken) = USUAL.into_iter().find_map(usual).or_else(index) {
        let is_other = |name: &&str| *name != taken && !is_shard(name);
        let others: Vec<&str> = found.iter().copied().filter(is_other).collect();
        let note =
            (!others.is_empty()).then(|| format!("of the folder, {taken} was taken; it also holds {}", first(&others)));
        return Ok((folder.join(taken), note));
    }
    match found.as_slice() {
        [one] => Ok((folder.join(one), None)),
        [] if names.iter().any(|name| name.ends_with(".distcp")) => Err(
            "it is a folder of torch.distributed.checkpoint: make one file of it with `python -m \
             torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER sam3.pt`"
                .into(),
        ),
        [] if names.is_empty() => Err("it is an empty folder: name a checkpoint".into()),
        [] => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            Err(format!(
                "it is a folder, and holds no checkpoint (.pt, .pth or .safetensors): found {}",
                first(&names)
            ))
        }
        many => Err(format!("it is a folder: name one of the files in it ({})", first(many))),
    }
}

fn is_checkpoint(name: &str) -> bool {
    let name = lower_case(name);
    let ends = [".pt", ".pth", ".safetensors", ".safetensors.index.json"];
    (ends.iter().any(|end| name.ends_with(end)) || USUAL.contains(&name.as_str()))
        && !BESIDE.iter().any(|beginning| name.starts_with(beginning))
}

/// `model-00001-of-00003.safetensors`
fn is_shard(name: &str) -> bool {
    lower_case(name).contains("-of-")
}

fn lower_case(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// A few of many names.
fn first(names: &[&str]) -> String {
    const SHOWN: usize = 5;
    let mut text = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN {
        text += ", …";
    }
    text
}
