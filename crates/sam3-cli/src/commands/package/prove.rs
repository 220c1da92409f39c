//! `--test-image`: the package segments a picture before it gets its name, and so does the source.

use std::{path::Path, sync::Arc};

use sam3_model::{Comparison, Compute, Device, Instance, Options, Prompt, Segmenter, image::Image};
use sam3_package::{
    StateDict,
    package::{Agreement, Draft, SizedRun, TestRun},
};

use crate::{args::DeviceFlags, commands::prompts, failure::Failure, output::Output};

/// The test measures what the weights lost, without what a fast product adds.
const COMPUTE: Compute = Compute::F32;

/// A picture and what to look for in it.
pub struct Test<'a> {
    path: &'a Path,
    image: Image,
    pub prompts: Vec<String>,
    /// Image sizes to try the package at, beside the model's own.
    sizes: &'a [usize],
    pub device: Device,
}

impl<'a> Test<'a> {
    /// Opens the picture, so that one that cannot be read is known before the work; `baked` are the only prompts that
    /// the package will answer, where it is to have such.
    pub fn open(
        path: &'a Path,
        flag: &str,
        baked: Option<&[String]>,
        sizes: &'a [usize],
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
            sizes,
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
            agreement: Agreement::default(),
            sizes: self
                .sizes
                .iter()
                .map(|&size| sized(size, Agreement::default()))
                .collect(),
        }
    }

    /// # Errors
    /// When the model does not take one of the sizes.
    pub fn check_sizes(&self, model: &Segmenter) -> anyhow::Result<()> {
        self.sizes
            .iter()
            .try_for_each(|&size| Ok(model.at_image_size(size).map(drop)?))
    }

    /// Segments with the source's model, then with the draft of the package.
    pub fn run(&self, source: &Segmenter, draft: &Draft, output: &Output) -> anyhow::Result<TestRun> {
        let expected = self.segment(source, "source", output)?;
        let package = Arc::new(StateDict::open(draft.path())?);
        let package = Segmenter::load(package, &Options::new(&self.device).compute(COMPUTE))?;
        let compared = |package: &Segmenter, whose: &str| {
            let found = self.segment(package, whose, output)?;
            anyhow::Ok(agreement(&expected, &found))
        };
        let at_size = |&size: &usize| {
            let whose = format!("package at {size} x {size}");
            anyhow::Ok(sized(size, compared(&package.at_image_size(size)?, &whose)?))
        };
        Ok(TestRun {
            source_instances: expected.iter().map(Vec::len).sum::<usize>() as u64,
            agreement: compared(&package, "package")?,
            sizes: self.sizes.iter().map(at_size).collect::<anyhow::Result<_>>()?,
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

/// All prompts together.
fn agreement(expected: &[Vec<Instance>], found: &[Vec<Instance>]) -> Agreement {
    let pairs = expected.iter().zip(found);
    let comparison = pairs.fold(Comparison::default(), |all, (expected, found)| {
        all.and(&Comparison::of(expected, found))
    });
    Agreement {
        package_instances: comparison.instances[1] as u64,
        matched: comparison.matched as u64,
        worst_mask_iou: comparison.worst_iou,
        largest_score_difference: comparison.score_difference.map(f64::from),
    }
}

fn sized(image_size: usize, agreement: Agreement) -> SizedRun {
    SizedRun {
        image_size: image_size as u64,
        agreement,
    }
}

/// The comparison in a line, and one for each other size.
pub fn sentences(test: &TestRun) -> String {
    let mut text = format!(
        "tested on {} with {:?} ({}): the source found {}, the package {}\n",
        test.image,
        test.prompt,
        test.device,
        test.source_instances,
        found(&test.agreement)
    );
    for run in &test.sizes {
        let size = run.image_size;
        text += &format!("  at {size} x {size} the package found {}\n", found(&run.agreement));
    }
    text
}

fn found(agreement: &Agreement) -> String {
    let mut text = format!("{}, matched {}", agreement.package_instances, agreement.matched);
    if let (Some(iou), Some(score)) = (agreement.worst_mask_iou, agreement.largest_score_difference) {
        text += &format!("; worst mask IoU {iou:.4}, largest score difference {score:.1e}");
    }
    text
}

/// What the user should know of a test that did not go well, or that shows nothing. At another size a model may find
/// other things, and nothing is wrong with the package.
pub fn warning(test: &TestRun) -> Option<String> {
    let (most, matched) = (
        test.source_instances.max(test.agreement.package_instances),
        test.agreement.matched,
    );
    if most == 0 {
        return Some(format!(
            "neither the source nor the package found {:?} in {}: the test shows nothing",
            test.prompt, test.image
        ));
    }
    (matched < most).then(|| {
        format!(
            "the package does not find what the source finds in {}: {matched} of {most} instances match",
            test.image
        )
    })
}
