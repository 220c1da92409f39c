//! `sam3 package`: a checkpoint becomes `X.pth`, `X_metadata.json` and `X.tar.gz`.

mod along;
mod bake;
mod prove;
mod split;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use sam3_model::{Device, Segmenter};
use sam3_package::{
    FileId, Precision, StateDict,
    archive::Compression,
    package::{self, Components, Options, Report},
};
use serde_json::json;

use self::prove::Test;
use super::{hub, prompts};
use crate::{
    args::{DeviceFlags, parse_image_size},
    failure::Failure,
    output::{Output, plain, size, table},
};

/// The weights stay under Meta's SAM License; a copy of it has to travel with them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The checkpoint: sam3.pt, model.safetensors, its index, or a package to store anew [default: from the Hub]
    #[arg(long, value_name = "FILE")]
    checkpoint_path: Option<PathBuf>,
    /// Which set of weights to take where the checkpoint has several, such as ema
    #[arg(long, value_name = "NAME")]
    weights: Option<String>,
    /// The package to write; .pth or .safetensors decides the format
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Precision of the weights
    #[arg(long, value_enum, default_value = "fp16")]
    quantize: Quantize,
    /// Which tensors go along
    #[arg(long, value_enum, default_value = "all")]
    components: Parts,
    /// Encode these prompts here and leave the text encoder behind: "boat, buoy" (\, is a comma), or a file with one a
    /// line
    #[arg(long, value_name = "TEXTS|FILE")]
    bake_prompts: Option<String>,
    /// How the archive is compressed; zst is for devices that unpack with tar --zstd
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        default_value = "gz",
        conflicts_with = "no_tarball"
    )]
    archive: Archive,
    /// Write no archive
    #[arg(long)]
    no_tarball: bool,
    /// Cut the archive into parts X.tar.gz.000, .001 … of at most this size, such as 3900M; fat32 for its limit
    #[arg(long, value_name = "SIZE", value_parser = split::parse_split, conflicts_with = "no_tarball")]
    split: Option<u64>,
    #[command(flatten)]
    along: along::Args,
    /// Force the files to disk before they get their names, against power cuts; costs what the disk takes
    #[arg(long)]
    sync: bool,
    /// Replace outputs that exist
    #[arg(long)]
    force: bool,
    /// Segment this image with the source and with the package, and record how they compare
    #[arg(long, value_name = "FILE", requires = "test_prompt")]
    test_image: Option<PathBuf>,
    /// What to look for in it: "boat, buoy"; \, is a comma
    #[arg(long, value_name = "TEXTS", requires = "test_image")]
    test_prompt: Option<String>,
    /// With --test-image: try the package at these image sizes, too, such as 672,504; the source stays at its own
    #[arg(long, value_name = "N", requires = "test_image", value_delimiter = ',', value_parser = parse_image_size, allow_hyphen_values = true)]
    image_size: Vec<usize>,
    #[command(flatten)]
    device: DeviceFlags,
    // Last: its heading would stand over whatever comes after it.
    #[command(flatten)]
    hub: hub::Args,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Quantize {
    /// Half precision for matrices, convolutions and embeddings
    Fp16,
    /// bfloat16 for the same
    Bf16,
    /// int8 with a scale per row for large Linear weights, the rest as fp16
    Int8,
    /// Every float as it is
    None,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Archive {
    /// X.tar.gz, for `tar -xzf`
    Gz,
    /// X.tar.zst, for `tar --zstd -xf`
    Zst,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Parts {
    /// Everything in the checkpoint
    All,
    /// What segmenting images reads: no tracker for video and clicks, and nothing unused
    Image,
    /// What clicks and video read: the image encoder and the whole tracker; no text encoder, no detector
    Click,
}

impl From<Quantize> for Precision {
    fn from(quantize: Quantize) -> Self {
        match quantize {
            Quantize::Fp16 => Self::Fp16,
            Quantize::Bf16 => Self::Bf16,
            Quantize::Int8 => Self::Int8,
            Quantize::None => Self::None,
        }
    }
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<()> {
    let start = Instant::now();
    if !package::is_package_name(&args.output) {
        return Err(Failure::usage(
            format!(
                "--output {}: expected a name that ends in .pth, .pt or .safetensors",
                args.output.display()
            ),
            "for example --output sam3_fp16.pth",
        ));
    }
    let unfit = match args.output.file_name().and_then(|name| name.to_str()) {
        None => Some("is not UTF-8"),
        Some(name) if name.starts_with("._") => Some("begins with ._, as the files that macOS keeps beside others"),
        Some(name) if name.contains(char::is_control) => Some("has control characters"),
        Some(_) => None,
    };
    if let Some(reason) = unfit {
        return Err(Failure::usage(
            format!("--output {}: its name {reason}", args.output.display()),
            "metadata and archive carry that name too: choose another",
        ));
    }
    let metadata = package::metadata_path(&args.output);
    if let Some(image) = &args.test_image
        && [&args.output, &metadata]
            .iter()
            .any(|output| FileId::is_same(output, image))
    {
        return Err(Failure::usage(
            format!("--test-image {}: the package would replace it", image.display()),
            "choose another --output",
        ));
    }
    args.check_components()?;
    let compression = match args.archive {
        Archive::Gz => Compression::Gzip,
        Archive::Zst => Compression::Zstd,
    };
    let archive = package::archive_path(&args.output, compression);
    let along = args.along.open(&[&args.output, &metadata, &archive])?;
    let created = time_of_packaging()?;
    let mut sizes = args.image_size.clone();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    sizes.dedup();
    let prompts = args.bake_prompts.as_deref().map(bake::read).transpose()?;
    let test = match (&args.test_image, &args.test_prompt) {
        (Some(path), Some(prompt)) => {
            let baked = prompts.as_deref();
            Some(Test::open(path, prompt, baked, &sizes, &args.device, output)?)
        }
        _ => None,
    };
    let mut options = Options::new(args.output.clone(), args.quantize.into());
    options.components = match args.components {
        Parts::All => Components::All,
        Parts::Image => Components::Image,
        Parts::Click => Components::Click,
    };
    options.archive = (!args.no_tarball).then_some(compression);
    options.split = args.split;
    options.force = args.force;
    options.sync = args.sync;
    options.created = created;
    options.test = test.as_ref().map(Test::planned);
    let checkpoint = match &args.checkpoint_path {
        Some(path) => path.clone(),
        None => {
            package::check_outputs(None, &options)?;
            args.hub.fetch(output)?
        }
    };
    let source = Arc::new(StateDict::open_weights(&checkpoint, args.weights.as_deref())?);
    package::check_outputs(Some(&source), &options)?;
    for warning in &crate::args::warnings(&source) {
        output.warn(warning);
    }
    options.extras = along.extras(&checkpoint, output);
    if source.metadata_json().is_some() {
        // Its damage would get digests of its own.
        sam3_package::verify(&checkpoint, &output.progress())?;
    }
    // A package that can do nothing must not be made: this lists what is missing and reads next to nothing.
    let device = test.as_ref().map_or(Device::Cpu, |test| test.device.clone());
    let model = Segmenter::load(source.clone(), &sam3_model::Options::new(&device))?;
    args.check_tasks(&model, output)?;
    if let [first, ..] = model.unexpected_keys() {
        let count = model.unexpected_keys().len();
        output.warn(format!(
            "{count} tensors that no SAM 3 has go along, such as {first} (-v lists them)"
        ));
        output.detail(model.unexpected_keys().join("\n"));
    }
    if let Some(test) = &test {
        test.check_sizes(&model)?;
    }
    let texts = prompts
        .iter()
        .flatten()
        .chain(test.iter().flat_map(|test| &test.prompts));
    prompts::warn_of_long(texts.map(String::as_str), &model, output);
    options.config = Some(model.config().to_json());
    let progress = output.progress();
    if let Some(prompts) = prompts {
        options.baked = Some(bake::bake(&source, model.config(), &prompts, &options, &progress)?);
    }
    let mut draft = package::draft(&source, &options, &progress)?;
    if let Some(test) = test {
        draft.set_test(test.run(&model, &draft, output)?)?;
    }
    drop(model);
    let report = draft.finish(&progress)?;
    drop(progress);
    if let Some(warning) = report.metadata.test.as_ref().and_then(prove::warning) {
        output.warn(warning);
    }
    for warning in &report.warnings {
        output.warn(warning);
    }
    let seconds = start.elapsed().as_secs_f64();
    let files: Vec<_> = report
        .files
        .iter()
        .map(|(path, bytes)| json!({"path": plain(path), "bytes": bytes}))
        .collect();
    let mut metadata = serde_json::to_value(&report.metadata)?;
    metadata.as_object_mut().and_then(|fields| fields.remove("tensors"));
    output.result(
        &json!({"files": files, "extras": along::as_json(&options.extras), "seconds": seconds, "metadata": metadata}),
        &(summary(&report, seconds) + &along::sentence(&options.extras)),
    )?;
    output.note(if along::has_license(&options.extras) {
        "The weights are Meta's under the SAM License: the archive holds the copy that has to travel with them."
    } else {
        "The weights are Meta's under the SAM License: pass a copy of it on with them."
    });
    Ok(())
}

impl Args {
    /// A package for clicks alone answers no text.
    fn check_components(&self) -> anyhow::Result<()> {
        let flag = match (&self.bake_prompts, &self.test_prompt) {
            (Some(_), _) => "--bake-prompts",
            (_, Some(_)) => "--test-prompt",
            _ => return Ok(()),
        };
        if !matches!(self.components, Parts::Click) {
            return Ok(());
        }
        Err(Failure::usage(
            format!("{flag}: --components click leaves behind what answers texts"),
            "leave one of the two flags away",
        ))
    }

    /// Makes sure that the source has what the package is for.
    fn check_tasks(&self, model: &Segmenter, output: &Output) -> anyhow::Result<()> {
        if self.bake_prompts.is_some() || self.test_prompt.is_some() {
            model.check_texts()?;
        }
        match self.components {
            Parts::Image => model.check_texts()?,
            Parts::Click => model.load_click_head()?,
            // A tracker that is not there is nothing to speak of; one that is broken is.
            Parts::All => {
                if let Err(error @ sam3_model::Error::Checkpoint { .. }) = model.load_click_head() {
                    output.warn(format!("the package will take no clicks: {error}"));
                }
            }
        }
        Ok(())
    }
}

fn summary(report: &Report, seconds: f64) -> String {
    let metadata = &report.metadata;
    let source = &metadata.source;
    let quantization = &metadata.quantization;
    let mut text = format!(
        "packaged {} ({}, {}) as {} in {seconds:.1} s\n",
        source.file,
        source.published,
        size(source.bytes),
        quantization.scheme.name(),
    );
    let rows: Vec<Vec<String>> = report
        .files
        .iter()
        .map(|(path, bytes)| vec![path.display().to_string(), size(*bytes)])
        .collect();
    text += &table(&rows);
    if !metadata.baked_prompts.is_empty() {
        let prompts = metadata.baked_prompts.join(", ");
        text += &format!("no text encoder; it answers the prompts: {prompts}\n");
    }
    if let Some(test) = &metadata.test {
        text += &prove::sentences(test);
    }
    text += &format!("{} tensors, {}", metadata.total.tensors, size(metadata.total.bytes));
    if quantization.changed == 0 {
        text += "; no value changed\n";
        return text;
    }
    text += &format!("; {} rounded, the five that lost most:\n", quantization.changed);
    text += &table(&worst_rows(&quantization.worst));
    text
}

/// The error report's rows, with their head.
pub fn worst_rows(worst: &[package::WorstTensor]) -> Vec<Vec<String>> {
    let mut rows = vec![
        ["tensor", "max error", "mean error", "SNR dB"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(worst.iter().map(|tensor| {
        let error = tensor.error;
        vec![
            tensor.name.clone(),
            format!("{:.2e}", error.max_abs),
            format!("{:.2e}", error.mean_abs),
            format!("{:.1}", error.snr_db),
        ]
    }));
    rows
}

/// Now, or what SOURCE_DATE_EPOCH says for builds that must come out the same.
fn time_of_packaging() -> anyhow::Result<u64> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text
            .trim()
            .parse()
            .ok()
            .filter(|seconds| *seconds < 1 << 36)
            .ok_or_else(|| {
                Failure::usage(
                    format!("SOURCE_DATE_EPOCH={text}: expected whole seconds since 1970"),
                    "unset it, or set it to for example $(date +%s)",
                )
            }),
        Err(_) => Ok(SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())),
    }
}
