//! Objects followed through a video.

use numpy::{PyArray1, PyArray2, PyArray3, PyArrayMethods, PyReadonlyArray2};
use pyo3::{exceptions::PyRuntimeError, prelude::*};
use sam3_model::{
    Session,
    tracking::{FrameObject, FrameResult},
};

use crate::{click, errors, input, instances::dense, run::interruptible};

/// A video whose objects are followed: frames go in one after the other, and come out when they are final. One thread
/// uses it at a time.
#[pyclass(module = "sam3_edge")]
pub struct Video {
    /// None once it is finished.
    session: Option<Session>,
    extents: (u32, u32),
}

/// Where the objects are on one frame, in the order of their ids.
#[pyclass(module = "sam3_edge", frozen)]
pub struct Frame {
    /// The frame's number, from 0.
    #[pyo3(get)]
    frame: usize,
    objects: Vec<FrameObject>,
    /// Objects that this frame removed.
    #[pyo3(get)]
    removed: Vec<u32>,
    #[pyo3(get)]
    width: u32,
    #[pyo3(get)]
    height: u32,
}

impl Video {
    pub fn new(session: Session) -> Self {
        Self {
            session: Some(session),
            extents: (0, 0),
        }
    }

    fn session(&mut self) -> PyResult<&mut Session> {
        self.session
            .as_mut()
            .ok_or_else(|| PyRuntimeError::new_err("the video is finished: begin another with Model.video()"))
    }

    fn frames(&self, results: Vec<FrameResult>) -> Vec<Frame> {
        results
            .into_iter()
            .map(|result| Frame::of(result, self.extents))
            .collect()
    }
}

impl Frame {
    fn of(result: FrameResult, (width, height): (u32, u32)) -> Self {
        Self {
            frame: result.frame,
            objects: result.objects,
            removed: result.removed,
            width,
            height,
        }
    }
}

#[pymethods]
impl Video {
    /// Takes the next frame; returns the frames that are final, of which there may be none, or several.
    fn push(&mut self, py: Python<'_>, image: &Bound<'_, PyAny>) -> PyResult<Vec<Frame>> {
        let image = input::image(image)?;
        let session = self.session()?;
        let results = interruptible(py, |watch| session.push_watched(&image, watch))?;
        self.extents = (image.width(), image.height());
        Ok(self.frames(results))
    }

    /// Looks at a frame, so that it can be clicked before it is pushed, or out of turn.
    fn look(&mut self, py: Python<'_>, frame: usize, image: &Bound<'_, PyAny>) -> PyResult<()> {
        let image = input::image(image)?;
        let session = self.session()?;
        interruptible(py, |watch| session.look_watched(frame, &image, watch))?;
        self.extents = (image.width(), image.height());
        Ok(())
    }

    /// Shows an object on the frame that was pushed or looked at last; returns its id and its mask there.
    #[pyo3(signature = (points=None, *, labels=None, r#box=None, logits=None, object=None))]
    #[allow(clippy::too_many_arguments)] // Python's are named.
    fn click<'py>(
        &mut self,
        py: Python<'py>,
        points: Option<Vec<[f32; 2]>>,
        labels: Option<Vec<u8>>,
        r#box: Option<[f32; 4]>,
        logits: Option<PyReadonlyArray2<'py, f32>>,
        object: Option<u32>,
    ) -> PyResult<(u32, Bound<'py, PyArray2<bool>>)> {
        let clicks = click::clicks(points.unwrap_or_default(), labels, r#box, logits, None)?;
        let session = self.session()?;
        let found = interruptible(py, |_| session.click(object, &clicks))?;
        let (width, height) = (found.mask.width(), found.mask.height());
        let mask = dense(py, [&found.mask].into_iter(), (width, height));
        Ok((found.id, mask.reshape([height as usize, width as usize])?))
    }

    /// Follows what another text means, from the next frame on.
    fn text(&mut self, text: &str) -> PyResult<()> {
        self.session()?.text(text).map(drop).map_err(errors::of_model)
    }

    /// Follows an object no longer; whether it was followed.
    fn remove(&mut self, object: u32) -> PyResult<bool> {
        self.session()?.remove(object).map_err(errors::of_model)
    }

    /// Ends the video; returns the frames that were held back.
    fn finish(&mut self) -> PyResult<Vec<Frame>> {
        let results = self.session()?.finish();
        self.session = None;
        Ok(self.frames(results))
    }

    /// Objects that are followed.
    #[getter]
    fn objects(&mut self) -> PyResult<Vec<u32>> {
        Ok(self.session()?.objects())
    }

    /// Bytes of memory that are kept of the frames behind.
    #[getter]
    fn bytes(&mut self) -> PyResult<u64> {
        Ok(self.session()?.bytes())
    }
}

#[pymethods]
impl Frame {
    fn __len__(&self) -> usize {
        self.objects.len()
    }

    fn __repr__(&self) -> String {
        format!("<Frame {}: objects {:?}>", self.frame, self.ids())
    }

    #[getter]
    fn ids(&self) -> Vec<u32> {
        self.objects.iter().map(|object| object.id).collect()
    }

    /// The place of each object's text; None of one that was clicked.
    #[getter]
    fn prompt_ids(&self) -> Vec<Option<usize>> {
        self.objects.iter().map(|object| object.text).collect()
    }

    /// float32 `[objects]`.
    #[getter]
    fn scores<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f32>> {
        PyArray1::from_iter(py, self.objects.iter().map(|object| object.score))
    }

    /// The logit of each object's being there; None on its first frame.
    #[getter]
    fn object_scores(&self) -> Vec<Option<f32>> {
        self.objects.iter().map(|object| object.object_score).collect()
    }

    /// float32 `[objects, 4]`: x1, y1, x2, y2 in pixels.
    #[getter]
    fn boxes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let sides = self
            .objects
            .iter()
            .flat_map(|object| object.bbox.map(|side| side as f32));
        PyArray1::from_iter(py, sides).reshape([self.objects.len(), 4])
    }

    /// bool `[objects, height, width]`.
    #[getter]
    fn masks<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray3<bool>> {
        dense(
            py,
            self.objects.iter().map(|object| &object.mask),
            (self.width, self.height),
        )
    }
}
