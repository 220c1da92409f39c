//! `--everything`: a grid of points in place of clicks.

use sam3_model::{Encoded, Everything, Result, Segment, Segmenter};

use crate::{output::Spinner, signals};

/// What is clicked and what is kept.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Find everything: click a grid of points, and keep the good masks that are unlike each other
    #[arg(long, conflicts_with = "object")]
    everything: bool,
    /// Points in a row of the grid, and rows
    #[arg(long, value_name = "N", default_value_t = Everything::default().grid)]
    #[arg(value_parser = parse_grid, requires = "everything")]
    grid: usize,
    /// Keep masks whose predicted IoU is above this
    #[arg(long, value_name = "IOU", default_value_t = Everything::default().min_iou)]
    #[arg(value_parser = parse_share, requires = "everything")]
    min_iou: f32,
    /// Keep masks of which at least this share is certain
    #[arg(long, value_name = "SHARE", default_value_t = Everything::default().min_stability)]
    #[arg(value_parser = parse_share, requires = "everything")]
    min_stability: f32,
    /// Of masks that have more than this in common, keep the best
    #[arg(long, value_name = "IOU", default_value_t = Everything::default().most_overlap)]
    #[arg(value_parser = parse_share, requires = "everything")]
    most_overlap: f32,
    /// Fill holes and remove islands of fewer pixels
    #[arg(long, value_name = "PIXELS", default_value_t = Everything::default().min_region, requires = "everything")]
    min_region: usize,
}

/// More points than this would be nearer to each other than the model's own pixels.
const MOST_POINTS: usize = 256;

fn parse_grid(text: &str) -> std::result::Result<usize, String> {
    let grid = text.parse().ok().filter(|grid| (1..=MOST_POINTS).contains(grid));
    grid.ok_or_else(|| format!("expected a number from 1 to {MOST_POINTS}, found {text:?}"))
}

fn parse_share(text: &str) -> std::result::Result<f32, String> {
    let share = text.parse::<f32>().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("expected a number from 0 to 1, found {text:?}"))
}

impl Flags {
    /// Whether clicks are made here.
    pub fn is_asked_for(&self) -> bool {
        self.everything
    }

    /// Clicks the grid, and says how far it is; Ctrl-C ends it behind a row of points.
    pub fn find(&self, model: &Segmenter, encoded: &Encoded, spinner: &Spinner) -> Result<Vec<Segment>> {
        let mut everything = Everything::default();
        everything.grid = self.grid;
        everything.min_iou = self.min_iou;
        everything.min_stability = self.min_stability;
        everything.most_overlap = self.most_overlap;
        everything.min_region = self.min_region;
        model.everything_watched(encoded, &everything, &mut |progress| {
            spinner.say(format!("{} {}/{}", progress.stage, progress.done, progress.of));
            signals::go_on()
        })
    }
}
