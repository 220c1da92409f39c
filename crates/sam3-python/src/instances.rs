//! What was found in a picture.

use numpy::{PyArray1, PyArray2, PyArray3, PyArrayMethods, ndarray::Array3};
use pyo3::{
    exceptions::PyIndexError,
    prelude::*,
    types::{PyDict, PyList},
};
use sam3_model::{
    Instance,
    masks::{Mask, POLYGON_TOLERANCE, polygons},
};

/// What was found in a picture, over all prompts.
#[pyclass(module = "sam3_edge", frozen)]
pub struct Instances {
    found: Vec<Instance>,
    /// The place of its prompt, of each instance.
    #[pyo3(get)]
    class_ids: Vec<usize>,
    /// The prompts.
    #[pyo3(get)]
    prompts: Vec<String>,
    /// Of each prompt.
    #[pyo3(get)]
    presence: Vec<f32>,
    #[pyo3(get)]
    width: u32,
    #[pyo3(get)]
    height: u32,
}

impl Instances {
    /// None yet, in a picture of these extents.
    pub fn new((width, height): (u32, u32)) -> Self {
        Self {
            found: Vec::new(),
            class_ids: Vec::new(),
            prompts: Vec::new(),
            presence: Vec::new(),
            width,
            height,
        }
    }

    /// Adds what a prompt found.
    pub fn add(&mut self, prompt: String, presence: f32, found: Vec<Instance>) {
        self.class_ids.extend(found.iter().map(|_| self.prompts.len()));
        self.found.extend(found);
        self.prompts.push(prompt);
        self.presence.push(presence);
    }

    fn get(&self, index: isize) -> PyResult<&Instance> {
        let count = self.found.len();
        let at = if index < 0 { index + count as isize } else { index };
        let found = usize::try_from(at).ok().and_then(|at| self.found.get(at));
        found.ok_or_else(|| PyIndexError::new_err(format!("index {index} of {count} instances")))
    }
}

#[pymethods]
impl Instances {
    fn __len__(&self) -> usize {
        self.found.len()
    }

    fn __repr__(&self) -> String {
        let count = |prompt: usize| self.class_ids.iter().filter(|id| **id == prompt).count();
        let prompts = self.prompts.iter().enumerate();
        let prompts: Vec<String> = prompts
            .map(|(at, prompt)| format!("{prompt:?}: {}", count(at)))
            .collect();
        format!(
            "<Instances of {} x {}: {}>",
            self.width,
            self.height,
            prompts.join(", ")
        )
    }

    /// The prompt of each instance.
    #[getter]
    fn labels(&self) -> Vec<&str> {
        self.class_ids.iter().map(|&id| &*self.prompts[id]).collect()
    }

    /// float32 `[instances]`, 0 to 1.
    #[getter]
    fn scores<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f32>> {
        PyArray1::from_iter(py, self.found.iter().map(|found| found.score))
    }

    /// float32 `[instances, 4]`: x1, y1, x2, y2 in pixels.
    #[getter]
    fn boxes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let sides = self.found.iter().flat_map(|found| found.bbox);
        PyArray1::from_iter(py, sides).reshape([self.found.len(), 4])
    }

    /// Pixels inside each mask.
    #[getter]
    fn areas(&self) -> Vec<u64> {
        self.found.iter().map(|found| found.mask.area()).collect()
    }

    /// bool `[instances, height, width]`: a byte a pixel of every mask, made anew each time.
    #[getter]
    fn masks<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray3<bool>> {
        dense(
            py,
            self.found.iter().map(|found| &found.mask),
            (self.width, self.height),
        )
    }

    /// bool `[height, width]`: the mask of one instance.
    fn mask<'py>(&self, py: Python<'py>, index: isize) -> PyResult<Bound<'py, PyArray2<bool>>> {
        let mask = &self.get(index)?.mask;
        dense(py, [mask].into_iter(), (self.width, self.height)).reshape([self.height as usize, self.width as usize])
    }

    /// COCO's compressed run lengths of each mask, as `pycocotools.mask` takes them.
    fn rle<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let rles = PyList::empty(py);
        for found in &self.found {
            let rle = found.mask.to_rle();
            let dict = PyDict::new(py);
            dict.set_item("size", rle.size.to_vec())?;
            dict.set_item("counts", rle.counts)?;
            rles.append(dict)?;
        }
        Ok(rles)
    }

    /// Outlines of each mask: lists of x, y, x, y, … in pixels.
    fn polygons(&self, py: Python<'_>) -> Vec<Vec<Vec<f64>>> {
        let all = || {
            self.found
                .iter()
                .map(|found| polygons(&found.mask, POLYGON_TOLERANCE))
                .collect()
        };
        py.detach(all)
    }

    /// As `supervision.Detections`.
    fn to_supervision<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        consumers(slf.py())?.call_method1("to_supervision", (slf,))
    }

    /// As `fiftyone.Detections`.
    fn to_fiftyone<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        consumers(slf.py())?.call_method1("to_fiftyone", (slf,))
    }

    /// As COCO annotations of one image, whose category is the number of the prompt, from 1 on.
    #[pyo3(signature = (image_id=1, first_id=1))]
    fn to_coco<'py>(slf: &Bound<'py, Self>, image_id: u64, first_id: u64) -> PyResult<Bound<'py, PyAny>> {
        consumers(slf.py())?.call_method1("to_coco", (slf, image_id, first_id))
    }
}

/// What is written in Python, for libraries of Python.
fn consumers(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import("sam3_edge._consumers")
}

/// bool `[masks, height, width]`.
pub fn dense<'py, 'a>(
    py: Python<'py>,
    masks: impl ExactSizeIterator<Item = &'a Mask>,
    (width, height): (u32, u32),
) -> Bound<'py, PyArray3<bool>> {
    let mut pixels = Array3::from_elem((masks.len(), height as usize, width as usize), false);
    for (mut plane, mask) in pixels.outer_iter_mut().zip(masks) {
        for (y, mut row) in (0..height).zip(plane.outer_iter_mut()) {
            let row = row.as_slice_mut().expect("rows are contiguous");
            for run in mask.row_runs(y) {
                row[run.start as usize..run.end as usize].fill(true);
            }
        }
    }
    PyArray3::from_owned_array(py, pixels)
}
