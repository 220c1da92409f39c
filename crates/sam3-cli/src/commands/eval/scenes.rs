//! The 512 held-out scenes: drawn shapes on noisy gradients, a prompt for each, and the masks it asks for.
//!
//! Seed 99 of `tools/demo_model/scenes.py`, whose decisions travel as recipes (`make_scenes.py`) and whose drawing is
//! repeated here: the same scenes up to the grain of the noise and pixels on edges.

use std::io::{BufRead, BufReader};

use anyhow::Context;
use sam3_model::{ExemplarBox, Prompt, image::Image, masks::Mask};
use serde::Deserialize;

const RECIPES: &[u8] = include_bytes!("../../../assets/eval/scenes.jsonl.gz");

/// How many scenes there are.
pub const COUNT: usize = 512;
/// Sides of a picture, in pixels.
const SIZE: u32 = 168;
/// Sides of what is drawn, before it is halved.
const CANVAS: u32 = 2 * SIZE;
const MAST: [u8; 3] = [90, 60, 40];

/// What a scene is made of, as `make_scenes.py` describes it.
#[derive(Clone, Debug, Deserialize)]
struct Recipe {
    top: [u8; 3],
    bottom: [u8; 3],
    across: bool,
    noise: f32,
    objects: Vec<Object>,
    text: Option<String>,
    example: Option<[f32; 4]>,
    targets: Vec<usize>,
}

#[derive(Clone, Debug, Deserialize)]
struct Object {
    kind: Kind,
    shade: [u8; 3],
    #[serde(rename = "box")]
    xyxy: [f64; 4],
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Circle,
    Square,
    Triangle,
    Star,
    Boat,
}

/// A picture, what is asked of it, and the right answer.
pub struct Scene {
    pub image: Image,
    pub prompt: Prompt,
    pub truth: Vec<Mask>,
}

/// The first `count` scenes.
pub fn draw(count: usize) -> anyhow::Result<Vec<Scene>> {
    let lines = BufReader::new(flate2::read::GzDecoder::new(RECIPES)).lines();
    let draw = |(seed, line): (u64, std::io::Result<String>)| {
        let recipe: Recipe = serde_json::from_str(&line?).context("the embedded scenes")?;
        recipe.draw(seed)
    };
    (0..).zip(lines).take(count).map(draw).collect()
}

impl Recipe {
    fn prompt(&self) -> Prompt {
        let example: Vec<_> = self.example.map(ExemplarBox::positive).into_iter().collect();
        match &self.text {
            Some(text) => Prompt::text(text).with_boxes(example),
            None => Prompt::boxes(example),
        }
    }

    /// Draws the scene; `seed` decides the grain of its noise.
    fn draw(&self, seed: u64) -> anyhow::Result<Scene> {
        let mut canvas = Canvas::new(&self.background(seed));
        for (number, object) in (1..).zip(&self.objects) {
            canvas.draw(object, number);
        }
        let number_at = |x: u32, y: u32| canvas.numbers[((2 * y + 1) * CANVAS + 2 * x + 1) as usize];
        let mask = |&target: &usize| Mask::from_fn(SIZE, SIZE, |x, y| usize::from(number_at(x, y)) == target + 1);
        Ok(Scene {
            prompt: self.prompt(),
            truth: self.targets.iter().map(mask).collect(),
            image: canvas.image.resize(SIZE, SIZE)?,
        })
    }

    /// `[SIZE, SIZE, 3]`: the gradient and its noise.
    fn background(&self, seed: u64) -> Vec<u8> {
        let mut grain = Grain(seed);
        let mut rgb = Vec::with_capacity((SIZE * SIZE * 3) as usize);
        for y in 0..SIZE {
            for x in 0..SIZE {
                let t = if self.across { x } else { y } as f32 / (SIZE - 1) as f32;
                for (&top, &bottom) in self.top.iter().zip(&self.bottom) {
                    let value = f32::from(top) * (1.0 - t) + f32::from(bottom) * t;
                    rgb.push((value + self.noise * grain.normal()).clamp(0.0, 255.0) as u8);
                }
            }
        }
        rgb
    }
}

/// The picture at twice its size, and the number of the object that each pixel shows (0 for none).
struct Canvas {
    image: Image,
    numbers: Vec<u8>,
}

impl Canvas {
    /// Each pixel of a `background` `[SIZE, SIZE, 3]` four times.
    fn new(background: &[u8]) -> Self {
        let pixel = |x: u32, y: u32| &background[((y / 2 * SIZE + x / 2) * 3) as usize..][..3];
        let rows = (0..CANVAS).flat_map(|y| (0..CANVAS).flat_map(move |x| pixel(x, y)));
        Self {
            image: Image::new(CANVAS, CANVAS, rows.copied().collect()).expect("three bytes a pixel"),
            numbers: vec![0; (CANVAS * CANVAS) as usize],
        }
    }

    fn draw(&mut self, object: &Object, number: u8) {
        let [x0, y0, x1, y1] = object.xyxy;
        let (w, h) = (x1 - x0, y1 - y0);
        let at = |[fx, fy]: [f64; 2]| [x0 + fx * w, y0 + fy * h];
        let polygon = |points: &[[f64; 2]]| polygon(&points.iter().copied().map(at).collect::<Vec<_>>());
        let parts = match object.kind {
            Kind::Circle => vec![(ellipse(object.xyxy), object.shade)],
            Kind::Square => vec![(polygon(&[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]), object.shade)],
            Kind::Triangle => vec![(polygon(&[[0.5, 0.0], [1.0, 1.0], [0.0, 1.0]]), object.shade)],
            Kind::Star => vec![(polygon(&star()), object.shade)],
            Kind::Boat => vec![
                (
                    polygon(&[[0.0, 0.62], [1.0, 0.62], [0.8, 1.0], [0.2, 1.0]]),
                    object.shade,
                ),
                (polygon(&[[0.47, 0.0], [0.53, 0.0], [0.53, 0.65], [0.47, 0.65]]), MAST),
                (polygon(&[[0.55, 0.05], [0.95, 0.55], [0.55, 0.55]]), object.shade),
            ],
        };
        for (spans, colour) in parts {
            self.fill(&spans, colour, number);
        }
    }

    fn fill(&mut self, spans: &[Span], colour: [u8; 3], number: u8) {
        let last = i64::from(CANVAS) - 1;
        for &Span { y, left, right } in spans.iter().filter(|span| (0..=last).contains(&span.y)) {
            for x in left.max(0)..=right.min(last) {
                let pixel = (y * i64::from(CANVAS) + x) as usize;
                self.numbers[pixel] = number;
                self.image.rgb_mut()[3 * pixel..][..3].copy_from_slice(&colour);
            }
        }
    }
}

/// Pixels `left..=right` of row `y`.
struct Span {
    y: i64,
    left: i64,
    right: i64,
}

/// Ten points around the middle of the unit square, every other one at two fifths of the way.
fn star() -> [[f64; 2]; 10] {
    std::array::from_fn(|j| {
        let radius = if j % 2 == 0 { 0.5 } else { 0.2 };
        let (sin, cos) = (j as f64 * std::f64::consts::PI / 5.0).sin_cos();
        [0.5 + radius * sin, 0.5 - radius * cos]
    })
}

/// As Pillow fills polygons: corners are cut to whole pixels, and pixels on the outline belong to it.
fn polygon(points: &[[f64; 2]]) -> Vec<Span> {
    let points: Vec<[f64; 2]> = points.iter().map(|point| point.map(f64::trunc)).collect();
    let ys = || points.iter().map(|point| point[1] as i64);
    let (Some(top), Some(bottom)) = (ys().min(), ys().max()) else {
        return Vec::new();
    };
    let mut spans = Vec::new();
    for y in top..=bottom {
        let row = y as f64;
        // Edges hold their upper end and not their lower one, but for the last row, which has nothing below it.
        let crosses = |a: f64, b: f64| match y == bottom {
            true => a.min(b) < row && row <= a.max(b),
            false => a.min(b) <= row && row < a.max(b),
        };
        let edges = points.iter().zip(points.iter().cycle().skip(1));
        let crossings = edges.filter(|(a, b)| crosses(a[1], b[1]));
        let mut xs: Vec<f64> = crossings
            .map(|(a, b)| a[0] + (row - a[1]) / (b[1] - a[1]) * (b[0] - a[0]))
            .collect();
        xs.sort_by(f64::total_cmp);
        spans.extend(xs.chunks_exact(2).map(|pair| Span {
            y,
            left: (pair[0] - 0.5).ceil() as i64,
            right: (pair[1] + 0.5).floor() as i64,
        }));
    }
    spans
}

/// The ellipse that touches the outer edges of a box of whole pixels.
fn ellipse(xyxy: [f64; 4]) -> Vec<Span> {
    let [x0, y0, x1, y1] = xyxy.map(f64::trunc);
    let (a, b) = ((x1 - x0 + 1.0) / 2.0, (y1 - y0 + 1.0) / 2.0);
    let (cx, cy) = ((x0 + x1) / 2.0, (y0 + y1) / 2.0);
    let rows = y0 as i64..=y1 as i64;
    rows.map(|y| {
        let half = a * (1.0 - ((y as f64 - cy) / b).powi(2)).max(0.0).sqrt();
        Span {
            y,
            left: (cx - half).ceil() as i64,
            right: (cx + half).floor() as i64,
        }
    })
    .collect()
}

/// Noise that is the same on every machine: SplitMix64 (Steele, Lea and Flood 2014).
struct Grain(u64);

impl Grain {
    /// Nearly normal, mean 0 and variance 1: the sum of eight bytes.
    fn normal(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        let sum: i32 = bits.to_le_bytes().map(i32::from).iter().sum();
        // Eight bytes have the mean 8 × 127.5 and the variance 8 × (256² − 1) / 12.
        (sum - 1020) as f32 / 209.02
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scene_asks_for_what_it_shows() {
        let scenes = draw(COUNT).unwrap();
        assert_eq!(scenes.len(), COUNT);
        for (index, scene) in scenes.iter().enumerate() {
            assert_eq!((scene.image.width(), scene.image.height()), (SIZE, SIZE));
            assert!(
                scene.prompt.text.is_some() != (scene.prompt.boxes.len() == 1),
                "{index}"
            );
            // Python counts objects of more than 40 visible pixels; a few may be on the other side of an edge here.
            assert!(scene.truth.iter().all(|mask| mask.area() > 30), "scene {index}");
        }
        // An example is the box of one of the masks, give or take a pixel of the edge.
        for (index, scene) in scenes
            .iter()
            .enumerate()
            .filter(|(_, scene)| scene.prompt.text.is_none())
        {
            let example = scene.prompt.boxes[0].xyxy;
            let is_near = |mask: &Mask| {
                let found = mask.bounding_box().unwrap();
                found.iter().zip(example).all(|(&a, b)| (a as f32 - b).abs() <= 1.0)
            };
            assert!(scene.truth.iter().any(is_near), "scene {index}: {example:?}");
        }
    }

    #[test]
    fn noise_is_normal_and_the_same_each_time() {
        let mut grain = Grain(7);
        let values: Vec<f64> = (0..100_000).map(|_| f64::from(grain.normal())).collect();
        let mean = values.iter().sum::<f64>() / 1e5;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        assert!(Grain(1).normal() == Grain(1).normal() && Grain(1).normal() != Grain(2).normal());
    }
}
