//! Connected parts of a small map.

/// Calls `found` with the indices of each 8-connected part of the cells that are `inside`, of a map whose rows are
/// `width` long.
pub fn components(inside: &[bool], width: usize, mut found: impl FnMut(&[usize])) {
    let height = inside.len() / width.max(1);
    let mut seen = vec![false; inside.len()];
    let mut part = Vec::new();
    for start in 0..inside.len() {
        if !inside[start] || seen[start] {
            continue;
        }
        seen[start] = true;
        part.clear();
        part.push(start);
        let mut next = 0;
        while let Some(&cell) = part.get(next) {
            next += 1;
            let (y, x) = (cell / width, cell % width);
            for y in y.saturating_sub(1)..=(y + 1).min(height - 1) {
                for x in x.saturating_sub(1)..=(x + 1).min(width - 1) {
                    let neighbour = y * width + x;
                    if inside[neighbour] && !seen[neighbour] {
                        seen[neighbour] = true;
                        part.push(neighbour);
                    }
                }
            }
        }
        found(&part);
    }
}

#[cfg(test)]
mod tests {
    use super::components;

    /// The sizes of the parts of the cells that are drawn, in the order of their first cells.
    fn sizes(rows: &[&str]) -> Vec<usize> {
        let inside: Vec<bool> = rows.concat().chars().map(|cell| cell == '#').collect();
        let mut sizes = Vec::new();
        components(&inside, rows[0].len(), |part| sizes.push(part.len()));
        sizes
    }

    #[test]
    fn corners_connect() {
        assert_eq!(sizes(&["#..#.", ".#...", "#..##", "..#.."]), [3, 1, 3]);
        assert_eq!(sizes(&["####", "#..#", "####"]), [10]);
        assert_eq!(
            sizes(&["#....", "....#"]),
            [1, 1],
            "a row's end is not beside the next one's begin"
        );
        assert_eq!(sizes(&["."]), [0; 0]);
        components(&[], 0, |_| panic!("nothing is there"));
    }
}
