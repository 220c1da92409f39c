//! A mask at another size, as `torch.nn.functional.interpolate` resizes it: bilinear, with antialiasing.

use sam3_tensor::ops::triangle_taps;

use super::Mask;

impl Mask {
    /// How much of each pixel would be inside, 0 to 1, if the mask were `width` × `height` pixels: its sides are
    /// stretched independently. Row by row.
    ///
    /// # Panics
    /// Where `width` or `height` is 0.
    pub fn resized(&self, width: usize, height: usize) -> Vec<f32> {
        assert!(width > 0 && height > 0, "a mask of {width}x{height}");
        let columns = triangle_taps(self.width as usize, width);
        let rows = triangle_taps(self.height as usize, height);
        let mut out = vec![0.0; width * height];
        let mut inside = vec![0.0; self.width as usize];
        let mut row = vec![0.0; width];
        for y in 0..self.height {
            let mut runs = self.row_runs(y).peekable();
            if runs.peek().is_none() {
                continue;
            }
            inside.fill(0.0);
            runs.for_each(|run| inside[run.start as usize..run.end as usize].fill(1.0));
            for (value, (start, weights)) in row.iter_mut().zip(&columns) {
                *value = weights
                    .iter()
                    .zip(&inside[*start..])
                    .map(|(weight, x)| weight * x)
                    .sum();
            }
            // The rows that this one is a part of are side by side.
            let is_part =
                |(start, weights): &(usize, Vec<f64>)| (*start..start + weights.len()).contains(&(y as usize));
            let first = rows.partition_point(|(start, weights)| start + weights.len() <= y as usize);
            for (at, tap) in rows.iter().enumerate().skip(first).take_while(|(_, tap)| is_part(tap)) {
                let weight = tap.1[y as usize - tap.0];
                let out = &mut out[at * width..][..width];
                out.iter_mut().zip(&row).for_each(|(out, value)| *out += weight * value);
            }
        }
        out.into_iter().map(|share: f64| share as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Mask;

    #[test]
    fn every_pixel_weighs_all_of_what_is_near() {
        for (width, height) in [(1, 1), (7, 3), (64, 64), (131, 5)] {
            let all = Mask::from_fn(131, 37, |_, _| true).resized(width, height);
            assert!(all.iter().all(|share| (share - 1.0).abs() < 1e-6));
            assert!(
                Mask::new(131, 37)
                    .resized(width, height)
                    .iter()
                    .all(|share| *share == 0.0)
            );
        }
    }

    #[test]
    fn a_half_is_a_half_at_any_size() {
        let left = Mask::from_fn(100, 40, |x, _| x < 50);
        let small = left.resized(10, 4);
        for (at, share) in small.into_iter().enumerate() {
            let expected = match at % 10 {
                0..4 => 1.0,
                4 => 0.875,
                5 => 0.125,
                _ => 0.0,
            };
            assert!((share - expected).abs() < 1e-6, "{at}: {share}");
        }
        let large = Mask::from_fn(2, 1, |x, _| x == 0).resized(8, 1);
        assert_eq!(large, [1.0, 1.0, 0.875, 0.625, 0.375, 0.125, 0.0, 0.0]);
    }
}
