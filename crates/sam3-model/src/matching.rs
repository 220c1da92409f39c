//! Which instance of one list is which of another, by their masks, and how far the two lists are apart.

use serde::{Deserialize, Serialize};

use crate::{Instance, masks::Mask};

/// Two masks that overlap more than this (intersection over union) are the same thing.
pub const SAME: f64 = 0.5;

/// A mask of each list that are the same thing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Index in the first list.
    pub first: usize,
    /// Index in the second list.
    pub second: usize,
    /// Their intersection over union, above [`SAME`].
    pub iou: f64,
}

/// How far two lists of instances of one image are apart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Instances in the first list and in the second.
    pub instances: [usize; 2],
    /// Pairs of the same thing, each instance in one pair at most.
    pub matched: usize,
    /// Smallest mask IoU of the pairs; none where there is no pair.
    pub worst_iou: Option<f64>,
    /// Mean mask IoU of the pairs.
    pub mean_iou: Option<f64>,
    /// Largest difference of the two scores of a pair; none where there is no pair.
    pub score_difference: Option<f32>,
    /// Largest difference of a side of the two boxes of a pair, in pixels.
    pub box_difference: Option<f32>,
}

/// Pairs masks of one picture one to one so that the sum of their IoUs is the largest, in the order of `first`.
///
/// A pair at [`SAME`] or below is dropped afterwards, as `tools/demo_model/evaluate.py` does. Masks of different sizes,
/// which are of different pictures, are no pair.
pub fn match_masks(first: &[&Mask], second: &[&Mask]) -> Vec<Pair> {
    if first.len() > second.len() {
        let mut pairs = match_masks(second, first);
        for pair in &mut pairs {
            (pair.first, pair.second) = (pair.second, pair.first);
        }
        pairs.sort_by_key(|pair| pair.first);
        return pairs;
    }
    let ious: Vec<Vec<f64>> = first
        .iter()
        .map(|a| second.iter().map(|b| a.iou(b).unwrap_or(0.0)).collect())
        .collect();
    let pairs = assign(&ious).into_iter().enumerate();
    pairs
        .map(|(first, second)| Pair {
            first,
            second,
            iou: ious[first][second],
        })
        .filter(|pair| pair.iou > SAME)
        .collect()
}

/// The masks of some instances.
fn masks(instances: &[Instance]) -> Vec<&Mask> {
    instances.iter().map(|instance| &instance.mask).collect()
}

/// The column of each row, no column twice, with the largest sum of values; there are no more rows than columns.
///
/// The Hungarian method by shortest augmenting paths (Jonker and Volgenant 1987), O(rows² columns): 200 instances
/// against 200 take milliseconds.
///
/// # Panics
/// Where there are more rows than columns.
pub fn assign(values: &[Vec<f64>]) -> Vec<usize> {
    let columns = values.first().map_or(0, Vec::len);
    assert!(values.len() <= columns || values.is_empty());
    let mut row_price = vec![0.0; values.len()];
    // One column more than there are: where each new row starts.
    let start = columns;
    let mut column_price = vec![0.0; columns + 1];
    let mut row_of: Vec<Option<usize>> = vec![None; columns + 1];
    for new in 0..values.len() {
        row_of[start] = Some(new);
        let mut distance = vec![f64::INFINITY; columns];
        let mut previous = vec![start; columns];
        let mut visited = vec![false; columns + 1];
        let mut at = start;
        while let Some(row) = row_of[at] {
            visited[at] = true;
            let (mut nearest, mut step) = (start, f64::INFINITY);
            for column in (0..columns).filter(|&column| !visited[column]) {
                let through = -values[row][column] - row_price[row] - column_price[column];
                if through < distance[column] {
                    (distance[column], previous[column]) = (through, at);
                }
                if distance[column] < step {
                    (nearest, step) = (column, distance[column]);
                }
            }
            for column in 0..=columns {
                if let Some(row) = row_of[column].filter(|_| visited[column]) {
                    row_price[row] += step;
                    column_price[column] -= step;
                } else if column < columns {
                    distance[column] -= step;
                }
            }
            at = nearest;
        }
        while at != start {
            row_of[at] = row_of[previous[at]];
            at = previous[at];
        }
    }
    let mut column_of = vec![0; values.len()];
    for (column, row) in row_of[..columns].iter().enumerate() {
        if let Some(row) = *row {
            column_of[row] = column;
        }
    }
    column_of
}

impl Comparison {
    /// Compares two lists of instances of one image, matched by their masks as in [`match_masks`].
    pub fn of(first: &[Instance], second: &[Instance]) -> Self {
        let pairs = match_masks(&masks(first), &masks(second));
        let ious = || pairs.iter().map(|pair| pair.iou);
        let largest = |difference: &dyn Fn(&Instance, &Instance) -> f32| {
            let differences = pairs
                .iter()
                .map(|pair| difference(&first[pair.first], &second[pair.second]));
            differences.reduce(f32::max)
        };
        Self {
            instances: [first.len(), second.len()],
            matched: pairs.len(),
            worst_iou: ious().reduce(f64::min),
            mean_iou: (!pairs.is_empty()).then(|| ious().sum::<f64>() / pairs.len() as f64),
            score_difference: largest(&|a, b| (a.score - b.score).abs()),
            box_difference: largest(&|a, b| {
                let sides = a.bbox.iter().zip(b.bbox);
                sides.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
            }),
        }
    }

    /// The comparison of this image and another together.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let matched = self.matched + other.matched;
        let sum = |of: &Self| of.mean_iou.unwrap_or(0.0) * of.matched as f64;
        let larger = |a: Option<f32>, b| [a, b].into_iter().flatten().reduce(f32::max);
        Self {
            instances: [0, 1].map(|list| self.instances[list] + other.instances[list]),
            matched,
            worst_iou: [self.worst_iou, other.worst_iou].into_iter().flatten().reduce(f64::min),
            mean_iou: (matched > 0).then(|| (sum(self) + sum(other)) / matched as f64),
            score_difference: larger(self.score_difference, other.score_difference),
            box_difference: larger(self.box_difference, other.box_difference),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of 100 pixels from `left` up to `right`.
    fn bar(left: u32, right: u32) -> Mask {
        Mask::from_fn(100, 1, |x, _| (left..right).contains(&x))
    }

    fn instance(left: u32, right: u32, score: f32) -> Instance {
        Instance::new(score, [left as f32, 0.0, right as f32, 1.0], bar(left, right))
    }

    #[test]
    fn the_assignment_is_the_best_of_all() {
        fn best(values: &[Vec<f64>], row: usize, taken: u32) -> f64 {
            let Some(own) = values.get(row) else { return 0.0 };
            let free = (0..own.len()).filter(|column| taken >> column & 1 == 0);
            free.map(|column| own[column] + best(values, row + 1, taken | 1 << column))
                .fold(f64::NEG_INFINITY, f64::max)
        }
        let mut state = 7u32;
        let mut value = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // A quarter of them 0, as masks that do not touch.
            f64::from((state >> 24).saturating_sub(64)) / 192.0
        };
        for (rows, columns) in [(1, 1), (1, 5), (3, 3), (4, 7), (6, 6), (7, 7)] {
            for _ in 0..20 {
                let values: Vec<Vec<f64>> = (0..rows).map(|_| (0..columns).map(|_| value()).collect()).collect();
                let columns_of = assign(&values);
                let found: f64 = columns_of
                    .iter()
                    .enumerate()
                    .map(|(row, &column)| values[row][column])
                    .sum();
                assert!((found - best(&values, 0, 0)).abs() < 1e-9, "{values:?}: {columns_of:?}");
                let mut once = columns_of.clone();
                once.sort_unstable();
                once.dedup();
                assert_eq!(once.len(), rows, "a column twice: {columns_of:?}");
            }
        }
    }

    #[test]
    fn the_best_pair_is_not_taken_where_two_good_ones_can_be() {
        // By descending IoU, 0..60 would take 0..66 (0.91) and leave 0..42 with nothing above a half.
        let (a, b) = ([bar(0, 60), bar(0, 99)], [bar(0, 66), bar(0, 42)]);
        let pairs = match_masks(&[&a[0], &a[1]], &[&b[0], &b[1]]);
        let indices: Vec<_> = pairs.iter().map(|pair| (pair.first, pair.second)).collect();
        assert_eq!(indices, [(0, 1), (1, 0)]);
    }

    #[test]
    fn lists_of_any_length_match_both_ways() {
        let (a, b) = ([bar(0, 10), bar(50, 60), bar(80, 90)], [bar(81, 90), bar(0, 10)]);
        let (a, b): (Vec<&Mask>, Vec<&Mask>) = (a.iter().collect(), b.iter().collect());
        let pairs = |pairs: Vec<Pair>| pairs.iter().map(|p| (p.first, p.second, p.iou)).collect::<Vec<_>>();
        assert_eq!(pairs(match_masks(&a, &b)), [(0, 1, 1.0), (2, 0, 0.9)]);
        assert_eq!(pairs(match_masks(&b, &a)), [(0, 2, 0.9), (1, 0, 1.0)]);
        assert_eq!(match_masks(&[], &a), []);
        assert_eq!(match_masks(&a, &[]), []);
        assert_eq!(
            match_masks(&[&bar(0, 10)], &[&bar(0, 20)]),
            [],
            "a half is not more than a half"
        );
        let wider = Mask::from_fn(101, 1, |x, _| x < 10);
        assert_eq!(
            pairs(match_masks(&[&wider, &bar(0, 10)], &b)),
            [(1, 1, 1.0)],
            "of another size"
        );
    }

    #[test]
    fn a_comparison_tells_the_worst_of_each() {
        let reference = [instance(0, 10, 0.9), instance(50, 60, 0.8), instance(80, 90, 0.7)];
        let found = [instance(80, 89, 0.75), instance(0, 10, 0.88)];
        let comparison = Comparison::of(&reference, &found);
        assert_eq!((comparison.instances, comparison.matched), ([3, 2], 2));
        assert_eq!((comparison.worst_iou, comparison.mean_iou), (Some(0.9), Some(0.95)));
        assert!(
            (comparison.score_difference.unwrap() - 0.05).abs() < 1e-6,
            "{comparison:?}"
        );
        assert_eq!(comparison.box_difference, Some(1.0));

        let nothing = Comparison::of(&[], &[]);
        assert_eq!(nothing, Comparison::default());
        assert_eq!(nothing.and(&comparison), comparison);
        let twice = comparison.and(&comparison);
        assert_eq!(
            (twice.instances, twice.matched, twice.mean_iou),
            ([6, 4], 4, Some(0.95))
        );
        let json = serde_json::to_string(&nothing).unwrap();
        assert!(json.contains("\"worst_iou\":null"), "{json}");
        assert_eq!(serde_json::from_str::<Comparison>(&json).unwrap(), nothing);
    }
}
