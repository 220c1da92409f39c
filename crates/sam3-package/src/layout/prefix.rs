//! What training code puts before and into every name, taken off again.

use std::collections::{HashMap, HashSet};

use super::{DETECTOR_PARTS, transformers};
use crate::checkpoint::{
    list_of,
    sets::{self, Set},
};

/// Parts of a name that wrappers of modules insert.
const WRAPPERS: [&str; 5] = [
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_forward_module",
    "module",
];

/// With what the official names begin, perhaps after a prefix of training.
const OFFICIAL: [&str; 5] = [
    "detector.",
    "tracker.",
    "sam3_model.",
    "sam2_predictor.",
    "baked_prompts.",
];

/// Names without what wrapped them.
pub(super) struct Stripped {
    /// In the order of the file; `None` for a tensor that is left out.
    pub names: Vec<Option<String>>,
    pub warnings: Vec<String>,
}

/// A name without the parts that wrappers insert; those at its beginning are a prefix.
pub(super) fn unwrapped(name: &str) -> String {
    let mut is_inside = false;
    let keep = |part: &&str| {
        let is_wrapper = WRAPPERS.contains(part);
        is_inside |= !is_wrapper;
        !(is_wrapper && is_inside)
    };
    name.split('.').filter(keep).collect::<Vec<_>>().join(".")
}

/// Takes off the prefix that most names share, `names` being unwrapped; that of the weights called `wanted`, where they
/// are asked for. What has other prefixes is left out where it could be taken for a part of the model.
pub(super) fn strip(names: &[String], raw: &[&str], wanted: Option<&str>) -> Result<Stripped, Vec<String>> {
    let prefixes: Vec<Option<&str>> = names.iter().map(|name| prefix_of(name)).collect();
    let mut sets: Vec<Set> = Vec::new();
    let mut by_name = HashMap::new();
    for prefix in prefixes.iter().flatten() {
        let name = prefix.trim_end_matches('.');
        let index = *by_name.entry(name).or_insert_with(|| {
            sets.push(Set {
                name: name.to_owned(),
                tensors: 0,
            });
            sets.len() - 1
        });
        sets[index].tensors += 1;
    }
    let Some(taken) = sets::choose(&sets, wanted) else {
        return match wanted {
            Some(_) => Err(sets
                .into_iter()
                .map(|set| set.name)
                .filter(|name| !name.is_empty())
                .collect()),
            None => Ok(Stripped {
                names: names.iter().cloned().map(Some).collect(),
                warnings: Vec::new(),
            }),
        };
    };
    let mut stripped = Stripped {
        names: Vec::with_capacity(names.len()),
        warnings: sets::note(&sets, taken)
            .filter(|_| wanted.is_none())
            .into_iter()
            .collect(),
    };
    let prefix = match sets[taken].name.as_str() {
        "" => String::new(),
        name => format!("{name}."),
    };
    let of_taken: HashSet<&str> = names.iter().filter_map(|name| name.strip_prefix(&prefix)).collect();
    let copies: HashSet<&str> = sets::others(&sets, taken).into_iter().collect();
    let mut odd = Vec::new();
    for ((name, own), raw) in names.iter().zip(&prefixes).zip(raw) {
        let is_copy = own.is_some_and(|own| !own.is_empty() && copies.contains(own.trim_end_matches('.')));
        let kept = if prefix.is_empty() {
            Some(name.as_str()).filter(|_| !is_copy)
        } else {
            // Beside `module.backbone.…` may lie `tracker.…`: what was wrapped is a part of the model.
            let beside = || Some(name.as_str()).filter(|name| *own == Some("") && !of_taken.contains(name));
            name.strip_prefix(&prefix).or_else(beside)
        };
        if kept.is_none() && !is_copy {
            odd.push((*raw).to_owned());
        }
        stripped.names.push(kept.map(str::to_owned));
    }
    if !odd.is_empty() {
        stripped.warnings.push(format!(
            "left out, as their names do not begin with \"{prefix}\": {}",
            list_of(&odd)
        ));
    }
    Ok(stripped)
}

/// What stands before the first part that SAM 3 has; `None` for a name that has no such part.
fn prefix_of(name: &str) -> Option<&str> {
    let starts = std::iter::once(0).chain(name.match_indices('.').map(|(dot, _)| dot + 1));
    starts
        .into_iter()
        .find(|&start| is_known(&name[start..]))
        .map(|start| &name[..start])
}

/// True for what begins like a name of SAM 3's, in either layout.
fn is_known(name: &str) -> bool {
    let begins = |parts: &[&str]| parts.iter().any(|part| name.starts_with(part));
    begins(&OFFICIAL) || begins(&DETECTOR_PARTS) || transformers::is_begin(name)
}
