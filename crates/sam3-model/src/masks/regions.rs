//! Small holes and islands of a mask at its picture's size, as SAM's `remove_small_regions` does away with them.

use super::{Mask, components};

/// The mask without holes of fewer than `least` pixels, then without islands of fewer; of small islands alone, the
/// largest stays.
pub fn remove_small_regions(mask: &Mask, least: usize) -> Mask {
    if mask.area() == 0 {
        return mask.clone();
    }
    let is_small = |area: u32| (area as usize) < least;
    let mut filled = mask.clone();
    let outside = components::outside(mask);
    for (run, area) in outside.iter().zip(components::component_areas(&outside)) {
        if is_small(area) {
            filled.insert_run(run.y, run.x.clone());
        }
    }
    let inside = components::inside(&filled);
    let areas = components::component_areas(&inside);
    let largest = areas.iter().copied().max();
    let mut kept = Mask::new(mask.width(), mask.height());
    for (run, area) in inside.iter().zip(areas) {
        if !is_small(area) || Some(area) == largest {
            kept.insert_run(run.y, run.x.clone());
        }
    }
    kept.trimmed()
}

#[cfg(test)]
mod tests {
    use super::{Mask, remove_small_regions};

    fn drawn(rows: &[&str]) -> Mask {
        let (width, height) = (rows[0].len() as u32, rows.len() as u32);
        Mask::from_fn(width, height, |x, y| rows[y as usize].as_bytes()[x as usize] == b'#')
    }

    #[track_caller]
    fn check(least: usize, rows: &[&str], expected: &[&str]) {
        assert!(remove_small_regions(&drawn(rows), least) == drawn(expected));
    }

    #[test]
    fn small_holes_are_filled_and_small_islands_leave() {
        check(
            3,
            &["####...", "#..#.##", "####...", "......#"],
            &["####...", "####...", "####...", "......."],
        );
        check(2, &["####.", "#..#.", "####."], &["####.", "#..#.", "####."]);
        check(
            9,
            &["##...#.", ".......", "......."],
            &["##.....", ".......", "......."],
        );
        // A notch at the picture's edge is a hole, and one beside what is around is none.
        check(3, &["#.#", "###", "..."], &["###", "###", "..."]);
        check(3, &["...", "#.#", "###"], &["...", "#.#", "###"]);
        check(3, &["...", "..."], &["...", "..."]);
    }
}
