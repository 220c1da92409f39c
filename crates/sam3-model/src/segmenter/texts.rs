//! The features of texts: those that are baked into the package, and those that were asked for last.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Values by a text's token ids, so that two spellings of the same tokens are one text.
pub struct Texts<V> {
    baked: HashMap<Vec<u32>, V>,
    /// The one that was asked for last is at the end. Looking through all takes microseconds; encoding takes much
    /// longer.
    recent: Mutex<Vec<(Vec<u32>, V)>>,
    limit: usize,
}

impl<V: Clone> Texts<V> {
    /// Knows the `baked` texts, and keeps `limit` others.
    pub fn new(baked: HashMap<Vec<u32>, V>, limit: usize) -> Self {
        Self {
            baked,
            recent: Mutex::default(),
            limit,
        }
    }

    /// The value of a text, which `encode` makes where it is not known.
    ///
    /// Nothing is locked while it does: other texts are found at once. A text that two threads ask for is encoded
    /// twice.
    pub fn get_or_encode<E>(&self, ids: &[u32], encode: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        if let Some(value) = self.get(ids) {
            return Ok(value);
        }
        let value = encode()?;
        let mut recent = self.recent();
        recent.retain(|(known, _)| known != ids);
        if recent.len() == self.limit {
            recent.remove(0);
        }
        recent.push((ids.to_vec(), value.clone()));
        Ok(value)
    }

    fn get(&self, ids: &[u32]) -> Option<V> {
        if let Some(value) = self.baked.get(ids) {
            return Some(value.clone());
        }
        let mut recent = self.recent();
        let at = recent.iter().position(|(known, _)| known == ids)?;
        recent[at..].rotate_left(1);
        recent.last().map(|(_, value)| value.clone())
    }

    fn recent(&self) -> MutexGuard<'_, Vec<(Vec<u32>, V)>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::mpsc, thread, time::Duration};

    use super::*;

    /// Asks for each text in turn; which of them were encoded.
    fn encoded(texts: &Texts<u32>, asked: impl IntoIterator<Item = u32>) -> Vec<u32> {
        let mut encoded = Vec::new();
        for id in asked {
            let value = texts.get_or_encode(&[id], || {
                encoded.push(id);
                Ok::<_, Infallible>(10 * id)
            });
            assert_eq!(value, Ok(10 * id));
        }
        encoded
    }

    fn three(baked: &[u32]) -> Texts<u32> {
        Texts::new(baked.iter().map(|&id| (vec![id], 10 * id)).collect(), 3)
    }

    #[test]
    fn the_text_not_asked_for_longest_leaves() {
        let texts = three(&[]);
        assert_eq!(encoded(&texts, [1, 2, 3, 1, 2, 3]), [1, 2, 3]);
        assert_eq!(encoded(&texts, [1, 4, 1, 3]), [4], "2 has left");
        assert_eq!(encoded(&texts, [2, 1, 3]), [2], "4 has left");
        assert_eq!(encoded(&texts, [4, 3, 1, 2]), [4, 2]);
        assert_eq!(texts.recent().len(), 3);
    }

    #[test]
    fn no_more_than_the_limit_are_kept() {
        let texts = three(&[]);
        assert_eq!(encoded(&texts, 0..1000).len(), 1000);
        assert_eq!(texts.recent().len(), 3);
        assert!(texts.recent().capacity() < 10);
    }

    #[test]
    fn baked_texts_stay() {
        let texts = three(&[7, 8]);
        assert_eq!(encoded(&texts, 0..1000).len(), 998);
        assert_eq!(encoded(&texts, [7, 8, 999]), [0; 0]);
        assert_eq!(texts.recent().len(), 3);
    }

    #[test]
    fn a_failure_is_not_kept() {
        let texts = three(&[]);
        assert_eq!(texts.get_or_encode(&[1], || Err("no memory")), Err("no memory"));
        assert_eq!(encoded(&texts, [1, 1]), [1]);
    }

    #[test]
    fn threads_may_share_a_segmenter() {
        fn is_shared<T: Send + Sync>() {}
        is_shared::<crate::Segmenter>();
    }

    #[test]
    fn known_texts_do_not_wait_for_a_new_one() {
        let texts = three(&[7]);
        encoded(&texts, [1]);
        let (begun, wait_for_begin) = mpsc::channel();
        let (answer, wait_for_answer) = mpsc::channel();
        let texts = &texts;
        thread::scope(|scope| {
            let slow = scope.spawn(move || {
                texts.get_or_encode(&[2], || {
                    begun.send(()).expect("the test waits for it");
                    // This waits until the other thread has its answers. If that waits for this one, the time runs out.
                    wait_for_answer.recv_timeout(Duration::from_secs(30)).map(|()| 20)
                })
            });
            wait_for_begin.recv().expect("the text is encoded");
            scope.spawn(move || {
                assert_eq!(encoded(texts, [7, 1]), [0; 0]);
                assert_eq!(encoded(texts, [2]), [2], "the same text is not waited for either");
                answer.send(()).ok();
            });
            assert_eq!(slow.join().expect("it does not panic"), Ok(20));
        });
        assert_eq!(encoded(texts, [1, 2, 7]), [0; 0]);
        assert_eq!(texts.recent().len(), 2, "a text that was encoded twice is kept once");
    }
}
