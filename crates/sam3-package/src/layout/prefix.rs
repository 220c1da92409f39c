//! What training code puts before and into every name, taken off again.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

use super::{DETECTOR_PARTS, known, official_name, transformers};
use crate::{
    checkpoint::sets::{self, Choice, Set},
    error::list_of,
};

/// Parts of a name that wrappers of modules insert.
const WRAPPERS: [&str; 7] = [
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_forward_module",
    "_fpw_module",
    "_module",
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

/// A prefix has at most so many parts.
const MAX_PARTS: usize = 32;

/// Names without what wrapped them.
pub(super) struct Stripped {
    /// In the order of the file; `None` for a tensor that is left out.
    pub names: Vec<Option<String>>,
    pub warnings: Vec<String>,
    /// Where nobody asked for one of several sets of weights.
    pub choice: Option<Choice>,
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

/// Removes the prefix that most of the unwrapped `names` share; or, where `wanted` names a set of weights, the prefix
/// of that set. A tensor with another prefix is left out if it could be mistaken for a part of the model.
pub(super) fn strip(names: &[String], raw: &[&str], wanted: Option<&str>) -> Result<Stripped, Vec<String>> {
    let prefixes = prefixes(names);
    let merged = merged_wrappers(names, &prefixes);
    let set_of = |prefix| merged.filter(|_| is_wrapper(prefix)).unwrap_or(prefix);
    let mut sets: Vec<Set> = Vec::new();
    let mut by_name = HashMap::new();
    for prefix in prefixes.iter().flatten().map(|prefix| set_of(prefix)) {
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
                choice: None,
            }),
        };
    };
    let choice = Choice::of(&sets, taken).filter(|_| wanted.is_none());
    let mut stripped = Stripped {
        names: Vec::with_capacity(names.len()),
        warnings: choice.iter().map(ToString::to_string).collect(),
        choice,
    };
    let prefix = match sets[taken].name.as_str() {
        "" => String::new(),
        name => format!("{name}."),
    };
    let of_taken: HashSet<&str> = names.iter().filter_map(|name| name.strip_prefix(&prefix)).collect();
    let copies: HashSet<&str> = sets::others(&sets, taken).into_iter().collect();
    let is_merged = merged == Some(prefix.as_str());
    let mut odd = Vec::new();
    for ((name, own), raw) in names.iter().zip(&prefixes).zip(raw) {
        let set = own.map(set_of);
        let is_copy = set.is_some_and(|set| !set.is_empty() && copies.contains(set.trim_end_matches('.')));
        // Beside `model.backbone.…` may lie `tracker.…`: what was wrapped is a part of the model.
        let beside = || Some(name.as_str()).filter(|name| *own == Some("") && !of_taken.contains(name));
        let kept = match *own {
            Some(own) if set == Some(prefix.as_str()) => Some(&name[own.len()..]),
            None if is_merged && !wrappers_of(name).is_empty() => Some(&name[wrappers_of(name).len()..]),
            _ if prefix.is_empty() => Some(name.as_str()).filter(|_| !is_copy),
            _ => name.strip_prefix(&prefix).or_else(beside),
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

/// The prefix of each name; `None` for a name without a part that SAM 3 has.
///
/// A prefix may itself be a word of SAM 3's, as where `self.backbone = sam3`. Of the possible prefixes, the one counts
/// that leaves the most whole names of SAM 3's in the file; of equal ones, the shortest.
fn prefixes(names: &[String]) -> Vec<Option<&str>> {
    let mut whole: HashMap<&str, usize> = HashMap::new();
    for name in names {
        for prefix in possible(name).filter(|prefix| known::is_whole(&name[prefix.len()..])) {
            *whole.entry(prefix).or_default() += 1;
        }
    }
    let best = |name| possible(name).min_by_key(|prefix| Reverse(whole.get(prefix).copied().unwrap_or(0)));
    names.iter().map(|name| best(name)).collect()
}

/// Each prefix of a name before a part that SAM 3 has, the shortest first.
fn possible(name: &str) -> impl Iterator<Item = &str> {
    let starts = std::iter::once(0).chain(name.match_indices('.').map(|(dot, _)| dot + 1));
    let known = starts.take(MAX_PARTS).filter(|&start| is_known(&name[start..]));
    known.map(|start| &name[..start])
}

/// The most common of the prefixes that only wrappers made, where all of them wrap one model: without its prefix, no
/// tensor has the name of another.
fn merged_wrappers<'n>(names: &'n [String], prefixes: &[Option<&'n str>]) -> Option<&'n str> {
    let mut rests = HashSet::new();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (name, prefix) in names.iter().zip(prefixes) {
        let Some(prefix) = prefix.filter(|prefix| is_wrapper(prefix)) else {
            continue;
        };
        if !rests.insert(official_name(&name[prefix.len()..])) {
            return None;
        }
        *counts.entry(prefix).or_default() += 1;
    }
    let most = counts
        .into_iter()
        .max_by_key(|&(prefix, count)| (count, Reverse(prefix)));
    most.map(|(prefix, _)| prefix)
}

fn is_wrapper(prefix: &str) -> bool {
    wrappers_of(prefix) == prefix
}

/// The wrappers at the beginning of a name.
fn wrappers_of(name: &str) -> &str {
    let mut end = 0;
    for part in name.split_inclusive('.') {
        if !part.strip_suffix('.').is_some_and(|part| WRAPPERS.contains(&part)) {
            break;
        }
        end += part.len();
    }
    &name[..end]
}

/// True for what begins like a name of SAM 3's, in either layout.
fn is_known(name: &str) -> bool {
    let begins = |parts: &[&str]| parts.iter().any(|part| name.starts_with(part));
    begins(&OFFICIAL) || begins(&DETECTOR_PARTS) || transformers::is_begin(name)
}
