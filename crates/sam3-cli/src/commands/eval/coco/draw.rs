//! Numbers drawn the same on every machine: SplitMix64 (Steele, Lea and Flood 2014).

/// Where the drawing stands.
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    }

    /// A number below `count`, each as likely but for one part in 2⁶⁴ of `count`.
    pub fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.next()) * count as u128) >> 64) as usize
    }

    /// `most` of `0..count`, in order.
    pub fn some(&mut self, count: usize, most: usize) -> Vec<usize> {
        let mut places: Vec<usize> = (0..count).collect();
        for place in 0..most.min(count) {
            places.swap(place, place + self.below(count - place));
        }
        places.truncate(most);
        places.sort_unstable();
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_drawn_once_each_and_by_the_seed() {
        let drawn = Draw::new(3).some(100, 20);
        assert!(drawn.len() == 20 && drawn.windows(2).all(|pair| pair[0] < pair[1]) && drawn[19] < 100);
        assert_eq!(drawn, Draw::new(3).some(100, 20));
        assert_ne!(drawn, Draw::new(4).some(100, 20));
        assert_eq!(Draw::new(3).some(5, 9), [0, 1, 2, 3, 4]);
    }
}
