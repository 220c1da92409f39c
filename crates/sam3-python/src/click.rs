//! Objects that are clicked.

use numpy::{PyArray1, PyArray2, PyArray3, PyArrayMethods, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;
use sam3_model::{ClickedObject, Clicks, LowResMask};

use crate::{errors::PromptError, instances::dense, model::labelled};

/// The masks that clicks mean: one, or three of a single point that may mean a part, a whole or what is between.
#[pyclass(module = "sam3_edge", frozen)]
pub struct Clicked {
    found: ClickedObject,
    extents: (u32, u32),
}

impl Clicked {
    pub fn new(found: ClickedObject, extents: (u32, u32)) -> Self {
        Self { found, extents }
    }
}

#[pymethods]
impl Clicked {
    fn __len__(&self) -> usize {
        self.found.masks.len()
    }

    /// A logit: above 0, the object is there, as the model sees it.
    #[getter]
    fn object_score(&self) -> f32 {
        self.found.object_score
    }

    /// float32 `[masks]`: the predicted IoU of each with the object.
    #[getter]
    fn ious<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f32>> {
        PyArray1::from_iter(py, self.found.masks.iter().map(|mask| mask.iou))
    }

    /// bool `[masks, height, width]`.
    #[getter]
    fn masks<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray3<bool>> {
        dense(py, self.found.masks.iter().map(|mask| &mask.mask), self.extents)
    }

    /// bool `[height, width]`: the mask of the highest predicted IoU.
    #[getter]
    fn mask<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<bool>>> {
        let (width, height) = self.extents;
        dense(py, [&self.found.best().mask].into_iter(), self.extents).reshape([height as usize, width as usize])
    }

    /// float32 `[side, side]`: the best mask's logits, for the `logits` of the next click.
    #[getter]
    fn logits<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let logits = &self.found.best().logits;
        PyArray1::from_slice(py, logits.values()).reshape([logits.side(), logits.side()])
    }

    fn __repr__(&self) -> String {
        let ious: Vec<f32> = self.found.masks.iter().map(|mask| mask.iou).collect();
        format!("<Clicked: {} masks of predicted IoU {ious:?}>", self.found.masks.len())
    }
}

/// What shows an object.
pub fn clicks(
    points: Vec<[f32; 2]>,
    labels: Option<Vec<u8>>,
    xyxy: Option<[f32; 4]>,
    logits: Option<PyReadonlyArray2<'_, f32>>,
    multimask: Option<bool>,
) -> PyResult<Clicks> {
    let mut clicks = Clicks::new();
    for (xy, is_positive) in labelled(points, labels, "point")? {
        clicks = match is_positive {
            true => clicks.point(xy),
            false => clicks.negative_point(xy),
        };
    }
    if let Some(xyxy) = xyxy {
        clicks = clicks.bounding_box(xyxy);
    }
    if let Some(logits) = logits {
        let side = logits.shape()[0];
        let values = logits.as_array().iter().copied().collect();
        let mask = LowResMask::new(side, values).map_err(|error| PromptError::new_err(error.to_string()))?;
        clicks = clicks.mask(mask);
    }
    if let Some(multimask) = multimask {
        clicks = clicks.multimask(multimask);
    }
    Ok(clicks)
}
