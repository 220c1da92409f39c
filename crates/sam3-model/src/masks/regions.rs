//! Small holes and islands of a mask at its picture's size, as SAM's `remove_small_regions` does away with them.

use super::{Mask, components};

/// The mask without holes of fewer than `least` pixels, then without islands of fewer; of small islands alone, the
/// largest stays.
pub fn remove_small_regions(mask: &Mask, least: usize) -> Mask {
    let Some([left, top, right, bottom]) = mask.bounding_box() else {
        return mask.clone();
    };
    // A pixel more on each side, where there is one: what touches that is no hole, but a part of what is around.
    let (x, y) = (left.saturating_sub(1), top.saturating_sub(1));
    let (end_x, end_y) = ((right + 1).min(mask.width()), (bottom + 1).min(mask.height()));
    let (width, height) = ((end_x - x) as usize, (end_y - y) as usize);
    let mut inside = vec![false; width * height];
    for row in top..bottom {
        for run in mask.row_runs(row) {
            let start = (row - y) as usize * width;
            inside[start + (run.start - x) as usize..start + (run.end - x) as usize].fill(true);
        }
    }
    let goes_on = |cell: usize| {
        let (row, column) = (cell / width, cell % width);
        let at_cut =
            |at: usize, last: usize, is_first: bool, is_last: bool| (at == 0 && !is_first) || (at == last && !is_last);
        at_cut(column, width - 1, x == 0, end_x == mask.width())
            || at_cut(row, height - 1, y == 0, end_y == mask.height())
    };
    let outside: Vec<bool> = inside.iter().map(|inside| !inside).collect();
    components(&outside, width, |part| {
        if part.len() < least && !part.iter().any(|&cell| goes_on(cell)) {
            part.iter().for_each(|&cell| inside[cell] = true);
        }
    });
    let mut islands: Vec<Vec<usize>> = Vec::new();
    components(&inside, width, |part| islands.push(part.to_vec()));
    let largest = islands.iter().map(Vec::len).max().unwrap_or(0);
    for island in islands {
        if island.len() < least && island.len() < largest {
            island.into_iter().for_each(|cell| inside[cell] = false);
        }
    }
    Mask::from_fn(mask.width(), mask.height(), |column, row| {
        (x..end_x).contains(&column)
            && (y..end_y).contains(&row)
            && inside[(row - y) as usize * width + (column - x) as usize]
    })
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
