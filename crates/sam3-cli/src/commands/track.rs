//! `sam3 track`: follows what a text means, or what is clicked, through a video.

mod formats;
mod interrupt;
mod overlay;
mod report;
mod results;
mod schedule;
mod source;
mod walk;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use sam3_model::{
    MemoryDtype, Prompt, Retention, VideoOptions,
    report::Loaded,
    tracking::{Absences, Emission},
};
use sam3_package::StateDict;
use sam3_video::{Uri, UriError};

use self::{
    formats::Format,
    overlay::{Film, Overlay},
    results::{Results, Targets},
    schedule::{Directions, Frames},
    source::{Asked, Source},
    walk::Walker,
};
use super::{
    decoding::DecodingFlags,
    objects::VideoObjectsFlags,
    prompts,
    segment::{Guard, announce, milliseconds},
};
use crate::{
    args::{ModelFlags, TextFlags},
    failure::Failure,
    output::Output,
    signals,
};

/// Each frame is encoded once, whatever the number of objects, and memory does not grow with the frames. Texts find
/// their objects by themselves, in any frame; clicks show one object each.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The video: a file, a folder of pictures, a camera (v4l2:///dev/video0, csi://0), a stream (rtsp://…,
    /// rtp://@:PORT, udp://@:PORT), or - for Y4M or JPEGs on stdin, with --size for red, green and blue bytes
    #[arg(long, short, value_name = "FILE|FOLDER|URI|-", value_parser = parse_source)]
    source: Uri,
    #[command(flatten)]
    decoding: DecodingFlags,
    /// A checkpoint or a package of it, with the tracker
    #[arg(long, value_name = "FILE")]
    checkpoint_path: PathBuf,
    /// Which set of weights to take where the checkpoint has several, such as ema
    #[arg(long, value_name = "NAME")]
    weights: Option<String>,
    /// What to follow: noun phrases between commas, such as "boat, red car"; \, is a comma
    #[arg(long, short, value_name = "TEXTS", num_args = 1..)]
    prompt: Vec<String>,
    /// The frame to look for texts on first [default: the first, and of --direction backward the last]
    #[arg(long, value_name = "FRAME", requires = "prompt")]
    prompt_frame: Option<usize>,
    #[command(flatten)]
    objects: VideoObjectsFlags,
    /// Which way to go from the prompts
    #[arg(long, value_enum, value_name = "WAY", default_value_t = Directions::Forward)]
    direction: Directions,
    /// Look at every Nth frame only
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = parse_count)]
    every: usize,
    /// The first frame to look at, from 0
    #[arg(long, value_name = "FRAME", default_value_t = 0)]
    start: usize,
    /// The frame to end before
    #[arg(long, value_name = "FRAME")]
    stop: Option<usize>,
    /// Follow through at most so many frames, in each direction
    #[arg(long, value_name = "N", value_parser = parse_count)]
    max_frames: Option<usize>,
    /// Tell each frame at once, with objects that may turn out to be none, in place of 14 frames later without them
    #[arg(long)]
    at_once: bool,
    /// Take the latest frame only, drop those that came meanwhile, and tell each at once; cameras and streams are live
    /// anyway
    #[arg(long, conflicts_with_all = ["every", "start", "stop", "direction", "prompt_frame"])]
    live: bool,
    /// Tell the frames of a live source 14 frames later, without objects that turned out to be none
    #[arg(long, conflicts_with = "at_once")]
    hold: bool,
    /// Seconds for which a camera or stream may be away: it is opened again and again
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, allow_hyphen_values = true)]
    reconnect: Option<Duration>,
    /// Precision of what is remembered of frames: bf16 as the official code, f32 takes twice the memory
    #[arg(long, value_enum, value_name = "DTYPE", default_value_t = MemoryFlag::Bf16)]
    memory_dtype: MemoryFlag,
    #[command(flatten)]
    model: ModelFlags,
    #[command(flatten)]
    texts: TextFlags,
    /// Folder for track.jsonl, made if it is not there
    #[arg(long, short, value_name = "DIR", default_value = "sam3-output")]
    output: PathBuf,
    /// Also write what was followed in these formats, at the end
    #[arg(long, value_enum, value_name = "FORMATS", value_delimiter = ',')]
    format: Vec<Format>,
    /// Also write each frame with its objects drawn on it as DIR/00000.png, or all as a video, .mp4, .mkv or .mjpeg; an
    /// object in one colour throughout
    #[arg(long, value_name = "DIR|FILE")]
    overlay: Option<PathBuf>,
    /// Also write each frame's mask logits as DIR/00000.safetensors
    #[arg(long, value_name = "DIR")]
    dump_tensors: Option<PathBuf>,
    /// Replace files that sam3 did not write
    #[arg(long)]
    force: bool,
}

/// What `--memory-dtype` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MemoryFlag {
    #[value(help = None)]
    F32,
    #[value(help = None)]
    Bf16,
}

fn parse_source(text: &str) -> Result<Uri, UriError> {
    text.parse()
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|&seconds: &f64| seconds >= 0.0);
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration.ok_or_else(|| format!("expected seconds, such as 30, found {text:?}"))
}

fn parse_count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|&count| count > 0);
    count.ok_or_else(|| format!("expected a number from 1 on, found {text:?}"))
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<()> {
    let texts = args.texts()?;
    let device = args.model.device.open(output)?;
    args.texts.check(&device)?;
    let source = Source::open(&args.source, &args.asked()?, &args.output)?;
    let frames = Frames {
        start: args.start,
        every: args.every,
        stop: args.stop,
        count: source.count(),
    };
    if frames.len() == Some(0) {
        return Err(nothing_to_see(source.name(), &frames));
    }
    if args.direction != Directions::Forward && source.count().is_none() {
        return Err(schedule::no_way_back());
    }
    let shown = frames.shown(&args.objects, args.direction)?;
    if let Some((place, _)) = shown
        .last_key_value()
        .filter(|(place, _)| source.is_live() && **place > 0)
    {
        return Err(Failure::usage(
            format!(
                "@{place}: {} is live: which of its frames that will be is not known",
                source.name()
            ),
            "objects are shown on its first frame: leave @FRAME away",
        ));
    }
    let prompted = match args.prompt_frame {
        Some(number) => {
            let place = frames.place("--prompt-frame", number)?;
            Some((place, place))
        }
        None => shown.keys().next().copied().zip(shown.keys().last().copied()),
    };
    let walks = frames.walks(args.direction, prompted)?;

    let dict = Arc::new(StateDict::open_weights(&args.checkpoint_path, args.weights.as_deref())?);
    let masks = args
        .objects
        .0
        .iter()
        .flatten()
        .filter_map(|(_, shown)| shown.mask.as_deref());
    let targets = args.targets()?;
    let film = args.film(&targets, &source)?;
    let guard = Guard::of_run(args.force, dict.checkpoint(), source.files().into_iter().chain(masks))
        .know(formats::of_earlier(&targets.output, &targets.lines()));
    targets.check(args.folder(), &guard)?;

    let options = args.texts.of(args.model.options(&dict, &device), &device);
    let start = Instant::now();
    let loaded = Loaded::load(dict, &options)?;
    let model = &loaded.segmenter;
    if !texts.is_empty() {
        model.check_texts()?;
    }
    let mut session = model.video(args.video(&frames, &walks))?;
    announce(&loaded, output);
    output.detail(format!("loaded in {:.0} ms", milliseconds(start)));
    prompts::warn_of_long(texts.iter().map(String::as_str), model, output);
    for text in &texts {
        let _stoppable = signals::Stoppable::new();
        model.encode_text_watched(&Prompt::text(text), &mut |_| signals::go_on())?;
        session.text(text)?;
    }
    let mut results = Results::new(&targets, &guard, output, &texts);
    results.film = film;
    let walker = Walker {
        model,
        session,
        source,
        frames,
        most: args.max_frames,
        shown,
        results,
        ids: vec![None; args.objects.0.len()],
        absences: Absences::default(),
        size: None,
        failed: None,
        spinner: output.spinner("following"),
        output,
    };
    walker.run(&walks)
}

/// No frame is chosen.
fn nothing_to_see(name: &str, frames: &Frames) -> anyhow::Error {
    match frames.count {
        Some(0) | None => Failure::input(
            format!("{name}: expected frames, found none"),
            "copy it again, or look at what wrote it",
        ),
        Some(count) => Failure::usage(
            format!("--start and --stop leave no frame of {name}, which has {count}"),
            format!("its frames are 0 to {}", count - 1),
        ),
    }
}

impl Args {
    /// The texts of `--prompt`; none where objects are clicked.
    fn texts(&self) -> anyhow::Result<Vec<String>> {
        self.objects.check()?;
        match (self.prompt.is_empty(), self.objects.0.is_empty()) {
            (true, true) => Err(Failure::usage(
                "nothing to follow",
                "give --prompt \"boat\", or click an object: --point x,y, --box x1,y1,x2,y2 or --mask FILE",
            )),
            (false, false) => Err(Failure::usage(
                "--prompt finds objects by itself: --point, --box and --mask are of one object",
                "leave one of the two away",
            )),
            _ => {
                let texts = self.prompt.iter().map(|flag| match prompts::split(flag) {
                    texts if texts.is_empty() => Err(prompts::empty("--prompt")),
                    texts => Ok(texts),
                });
                Ok(texts.collect::<anyhow::Result<Vec<_>>>()?.concat())
            }
        }
    }

    /// The folder of `--source`, or its file.
    fn folder(&self) -> &Path {
        match &self.source {
            Uri::Path(path) => path,
            _ => Path::new(""),
        }
    }

    fn asked(&self) -> anyhow::Result<Asked> {
        if self.hold && !self.is_live() {
            return Err(Failure::usage(
                "--hold: frames of files and pipes are held back anyway",
                "leave it away, or give --live",
            ));
        }
        if self.reconnect.is_some() && !self.source.is_live() {
            return Err(Failure::usage(
                format!("--reconnect: {} is no camera and no stream of the network", self.source),
                "leave it away: a file or pipe that has ended does not come back",
            ));
        }
        if self.source.is_live() && !self.is_forward() {
            return Err(Failure::usage(
                format!("{} is live: its frames are taken as they come", self.source),
                "leave --every, --start, --stop, --prompt-frame and --direction away; --max-frames ends the run",
            ));
        }
        Ok(Asked {
            wanted: self.decoding.wanted(),
            is_live: self.is_live(),
            reconnect: self.reconnect,
        })
    }

    fn is_live(&self) -> bool {
        self.live || self.source.is_live()
    }

    fn is_forward(&self) -> bool {
        let chosen = (self.every, self.start, self.stop, self.prompt_frame);
        chosen == (1, 0, None, None) && self.direction == Directions::Forward
    }

    fn targets(&self) -> anyhow::Result<Targets> {
        Ok(Targets {
            output: self.output.clone(),
            overlay: self.overlay.as_deref().map(Overlay::of).transpose()?,
            dump: self.dump_tensors.clone(),
            formats: formats::each_once(&self.format),
        })
    }

    /// The overlay's video, if it is one.
    fn film(&self, targets: &Targets, source: &Source) -> anyhow::Result<Option<Film>> {
        let Some(Overlay::Video(path, kind)) = &targets.overlay else {
            return Ok(None);
        };
        if self.direction != Directions::Forward {
            return Err(Failure::usage(
                format!(
                    "--overlay {}: frames come in another order than they are shown in",
                    path.display()
                ),
                "name a folder, and let ffmpeg make a video of it: ffmpeg -i DIR/%05d.png out.mp4",
            ));
        }
        let wanted = self.decoding.wanted();
        let rate = wanted.rate.or(source.rate());
        Film::new(path, *kind, wanted.decoder, rate, self.every).map(Some)
    }

    fn video(&self, frames: &Frames, walks: &[schedule::Walk]) -> VideoOptions {
        let options = VideoOptions::new().memory(match self.memory_dtype {
            MemoryFlag::F32 => MemoryDtype::F32,
            MemoryFlag::Bf16 => MemoryDtype::Bf16,
        });
        let options = options.emission(match self.at_once || self.is_live() && !self.hold {
            true => Emission::AtOnce,
            false => Emission::Final,
        });
        let options = options.retention(match walks {
            [_, back] => Retention::ThenBackwardFrom(back.from),
            _ => Retention::ThisWalk,
        });
        match frames.len() {
            Some(len) => options.frames(len),
            None => options,
        }
    }
}
