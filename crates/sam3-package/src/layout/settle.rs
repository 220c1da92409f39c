//! One tensor for each name.

use std::collections::{HashMap, hash_map};

use super::Entry;

/// # Errors
/// Two tensors of one name, `raw` being what the file calls them.
pub(super) fn reject_duplicates(names: &[Option<String>], raw: &[&str]) -> Result<(), String> {
    let mut first = HashMap::new();
    for (i, name) in names.iter().enumerate() {
        if let Some(name) = name
            && let Some(j) = first.insert(name.as_str(), i)
        {
            return Err(twice(&[raw[j]], &[raw[i]], name));
        }
    }
    Ok(())
}

/// Lets a tensor of the file take the place of one that was made under its name.
///
/// # Errors
/// Two entries of one name that both come from the file.
pub(super) fn entries(entries: &mut Vec<Entry>, raw: &[&str]) -> Result<(), String> {
    let mut settled: Vec<Entry> = Vec::with_capacity(entries.len());
    let mut first = HashMap::new();
    for entry in entries.drain(..) {
        match first.entry(entry.name.clone()) {
            hash_map::Entry::Vacant(place) => {
                place.insert(settled.len());
                settled.push(entry);
            }
            hash_map::Entry::Occupied(place) => {
                let other = &mut settled[*place.get()];
                if other.source.is_made() {
                    *other = entry;
                } else if !entry.source.is_made() {
                    let [one, two] = [other.source, entry.source]
                        .map(|source| source.tensors().into_iter().map(|i| raw[i]).collect::<Vec<_>>());
                    return Err(twice(&one, &two, &entry.name));
                }
            }
        }
    }
    *entries = settled;
    Ok(())
}

/// `one` and `two` are the tensors of the file that become `name`: several, where q, k and v become one.
fn twice(one: &[&str], two: &[&str], name: &str) -> String {
    let [one, two] = [one, two].map(|names| names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>());
    format!(
        "tensors {} and {} are both \"{name}\": remove one of them and save the checkpoint again",
        one.join(", "),
        two.join(", ")
    )
}
