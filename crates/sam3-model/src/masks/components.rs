//! Connected components of a mask: pixels that share an edge or a corner.

use std::{iter, ops::Range};

use super::Mask;

/// Pixels side by side in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub y: u32,
    pub x: Range<u32>,
}

impl Run {
    fn area(&self) -> u32 {
        self.x.end - self.x.start
    }

    /// Whether a pixel of this run and one of a run in the next row share an edge or a corner.
    fn touches(&self, below: &Self) -> bool {
        self.x.start <= below.x.end && below.x.start <= self.x.end
    }
}

/// The runs of pixels inside, row by row and from left to right.
pub fn inside(mask: &Mask) -> Vec<Run> {
    let row = |y| mask.row_runs(y).map(move |x| Run { y, x });
    (0..mask.height()).flat_map(row).collect()
}

/// The runs of pixels outside, row by row and from left to right.
pub fn outside(mask: &Mask) -> Vec<Run> {
    let mut runs = Vec::new();
    for y in 0..mask.height() {
        let mut start = 0;
        // The gap before each run, and the one behind the last.
        for x in mask.row_runs(y).chain(iter::once(mask.width()..mask.width())) {
            if x.start > start {
                runs.push(Run { y, x: start..x.start });
            }
            start = x.end;
        }
    }
    runs
}

/// Of each run, the area of the component that it is in.
pub fn component_areas(runs: &[Run]) -> Vec<u32> {
    let mut components = Components::new(runs.len());
    let mut above = 0..0;
    let mut start = 0;
    for row in runs.chunk_by(|a, b| a.y == b.y) {
        let own = start..start + row.len();
        start = own.end;
        if above.is_empty() || runs[above.start].y + 1 != row[0].y {
            above = 0..0;
        }
        // Both rows go from left to right: no run is further left than the first that touched the one before it.
        let mut first = above.start;
        for below in own.clone() {
            while first < above.end && runs[first].x.end < runs[below].x.start {
                first += 1;
            }
            let touching = (first..above.end).take_while(|&run| runs[run].touches(&runs[below]));
            touching.for_each(|run| components.join(run, below));
        }
        above = own;
    }
    let mut areas = vec![0; runs.len()];
    let roots: Vec<usize> = (0..runs.len()).map(|run| components.root(run)).collect();
    for (run, &root) in runs.iter().zip(&roots) {
        areas[root] += run.area();
    }
    roots.into_iter().map(|root| areas[root]).collect()
}

/// Sets that are joined, as trees whose root is the set's first member.
struct Components {
    parent: Vec<usize>,
}

impl Components {
    fn new(len: usize) -> Self {
        Self {
            parent: (0..len).collect(),
        }
    }

    fn root(&mut self, mut member: usize) -> usize {
        while self.parent[member] != member {
            // Halves the way for the next time.
            self.parent[member] = self.parent[self.parent[member]];
            member = self.parent[member];
        }
        member
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b)] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each pixel's component has as its area, by filling from pixel to pixel.
    fn filled(width: u32, height: u32, is_member: &dyn Fn(u32, u32) -> bool) -> Vec<u32> {
        let mut areas = vec![0; (width * height) as usize];
        let mut seen = vec![false; areas.len()];
        for start in 0..width * height {
            let mut component = Vec::new();
            let mut next = vec![start];
            while let Some(pixel) = next.pop() {
                let (x, y) = (pixel % width, pixel / width);
                if seen[pixel as usize] || !is_member(x, y) {
                    continue;
                }
                seen[pixel as usize] = true;
                component.push(pixel);
                for (nx, ny) in (y.saturating_sub(1)..=y + 1)
                    .flat_map(|ny| (x.saturating_sub(1)..=x + 1).map(move |nx| (nx, ny)))
                    .filter(|(nx, ny)| *nx < width && *ny < height)
                {
                    next.push(ny * width + nx);
                }
            }
            for pixel in &component {
                areas[*pixel as usize] = component.len() as u32;
            }
        }
        areas
    }

    fn painted(width: u32, height: u32, runs: &[Run]) -> Vec<u32> {
        let mut painted = vec![0; (width * height) as usize];
        for (run, area) in runs.iter().zip(component_areas(runs)) {
            painted[(run.y * width + run.x.start) as usize..][..run.area() as usize].fill(area);
        }
        painted
    }

    #[test]
    fn components_are_those_of_filling_from_pixel_to_pixel() {
        let mut state = 5u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 24
        };
        for (width, height) in [(1, 1), (1, 9), (9, 1), (7, 5), (64, 3), (70, 40), (130, 17)] {
            for density in [0, 40, 100, 128, 200, 256] {
                let pixels: Vec<bool> = (0..width * height).map(|_| noise() < density).collect();
                let is_inside = |x: u32, y: u32| pixels[(y * width + x) as usize];
                let mask = Mask::from_fn(width, height, is_inside);
                let what = format!("{width}x{height}, {density} of 256");
                assert_eq!(
                    painted(width, height, &inside(&mask)),
                    filled(width, height, &is_inside),
                    "{what}"
                );
                let is_outside = |x, y| !is_inside(x, y);
                assert_eq!(
                    painted(width, height, &outside(&mask)),
                    filled(width, height, &is_outside),
                    "{what}, outside"
                );
            }
        }
    }

    #[test]
    fn a_comb_and_a_diagonal_are_one_component_and_an_empty_row_parts_two() {
        let areas = |rows: &[&str]| {
            let is_inside = |x: u32, y: u32| rows[y as usize].as_bytes()[x as usize] == b'#';
            let mask = Mask::from_fn(rows[0].len() as u32, rows.len() as u32, is_inside);
            component_areas(&inside(&mask))
        };
        assert_eq!(areas(&["#.#.#", "#.#.#", "#####"]), [11; 7]);
        assert_eq!(areas(&["#...", ".#..", "..#.", ".#.#"]), [5; 5]);
        assert_eq!(areas(&["##..", "....", "##.."]), [2; 2]);
        assert_eq!(areas(&["#..#", "#..#"]), [2; 4]);
    }
}
