//! `--test-image`: the package segments a picture before it gets its name, and so does the source.

use std::{path::Path, sync::Arc};

use sam3_model::{Comparison, Compute, Device, Instance, Options, Prompt, Segmenter, image::Image};
use sam3_package::{
    StateDict,
    package::{Draft, TestRun},
};

use crate::{args::DeviceFlags, commands::prompts, failure::Failure, output::Output};

/// What the weights lost is wanted, not what a fast product adds to it.
const COMPUTE: Compute = Compute::F32;

/// A picture and what to look for in it.
pub struct Test<'a> {
    path: &'a Path,
    image: Image,
    pub prompts: Vec<String>,
    pub device: Device,
}

impl<'a> Test<'a> {
    /// Opens the picture, so that one that cannot be read is known before the work; `baked` are the only prompts that the
    /// package will answer, where it is to have such.
    pub fn open(
        path: &'a Path,
        flag: &str,
        baked: Option<&[String]>,
        device: &DeviceFlags,
        output: &Output,
    ) -> anyhow::Result<Self> {
        let prompts = prompts::split(flag);
        if prompts.is_empty() {
            return Err(prompts::empty("--test-prompt"));
        }
        if let Some(baked) = baked {
            let is_known = |prompt: &&String| baked.iter().any(|own| own.to_lowercase() == prompt.to_lowercase());
            if let Some(unknown) = prompts.iter().find(|prompt| !is_known(prompt)) {
                return Err(Failure::usage(
                    format!("--test-prompt {unknown:?}: the package could not answer it"),
                    format!("take some of --bake-prompts: {}", prompts::join(baked)),
                ));
            }
        }
        Ok(Self {
            path,
            image: Image::open(path).map_err(sam3_model::Error::from)?,
            prompts,
            device: device.open(output)?,
        })
    }

    /// What will be recorded, but for what the test finds.
    pub fn planned(&self) -> TestRun {
        TestRun {
            image: self.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            prompt: match &self.prompts[..] {
                [prompt] => prompt.clone(),
                prompts => prompts::join(prompts),
            },
            prompts: match &self.prompts[..] {
                [_] => Vec::new(),
                prompts => prompts.to_vec(),
            },
            device: format!("{}, {}", self.device, COMPUTE.name()),
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
        let package = Segmenter::load(package, &Options::new(&self.device).compute(COMPUTE))?;
        let found = self.segment(&package, "package", output)?;
        let pairs = expected.iter().zip(&found);
        let comparison = pairs.fold(Comparison::default(), |all, (expected, found)| {
            all.and(&Comparison::of(expected, found))
        });
        let [source_instances, package_instances] = comparison.instances.map(|count| count as u64);
        Ok(TestRun {
            source_instances,
            package_instances,
            matched: comparison.matched as u64,
            worst_mask_iou: comparison.worst_iou,
            largest_score_difference: (comparison.matched > 0).then_some(f64::from(comparison.score_difference)),
            ..self.planned()
        })
    }

    /// What each prompt finds.
    fn segment(&self, model: &Segmenter, whose: &str, output: &Output) -> anyhow::Result<Vec<Vec<Instance>>> {
        let _spinner = output.spinner(&format!("segmenting {} with the {whose}", self.path.display()));
        let encoded = model.encode(&self.image)?;
        let prompts = self.prompts.iter().map(Prompt::text);
        prompts.map(|prompt| Ok(model.segment(&encoded, &prompt)?)).collect()
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
