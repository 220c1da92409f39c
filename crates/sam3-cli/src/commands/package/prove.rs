//! `--test-image`: the package segments a picture before it gets its name, and so does the source.

use std::{path::Path, sync::Arc};

use sam3_model::{Comparison, Compute, Device, Instance, Prompt, Segmenter, gpu, image::Image};
use sam3_package::{
    StateDict,
    package::{Draft, TestRun},
};

use crate::{args::DeviceFlags, failure::Failure, output::Output};

/// What the weights lost is wanted, not what a fast product adds to it.
const COMPUTE: Compute = Compute::F32;

/// A picture and what to look for in it.
pub struct Test<'a> {
    path: &'a Path,
    image: Image,
    prompt: &'a str,
    pub device: Device,
}

impl<'a> Test<'a> {
    /// Opens the picture, so that one that cannot be read is known before the work; `baked` are the only prompts that the
    /// package will know.
    pub fn open(
        path: &'a Path,
        prompt: &'a str,
        baked: Option<&[String]>,
        device: &DeviceFlags,
        output: &Output,
    ) -> anyhow::Result<Self> {
        let is_same = |baked: &String| baked.to_lowercase() == prompt.trim().to_lowercase();
        if prompt.trim().is_empty() || baked.is_some_and(|baked| !baked.iter().any(is_same)) {
            return Err(Failure::usage(
                format!("--test-prompt {prompt:?}: the package could not answer it"),
                match baked {
                    Some(baked) => format!("take one of --bake-prompts: {}", baked.join(", ")),
                    None => "name what to look for, for example --test-prompt \"boat\"".to_owned(),
                },
            ));
        }
        Ok(Self {
            path,
            image: Image::open(path).map_err(sam3_model::Error::from)?,
            prompt,
            device: device.open(output)?,
        })
    }

    /// What will be recorded, but for what the test finds.
    pub fn planned(&self) -> TestRun {
        TestRun {
            image: self.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            prompt: self.prompt.to_owned(),
            device: format!("{}, {}", gpu::describe(&self.device), COMPUTE.name()),
            source_instances: 0,
            package_instances: 0,
            matched: 0,
            worst_mask_iou: None,
            largest_score_difference: None,
        }
    }

    /// Segments with the source's model, then with the draft of the package.
    pub fn run(&self, source: &Segmenter, draft: &Draft, output: &Output) -> anyhow::Result<TestRun> {
        let expected = self.segment(source, "source", output)?;
        let package = Arc::new(StateDict::open(draft.path())?);
        let package = Segmenter::load_with(package, &self.device, COMPUTE)?;
        let found = self.segment(&package, "package", output)?;
        let comparison = Comparison::of(&expected, &found);
        let is_any = comparison.matched > 0;
        Ok(TestRun {
            source_instances: expected.len() as u64,
            package_instances: found.len() as u64,
            matched: comparison.matched as u64,
            worst_mask_iou: comparison.worst_iou,
            largest_score_difference: is_any.then_some(f64::from(comparison.score_difference)),
            ..self.planned()
        })
    }

    fn segment(&self, model: &Segmenter, whose: &str, output: &Output) -> anyhow::Result<Vec<Instance>> {
        let _spinner = output.spinner(&format!("segmenting {} with the {whose}", self.path.display()));
        let prompt = Prompt {
            text: Some(self.prompt.to_owned()),
            ..Prompt::default()
        };
        Ok(model.segment(&model.encode(&self.image)?, &prompt)?)
    }
}

/// The comparison in a line.
pub fn sentence(test: &TestRun) -> String {
    let (source, package) = (test.source_instances, test.package_instances);
    let mut text = format!(
        "tested on {} with {:?} ({}): the source found {source}, the package {package}, matched {}",
        test.image, test.prompt, test.device, test.matched
    );
    if let (Some(iou), Some(score)) = (test.worst_mask_iou, test.largest_score_difference) {
        text += &format!("; worst mask IoU {iou:.4}, largest score difference {score:.1e}");
    }
    text
}

/// What the user should know of a test that did not go well, or that shows nothing.
pub fn warning(test: &TestRun) -> Option<String> {
    let most = test.source_instances.max(test.package_instances);
    if most == 0 {
        return Some(format!(
            "neither the source nor the package found {:?} in {}: the test shows nothing",
            test.prompt, test.image
        ));
    }
    (test.matched < most).then(|| {
        format!(
            "the package does not find what the source finds in {}: {} of {most} instances match",
            test.image, test.matched
        )
    })
}
