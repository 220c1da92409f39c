//! The shrink test: a track that loses most of its mask to other tracks is remembered as absent.

use sam3_tensor::ops::{Between, between};

use super::thresholds::{MASK_INPUT_SCALE, SHRINK_THRESHOLD};
use crate::{Result, masks::Mask};

/// What the test says of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shrunk {
    /// Whether it is remembered without a logit above [`NO_MASK_LOGIT`](super::thresholds::NO_MASK_LOGIT).
    pub is_capped: bool,
    /// Whether a logit above 0 is left.
    pub is_present: bool,
}

/// Tests the tracks' logits, each `[side, side]`, or none where a track is suppressed, at the size of the memory
/// encoder's masks.
///
/// A pixel is won by the track with the highest logit there, of equal ones by the first. A track without a mask
/// counts as one that lost it, unless it is the only track.
///
/// # Errors
/// When there is no room for the masks.
pub(super) fn shrink(tracks: &[Option<&[f32]>], side: usize) -> Result<Vec<Shrunk>> {
    let size = MASK_INPUT_SCALE * side;
    let masks: Vec<Mask> = tracks
        .iter()
        .map(|logits| enlarged(*logits, side, size))
        .collect::<Result<_>>()?;
    let before: Vec<u64> = masks.iter().map(Mask::area).collect();
    let after = match tracks {
        [_] => before.clone(),
        _ => areas_won(tracks, masks, side, size),
    };
    let shrunk = |(&before, after): (&u64, u64)| {
        let is_capped = tracks.len() > 1 && is_shrunk(before, after);
        Shrunk {
            is_capped,
            is_present: before > 0 && !is_capped,
        }
    };
    Ok(before.iter().zip(after).map(shrunk).collect())
}

fn is_shrunk(before: u64, after: u64) -> bool {
    (after as f32 / before.max(1) as f32) < SHRINK_THRESHOLD
}

/// Where the logits of a track are above 0 once they are resized.
fn enlarged(logits: Option<&[f32]>, side: usize, size: usize) -> Result<Mask> {
    match logits {
        Some(logits) => Mask::from_logits(logits, (side, side), (size as u32, size as u32)),
        None => Ok(Mask::new(size as u32, size as u32).trimmed()),
    }
}

/// The number of pixels that each track wins; of tracks that keep enough whatever they lose, at least as many.
///
/// A logit above 0 loses to none but another one above 0. So no resized logit is made but where masks overlap.
fn areas_won(tracks: &[Option<&[f32]>], mut masks: Vec<Mask>, side: usize, size: usize) -> Vec<u64> {
    let is_open = |track: usize| {
        let others = masks.iter().enumerate().filter(|(other, _)| *other != track);
        let contested: u64 = others.map(|(_, other)| masks[track].shared_area(other)).sum();
        let before = masks[track].area();
        is_shrunk(before, before.saturating_sub(contested))
    };
    let is_open: Vec<bool> = (0..masks.len()).map(is_open).collect();
    let between = between(side, size);
    for second in 1..masks.len() {
        let (before, rest) = masks.split_at_mut(second);
        let second_mask = &mut rest[0];
        for (first, first_mask) in before.iter_mut().enumerate() {
            let (true, Some(a), Some(b)) = (is_open[first] || is_open[second], tracks[first], tracks[second]) else {
                continue;
            };
            let logit = |logits, x: u32, y: u32| resized(logits, side, between[x as usize], between[y as usize]);
            // Who has lost a pixel before, to a third, is out of the contest there.
            first_mask.subtract_where(second_mask, |x, y| logit(b, x, y) > logit(a, x, y));
            second_mask.subtract(first_mask);
        }
    }
    masks.iter().map(Mask::area).collect()
}

/// A resized logit, in the order of operations of [`Mask::from_logits`].
fn resized(logits: &[f32], side: usize, x: Between, y: Between) -> f32 {
    let [low, high] = [y.low, y.high].map(|row| {
        let row = &logits[row * side..][..side];
        row[x.low] * x.low_weight + row[x.high] * x.high_weight
    });
    low * y.low_weight + high * y.high_weight
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = 12;

    /// Logits `level` in these columns, -3 elsewhere.
    fn logits(columns: std::ops::Range<usize>, level: f32) -> Vec<f32> {
        let logit = |i: usize| if columns.contains(&(i % SIDE)) { level } else { -3.0 };
        (0..SIDE * SIDE).map(logit).collect()
    }

    fn capped(tracks: &[&[f32]]) -> Vec<bool> {
        let tracks: Vec<_> = tracks.iter().map(|logits| Some(*logits)).collect();
        let shrunk = shrink(&tracks, SIDE).unwrap();
        assert!(shrunk.iter().all(|track| track.is_present != track.is_capped));
        shrunk.iter().map(|track| track.is_capped).collect()
    }

    /// The definition: every logit resized, every pixel's winner, and the shares.
    fn plain(tracks: &[&[f32]]) -> Vec<bool> {
        let size = MASK_INPUT_SCALE * SIDE;
        let between = between(SIDE, size);
        let pixels = || (0..size * size).map(|i| (between[i % size], between[i / size]));
        let [mut before, mut after] = [vec![0.0f64; tracks.len()], vec![0.0f64; tracks.len()]];
        for (x, y) in pixels() {
            let values: Vec<f32> = tracks.iter().map(|logits| resized(logits, SIDE, x, y)).collect();
            let winner = (0..values.len())
                .rev()
                .max_by(|&a, &b| values[a].total_cmp(&values[b]))
                .unwrap();
            for (track, value) in values.iter().enumerate().filter(|(_, value)| **value > 0.0) {
                assert!(value.is_finite());
                before[track] += 1.0;
                after[track] += f64::from(u8::from(winner == track));
            }
        }
        before
            .iter()
            .zip(after)
            .map(|(before, after)| after / before.max(1.0) < 0.3)
            .collect()
    }

    #[test]
    fn who_keeps_less_than_three_tenths_is_remembered_as_absent() {
        let [wide, left, right] = [logits(0..12, 2.0), logits(0..8, 5.0), logits(8..12, 1.0)];
        // The first is left 4 of 12 columns by the second; the third, of which both are above 0 there, has nothing.
        assert_eq!(capped(&[&wide, &left]), [false, false]);
        assert_eq!(capped(&[&wide, &left, &right]), [false, false, true]);
        assert_eq!(capped(&[&logits(0..12, 2.0), &logits(0..9, 5.0)]), [true, false]);
        // Of equal logits the first one's count.
        assert_eq!(capped(&[&wide, &wide]), [false, true]);
    }

    #[test]
    fn a_track_without_a_mask_is_capped_beside_others_alone() {
        let (none, some) = (logits(0..0, 1.0), logits(3..9, 1.0));
        let [alone, capped, present] = [(false, false), (true, false), (false, true)]
            .map(|(is_capped, is_present)| Shrunk { is_capped, is_present });
        assert_eq!(shrink(&[Some(&none)], SIDE).unwrap(), [alone]);
        assert_eq!(shrink(&[None], SIDE).unwrap(), [alone]);
        assert_eq!(shrink(&[Some(&some)], SIDE).unwrap(), [present]);
        assert_eq!(
            shrink(&[Some(&none), None, Some(&some)], SIDE).unwrap(),
            [capped, capped, present]
        );
        assert_eq!(shrink(&[], SIDE).unwrap(), []);
    }

    #[test]
    fn it_is_the_contest_of_all_pixels() {
        let mut state = 3u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as f32 / 65_536.0
        };
        let mut seen = [0, 0];
        for _ in 0..30 {
            let tracks: Vec<Vec<f32>> = (0..4)
                .map(|_| {
                    let (middle, width, level) = (12.0 * noise(), 2.0 + 6.0 * noise(), 4.0 * noise());
                    (0..SIDE * SIDE)
                        .map(|i| level - ((i % SIDE) as f32 - middle).abs() / width * 4.0)
                        .collect()
                })
                .collect();
            let tracks: Vec<&[f32]> = tracks.iter().map(Vec::as_slice).collect();
            let expected = plain(&tracks);
            assert_eq!(capped(&tracks), expected);
            expected.iter().for_each(|is_capped| seen[usize::from(*is_capped)] += 1);
        }
        assert!(seen.iter().all(|count| *count > 20), "{seen:?}");
    }
}
