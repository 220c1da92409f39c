//! `--tiles` and `--overlap`: large pictures, tile by tile.

use sam3_model::{Tiles, Tiling};

/// How pictures are cut into tiles.
#[derive(Clone, Debug, clap::Args)]
pub struct TileFlags {
    /// Look for small things tile by tile as well: auto for tiles of --image-size pixels, columns by rows such as 4x3,
    /// or the pixels in a side of a tile
    #[arg(long, value_name = "auto|COLSxROWS|SIZE", allow_hyphen_values = true)]
    tiles: Option<Tiles>,
    /// The least share of a tile's side that it has in common with the next: what is smaller is whole in one of them
    #[arg(long, value_name = "SHARE", requires = "tiles", default_value_t = Tiling::OVERLAP, value_parser = parse_overlap,
        allow_hyphen_values = true)]
    overlap: f32,
}

impl TileFlags {
    /// None without `--tiles`.
    pub fn tiling(&self) -> Option<Tiling> {
        self.tiles.map(|tiles| Tiling::new(tiles).overlap(self.overlap))
    }
}

fn parse_overlap(text: &str) -> Result<f32, String> {
    let value = text
        .parse()
        .ok()
        .filter(|value| (0.0..=Tiling::MOST_OVERLAP).contains(value));
    value.ok_or_else(|| {
        format!(
            "expected a share of a tile's side from 0 to {}, such as 0.2; found {text:?}",
            Tiling::MOST_OVERLAP
        )
    })
}
