//! The dictionaries of tensors in a pickle: the state dict itself, or those that training code keeps beside each other.

use std::collections::HashSet;

use super::Reader;
use crate::checkpoint::{
    clip,
    pickle::{Node, Value},
    sets::{self, Choice, Set},
};

/// `checkpoint["callbacks"]["ema"]["module"]["state_dict"]` is as deep as anyone goes.
const MAX_DEPTH: usize = 4;
/// Dictionaries that are looked into.
const MAX_DICTS: usize = 4096;

/// Beginnings of keys under which training code keeps tensors that are no weights.
const TRAINING: [&str; 5] = ["optim", "scheduler", "scaler", "grad", "exp_avg"];

/// The state dict that was chosen, and what there was to choose from.
pub(super) struct Chosen<'p> {
    pub entries: &'p [(Value, Value)],
    /// Where nobody asked for one of several.
    pub choice: Option<Choice>,
    /// Names of all sets.
    pub sets: Vec<String>,
    /// True where the set that was asked for is one of them.
    pub is_wanted: bool,
}

impl<'p> Reader<'p, '_> {
    /// Finds the state dict, the one called `wanted` where there is one of that name.
    pub(super) fn weights(&self, wanted: Option<&str>) -> Result<Chosen<'p>, String> {
        let root = self.pickle.root;
        let Some(entries) = self.pickle.dict(root) else {
            return Err(match self.callable(root) {
                Some(name) => pickled_object(&name),
                None => "its pickle is not a dictionary of tensors".into(),
            });
        };
        let mut found = Vec::new();
        self.look(entries, String::new(), 0, &mut HashSet::new(), &mut found)?;
        let sets: Vec<Set> = found.iter().map(|(set, _)| set.clone()).collect();
        let called = wanted.and_then(|wanted| sets::choose(&sets, Some(wanted)));
        let Some(taken) = called.or_else(|| sets::choose(&sets, None)) else {
            return Err(self.no_tensors(entries));
        };
        Ok(Chosen {
            entries: found[taken].1,
            choice: Choice::of(&sets, taken).filter(|_| wanted.is_none()),
            sets: sets
                .into_iter()
                .map(|set| set.name)
                .filter(|name| !name.is_empty())
                .collect(),
            is_wanted: called.is_some(),
        })
    }

    /// Appends the dictionaries that hold tensors, the outer before the inner.
    fn look(
        &self,
        entries: &'p [(Value, Value)],
        name: String,
        depth: usize,
        seen: &mut HashSet<*const (Value, Value)>,
        found: &mut Vec<(Set, &'p [(Value, Value)])>,
    ) -> Result<(), String> {
        if seen.len() >= MAX_DICTS || !seen.insert(entries.as_ptr()) {
            return Ok(());
        }
        let tensors = entries.iter().filter(|(_, value)| self.is_tensor(*value)).count();
        if tensors > 0 {
            let set = Set {
                name: name.clone(),
                tensors,
            };
            found.push((set, entries));
        }
        if depth == MAX_DEPTH {
            return Ok(());
        }
        let mut keys = HashSet::new();
        for &(key, value) in entries {
            let (Some(key), Some(inner)) = (self.pickle.text(key), self.pickle.dict(value)) else {
                continue;
            };
            if TRAINING.iter().any(|word| key.starts_with(word)) {
                continue;
            }
            if !keys.insert(key) {
                return Err(format!("its pickle has the key \"{}\" twice", clip(key)));
            }
            let name = if name.is_empty() {
                clip(key).to_owned()
            } else {
                format!("{name}.{}", clip(key))
            };
            self.look(inner, name, depth + 1, seen, found)?;
        }
        Ok(())
    }

    /// Why there is nothing to read: an object where the weights should be, or nothing at all.
    fn no_tensors(&self, entries: &[(Value, Value)]) -> String {
        let named = entries
            .iter()
            .filter_map(|(key, value)| Some((self.pickle.text(*key)?, *value)));
        let objects = named
            .clone()
            .filter_map(|(key, value)| Some((key, self.callable(value)?)));
        let is_model = |key: &str| ["model", "state_dict", "model_state_dict", "ema"].contains(&key);
        if let Some((_, name)) = objects.clone().find(|(key, _)| is_model(key)) {
            return pickled_object(&name);
        }
        if let Some((key, name)) = objects.clone().next() {
            return format!("tensor \"{}\" {}", clip(key), not_called(&name));
        }
        let keys: Vec<_> = named.map(|(key, _)| clip(key)).take(8).collect();
        format!("it holds no tensors; the keys of its dictionary are {keys:?}")
    }

    /// True for a call that PyTorch makes a tensor with.
    pub(super) fn is_tensor(&self, value: Value) -> bool {
        let Some(&Node::Call { callable, .. }) = self.pickle.node(value) else {
            return false;
        };
        match self.pickle.global(callable) {
            Some(("torch._utils", name)) => name.starts_with("_rebuild_"),
            Some(("torch._tensor", name)) => name == "_rebuild_from_type_v2",
            _ => false,
        }
    }
}

fn pickled_object(name: &str) -> String {
    format!(
        "it holds a pickled object ({name}) where a state dict should be, and nothing is called to rebuild it: \
         in Python, torch.save(model.state_dict(), …)"
    )
}

/// Of a tensor that something else than PyTorch would make.
pub(super) fn not_called(name: &str) -> String {
    format!(
        "would be made by calling {name}, which is not allowed: nothing in a checkpoint is executed. In Python, save a \
         state dict of plain tensors"
    )
}
