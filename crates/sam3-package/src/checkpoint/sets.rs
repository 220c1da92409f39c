//! Which of several sets of weights in one file is taken: the model's own, its moving average, a teacher's.

use std::fmt;

use crate::error::list_of;

/// Names of the model's own weights, the most usual first.
const OWN: [&str; 7] = [
    "model",
    "state_dict",
    "model_state_dict",
    "module",
    "net",
    "network",
    "student",
];

/// In the names of weights that follow the model's.
const FOLLOWERS: [&str; 4] = ["ema", "averaged", "swa", "teacher"];

/// Tensors under one name: a dictionary in a pickle, or all that share a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set {
    /// Its path, as `ema.module`; empty for what has no name.
    pub name: String,
    /// How many tensors it has.
    pub tensors: usize,
}

/// The set called `wanted`; without one, of the sets that are about as large as the largest, the model's own.
pub(crate) fn choose(sets: &[Set], wanted: Option<&str>) -> Option<usize> {
    let Some(wanted) = wanted else {
        return whole(sets).min_by_key(|&i| rank(&sets[i].name));
    };
    let is_called = |name: &str| {
        name == wanted
            || name.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('.'))
            || name.strip_suffix(wanted).is_some_and(|rest| rest.ends_with('.'))
    };
    (0..sets.len())
        .filter(|&i| is_called(&sets[i].name))
        .max_by_key(|&i| (sets[i].tensors, std::cmp::Reverse(i)))
}

/// Those with more than half of the tensors of the largest: copies of the model, not parts beside it.
fn whole(sets: &[Set]) -> impl Iterator<Item = usize> {
    let most = sets.iter().map(|set| set.tensors).max().unwrap_or(0);
    (0..sets.len()).filter(move |&i| 2 * sets[i].tensors > most)
}

/// Names of the other whole sets.
pub(crate) fn others(sets: &[Set], taken: usize) -> Vec<&str> {
    whole(sets)
        .filter(|&i| i != taken && !sets[i].name.is_empty())
        .map(|i| sets[i].name.as_str())
        .collect()
}

/// What was chosen where there were several sets and nobody asked for one.
#[derive(Debug)]
pub(crate) struct Choice {
    taken: String,
    /// Names of the whole sets that were left.
    pub others: Vec<String>,
}

impl Choice {
    /// None where there was nothing else to take.
    pub fn of(sets: &[Set], taken: usize) -> Option<Self> {
        let others: Vec<String> = others(sets, taken).into_iter().map(str::to_owned).collect();
        let taken = sets[taken].name.clone();
        (!others.is_empty()).then_some(Self { taken, others })
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = match self.taken.as_str() {
            "" => "those without a name were".to_owned(),
            name => format!("\"{name}\" was"),
        };
        let quoted: Vec<String> = self.others.iter().map(|name| format!("\"{name}\"")).collect();
        let count = self.others.len() + 1;
        write!(
            f,
            "it holds {count} sets of weights: {taken} taken, not {}",
            list_of(&quoted)
        )
    }
}

fn rank(name: &str) -> usize {
    let parts = || name.split('.');
    let follows = |part: &str| FOLLOWERS.iter().any(|word| part.split('_').any(|piece| piece == *word));
    if name.is_empty() {
        0
    } else if parts().any(follows) {
        OWN.len() + 2
    } else {
        1 + parts()
            .filter_map(|part| OWN.iter().position(|own| *own == part))
            .min()
            .unwrap_or(OWN.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(names: &[(&str, usize)]) -> Vec<Set> {
        let set = |&(name, tensors): &(&str, usize)| Set {
            name: name.to_owned(),
            tensors,
        };
        names.iter().map(set).collect()
    }

    #[test]
    fn the_models_own_weights_come_first() {
        for (names, taken) in [
            (&[("ema", 9), ("model", 9)][..], "model"),
            (&[("model_ema", 9), ("state_dict", 8)], "state_dict"),
            (&[("ema_model", 10), ("net", 9)], "net"),
            (&[("teacher", 9), ("student", 9)], "student"),
            (&[("ema", 9)], "ema"),
            (&[("model", 2), ("ema.module", 9)], "ema.module"),
            (&[("", 9), ("ema", 9)], ""),
            (&[("", 1), ("model", 9)], "model"),
            (&[("detector", 9), ("tracker", 5)], "detector"),
        ] {
            let sets = sets(names);
            assert_eq!(sets[choose(&sets, None).unwrap()].name, taken, "{names:?}");
        }
        assert_eq!(choose(&[], None), None);
    }

    #[test]
    fn a_set_is_called_by_its_path_or_an_end_of_it() {
        let sets = sets(&[("model", 9), ("ema.module", 9), ("callbacks.swa", 9)]);
        for (wanted, index) in [
            ("model", Some(0)),
            ("ema", Some(1)),
            ("ema.module", Some(1)),
            ("module", Some(1)),
            ("swa", Some(2)),
            ("em", None),
            ("", None),
        ] {
            assert_eq!(choose(&sets, Some(wanted)), index, "{wanted}");
        }
        assert_eq!(others(&sets, 0), ["ema.module", "callbacks.swa"]);
        let choice = Choice::of(&sets, 0).unwrap();
        assert_eq!(choice.others, ["ema.module", "callbacks.swa"]);
        assert_eq!(
            choice.to_string(),
            "it holds 3 sets of weights: \"model\" was taken, not \"ema.module\", \"callbacks.swa\""
        );
        assert!(Choice::of(&sets[..1], 0).is_none());
    }
}
