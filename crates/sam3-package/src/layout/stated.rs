//! What neither key names nor shapes can tell, as transformers' `config.json` or a package's metadata states it.

use serde_json::Value;

/// A checkpoint's config, where there is one; a field is named by its path, such as `text_config.num_attention_heads`.
///
/// Each method gives nothing for a field that is not there or null, and a sentence for one of another kind.
#[derive(Clone, Copy, Debug)]
pub struct Stated<'a> {
    config: Option<&'a Value>,
}

/// What the config states of the image encoder's attention; the tensors tell none of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Backbone {
    /// Attention heads.
    pub heads: Option<usize>,
    /// Side of an attention window in patches.
    pub window: Option<usize>,
    /// Side of the square input in pixels.
    pub image_size: Option<usize>,
    /// Blocks that attend to the whole image, ascending.
    pub global_blocks: Option<Vec<usize>>,
}

impl Backbone {
    /// SAM 3's heads.
    pub const HEADS: usize = 16;
    /// SAM 3's window.
    pub const WINDOW: usize = 24;
    /// SAM 3's input.
    pub const IMAGE_SIZE: usize = 1008;
    /// SAM 3's blocks that attend to the whole image.
    pub const GLOBAL_BLOCKS: [usize; 4] = [7, 15, 23, 31];
    /// The most pixels that a side of the input may have.
    pub const MAX_IMAGE_SIZE: usize = 8192;
    /// The most patches that a side of the input or of a window may have.
    pub const MAX_GRID: usize = 512;
}

impl<'a> Stated<'a> {
    /// The fields of a config, `config.json`'s or a package's.
    pub fn of(config: Option<&'a Value>) -> Self {
        Self { config }
    }

    /// What is stated of an image encoder of that width and that many blocks.
    ///
    /// # Errors
    /// As [`number`](Self::number), [`side`](Self::side) and [`indices`](Self::indices).
    pub fn backbone(&self, width: usize, depth: usize) -> Result<Backbone, String> {
        let key = |name: &str| format!("vision_config.backbone_config.{name}");
        Ok(Backbone {
            heads: self.number(&key("num_attention_heads"), width)?,
            window: self.number(&key("window_size"), Backbone::MAX_GRID)?,
            image_size: self.side(&key("image_size"), Backbone::MAX_IMAGE_SIZE)?,
            global_blocks: self.indices(&key("global_attn_indexes"), depth)?,
        })
    }

    /// A number from 1 to `most`.
    ///
    /// # Errors
    /// For anything else.
    pub fn number(&self, path: &str, most: usize) -> Result<Option<usize>, String> {
        let expected = || format!("a whole number from 1 to {most}");
        self.read(path, expected, |value| {
            whole(value).filter(|number| (1..=most).contains(number))
        })
    }

    /// The side of a square, which transformers writes as a number or as a pair; at most `most`.
    ///
    /// # Errors
    /// For anything else.
    pub fn side(&self, path: &str, most: usize) -> Result<Option<usize>, String> {
        let expected = || format!("the side of a square, a whole number from 1 to {most}");
        let side = |value: &Value| match value.as_array().map(Vec::as_slice) {
            Some([height, width]) => whole(height).filter(|height| whole(width) == Some(*height)),
            Some(_) => None,
            None => whole(value),
        };
        self.read(path, expected, |value| {
            side(value).filter(|side| (1..=most).contains(side))
        })
    }

    /// A list of distinct numbers below `end`, returned in ascending order.
    ///
    /// # Errors
    /// For anything else.
    pub fn indices(&self, path: &str, end: usize) -> Result<Option<Vec<usize>>, String> {
        let expected = || format!("a list of distinct whole numbers below {end}");
        self.read(path, expected, |value| {
            let numbers = value
                .as_array()?
                .iter()
                .map(|value| whole(value).filter(|&number| number < end));
            let mut numbers = numbers.collect::<Option<Vec<_>>>()?;
            numbers.sort_unstable();
            numbers.is_sorted_by(|a, b| a < b).then_some(numbers)
        })
    }

    /// A number between 0 and 1, and neither of these.
    ///
    /// # Errors
    /// For anything else.
    pub fn fraction(&self, path: &str) -> Result<Option<f64>, String> {
        let expected = || "a number between 0 and 1".to_owned();
        self.read(path, expected, |value| {
            value.as_f64().filter(|&number| 0.0 < number && number < 1.0)
        })
    }

    /// Compares a stated number with that of the tensors.
    ///
    /// # Errors
    /// Where they differ.
    pub fn agrees(&self, path: &str, found: usize) -> Result<(), String> {
        let expected = || format!("{found}, as in the tensors");
        self.read(path, expected, |value| (whole(value)? == found).then_some(()))
            .map(drop)
    }

    /// The field at `path`; none where it is not there or null.
    fn read<T>(
        &self,
        path: &str,
        expected: impl Fn() -> String,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let mut value = self.config;
        let mut steps = path.split('.');
        while let Some(inner) = value.filter(|value| !value.is_null()) {
            let Some(step) = steps.next() else {
                return read(inner).map(Some).ok_or_else(|| fault(path, &expected(), inner));
            };
            let fields = inner.as_object();
            value = fields
                .ok_or_else(|| fault(path, "an object around it", inner))?
                .get(step);
        }
        Ok(None)
    }
}

fn fault(path: &str, expected: &str, found: &Value) -> String {
    let found = found.to_string();
    let shown: String = found.chars().take(60).collect();
    let ellipsis = if shown.len() < found.len() { "…" } else { "" };
    format!(
        "{path} of its config (config.json beside it, or the package's metadata): expected {expected}, found \
         {shown}{ellipsis}; put the model's own config.json beside it, or package it again"
    )
}

fn whole(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|number| usize::try_from(number).ok())
}

#[cfg(test)]
mod tests;
