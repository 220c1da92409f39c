//! Where the results of pictures go, and which are wanted beside the JSON and the overlay.

use std::path::PathBuf;

/// Of every command that writes what it found in pictures.
#[derive(Debug, clap::Args)]
pub struct ResultsFlags {
    /// Folder for STEM_overlay.png, STEM.json and the rest, made if it is not there
    #[arg(long, short, value_name = "DIR", default_value = "sam3-output")]
    pub output: PathBuf,
    /// Also write each mask as STEM_masks/*.png
    #[arg(long)]
    pub masks: bool,
    /// Also write all masks as one 16-bit PNG, STEM_ids.png: 0 is background, others are the JSON's ids
    #[arg(long)]
    pub id_map: bool,
    /// Also give each mask's outlines in the JSON
    #[arg(long)]
    pub polygons: bool,
    /// Replace files that sam3 did not write
    #[arg(long)]
    pub force: bool,
}
