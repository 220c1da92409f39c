//! The model: opened once, asked many times.

use std::{path::PathBuf, sync::Arc};

use pyo3::{exceptions::PyValueError, prelude::*};
use sam3_model::{
    Compute, Device, ExemplarBox, Options, Prompt, Segmenter, Tiles, Tiling, VideoOptions, auto_compute,
    image::Image,
    open_gpu,
    report::{How, Timings, find, find_in_tiles},
};
use sam3_package::StateDict;

use crate::{
    click::{self, Clicked},
    errors::{self, PromptError},
    input,
    instances::Instances,
    run::interruptible,
    video::Video,
};

/// A SAM 3 checkpoint or package, ready to segment. Threads may share it.
#[pyclass(module = "sam3_edge", frozen)]
pub struct Model {
    segmenter: Segmenter,
    path: PathBuf,
}

/// A picture that was encoded, for many prompts and clicks.
#[pyclass(module = "sam3_edge", frozen)]
pub struct Encoded {
    pub encoded: sam3_model::Encoded,
    pub model: Segmenter,
}

#[pymethods]
impl Encoded {
    #[getter]
    fn width(&self) -> u32 {
        self.encoded.width()
    }

    #[getter]
    fn height(&self) -> u32 {
        self.encoded.height()
    }

    /// Bytes of memory that it holds.
    #[getter]
    fn bytes(&self) -> u64 {
        self.encoded.bytes()
    }

    fn __repr__(&self) -> String {
        format!("<Encoded picture of {} x {}>", self.width(), self.height())
    }
}

#[pymethods]
impl Model {
    #[new]
    #[pyo3(signature = (path, *, device="auto", compute="auto", image_size=None, threads=None))]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        device: &str,
        compute: &str,
        image_size: Option<usize>,
        threads: Option<usize>,
    ) -> PyResult<Self> {
        let device = open_device(device)?;
        let named = match compute {
            "auto" => None,
            name => Some(compute_of(name)?),
        };
        let opened = interruptible(py, |_| {
            let dict = Arc::new(StateDict::open(&path)?);
            let mut options = Options::new(&device).compute(named.unwrap_or_else(|| auto_compute(&dict, &device)));
            if let Some(image_size) = image_size {
                options = options.image_size(image_size);
            }
            if let Some(threads) = threads {
                options = options.threads(threads);
            }
            Segmenter::load(dict, &options)
        });
        Ok(Self {
            segmenter: opened?,
            path,
        })
    }

    /// Where the model runs: `cpu` or `cuda:0`.
    #[getter]
    fn device(&self) -> String {
        self.segmenter.device().to_string()
    }

    /// What large products are computed in.
    #[getter]
    fn compute(&self) -> &'static str {
        self.segmenter.compute().name()
    }

    /// Pixels in a side of the square that a picture is resized to.
    #[getter]
    fn image_size(&self) -> usize {
        self.segmenter.image_size()
    }

    /// The only texts that a package without a text encoder knows.
    #[getter]
    fn baked_prompts(&self) -> Vec<String> {
        self.segmenter.baked_prompts().to_vec()
    }

    fn __repr__(&self) -> String {
        format!(
            "<Model {} in {} on {}>",
            self.path.display(),
            self.compute(),
            self.device()
        )
    }

    /// Encodes a picture: the expensive step.
    fn encode(&self, py: Python<'_>, image: &Bound<'_, PyAny>) -> PyResult<Encoded> {
        let image = input::image(image)?;
        let encoded = interruptible(py, |watch| self.segmenter.encode_watched(&image, watch))?;
        Ok(Encoded {
            encoded,
            model: self.segmenter.clone(),
        })
    }

    /// Finds what texts, or example boxes, mean in a picture or in one that was encoded.
    #[pyo3(signature = (image, prompts=None, *, boxes=None, labels=None, threshold=Segmenter::THRESHOLD, refine=false,
        tiles=None, overlap=Tiling::OVERLAP, batch=1))]
    #[allow(clippy::too_many_arguments)] // Python's are named.
    fn segment(
        &self,
        py: Python<'_>,
        image: &Bound<'_, PyAny>,
        prompts: Option<Prompts>,
        boxes: Option<Vec<[f32; 4]>>,
        labels: Option<Vec<u8>>,
        threshold: f32,
        refine: bool,
        tiles: Option<TilesArgument>,
        overlap: f32,
        batch: usize,
    ) -> PyResult<Instances> {
        let prompts = all_prompts(prompts, boxes.unwrap_or_default(), labels)?;
        if !(0.0..=1.0).contains(&threshold) {
            return Err(PromptError::new_err(format!(
                "threshold: expected a score from 0 to 1, found {threshold}"
            )));
        }
        let tiling = match tiles {
            None => None,
            Some(tiles) => Some(Tiling::new(tiles.parse()?).overlap(overlap).batch(batch)),
        };
        let how = How {
            threshold,
            refine,
            tiling,
        };
        let mut timings = Timings::default();
        if let Ok(encoded) = image.cast::<Encoded>() {
            if tiling.is_some() {
                return Err(PromptError::new_err(
                    "tiles are cut out of the picture, which an encoded one does not have: give the picture itself",
                ));
            }
            let encoded = &encoded.get().encoded;
            let found = interruptible(py, |watch| {
                find(&self.segmenter, encoded, &prompts, how, &mut timings, watch)
            });
            return Ok(instances(found?.0, (encoded.width(), encoded.height())));
        }
        let image: Image = input::image(image)?;
        let found = interruptible(py, |watch| {
            let encoded = self.segmenter.encode_watched(&image, watch)?;
            find_in_tiles(&self.segmenter, &image, encoded, &prompts, how, &mut timings, watch)
        });
        Ok(instances(found?.0, (image.width(), image.height())))
    }

    /// Finds the object that is clicked in a picture or in one that was encoded.
    #[pyo3(signature = (image, points=None, *, labels=None, r#box=None, logits=None, multimask=None))]
    #[allow(clippy::too_many_arguments)] // Python's are named.
    fn click(
        &self,
        py: Python<'_>,
        image: &Bound<'_, PyAny>,
        points: Option<Vec<[f32; 2]>>,
        labels: Option<Vec<u8>>,
        r#box: Option<[f32; 4]>,
        logits: Option<numpy::PyReadonlyArray2<'_, f32>>,
        multimask: Option<bool>,
    ) -> PyResult<Clicked> {
        let clicks = click::clicks(points.unwrap_or_default(), labels, r#box, logits, multimask)?;
        if let Ok(encoded) = image.cast::<Encoded>() {
            let encoded = &encoded.get().encoded;
            let found = interruptible(py, |_| self.segmenter.click(encoded, &clicks))?;
            return Ok(Clicked::new(found, (encoded.width(), encoded.height())));
        }
        let image = input::image(image)?;
        let found = interruptible(py, |watch| {
            let encoded = self.segmenter.encode_watched(&image, watch)?;
            self.segmenter.click(&encoded, &clicks)
        });
        Ok(Clicked::new(found?, (image.width(), image.height())))
    }

    /// Begins to follow objects through a video.
    #[pyo3(signature = (prompts=None, *, frames=None))]
    fn video(&self, prompts: Option<Prompts>, frames: Option<usize>) -> PyResult<Video> {
        let mut options = VideoOptions::new();
        if let Some(frames) = frames {
            options = options.frames(frames);
        }
        let mut session = self.segmenter.video(options).map_err(errors::of_model)?;
        for text in prompts.map(Prompts::all).unwrap_or_default() {
            session.text(&text).map_err(errors::of_model)?;
        }
        Ok(Video::new(session))
    }
}

fn instances(found: Vec<sam3_model::report::Found<'_>>, extents: (u32, u32)) -> Instances {
    let mut all = Instances::new(extents);
    for found in found {
        all.add(found.text().to_owned(), found.presence, found.instances);
    }
    all
}

/// A text or several.
#[derive(FromPyObject)]
pub enum Prompts {
    One(String),
    Several(Vec<String>),
}

impl Prompts {
    fn all(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Several(texts) => texts,
        }
    }
}

/// `"auto"`, `"4x3"`, a side in pixels, or (columns, rows).
#[derive(FromPyObject)]
enum TilesArgument {
    Side(u32),
    Text(String),
    Grid((u32, u32)),
}

impl TilesArgument {
    fn parse(self) -> PyResult<Tiles> {
        let text = match self {
            Self::Side(side) => side.to_string(),
            Self::Text(text) => text,
            Self::Grid((columns, rows)) => format!("{columns}x{rows}"),
        };
        text.parse()
            .map_err(|error| PromptError::new_err(format!("tiles: {error}")))
    }
}

/// Every text with all the boxes; the boxes alone where there is no text.
fn all_prompts(texts: Option<Prompts>, boxes: Vec<[f32; 4]>, labels: Option<Vec<u8>>) -> PyResult<Vec<Prompt>> {
    let boxes: Vec<ExemplarBox> = labelled(boxes, labels, "box")?
        .into_iter()
        .map(|(xyxy, is_positive)| match is_positive {
            true => ExemplarBox::positive(xyxy),
            false => ExemplarBox::negative(xyxy),
        })
        .collect();
    let texts = texts.map(Prompts::all).unwrap_or_default();
    match (&texts[..], &boxes[..]) {
        ([], []) => Err(PromptError::new_err(
            "nothing to look for: give prompts, boxes, or both",
        )),
        ([], _) => Ok(vec![Prompt::boxes(boxes)]),
        _ => Ok(texts
            .into_iter()
            .map(|text| Prompt::text(text).with_boxes(boxes.clone()))
            .collect()),
    }
}

/// Each with its label, 1 or 0; 1 without labels.
pub fn labelled<T>(all: Vec<T>, labels: Option<Vec<u8>>, what: &str) -> PyResult<Vec<(T, bool)>> {
    let labels = labels.unwrap_or_else(|| vec![1; all.len()]);
    if labels.len() != all.len() || labels.iter().any(|label| *label > 1) {
        return Err(PromptError::new_err(format!(
            "labels: expected 1 (of it) or 0 (not of it) for each {what}: {}, found {labels:?}",
            all.len()
        )));
    }
    Ok(all
        .into_iter()
        .zip(labels.into_iter().map(|label| label == 1))
        .collect())
}

fn open_device(name: &str) -> PyResult<Device> {
    let gpu = |index| open_gpu(index).map_err(|error| errors::DeviceError::new_err(error.to_string()));
    match name {
        "cpu" => Ok(Device::Cpu),
        "auto" => Ok(open_gpu(0).unwrap_or(Device::Cpu)),
        "cuda" => gpu(0),
        _ => match name.strip_prefix("cuda:").and_then(|index| index.parse().ok()) {
            Some(index) => gpu(index),
            None => Err(PyValueError::new_err(format!(
                "device: expected auto, cpu, cuda or cuda:N, found {name:?}"
            ))),
        },
    }
}

fn compute_of(name: &str) -> PyResult<Compute> {
    let all = [Compute::F32, Compute::Bf16, Compute::F16, Compute::Int8];
    all.into_iter().find(|compute| compute.name() == name).ok_or_else(|| {
        PyValueError::new_err(format!(
            "compute: expected auto, f32, bf16, f16 or int8, found {name:?}"
        ))
    })
}
