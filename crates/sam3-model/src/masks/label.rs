//! The plates with text on an overlay: their size, where they go, and how they are drawn.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};

use crate::image::Image;

/// Ubuntu Light covers Latin, Greek and Cyrillic; other scripts come out as boxes.
static FONT: LazyLock<FontRef<'static>> =
    LazyLock::new(|| FontRef::try_from_slice(epaint_default_fonts::UBUNTU_LIGHT).expect("a font that is embedded"));

/// A rectangle in pixels: left, top, right, bottom.
pub(super) type Rect = [f32; 4];

/// Labels are read at a glance: nobody reads more of one, and a prompt can have any length.
const MOST_CHARACTERS: usize = 512;

/// A text laid out on its plate, at 0,0 until it is drawn.
pub(super) struct Label {
    glyphs: Vec<Glyph>,
    pub(super) width: f32,
    pub(super) height: f32,
}

impl Label {
    /// `text` at `size` pixels, cut with an ellipsis where its plate would be wider than `max_width`, or where it has
    /// more than [`MOST_CHARACTERS`].
    pub(super) fn new(text: &str, size: f32, max_width: f32) -> Self {
        let characters = text.chars().take(MOST_CHARACTERS + 1).count();
        if characters <= MOST_CHARACTERS {
            let whole = Self::lay_out(text, size);
            if whole.width <= max_width || characters < 2 {
                return whole;
            }
        }
        let cut = |characters| {
            let start: String = text.chars().take(characters).collect();
            Self::lay_out(&format!("{}…", start.trim_end()), size)
        };
        let (mut fitting, mut too_many) = (1, characters);
        while fitting + 1 < too_many {
            let middle = usize::midpoint(fitting, too_many);
            if cut(middle).width <= max_width {
                fitting = middle;
            } else {
                too_many = middle;
            }
        }
        cut(fitting)
    }

    fn lay_out(text: &str, size: f32) -> Self {
        let font = FONT.as_scaled(PxScale::from(size));
        let padding = (0.4 * size).round();
        let baseline = (0.16 * size + font.ascent()).round();
        let mut x = padding;
        let mut previous = None;
        let mut glyphs = Vec::new();
        for character in text.chars().filter(|c| !c.is_control()) {
            let id = font.glyph_id(character);
            x += previous.map_or(0.0, |previous| font.kern(previous, id));
            glyphs.push(id.with_scale_and_position(PxScale::from(size), point(x, baseline)));
            x += font.h_advance(id);
            previous = Some(id);
        }
        Self {
            glyphs,
            width: (x + padding).ceil(),
            height: (1.32 * size).round(),
        }
    }

    /// Draws the plate with its corner at (x, y), and the text on it in black or white, whichever reads better.
    pub(super) fn draw(&self, image: &mut Image, (x, y): (f32, f32), color: [u8; 3]) {
        let plate = [x, y, x + self.width, y + self.height];
        fill_rounded(image, plate, 0.22 * self.height, color, 0.96);
        let [r, g, b] = color.map(f32::from);
        let luma = 0.299 * r + 0.587 * g + 0.114 * b;
        let ink = if luma > 150.0 { [18, 22, 30] } else { [255, 255, 255] };
        for glyph in &self.glyphs {
            let Some(outline) = FONT.outline_glyph(glyph.clone()) else {
                continue;
            };
            let bounds = outline.px_bounds();
            outline.draw(|gx, gy, coverage| {
                // The face is a light one: a little more ink reads better on a coloured plate.
                let alpha = (1.5 * coverage).min(1.0);
                let px = (x + bounds.min.x) as i64 + i64::from(gx);
                let py = (y + bounds.min.y) as i64 + i64::from(gy);
                blend(image, px, py, ink, alpha);
            });
        }
    }
}

/// Where a label goes: the first place by its instance that overlaps nothing `taken`, else the least overlapping one.
pub(super) fn place(label: &Label, [x1, y1, x2, y2]: Rect, (width, height): (f32, f32), taken: &[Rect]) -> (f32, f32) {
    let (w, h) = (label.width, label.height);
    let middle = (0.5 * (x1 + x2 - w), 0.5 * (y1 + y2 - h));
    let candidates = [
        (x1, y1 - h - 2.0),
        (x2 - w, y1 - h - 2.0),
        (x1, y1 + 2.0),
        (x1, y2 + 2.0),
        (x2 - w, y2 + 2.0),
        middle,
        (x2 + 2.0, middle.1),
        (x1 - w - 2.0, middle.1),
        (middle.0, y1 - 2.2 * h),
        (middle.0, y2 + 1.2 * h),
    ];
    let inside = |(x, y): (f32, f32)| (x.min(width - w).max(0.0).round(), y.min(height - h).max(0.0).round());
    let overlap = |&(x, y): &(f32, f32)| -> f32 {
        let shared = |r: &Rect| {
            let across = (x + w).min(r[2]) - x.max(r[0]);
            let down = (y + h).min(r[3]) - y.max(r[1]);
            across.max(0.0) * down.max(0.0)
        };
        taken.iter().map(shared).sum()
    };
    // The first of equals, so earlier candidates are preferred.
    let best = candidates
        .into_iter()
        .map(inside)
        .min_by(|a, b| overlap(a).total_cmp(&overlap(b)));
    best.unwrap_or_default()
}

/// Lays `alpha` of `color` over a pixel; nothing outside the picture.
pub(super) fn blend(image: &mut Image, x: i64, y: i64, color: [u8; 3], alpha: f32) {
    if x < 0 || y < 0 || x >= i64::from(image.width()) || y >= i64::from(image.height()) {
        return;
    }
    let at = 3 * (y as usize * image.width() as usize + x as usize);
    for (value, color) in image.rgb_mut()[at..at + 3].iter_mut().zip(color) {
        let mixed = f32::from(*value) * (1.0 - alpha) + f32::from(color) * alpha;
        *value = mixed.round() as u8;
    }
}

/// Distance from a point to a rectangle with rounded corners, negative inside.
pub(super) fn distance_to_rounded([x1, y1, x2, y2]: Rect, radius: f32, x: f32, y: f32) -> f32 {
    let dx = (x - 0.5 * (x1 + x2)).abs() - 0.5 * (x2 - x1) + radius;
    let dy = (y - 0.5 * (y1 + y2)).abs() - 0.5 * (y2 - y1) + radius;
    dx.max(0.0).hypot(dy.max(0.0)) + dx.max(dy).min(0.0) - radius
}

fn fill_rounded(image: &mut Image, rect: Rect, radius: f32, color: [u8; 3], alpha: f32) {
    for y in rect[1].floor() as i64..=rect[3].ceil() as i64 {
        for x in rect[0].floor() as i64..=rect[2].ceil() as i64 {
            let distance = distance_to_rounded(rect, radius, x as f32 + 0.5, y as f32 + 0.5);
            let coverage = (0.5 - distance).clamp(0.0, 1.0);
            blend(image, x, y, color, alpha * coverage);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_avoid_each_other_and_stay_inside() {
        let label = Label::new("boat 0.93", 16.0, 400.0);
        let mut taken: Vec<Rect> = Vec::new();
        for _ in 0..5 {
            let (x, y) = place(&label, [300.0, 5.0, 395.0, 120.0], (400.0, 300.0), &taken);
            let rect = [x, y, x + label.width, y + label.height];
            assert!(x >= 0.0 && y >= 0.0 && rect[2] <= 400.0 && rect[3] <= 300.0, "{rect:?}");
            for other in &taken {
                let apart = rect[2] <= other[0] || other[2] <= rect[0] || rect[3] <= other[1] || other[3] <= rect[1];
                assert!(apart, "{rect:?} on {other:?}");
            }
            taken.push(rect);
        }
    }

    /// The colour fills the plate but for its corners, the text is on it, and nothing is drawn beside it.
    #[test]
    fn a_plate_is_filled_round_its_text() {
        let (label, color, ground) = (Label::new("boat", 20.0, 400.0), [200, 30, 40], [250, 250, 250]);
        let (width, height) = (label.width as u32 + 20, label.height as u32 + 20);
        let mut image = Image::new(width, height, ground.repeat((width * height) as usize)).unwrap();
        label.draw(&mut image, (10.0, 10.0), color);
        let pixel = |x: u32, y: u32| image.rgb().as_chunks::<3>().0[(y * width + x) as usize];
        let is_near = |a: [u8; 3], b: [u8; 3]| a.iter().zip(b).all(|(a, b)| a.abs_diff(b) <= 10);
        let (middle, bottom) = (width / 2, height - 11);
        for (x, y) in [
            (middle, 11),
            (middle, bottom - 1),
            (11, height / 2),
            (width - 12, height / 2),
        ] {
            assert!(is_near(pixel(x, y), color), "{x},{y} of the plate: {:?}", pixel(x, y));
        }
        for (x, y) in [
            (10, 10),
            (width - 11, 10),
            (10, bottom),
            (middle, 8),
            (middle, height - 9),
            (8, height / 2),
        ] {
            assert!(
                is_near(pixel(x, y), ground),
                "{x},{y} beside the plate: {:?}",
                pixel(x, y)
            );
        }
        let inked = image
            .rgb()
            .as_chunks::<3>()
            .0
            .iter()
            .filter(|pixel| is_near(**pixel, [255; 3]));
        assert!(inked.count() > 30 + (width * height) as usize - (label.width * label.height) as usize);
    }

    #[test]
    fn a_long_label_is_cut_to_its_width() {
        let label = Label::new(&"a very long prompt ".repeat(20), 16.0, 200.0);
        assert!(label.width <= 200.0 && label.width > 150.0, "{}", label.width);
    }

    #[test]
    fn as_much_of_a_label_stays_as_fits() {
        let text = "wide Words, and i-l-l i l l thin ones";
        let whole = Label::new(text, 16.0, f32::INFINITY);
        for max_width in 20..whole.width as u32 {
            let max_width = max_width as f32;
            let label = Label::new(text, 16.0, max_width);
            let cut = |characters| Label::lay_out(&format!("{}…", text[..characters].trim_end()), 16.0);
            let most = (1..text.len())
                .rev()
                .find(|&characters| cut(characters).width <= max_width);
            assert_eq!(label.width, cut(most.unwrap_or(1)).width, "in {max_width}");
        }
        assert_eq!(Label::new("W", 16.0, 1.0).glyphs.len(), 1, "one character stays");
    }

    #[test]
    fn the_longest_text_is_a_label_too() {
        // The second has no width at all.
        for character in ["a", "\u{200b}", "W "] {
            let text = character.repeat(1_000_000);
            for max_width in [200.0, 1e9] {
                let label = Label::new(&text, 16.0, max_width);
                assert!(label.glyphs.len() <= MOST_CHARACTERS + 1, "{}", label.glyphs.len());
                assert!(label.width <= max_width, "{}", label.width);
            }
        }
    }
}
