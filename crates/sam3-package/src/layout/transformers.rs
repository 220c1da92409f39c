//! From transformers' tensors to the official state dict: applies [`super::rules`] to the names of a checkpoint.

use std::collections::HashMap;

use serde_json::Value;

use super::{
    Entry, Recipe, official_name,
    rules::{Op, PROJECTIONS, sections},
    stated::{Backbone, Stated},
};
use crate::checkpoint::{Dtype, Stored};

/// The most channels of a tensor that is made here and not read; SAM 3 has 1024.
const MAX_ROWS: usize = 64;
const MAX_WIDTH: usize = 4096;

/// What the detector's parts are called at the top of a transformers checkpoint.
const PARTS: [&str; 8] = [
    "vision_encoder.",
    "text_encoder.",
    "text_projection.",
    "geometry_encoder.",
    "detr_encoder.",
    "detr_decoder.",
    "mask_decoder.",
    "dot_product_scoring.",
];

/// True for a name that only transformers' layout has (`geometry_encoder.` is in both).
pub(super) fn is_name(name: &str) -> bool {
    [
        "detector_model.",
        "tracker_model.",
        "tracker_neck.",
        "vision_encoder.",
        "detr_encoder.",
        "detr_decoder.",
    ]
    .iter()
    .any(|prefix| name.starts_with(prefix))
}

/// True for what begins like a name of transformers' layout, those included that the official layout has too.
pub(super) fn is_begin(name: &str) -> bool {
    is_name(name) || PARTS.iter().any(|part| name.starts_with(part))
}

/// With `detector_model.`, which the image-only checkpoint leaves out.
pub(super) fn full_name(name: &str) -> String {
    if PARTS.iter().any(|part| name.starts_with(part)) {
        format!("detector_model.{name}")
    } else {
        name.to_owned()
    }
}

/// What the rotary tables depend on and no tensor tells.
struct Rotary {
    heads: usize,
    window: usize,
    grid: usize,
    global: Vec<usize>,
}

impl Rotary {
    /// From the config, else SAM 3's.
    fn new(config: Option<&Value>, patch: usize, layers: usize) -> Result<Self, String> {
        if layers == 0 {
            // Nothing depends on it.
            return Ok(Self {
                heads: Backbone::HEADS,
                window: Backbone::WINDOW,
                grid: 0,
                global: Vec::new(),
            });
        }
        let stated = Stated::of(config).backbone(MAX_WIDTH, layers)?;
        Ok(Self {
            heads: stated.heads.unwrap_or(Backbone::HEADS),
            window: stated.window.unwrap_or(Backbone::WINDOW),
            grid: stated.image_size.unwrap_or(Backbone::IMAGE_SIZE) / patch.max(1),
            global: stated.global_blocks.unwrap_or(Backbone::GLOBAL_BLOCKS.to_vec()),
        })
    }
}

/// One more than the largest number of a layer of the image encoder.
fn count_layers<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    let number = |name: &str| {
        let rest = name.strip_prefix("detector_model.vision_encoder.backbone.layers.")?;
        rest.split('.').next()?.parse::<usize>().ok()
    };
    names.filter_map(number).max().map_or(0, |last| last.saturating_add(1))
}

/// The official entries in the official order, then whatever no rule took, under the official form of its own name.
///
/// `names[i]` is the full name of `stored(i)`, or `None` where that is left out.
pub(super) fn official<'a>(
    names: &[Option<String>],
    stored: impl Fn(usize) -> &'a Stored,
    config: Option<&Value>,
) -> Result<(Vec<Entry>, Vec<String>), String> {
    let by_name: HashMap<&str, usize> = names
        .iter()
        .enumerate()
        .filter_map(|(i, name)| Some((name.as_deref()?, i)))
        .collect();
    let patch = by_name
        .get("detector_model.vision_encoder.backbone.embeddings.patch_embeddings.projection.weight")
        .and_then(|&i| stored(i).shape.last().copied())
        .unwrap_or(14);
    let layers = count_layers(by_name.keys().copied());
    let mut builder = Builder {
        by_name,
        taken: vec![false; names.len()],
        stored,
        rotary: Rotary::new(config, patch, layers)?,
        entries: Vec::with_capacity(names.len()),
        warnings: Vec::new(),
    };
    for section in sections() {
        let repeats = section.official.contains("{}");
        for n in 0.. {
            let before = builder.entries.len();
            let fill = |prefix: &str| {
                prefix
                    .replace("{}", &n.to_string())
                    .replace("{+}", &(n + 1).to_string())
            };
            let (official, theirs) = (fill(section.official), fill(section.transformers));
            for &(to, from, op) in section.rules {
                builder.apply(op, n, &format!("{official}{to}"), &format!("{theirs}{from}"), &theirs)?;
            }
            if !repeats || builder.entries.len() == before {
                break;
            }
        }
    }
    let Builder {
        taken,
        stored,
        mut entries,
        warnings,
        ..
    } = builder;
    for (i, name) in names.iter().enumerate().filter(|(i, _)| !taken[*i]) {
        let name = name.as_deref().map(official_name);
        entries.extend(name.map(|name| Entry::stored(name, i, stored(i))));
    }
    Ok((entries, warnings))
}

struct Builder<'n, F> {
    by_name: HashMap<&'n str, usize>,
    taken: Vec<bool>,
    stored: F,
    rotary: Rotary,
    entries: Vec<Entry>,
    warnings: Vec<String>,
}

impl<'a, F: Fn(usize) -> &'a Stored> Builder<'_, F> {
    fn apply(&mut self, op: Op, n: usize, to: &str, from: &str, section: &str) -> Result<(), String> {
        match op {
            Op::Same => self.same(to, from),
            Op::Duplicate(copy) => self.duplicate(to, from, &format!("{section}{copy}")),
            Op::Pair => self.pair(to, from),
            Op::PairBeside(sibling) => {
                if self.by_name.contains_key(format!("{section}{sibling}").as_str()) {
                    self.pair(to, from);
                }
            }
            Op::Qkv => {
                self.fused(&format!("{to}.weight"), from, "weight")?;
                self.fused(&format!("{to}.bias"), from, "bias")?;
            }
            Op::InProj => {
                self.fused(&format!("{to}in_proj_weight"), from, "weight")?;
                self.fused(&format!("{to}in_proj_bias"), from, "bias")?;
            }
            Op::Projections => {
                for (ours, theirs) in PROJECTIONS {
                    self.pair(&format!("{to}{ours}"), &format!("{from}{theirs}"));
                }
            }
            Op::ClassRow => self.class_row(to, from)?,
            Op::Transpose => {
                if let Some((i, [rows, columns])) = self.shaped::<2>(from)? {
                    self.push(to, i, vec![columns, rows], Recipe::Transposed(i));
                }
            }
            Op::Row => self.row(to, from, n)?,
            Op::FreqsCis => self.freqs_cis(to, from, n)?,
            Op::Points(input) => self.points(to, from, input)?,
        }
        Ok(())
    }

    /// The index of a tensor no rule has taken yet.
    fn take(&mut self, from: &str) -> Option<usize> {
        let i = *self.by_name.get(from)?;
        (!std::mem::replace(&mut self.taken[i], true)).then_some(i)
    }

    fn same(&mut self, to: &str, from: &str) {
        if let Some(i) = self.take(from) {
            self.entries.push(Entry::stored(to.to_owned(), i, (self.stored)(i)));
        }
    }

    /// One of two equal tensors, of which the file may hold either.
    fn duplicate(&mut self, to: &str, from: &str, copy: &str) {
        if self.by_name.contains_key(from) {
            self.same(to, from);
            self.take(copy);
        } else {
            self.same(to, copy);
        }
    }

    fn pair(&mut self, to: &str, from: &str) {
        self.same(&format!("{to}.weight"), &format!("{from}.weight"));
        self.same(&format!("{to}.bias"), &format!("{from}.bias"));
    }

    fn fused(&mut self, to: &str, from: &str, leaf: &str) -> Result<(), String> {
        let names = ["q", "k", "v"].map(|x| format!("{from}{x}_proj.{leaf}"));
        let found = names.each_ref().map(|name| self.by_name.get(name.as_str()).copied());
        let [Some(q), Some(k), Some(v)] = found else {
            if let Some(missing) = names
                .iter()
                .zip(found)
                .find(|(_, i)| i.is_none())
                .filter(|_| found != [None; 3])
            {
                self.warnings
                    .push(format!("\"{to}\" is incomplete: \"{}\" is missing", missing.0));
            }
            return Ok(());
        };
        let [a, b, c] = [q, k, v].map(&self.stored);
        if [b, c].iter().any(|t| (t.dtype, &t.shape) != (a.dtype, &a.shape))
            || a.shape.is_empty()
            || a.shape.contains(&0)
        {
            return Err(format!(
                "tensors \"{}\" differ or are empty: {} {:?}, {} {:?}, {} {:?}",
                names.join("\", \""),
                a.dtype,
                a.shape,
                b.dtype,
                b.shape,
                c.dtype,
                c.shape
            ));
        }
        let mut shape = a.shape.clone();
        shape[0] *= 3;
        let dtype = a.dtype;
        for i in [q, k, v] {
            self.taken[i] = true;
        }
        self.entries
            .push(Entry::new(to.to_owned(), dtype, shape, Recipe::Rows([q, k, v])));
        Ok(())
    }

    /// A position table, with a row of zeros for the class token.
    fn class_row(&mut self, to: &str, from: &str) -> Result<(), String> {
        let Some((i, shape)) = self.shaped::<3>(from)? else {
            return Ok(());
        };
        let [1, positions, width] = shape else {
            return Err(format!(
                "tensor \"{from}\" has shape {shape:?}, expected [1, positions, width]"
            ));
        };
        self.push(to, i, vec![1, positions + 1, width], Recipe::ClassRow(i));
        Ok(())
    }

    /// Row `n` of a matrix, which is taken as a whole with its last row.
    fn row(&mut self, to: &str, from: &str, n: usize) -> Result<(), String> {
        let Some((i, [rows, width])) = self.shaped::<2>(from)?.filter(|(_, [rows, _])| n < *rows) else {
            return Ok(());
        };
        if rows > MAX_ROWS {
            return Err(format!(
                "tensor \"{from}\" has {rows} rows, expected one for each kind of point (4)"
            ));
        }
        self.push(to, i, vec![1, width], Recipe::Row(i, n));
        let is_last = n + 1 == rows;
        self.taken[i] = is_last;
        Ok(())
    }

    /// A projection of zeros, as wide as the tensor of boxes `from`.
    fn points(&mut self, to: &str, from: &str, input: Option<usize>) -> Result<(), String> {
        let Some(&i) = self.by_name.get(from) else {
            return Ok(());
        };
        let sibling = (self.stored)(i);
        let (width, dtype) = (sibling.shape.first().copied().unwrap_or(0), sibling.dtype);
        if width > MAX_WIDTH {
            return Err(format!("tensor \"{from}\" is {width} wide, expected 256"));
        }
        for (leaf, shape) in [("weight", vec![width, input.unwrap_or(width)]), ("bias", vec![width])] {
            let zeros = Entry::new(format!("{to}.{leaf}"), dtype, shape, Recipe::Zeros);
            self.entries.push(zeros);
        }
        Ok(())
    }

    fn shaped<const N: usize>(&self, from: &str) -> Result<Option<(usize, [usize; N])>, String> {
        let Some(&i) = self.by_name.get(from) else {
            return Ok(None);
        };
        let shape = &(self.stored)(i).shape;
        let sized = shape.as_slice().try_into().ok();
        sized
            .filter(|_| !shape.contains(&0))
            .map(|s| Some((i, s)))
            .ok_or_else(|| format!("tensor \"{from}\" has shape {shape:?}, expected {N} axes, none empty"))
    }

    fn push(&mut self, to: &str, i: usize, shape: Vec<usize>, source: Recipe) {
        self.taken[i] = true;
        self.entries
            .push(Entry::new(to.to_owned(), (self.stored)(i).dtype, shape, source));
    }

    /// Length and width of the table; its values come when it is asked for.
    fn freqs_cis(&mut self, to: &str, from: &str, block: usize) -> Result<(), String> {
        let Some((_, [_, width])) = self.shaped::<2>(from)? else {
            return Ok(());
        };
        let Rotary {
            heads, window, grid, ..
        } = self.rotary;
        let is_global = self.rotary.global.contains(&block);
        let (side, scale) = if is_global {
            (grid, window as f32 / grid as f32)
        } else {
            (window, 1.0)
        };
        // A head's width is split in pairs, half of them for x and half for y.
        let pairs = width / heads / 2;
        if pairs == 0
            || pairs % 2 != 0
            || width % heads != 0
            || side == 0
            || side > Backbone::MAX_GRID
            || width > MAX_WIDTH
        {
            return Err(format!(
                "a rotary table of {side}×{side} positions for width {width} and {heads} heads is impossible: is config.json \
                 the one of this checkpoint?"
            ));
        }
        let shape = vec![side * side, pairs];
        let table = Recipe::FreqsCis { side, scale };
        self.entries.push(Entry::new(to.to_owned(), Dtype::C64, shape, table));
        Ok(())
    }
}
