//! COCO's twelve numbers and SA-Co's, of judged detections; pictures may count several times, or not at all.

use serde::Serialize;

use super::pairs::{Cell, Judged, MOST, THRESHOLDS};

/// Recalls at which precision is looked up, from 0 to 1.
const RECALLS: usize = 101;

/// All pictures' detections, judged.
pub struct Judgement {
    classes: Vec<Class>,
    phrases: Vec<Phrases>,
}

/// The detections of a class, best first; those of one score by picture, then by rank.
#[derive(Default)]
struct Class {
    found: Vec<(u32, Judged)>,
    /// Objects to find by size, of the pictures that have any.
    positives: Vec<(u32, [u32; 4])>,
}

/// What SA-Co counts, over the phrases of a picture.
#[derive(Clone, Copy, Default)]
struct Phrases {
    right: [f64; THRESHOLDS],
    /// Detections and objects where there are objects; and detections where there are none do not count.
    found: f64,
    objects: f64,
    /// Phrases: there and found, not there and found, there and not found, neither.
    counts: [f64; 4],
}

/// How right a model is, 0 to 1; −1 where there was nothing to find.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[allow(non_snake_case, reason = "they are called so")]
pub struct Scores {
    pub AP: f64,
    pub AP50: f64,
    pub AP75: f64,
    pub AP_small: f64,
    pub AP_medium: f64,
    pub AP_large: f64,
    pub AR1: f64,
    pub AR10: f64,
    pub AR100: f64,
    pub AR_small: f64,
    pub AR_medium: f64,
    pub AR_large: f64,
    pub cgF1: f64,
    pub pmF1: f64,
    pub IL_MCC: f64,
}

pub const NAMES: [&str; 15] = [
    "AP",
    "AP50",
    "AP75",
    "AP_small",
    "AP_medium",
    "AP_large",
    "AR1",
    "AR10",
    "AR100",
    "AR_small",
    "AR_medium",
    "AR_large",
    "cgF1",
    "pmF1",
    "IL_MCC",
];

impl Scores {
    /// In the order of [`NAMES`].
    pub fn values(&self) -> [f64; 15] {
        [
            self.AP,
            self.AP50,
            self.AP75,
            self.AP_small,
            self.AP_medium,
            self.AP_large,
            self.AR1,
            self.AR10,
            self.AR100,
            self.AR_small,
            self.AR_medium,
            self.AR_large,
            self.cgF1,
            self.pmF1,
            self.IL_MCC,
        ]
    }
}

impl Judgement {
    /// Of the cells of each picture, and how many phrases were asked of it: of `categories` classes.
    pub fn of(pictures: Vec<Vec<Cell>>, categories: usize) -> Self {
        let mut classes: Vec<Class> = (0..categories).map(|_| Class::default()).collect();
        let mut phrases = Vec::with_capacity(pictures.len());
        for (picture, cells) in (0..).zip(pictures) {
            let mut counted = Phrases::default();
            counted.counts[3] = (categories - cells.len()) as f64;
            for cell in cells {
                counted.add(&cell);
                let class = &mut classes[cell.category];
                class
                    .found
                    .extend(cell.found.into_iter().map(|judged| (picture, judged)));
                class.positives.push((picture, cell.positives));
            }
            phrases.push(counted);
        }
        for class in &mut classes {
            class.found.sort_by(|a, b| b.1.score.total_cmp(&a.1.score));
        }
        Self { classes, phrases }
    }

    pub fn pictures(&self) -> usize {
        self.phrases.len()
    }

    /// Where each picture counts once.
    pub fn scores(&self) -> Scores {
        self.weighted(&vec![1; self.pictures()])
    }

    /// Where each picture counts as often as its weight says.
    pub fn weighted(&self, weights: &[u32]) -> Scores {
        let sized: [Curves; 4] = std::array::from_fn(|size| self.curves(weights, size, MOST));
        let [one, ten] = [1, 10].map(|most| self.curves(weights, 0, most).recall());
        let [all, small, medium, large] = &sized;
        let [pm_f1, mcc, cg_f1] = self.phrases(weights);
        Scores {
            AP: all.precision(0..THRESHOLDS),
            AP50: all.precision(0..1),
            AP75: all.precision(5..6),
            AP_small: small.precision(0..THRESHOLDS),
            AP_medium: medium.precision(0..THRESHOLDS),
            AP_large: large.precision(0..THRESHOLDS),
            AR1: one,
            AR10: ten,
            AR100: all.recall(),
            AR_small: small.recall(),
            AR_medium: medium.recall(),
            AR_large: large.recall(),
            cgF1: cg_f1,
            pmF1: pm_f1,
            IL_MCC: mcc,
        }
    }

    fn curves(&self, weights: &[u32], size: usize, most: usize) -> Curves {
        let mut curves = Curves::default();
        for class in &self.classes {
            class.add(weights, size, most as u32, &mut curves);
        }
        curves
    }

    /// pmF1, IL_MCC and cgF1, with the small numbers that SA-Co's evaluation adds where it divides.
    fn phrases(&self, weights: &[u32]) -> [f64; 3] {
        let mut sum = Phrases::default();
        for (phrases, &weight) in self.phrases.iter().zip(weights) {
            sum.add_weighted(phrases, f64::from(weight));
        }
        let f1 = sum.right.map(|right| {
            let precision = right / (sum.found + 1e-4);
            let recall = right / (sum.objects + 1e-4);
            2.0 * precision * recall / (precision + recall + 1e-4)
        });
        let [tp, fp, fn_, tn] = sum.counts;
        let root = ((tp + fp) * (tp + fn_) * (tn + fp) * (tn + fn_)).sqrt();
        let mcc = (tp * tn - fp * fn_) / (root + 1e-6);
        let f1 = f1.iter().sum::<f64>() / THRESHOLDS as f64;
        [f1, mcc, f1 * mcc]
    }
}

impl Phrases {
    fn add(&mut self, cell: &Cell) {
        let phrase = &cell.phrase;
        let place = match (phrase.objects > 0, phrase.found > 0) {
            (true, true) => 0,
            (false, true) => 1,
            (true, false) => 2,
            (false, false) => 3,
        };
        self.counts[place] += 1.0;
        if phrase.objects > 0 {
            self.found += f64::from(phrase.found);
            self.objects += f64::from(phrase.objects);
            for (sum, &right) in self.right.iter_mut().zip(&phrase.right) {
                *sum += f64::from(right);
            }
        }
    }

    fn add_weighted(&mut self, other: &Self, weight: f64) {
        let sums = self.right.iter_mut().zip(&other.right);
        sums.for_each(|(sum, value)| *sum += weight * value);
        let counts = self.counts.iter_mut().zip(&other.counts);
        counts.for_each(|(sum, value)| *sum += weight * value);
        self.found += weight * other.found;
        self.objects += weight * other.objects;
    }
}

/// Sums over the classes with something to find: precision over all recalls, and the last recall, by IoU threshold.
#[derive(Default)]
struct Curves {
    classes: f64,
    precision: [f64; THRESHOLDS],
    recall: [f64; THRESHOLDS],
}

impl Curves {
    fn precision(&self, thresholds: std::ops::Range<usize>) -> f64 {
        let values = &self.precision[thresholds];
        self.mean(values)
    }

    fn recall(&self) -> f64 {
        self.mean(&self.recall)
    }

    fn mean(&self, values: &[f64]) -> f64 {
        match self.classes > 0.0 {
            true => values.iter().sum::<f64>() / (values.len() as f64 * self.classes),
            false => -1.0,
        }
    }
}

impl Class {
    fn add(&self, weights: &[u32], size: usize, most: u32, curves: &mut Curves) {
        let positives = self.positives.iter();
        let positives: u64 = positives
            .map(|(picture, by_size)| u64::from(weights[*picture as usize]) * u64::from(by_size[size]))
            .sum();
        if positives == 0 {
            return;
        }
        curves.classes += 1.0;
        let positives = positives as f64;
        let mut points: Vec<[f64; 2]> = Vec::new();
        for threshold in 0..THRESHOLDS {
            points.clear();
            let (mut right, mut wrong) = (0.0, 0.0);
            for (picture, judged) in &self.found {
                let weight = weights[*picture as usize];
                if weight == 0 || judged.rank >= most {
                    continue;
                }
                let bit = |bits: [u16; 4]| bits[size] >> threshold & 1 == 1;
                if !bit(judged.ignored) {
                    let sum = if bit(judged.matched) { &mut right } else { &mut wrong };
                    *sum += f64::from(weight);
                }
                points.push([right / positives, right / (wrong + right + f64::EPSILON)]);
            }
            curves.recall[threshold] += points.last().map_or(0.0, |point| point[0]);
            // The best precision at this recall or a higher one.
            for place in (1..points.len()).rev() {
                points[place - 1][1] = points[place - 1][1].max(points[place][1]);
            }
            let mut place = 0;
            let mut sum = 0.0;
            for recall in 0..RECALLS {
                let recall = if recall == RECALLS - 1 {
                    1.0
                } else {
                    recall as f64 * 0.01
                };
                while points.get(place).is_some_and(|point| point[0] < recall) {
                    place += 1;
                }
                sum += points.get(place).map_or(0.0, |point| point[1]);
            }
            curves.precision[threshold] += sum / RECALLS as f64;
        }
    }
}

/// A number's difference, and where 95 % of its resampled ones lie.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Interval {
    pub difference: f64,
    /// None where there was nothing to find.
    pub low: Option<f64>,
    pub high: Option<f64>,
}

/// The first's numbers less the second's, with the intervals of the paired bootstrap: the same pictures drawn with
/// repeats for both, `rounds` times.
pub fn differences(first: &Judgement, second: &Judgement, rounds: usize, seed: u64) -> [Interval; 15] {
    use rayon::prelude::*;

    let between = |a: Scores, b: Scores| -> [f64; 15] {
        let (a, b) = (a.values(), b.values());
        std::array::from_fn(|place| match a[place] == -1.0 || b[place] == -1.0 {
            true => f64::NAN,
            false => a[place] - b[place],
        })
    };
    let drawn: Vec<[f64; 15]> = (0..rounds as u64)
        .into_par_iter()
        .map(|round| {
            let mut draw = super::draw::Draw::new(seed ^ (round + 1).wrapping_mul(0xd134_2543_de82_ef95));
            let mut weights = vec![0; first.pictures()];
            for _ in 0..first.pictures() {
                weights[draw.below(first.pictures())] += 1;
            }
            between(first.weighted(&weights), second.weighted(&weights))
        })
        .collect();
    let whole = between(first.scores(), second.scores());
    std::array::from_fn(|place| {
        let mut values: Vec<f64> = drawn
            .iter()
            .map(|values| values[place])
            .filter(|value| !value.is_nan())
            .collect();
        values.sort_by(f64::total_cmp);
        let has_any = !whole[place].is_nan() && !values.is_empty();
        Interval {
            difference: if whole[place].is_nan() { 0.0 } else { whole[place] },
            low: has_any.then(|| quantile(&values, 0.025)),
            high: has_any.then(|| quantile(&values, 0.975)),
        }
    })
}

/// As numpy's, between the two nearest.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judgement(pictures: &[&[(f64, bool)]]) -> Judgement {
        let cell = |found: &&[(f64, bool)]| {
            let judged = |(rank, &(score, is_right)): (u32, &(f64, bool))| Judged {
                score,
                rank,
                matched: [if is_right { 1023 } else { 0 }; 4],
                ignored: [0; 4],
            };
            let right = found.iter().filter(|found| found.1).count() as u32;
            vec![Cell {
                category: 0,
                found: (0..).zip(found.iter()).map(judged).collect(),
                positives: [2, 0, 2, 0],
                phrase: super::super::pairs::Phrase {
                    right: [right; THRESHOLDS],
                    found: found.len() as u32,
                    objects: 2,
                },
            }]
        };
        Judgement::of(pictures.iter().map(cell).collect(), 1)
    }

    #[test]
    fn a_weight_is_a_picture_that_stands_so_often() {
        let (a, b): (&[_], &[_]) = (&[(0.9, true), (0.4, false)], &[(0.9, false), (0.6, true), (0.3, true)]);
        let weighted = judgement(&[a, b, a]).weighted(&[2, 3, 0]);
        let repeated = judgement(&[a, a, b, b, b]).scores();
        for (weighted, repeated) in weighted.values().iter().zip(repeated.values()) {
            assert!((weighted - repeated).abs() < 1e-12, "{weighted} {repeated}");
        }
        assert!(
            repeated.AP > 0.3 && repeated.AP < 0.9 && repeated.AP_small == -1.0,
            "{repeated:?}"
        );
    }

    #[test]
    fn the_same_twice_differs_by_nothing_and_what_is_better_is_above() {
        let good: &[_] = &[(0.9, true), (0.4, true)];
        let bad: &[_] = &[(0.9, true), (0.4, false)];
        let (first, second) = (judgement(&[good; 30]), judgement(&[bad; 30]));
        assert!(
            differences(&first, &first, 50, 1)
                .iter()
                .all(|found| found.difference == 0.0)
        );
        let found = differences(&first, &second, 50, 1);
        assert!(found[0].difference > 0.4 && found[0].low > Some(0.4), "{:?}", found[0]);
        assert!(found[3].low.is_none(), "there is nothing small");
    }
}
