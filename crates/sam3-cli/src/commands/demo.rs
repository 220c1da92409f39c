//! `sam3 demo`: the whole job on an embedded miniature SAM 3 and an embedded picture.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use sam3_model::{
    Config, Prompt, Segmenter,
    image::Image,
    masks::{Mask, Rle},
    report::{How, Loaded},
};
use sam3_package::{
    Error, Precision, Staged, StateDict,
    archive::Compression,
    package::{self, Options},
};
use serde::{Deserialize, Serialize};

use super::segment::{Picture, Report, Results, draw, instance_rows, milliseconds, segment_image, stamp};
use crate::{
    args::{ComputeFlag, DeviceFlags},
    failure::Failure,
    output::{Output, size, table},
};

/// fp32, transformers' layout; `tools/demo_model/` trained it.
const MODEL: &[u8] = include_bytes!("../../assets/demo/model.safetensors.gz");
const CONFIG: &[u8] = include_bytes!("../../assets/demo/config.json");
const SCENE: &[u8] = include_bytes!("../../assets/demo/scene.png");
const TRUTH: &[u8] = include_bytes!("../../assets/demo/truth.json");

/// Files of an earlier demo are replaced.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder to work in, made if it is not there
    #[arg(long, short, value_name = "DIR", default_value = "sam3-demo")]
    output: PathBuf,
    /// Precision of the large matrix products; f32 gives the same numbers on every machine
    #[arg(long, value_enum, value_name = "MODE", default_value_t = ComputeFlag::F32)]
    compute: ComputeFlag,
    #[command(flatten)]
    device: DeviceFlags,
    /// Then serve the miniature, as `sam3 serve` does, at http://127.0.0.1:7860
    #[cfg(feature = "serve")]
    #[arg(long)]
    serve: bool,
}

/// The known answer.
#[derive(Deserialize)]
struct Truth {
    prompt: String,
    objects: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    segmentation: Rle,
}

/// What each step took.
#[derive(Serialize)]
struct Step {
    step: &'static str,
    ms: f64,
    says: String,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<()> {
    check_folder(&args.output)?;
    let place = args.device.open(output)?;
    let desktop = args.output.join("desktop");
    let device = args.output.join("device");
    for folder in [&desktop, &device] {
        fs::create_dir_all(folder).map_err(|error| refused(folder, error))?;
    }
    let mut steps = Steps {
        output,
        done: Vec::new(),
    };

    let checkpoint = desktop.join("model.safetensors");
    let scene = args.output.join("scene.png");
    steps.run("checkpoint", || {
        write(&scene, SCENE)?;
        let bytes = write_checkpoint(&desktop)?;
        Ok(format!(
            "{}, {}: a miniature SAM 3, fp32",
            checkpoint.display(),
            size(bytes)
        ))
    })?;
    let package = desktop.join("sam3_demo_fp16.pth");
    steps.run("package", || {
        let source = StateDict::open(&checkpoint)?;
        let mut options = Options::new(package.clone(), Precision::Fp16);
        options.force = true;
        options.config = Some(Config::of(&source)?.to_json());
        let report = package::write(&source, &options, &())?;
        let files = report
            .files
            .iter()
            .map(|(path, bytes)| format!("{} {}", name(path), size(*bytes)));
        Ok(files.collect::<Vec<_>>().join(", "))
    })?;
    let tarball = package::archive_path(&package, Compression::Gzip);
    steps.run("verify", || {
        let verified = sam3_package::verify(&tarball, &())?;
        Ok(format!(
            "{}: {} tensors, every digest right",
            name(&tarball),
            verified.tensors
        ))
    })?;
    steps.run("unpack", || {
        let unpacked = sam3_package::unpack(&tarball, &device, true, &())?;
        Ok(format!(
            "{} files into {}, verified on the way",
            unpacked.files.len(),
            device.display()
        ))
    })?;

    let truth: Truth = serde_json::from_slice(TRUTH)?;
    let prompts = [Prompt::text(&truth.prompt)];
    let start = Instant::now();
    let dict = Arc::new(StateDict::open(&device.join(name(&package)))?);
    let compute = args.compute.compute(&dict, &place);
    let loaded = Loaded::load(dict, &sam3_model::Options::new(&place).compute(compute))?;
    let load_ms = milliseconds(start);
    let image = Image::open(&scene).map_err(sam3_model::Error::from)?;
    let picture = Picture {
        path: &scene,
        sha256: sam3_package::sha256(SCENE)?,
        image: &image,
    };
    let how = How {
        threshold: Segmenter::THRESHOLD,
        refine: false,
        tiling: None,
    };
    let mut report = segment_image(&loaded, picture, &prompts, how)?;
    report.timings.load_ms = load_ms;
    let overlay = args.output.join("scene_overlay.png");
    write(&overlay, &stamp::png(draw(&image, &report).to_png()))?;
    write(&args.output.join("scene.json"), &report.to_json_file(false)?)?;
    let found = report.found[0].instances.len();
    steps.push(
        "segment",
        milliseconds(start),
        format!("\"{}\": {found} found; {}", truth.prompt, overlay.display()),
    );

    let ious = ious(&report, &truth)?;
    finish(&report, &truth, &ious, &steps.done, output)?;
    #[cfg(feature = "serve")]
    if args.serve {
        return super::serve::serve_here(output, move || Ok(loaded));
    }
    Ok(())
}

/// Refuses a folder where files of somebody else have the names of the demo's.
fn check_folder(folder: &Path) -> anyhow::Result<()> {
    // The scene is written first: where it is, the rest is an earlier demo's.
    if fs::read(folder.join("scene.png")).is_ok_and(|scene| scene == SCENE) {
        return Ok(());
    }
    let package = ["sam3_demo_fp16.pth", "sam3_demo_fp16_metadata.json"];
    let desktop = ["model.safetensors", "config.json", "sam3_demo_fp16.tar.gz"];
    let desktop = desktop
        .iter()
        .chain(&package)
        .map(|name| Path::new("desktop").join(name));
    let device = package.iter().map(|name| Path::new("device").join(name));
    let results = ["scene.png", "scene_overlay.png", "scene.json"].map(PathBuf::from);
    let mut names = results
        .into_iter()
        .chain(desktop)
        .chain(device)
        .map(|name| folder.join(name));
    match names.find(|path| path.symlink_metadata().is_ok()) {
        None => Ok(()),
        Some(path) => Err(Failure::usage(
            format!("{} exists already, and no demo wrote it", path.display()),
            "name another folder with --output",
        )),
    }
}

/// Runs steps one after the other and says what each did.
struct Steps<'a> {
    output: &'a Output,
    done: Vec<Step>,
}

impl Steps<'_> {
    fn run(&mut self, step: &'static str, work: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<()> {
        let start = Instant::now();
        let says = work()?;
        self.push(step, milliseconds(start), says);
        Ok(())
    }

    fn push(&mut self, step: &'static str, ms: f64, says: String) {
        self.output.note(format!("{step:>12}  {ms:6.0} ms  {says}"));
        self.done.push(Step { step, ms, says });
    }
}

/// The best match of each known object among what was found.
fn ious(report: &Report, truth: &Truth) -> anyhow::Result<Vec<f64>> {
    let best = |object: &Object| -> anyhow::Result<f64> {
        let known = Mask::from_rle(&object.segmentation)?;
        let found = report.found.iter().flat_map(|found| &found.instances);
        Ok(found
            .filter_map(|instance| known.iou(&instance.mask))
            .fold(0.0, f64::max))
    };
    truth.objects.iter().map(best).collect()
}

fn finish(report: &Report, truth: &Truth, ious: &[f64], steps: &[Step], output: &Output) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Record<'a, R> {
        steps: &'a [Step],
        result: R,
        iou: &'a [f64],
    }
    let mean = ious.iter().sum::<f64>() / ious.len().max(1) as f64;
    let each: Vec<String> = ious.iter().map(|iou| format!("{iou:.3}")).collect();
    let text = format!(
        "{}{} {}s are in the picture; IoU with the known masks: {} (mean {mean:.3})\n",
        table(&instance_rows(&report.found[0].instances, "score")),
        truth.objects.len(),
        truth.prompt,
        each.join(", ")
    );
    output.result(
        &Record {
            steps,
            result: report.to_json(false),
            iou: ious,
        },
        &text,
    )
}

/// Writes the embedded checkpoint with its config beside it; returns the checkpoint's size.
fn write_checkpoint(folder: &Path) -> anyhow::Result<u64> {
    let mut model = Vec::new();
    flate2::read::GzDecoder::new(MODEL).read_to_end(&mut model)?;
    write(&folder.join("model.safetensors"), &model)?;
    write(&folder.join("config.json"), CONFIG)?;
    Ok(model.len() as u64)
}

/// Replaces what an earlier demo left, whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let file = Staged::create(path, true)?;
    file.write_at(bytes, 0)?;
    Ok(file.commit()?)
}

fn refused(path: &Path, source: std::io::Error) -> anyhow::Error {
    Error::Output {
        path: path.to_owned(),
        source,
    }
    .into()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
