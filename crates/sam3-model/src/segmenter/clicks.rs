//! What a caller shows of one object: points, a box, a mask.

use crate::{
    error::{ClickError, Result},
    masks::Mask,
};

/// One object, shown by points of it and beside it, by a box around it, by a mask of it, or by several of these.
///
/// ```
/// use sam3_model::Clicks;
///
/// let clicks = Clicks::new().point([320.0, 200.0]).negative_point([10.5, 30.0]);
/// let clicks = clicks.bounding_box([100.0, 80.0, 500.0, 400.0]);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Clicks {
    pub(super) points: Vec<([f32; 2], bool)>,
    pub(super) bounding_box: Option<[f32; 4]>,
    pub(super) mask: Option<LowResMask>,
    pub(super) multimask: Option<bool>,
}

impl Clicks {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A point of the object: `x, y` in pixels of the image, whose first pixel is from 0 to 1.
    pub fn point(mut self, xy: [f32; 2]) -> Self {
        self.points.push((xy, true));
        self
    }

    /// A point that is not of the object.
    pub fn negative_point(mut self, xy: [f32; 2]) -> Self {
        self.points.push((xy, false));
        self
    }

    /// A box around the object: `x1, y1, x2, y2` in pixels of the image.
    pub fn bounding_box(mut self, xyxy: [f32; 4]) -> Self {
        self.bounding_box = Some(xyxy);
        self
    }

    /// What is known of the object: the logits of an earlier step, or [`LowResMask::from_mask`].
    pub fn mask(mut self, mask: LowResMask) -> Self {
        self.mask = Some(mask);
        self
    }

    /// With three masks, as one click may mean a part, a whole or what is between; or with one. Without this: one,
    /// which of a single point is the best of the three.
    pub fn multimask(mut self, multimask: bool) -> Self {
        self.multimask = Some(multimask);
        self
    }

    /// # Errors
    /// When nothing is shown, or a coordinate is no number.
    pub(super) fn check(&self) -> Result<(), ClickError> {
        if self.points.is_empty() && self.bounding_box.is_none() && self.mask.is_none() {
            return Err(ClickError::Nothing);
        }
        let points = self.points.iter().flat_map(|(xy, _)| xy);
        let coordinates = points.chain(self.bounding_box.iter().flatten());
        match coordinates.copied().find(|coordinate| !coordinate.is_finite()) {
            Some(found) => Err(ClickError::NotFinite { found }),
            None => Ok(()),
        }
    }
}

/// A mask at the resolution that the model makes it in, as logits: above 0 is inside.
#[derive(Clone, Debug, PartialEq)]
pub struct LowResMask {
    side: usize,
    values: Vec<f32>,
}

impl LowResMask {
    /// Of the logit of what is certainly inside or outside.
    const CERTAIN: f32 = 10.0;

    /// Of `side²` logits, row by row.
    ///
    /// # Errors
    /// When there are not as many, or one is no number.
    pub fn new(side: usize, values: Vec<f32>) -> Result<Self, ClickError> {
        if side.checked_mul(side) != Some(values.len()) {
            return Err(ClickError::MaskLength {
                side,
                found: values.len(),
            });
        }
        match values.iter().copied().find(|value| !value.is_finite()) {
            Some(found) => Err(ClickError::NotFinite { found }),
            None => Ok(Self { side, values }),
        }
    }

    /// A mask of a picture, resized to `side` × `side`: 10 where more than half of a pixel is inside, −10 elsewhere.
    ///
    /// # Panics
    /// Where `side` is 0.
    pub fn from_mask(mask: &Mask, side: usize) -> Self {
        // Halves are sums of many parts, and outside.
        let logit = |share| {
            if share > 0.5 + 1e-6 {
                Self::CERTAIN
            } else {
                -Self::CERTAIN
            }
        };
        Self {
            side,
            values: mask.resized(side, side).into_iter().map(logit).collect(),
        }
    }

    /// Logits in a row, and rows.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Row by row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}
