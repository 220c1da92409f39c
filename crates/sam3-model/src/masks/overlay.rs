//! The picture with its instances drawn on it: tinted masks, smooth outlines, boxes and labels.

use super::Mask;
use super::label::{Label, Rect, blend, distance_to_rounded, place};
use crate::image::Image;

/// One instance as it is to be drawn.
#[derive(Clone, Copy, Debug)]
pub struct OverlayInstance<'a> {
    /// Its mask, of the picture's size.
    pub mask: &'a Mask,
    /// Its box in pixels, `[x1, y1, x2, y2]`; drawn where given.
    pub bounding_box: Option<[f32; 4]>,
    /// What it is called; with no label and no score there is no plate.
    pub label: &'a str,
    /// Written behind the label, with two digits.
    pub score: Option<f32>,
    /// Which colour it has: any number, neighbouring numbers being easy to tell apart.
    pub color: usize,
}

/// Vivid colours in an order that keeps neighbours far apart.
const PALETTE: [[u8; 3]; 12] = [
    [41, 121, 255],
    [255, 145, 20],
    [0, 200, 120],
    [245, 50, 130],
    [255, 214, 10],
    [150, 80, 245],
    [0, 205, 225],
    [240, 65, 50],
    [150, 215, 30],
    [215, 90, 240],
    [0, 150, 140],
    [255, 150, 150],
];

/// How much of its colour a mask gets; the rest shows the picture.
const TINT: f32 = 0.42;

/// Draws `instances` on a copy of `image`; line widths and text follow its size.
///
/// # Panics
/// When a mask is not of the picture's size.
pub fn overlay(image: &Image, instances: &[OverlayInstance]) -> Image {
    for instance in instances {
        let mask = instance.mask;
        let sizes = [(mask.width, mask.height), (image.width(), image.height())];
        assert!(
            sizes[0] == sizes[1],
            "the mask has {:?} pixels, and the picture {:?}",
            sizes[0],
            sizes[1]
        );
    }
    let mut drawn = image.clone();
    let side = (image.width() as f32 * image.height() as f32).sqrt();
    let line = (side / 330.0).clamp(1.5, 16.0);
    let text_size = (side / 34.0).clamp(11.0, 160.0);
    // Large ones first, so that small ones on them stay visible.
    let mut order: Vec<&OverlayInstance> = instances.iter().collect();
    order.sort_by_key(|instance| std::cmp::Reverse(instance.mask.area()));
    for instance in &order {
        draw_mask(&mut drawn, instance.mask, color(instance), line);
    }
    for instance in &order {
        if let Some(rect) = instance.bounding_box {
            draw_box(&mut drawn, rect, color(instance), 0.6 * line);
        }
    }
    let size = (image.width() as f32, image.height() as f32);
    let mut taken: Vec<Rect> = Vec::new();
    for instance in instances {
        let score = instance.score.map(|score| format!("{score:.2}"));
        let words = [Some(instance.label.to_owned()), score];
        let words: Vec<String> = words.into_iter().flatten().filter(|w| !w.is_empty()).collect();
        let around = instance.mask.bounding_box().map(|b| b.map(|v| v as f32));
        let Some(around) = instance.bounding_box.or(around).filter(|_| !words.is_empty()) else {
            continue;
        };
        let label = Label::new(&words.join(" "), text_size, size.0);
        let (x, y) = place(&label, around, size, &taken);
        taken.push([x, y, x + label.width, y + label.height]);
        label.draw(&mut drawn, (x, y), color(instance));
    }
    drawn
}

fn color(instance: &OverlayInstance) -> [u8; 3] {
    PALETTE[instance.color % PALETTE.len()]
}

/// Tints the mask and draws a smooth line of width `line` along its edge.
fn draw_mask(image: &mut Image, mask: &Mask, color: [u8; 3], line: f32) {
    let Some([left, top, right, bottom]) = mask.bounding_box() else {
        return;
    };
    let reach = (0.5 * line + 1.0).ceil() as u32;
    let left = left.saturating_sub(reach);
    let top = top.saturating_sub(reach);
    let right = (right + reach).min(mask.width);
    let bottom = (bottom + reach).min(mask.height);
    let (width, height) = ((right - left) as usize, (bottom - top) as usize);
    let mut soft = vec![0.0; width * height];
    for (y, row) in soft.chunks_exact_mut(width).enumerate() {
        for (x, value) in row.iter_mut().enumerate() {
            *value = f32::from(u8::from(mask.get(left + x as u32, top + y as u32)));
        }
    }
    // Blurred by two boxes, a straight edge becomes a curve that gives back the distance to it.
    blur(&mut soft, width, reach as usize);
    blur(&mut soft, width, reach as usize);
    let blurred_over = (2 * reach + 1) as f32;
    let line_color = color.map(|v| v + (255 - v) / 8);
    for (y, row) in soft.chunks_exact(width).enumerate() {
        for (x, &value) in row.iter().enumerate() {
            let (x, y) = (left + x as u32, top + y as u32);
            let is_inside = mask.get(x, y);
            let from_edge = value - 0.5;
            let distance = blurred_over * (1.0 - (1.0 - 2.0 * from_edge.abs()).max(0.0).sqrt());
            // Where a part is too thin for the blur to tell, the mask does.
            let distance = if is_inside == (from_edge > 0.0) { distance } else { 0.0 };
            let on_line = (0.5 * line + 0.5 - distance).clamp(0.0, 1.0);
            if is_inside {
                blend(image, i64::from(x), i64::from(y), color, TINT);
            }
            if on_line > 0.0 {
                blend(image, i64::from(x), i64::from(y), line_color, on_line);
            }
        }
    }
}

/// Replaces each value by the mean of the square around it, `2 * reach + 1` wide; the edge values go on outside.
fn blur(values: &mut [f32], width: usize, reach: usize) {
    let scale = 1.0 / (2 * reach + 1) as f32;
    let mut line = vec![0.0; width];
    for row in values.chunks_exact_mut(width) {
        line.copy_from_slice(row);
        let at = |x: isize| line[x.clamp(0, width as isize - 1) as usize];
        let reach = reach as isize;
        let mut sum: f32 = (-reach..=reach).map(at).sum();
        for (x, value) in (0..).zip(row.iter_mut()) {
            *value = sum * scale;
            sum += at(x + reach + 1) - at(x - reach);
        }
    }
    let before = values.to_vec();
    let height = values.len() / width;
    let row = |y: isize| &before[y.clamp(0, height as isize - 1) as usize * width..][..width];
    let reach = reach as isize;
    line.fill(0.0);
    for y in -reach..=reach {
        line.iter_mut().zip(row(y)).for_each(|(sum, value)| *sum += value);
    }
    for (y, out) in (0..).zip(values.chunks_exact_mut(width)) {
        let change = row(y + reach + 1).iter().zip(row(y - reach));
        for ((out, sum), (comes, goes)) in out.iter_mut().zip(&mut line).zip(change) {
            *out = *sum * scale;
            *sum += comes - goes;
        }
    }
}

/// A box with slightly rounded corners, its line on the given coordinates.
fn draw_box(image: &mut Image, rect: Rect, color: [u8; 3], line: f32) {
    let limits = [image.width(), image.height(), image.width(), image.height()].map(|v| v as f32);
    // Boxes may reach over the picture's edge; the line is kept on it.
    let mut rect: Rect = std::array::from_fn(|i| rect[i].clamp(0.5 * line, limits[i] - 0.5 * line));
    rect = [rect[0], rect[1], rect[2].max(rect[0]), rect[3].max(rect[1])];
    let reach = line.ceil() as i64 + 1;
    let [left, top, right, bottom] = rect.map(|v| v as i64);
    for y in top - reach..=bottom + reach {
        let is_side = y > top + 3 * reach && y < bottom - 3 * reach;
        let middle = left + 3 * reach..right - 3 * reach;
        let mut x = left - reach;
        while x <= right + reach {
            if is_side && middle.contains(&x) {
                x = middle.end;
            }
            let distance = distance_to_rounded(rect, 2.0 * line, x as f32 + 0.5, y as f32 + 0.5);
            let coverage = (0.5 * line + 0.5 - distance.abs()).clamp(0.0, 1.0);
            blend(image, x, y, color, 0.9 * coverage);
            x += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inside_is_tinted_the_edge_is_drawn_and_the_rest_is_untouched() {
        let image = Image::new(200, 150, vec![100; 200 * 150 * 3]).unwrap();
        let mask = Mask::from_fn(200, 150, |x, y| (50..150).contains(&x) && (40..110).contains(&y));
        let instance = OverlayInstance {
            mask: &mask,
            bounding_box: None,
            label: "",
            score: None,
            color: 0,
        };
        let drawn = overlay(&image, &[instance]);
        let at = |x: usize, y: usize| &drawn.rgb()[3 * (y * 200 + x)..][..3];
        assert_eq!(at(10, 10), [100; 3]);
        assert_eq!(at(100, 75), [75, 109, 165]);
        assert!(at(50, 75)[2] > 200, "{:?}", at(50, 75));
    }

    #[test]
    fn nothing_is_too_small_or_too_far_out_to_draw() {
        for (width, height) in [(1, 1), (3, 40), (64, 2)] {
            let image = Image::new(width, height, vec![0; (width * height * 3) as usize]).unwrap();
            let mask = Mask::from_fn(width, height, |_, _| true);
            let bounding_box = Some([-50.0, -1.0, 500.0, 0.5]);
            let label = "a long label that fits nowhere";
            let instance = OverlayInstance {
                mask: &mask,
                bounding_box,
                label,
                score: Some(0.5),
                color: 99,
            };
            let drawn = overlay(&image, &[instance, instance]);
            assert_eq!(drawn.rgb().len(), image.rgb().len());
        }
    }
}
