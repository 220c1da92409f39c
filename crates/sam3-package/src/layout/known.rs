//! The whole names of SAM 3's tensors in either layout, from the rules.

use std::{collections::HashSet, sync::LazyLock};

use super::{
    Component, official_name,
    rules::{Op, PROJECTIONS, sections},
    transformers,
};

/// A longer name is none of SAM 3's.
const MAX_BYTES: usize = 256;

/// With `#` for each number.
struct Names {
    official: HashSet<String>,
    transformers: HashSet<String>,
}

static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let mut names = Names {
        official: HashSet::new(),
        transformers: HashSet::new(),
    };
    for section in sections() {
        let fill = |prefix: &str| prefix.replace("{}", "#").replace("{+}", "#");
        let (official, theirs) = (fill(section.official), fill(section.transformers));
        for &(to, from, op) in section.rules {
            let (to_ends, from_ends) = ends(op);
            let whole =
                |name: String, ends: Vec<String>| ends.into_iter().map(move |end| numbered(&format!("{name}{end}")));
            names.official.extend(whole(format!("{official}{to}"), to_ends));
            names.transformers.extend(whole(format!("{theirs}{from}"), from_ends));
            if let Op::Duplicate(copy) = op {
                names.transformers.insert(numbered(&format!("{theirs}{copy}")));
            }
        }
    }
    names
});

/// What follows the names of a rule: the official one, transformers'.
fn ends(op: Op) -> (Vec<String>, Vec<String>) {
    let whole = || vec![String::new()];
    let pairs = |modules: &[&str]| -> Vec<String> {
        let both = |module: &&str| [format!("{module}.weight"), format!("{module}.bias")];
        modules.iter().flat_map(both).collect()
    };
    let (ours, theirs) = (PROJECTIONS.map(|pair| pair.0), PROJECTIONS.map(|pair| pair.1));
    let qkv = &theirs[..3];
    match op {
        Op::Same | Op::Duplicate(_) | Op::ClassRow | Op::Transpose | Op::Row => (whole(), whole()),
        Op::Pair | Op::PairBeside(_) => (pairs(&[""]), pairs(&[""])),
        Op::Qkv => (pairs(&[""]), pairs(qkv)),
        Op::InProj => (["in_proj_weight", "in_proj_bias"].map(str::to_owned).into(), pairs(qkv)),
        Op::Projections => (pairs(&ours), pairs(&theirs)),
        Op::FreqsCis => (["", "_real", "_imag"].map(str::to_owned).into(), Vec::new()),
        Op::Points(_) => (pairs(&[""]), Vec::new()),
    }
}

/// True for a whole name of SAM 3's in either layout, perhaps without `detector.` or as training code spells it.
pub(super) fn is_whole(name: &str) -> bool {
    name.len() <= MAX_BYTES
        && (is_official(&official_name(name)) || NAMES.transformers.contains(&numbered(&transformers::full_name(name))))
}

/// True for an official name of the model; of the tracker's, whose names differ between
/// versions, for all that begin like one.
pub(crate) fn is_part(name: &str) -> bool {
    let component = Component::of(name);
    component.is_tracker() || component == Component::BakedPrompts || is_official(name)
}

fn is_official(name: &str) -> bool {
    name.len() <= MAX_BYTES && NAMES.official.contains(&numbered(name))
}

/// With `#` for the digits at the end of each part: `layers.3.norm1` is `layers.#.norm#`.
fn numbered(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for part in name.split_inclusive('.') {
        let (part, dot) = part.strip_suffix('.').map_or((part, ""), |part| (part, "."));
        let letters = part.trim_end_matches(|c: char| c.is_ascii_digit());
        out.push_str(letters);
        out.push_str(if letters.len() < part.len() { "#" } else { "" });
        out.push_str(dot);
    }
    out
}
