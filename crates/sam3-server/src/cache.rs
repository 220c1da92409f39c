//! Encoded images that clients ask about again: kept by a name of ours, the least recently used one leaves first.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use sam3_model::{Encoded, LowResMask};

/// An encoded image and what was clicked in it.
pub struct Cached {
    pub encoded: Encoded,
    /// Of the picture's bytes.
    pub sha256: String,
    /// Pixels in a side of what the model saw.
    pub image_size: usize,
    steps: Mutex<Steps>,
}

/// Logits of earlier clicks, by the names that clients were given.
#[derive(Default)]
struct Steps {
    next: u64,
    kept: VecDeque<(String, LowResMask)>,
}

/// Masks of an image whose logits are kept; the oldest leaves first.
const STEPS_KEPT: usize = 32;

impl Cached {
    pub fn new(encoded: Encoded, sha256: String, image_size: usize) -> Self {
        Self {
            encoded,
            sha256,
            image_size,
            steps: Mutex::default(),
        }
    }

    /// Keeps the logits of a mask, and names them.
    pub fn keep(&self, logits: LowResMask) -> String {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.next += 1;
        let name = steps.next.to_string();
        if steps.kept.len() == STEPS_KEPT {
            steps.kept.pop_front();
        }
        steps.kept.push_back((name.clone(), logits));
        name
    }

    /// The logits of that name, if they are still kept.
    pub fn logits(&self, name: &str) -> Option<LowResMask> {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let found = steps.kept.iter().find(|(own, _)| own == name);
        found.map(|(_, logits)| logits.clone())
    }

    /// What it takes of memory now.
    pub fn bytes(&self) -> u64 {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let logits = steps.kept.iter().map(|(_, logits)| 4 * logits.values().len() as u64);
        self.encoded.bytes() + logits.sum::<u64>()
    }
}

/// By name; the one that was asked about last is at the end.
pub struct Cache<V> {
    kept: Vec<(String, Arc<V>)>,
    limit: u64,
    size: fn(&V) -> u64,
}

impl<V> Cache<V> {
    /// Of values that take `size` bytes each, at most `limit` together.
    pub fn new(limit: u64, size: fn(&V) -> u64) -> Self {
        Self {
            kept: Vec::new(),
            limit,
            size,
        }
    }

    /// Keeps a value and lets others go where there is no room; false where it would not fit alone.
    pub fn insert(&mut self, name: String, value: Arc<V>) -> bool {
        if (self.size)(&value) > self.limit {
            return false;
        }
        self.kept.push((name, value));
        self.shrink();
        true
    }

    /// The value of that name, which is now the last to leave.
    pub fn get(&mut self, name: &str) -> Option<Arc<V>> {
        let at = self.kept.iter().position(|(own, _)| own == name)?;
        self.kept[at..].rotate_left(1);
        self.kept.last().map(|(_, value)| value.clone())
    }

    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.kept.len();
        self.kept.retain(|(own, _)| own != name);
        self.kept.len() < before
    }

    /// Lets the first to leave go; false where there is none.
    pub fn remove_oldest(&mut self) -> bool {
        let is_there = !self.kept.is_empty();
        if is_there {
            self.kept.remove(0);
        }
        is_there
    }

    /// Keeps so many bytes from now on. Values may have grown, too: lets go of those that have no room any more, but
    /// for the last one.
    pub fn shrink_to(&mut self, limit: u64) {
        self.limit = limit;
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.kept.len() > 1 && self.bytes() > self.limit {
            self.kept.remove(0);
        }
    }

    pub fn bytes(&self) -> u64 {
        self.kept.iter().map(|(_, value)| (self.size)(value)).sum()
    }

    pub fn len(&self) -> usize {
        self.kept.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_not_asked_for_longest_leaves() {
        let mut cache = Cache::new(10, |size: &u64| *size);
        for (name, size) in [("a", 4), ("b", 4)] {
            assert!(cache.insert(name.to_owned(), Arc::new(size)));
        }
        assert!(cache.get("a").is_some());
        assert!(cache.insert("c".to_owned(), Arc::new(3)));
        assert!(cache.get("b").is_none(), "b left");
        assert_eq!((cache.len(), cache.bytes()), (2, 7));
        assert!(!cache.insert("d".to_owned(), Arc::new(11)), "more than all");
        assert!(cache.insert("e".to_owned(), Arc::new(10)));
        assert_eq!((cache.len(), cache.bytes()), (1, 10));
        assert!(cache.insert("f".to_owned(), Arc::new(0)));
        cache.shrink_to(9);
        assert!(
            cache.get("e").is_none() && !cache.insert("g".to_owned(), Arc::new(10)),
            "less is kept now"
        );
        cache.shrink_to(10);
        assert!(cache.remove("f") && cache.insert("e".to_owned(), Arc::new(10)));
        assert!(cache.remove("e") && !cache.remove("e") && !cache.remove_oldest());
    }
}
