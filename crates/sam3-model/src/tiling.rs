//! Large pictures by tiles: where the tiles of a picture lie, and what of theirs is one thing.

mod merge;

use std::{fmt, str::FromStr};

pub(crate) use merge::{Blur, Seen, merge};

use crate::error::{Error, Result};

/// How a picture is cut into tiles, which are looked at beside the whole picture.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Tiling {
    /// How many there are, or how large.
    pub tiles: Tiles,
    /// The least share of a tile's side that it has in common with the next, from 0 to [`Tiling::MOST_OVERLAP`]. What
    /// is smaller than that is whole in one of the two.
    pub overlap: f32,
    /// How many tiles are encoded at once, for which there has to be memory.
    pub batch: usize,
}

/// How many tiles there are, or how large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tiles {
    /// As large as what the model sees, so that none is resized. A picture that is at most a quarter longer has none.
    #[default]
    Auto,
    /// So many side by side, and so many below each other.
    Grid {
        /// Side by side.
        columns: u32,
        /// Below each other.
        rows: u32,
    },
    /// Squares of so many pixels of the picture a side.
    Size(u32),
}

/// A part of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// `x1, y1, x2, y2` in pixels, the last two just past it.
    pub xyxy: [u32; 4],
    /// The sides on which the picture goes on: left, top, right, bottom.
    pub inner: [bool; 4],
}

impl Tiling {
    /// The share that SAHI and others overlap tiles by.
    pub const OVERLAP: f32 = 0.2;
    /// From here on, tiles are more of the same.
    pub const MOST_OVERLAP: f32 = 0.75;
    /// The most tiles that a picture is cut into.
    pub const MOST_TILES: u64 = 4096;
    /// The least pixels in a side of a tile.
    pub const LEAST_SIDE: u32 = 16;
    /// How much longer than what the model sees a picture is before [`Tiles::Auto`] cuts it.
    const AUTO_FROM: f64 = 1.25;

    /// Tiles with the usual [`overlap`](Self::OVERLAP).
    pub fn new(tiles: Tiles) -> Self {
        Self {
            tiles,
            overlap: Self::OVERLAP,
            batch: 1,
        }
    }

    /// So many encoded at once.
    pub fn batch(mut self, batch: usize) -> Self {
        self.batch = batch;
        self
    }

    /// With another overlap.
    pub fn overlap(mut self, overlap: f32) -> Self {
        self.overlap = overlap;
        self
    }

    /// How many tiles a picture of `width` × `height` pixels has, side by side and below each other, for a model that
    /// sees `image_size` pixels a side. 0 by 0 where the whole picture is enough.
    ///
    /// # Errors
    /// Where the tiles cannot be: none or too many, smaller than [`Tiling::LEAST_SIDE`], or with too much in common.
    pub fn grid(&self, (width, height): (u32, u32), image_size: usize) -> Result<[u32; 2]> {
        let [across, down] = self.axes((width, height), image_size)?;
        Ok([across.count, down.count])
    }

    /// The tiles, row by row.
    ///
    /// # Errors
    /// As [`grid`](Self::grid).
    pub(crate) fn windows(&self, extents: (u32, u32), image_size: usize) -> Result<Vec<Window>> {
        let [across, down] = self.axes(extents, image_size)?;
        let window = |row: u32, column: u32| {
            let ([x1, x2], [y1, y2]) = (across.span(column), down.span(row));
            Window {
                xyxy: [x1, y1, x2, y2],
                inner: [x1 > 0, y1 > 0, x2 < extents.0, y2 < extents.1],
            }
        };
        let rows = (0..down.count).flat_map(|row| (0..across.count).map(move |column| (row, column)));
        Ok(rows.map(|(row, column)| window(row, column)).collect())
    }

    fn axes(&self, (width, height): (u32, u32), image_size: usize) -> Result<[Axis; 2]> {
        if !(0.0..=Self::MOST_OVERLAP).contains(&self.overlap) {
            return Err(Error::Tiling(TilingError::Overlap { found: self.overlap }));
        }
        let image_size = u32::try_from(image_size).unwrap_or(u32::MAX);
        let axes = match self.tiles {
            Tiles::Auto if f64::from(width.max(height)) <= Self::AUTO_FROM * f64::from(image_size) => {
                return Ok([Axis::NONE; 2]);
            }
            Tiles::Auto => [width, height].map(|extent| Axis::of_side(extent, image_size, self.overlap)),
            Tiles::Size(side) => [width, height].map(|extent| Axis::of_side(extent, side.max(1), self.overlap)),
            Tiles::Grid { columns, rows } => [
                Axis::of_count(width, columns, self.overlap),
                Axis::of_count(height, rows, self.overlap),
            ],
        };
        let [across, down] = &axes;
        let tiles = u64::from(across.count) * u64::from(down.count);
        let side = across.side.min(down.side);
        // A picture that is thinner than that has no larger ones.
        let least = Self::LEAST_SIDE.min(width).min(height);
        if tiles == 0 || tiles > Self::MOST_TILES || side < least {
            let (picture, tile) = ([width, height], [across.side, down.side]);
            return Err(Error::Tiling(TilingError::Tiles { tiles, picture, tile }));
        }
        // A tile that is the whole picture shows nothing more.
        Ok(if tiles == 1 { [Axis::NONE; 2] } else { axes })
    }
}

/// The tiles along one side of a picture.
#[derive(Clone, Copy)]
struct Axis {
    extent: u32,
    /// Of a tile, in pixels.
    side: u32,
    count: u32,
}

impl Axis {
    const NONE: Self = Self {
        extent: 0,
        side: 0,
        count: 0,
    };

    /// As many tiles of `side` pixels as it takes.
    fn of_side(extent: u32, side: u32, overlap: f32) -> Self {
        let side = side.min(extent);
        let step = (f64::from(side) * (1.0 - f64::from(overlap))).floor().max(1.0);
        let count = (f64::from(extent - side) / step).ceil() as u32 + 1;
        Self { extent, side, count }
    }

    /// As large as `count` tiles have to be.
    fn of_count(extent: u32, count: u32, overlap: f32) -> Self {
        let sides = f64::from(count) - f64::from(overlap) * f64::from(count.saturating_sub(1));
        let side = (f64::from(extent) / sides).ceil().min(f64::from(extent)) as u32;
        Self { extent, side, count }
    }

    /// Where a tile begins and ends: all are equally far apart.
    fn span(&self, index: u32) -> [u32; 2] {
        let room = u64::from(self.extent - self.side) * u64::from(index);
        let start = (room / u64::from((self.count - 1).max(1))) as u32;
        [start, start + self.side]
    }
}

/// As it is asked for: `auto`, columns by rows such as `4x3`, or pixels such as `1008`.
impl FromStr for Tiles {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let number = |text: &str| text.parse::<u32>().ok().filter(|&number| number > 0);
        let tiles = match text.split_once(['x', 'X', '×']) {
            _ if text.eq_ignore_ascii_case("auto") => Some(Self::Auto),
            Some((columns, rows)) => number(columns)
                .zip(number(rows))
                .map(|(columns, rows)| Self::Grid { columns, rows }),
            None => number(text).map(Self::Size),
        };
        tiles.ok_or_else(|| {
            format!(
                "expected auto, columns by rows such as 4x3, or the pixels in a side of a tile such as 1008; \
                 found {text:?}"
            )
        })
    }
}

impl fmt::Display for Tiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Grid { columns, rows } => write!(f, "{columns}x{rows}"),
            Self::Size(side) => write!(f, "{side}"),
        }
    }
}

/// Why a picture cannot be cut into tiles.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TilingError {
    /// The tiles have too much in common, or the share is none.
    #[error(
        "overlap: expected a share of a tile's side from 0 to {}, found {found}",
        Tiling::MOST_OVERLAP
    )]
    Overlap {
        /// As it was asked for.
        found: f32,
    },
    /// They are too many or too small.
    #[error(
        "a picture of {} x {} pixels in tiles of {} x {}: expected at most {} tiles of at least {} pixels a side, \
         found {tiles}",
        picture[0], picture[1], tile[0], tile[1], Tiling::MOST_TILES, Tiling::LEAST_SIDE
    )]
    Tiles {
        /// How many there would be.
        tiles: u64,
        /// Width and height.
        picture: [u32; 2],
        /// Width and height of each.
        tile: [u32; 2],
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(tiling: &Tiling, extents: (u32, u32), image_size: usize) -> Vec<[u32; 4]> {
        let windows = tiling.windows(extents, image_size).unwrap();
        windows.iter().map(|window| window.xyxy).collect()
    }

    #[test]
    fn tiles_cover_the_picture_and_overlap() {
        for (extents, tiles) in [
            ((3840, 2160), Tiles::Auto),
            ((3840, 2160), Tiles::Size(700)),
            ((3841, 2159), Tiles::Grid { columns: 5, rows: 3 }),
            ((5000, 300), Tiles::Size(1008)),
            ((40, 3000), Tiles::Auto),
            ((1300, 20), Tiles::Grid { columns: 3, rows: 1 }),
        ] {
            for overlap in [0.0, 0.2, 0.5, 0.75] {
                let tiling = Tiling::new(tiles).overlap(overlap);
                let all = tiling.windows(extents, 1008).unwrap();
                let [columns, rows] = tiling.grid(extents, 1008).unwrap();
                assert_eq!(all.len() as u32, columns * rows);
                let side = [all[0].xyxy[2], all[0].xyxy[3]];
                for (index, window) in (0..).zip(&all) {
                    let [x1, y1, x2, y2] = window.xyxy;
                    let place = format!("{extents:?} {tiles} {overlap}: {window:?}");
                    assert_eq!([x2 - x1, y2 - y1], side, "{place}");
                    assert!(x2 <= extents.0 && y2 <= extents.1, "{place}");
                    assert_eq!(window.inner, [x1 > 0, y1 > 0, x2 < extents.0, y2 < extents.1]);
                    let (column, row) = (index % columns, index / columns);
                    assert_eq!(
                        (column == columns - 1, row == rows - 1),
                        (x2 == extents.0, y2 == extents.1)
                    );
                    if column > 0 {
                        let before = all[index as usize - 1].xyxy;
                        let least = (f64::from(overlap) * f64::from(side[0])).floor() as u32;
                        assert!(before[2] - x1 + 1 >= least, "{place} after {before:?}: {least}");
                    }
                }
            }
        }
    }

    #[test]
    fn auto_leaves_pictures_alone_that_the_model_sees_nearly_as_they_are() {
        let auto = Tiling::new(Tiles::Auto);
        assert_eq!(auto.grid((1260, 945), 1008).unwrap(), [0, 0]);
        assert_eq!(auto.windows((1260, 945), 1008).unwrap(), []);
        assert_eq!(auto.grid((1280, 960), 1008).unwrap(), [2, 1]);
        assert_eq!(
            spans(&auto, (1280, 960), 1008),
            [[0, 0, 1008, 960], [272, 0, 1280, 960]]
        );
        assert_eq!(auto.grid((3840, 2160), 1008).unwrap(), [5, 3]);
        for whole in [Tiles::Size(5000), Tiles::Grid { columns: 1, rows: 1 }] {
            assert_eq!(Tiling::new(whole).grid((3840, 2160), 1008).unwrap(), [0, 0]);
        }
    }

    #[test]
    fn what_is_asked_for_is_read_and_written() {
        for (text, tiles) in [
            ("auto", Tiles::Auto),
            ("4x3", Tiles::Grid { columns: 4, rows: 3 }),
            ("1008", Tiles::Size(1008)),
        ] {
            assert_eq!(text.parse(), Ok(tiles));
            assert_eq!(tiles.to_string(), text);
        }
        for text in [
            "",
            "x",
            "0",
            "4x0",
            "-3",
            "4x3x2",
            "4 x 3",
            "99999999999",
            "autos",
            "1e3",
        ] {
            let error = text.parse::<Tiles>().unwrap_err();
            assert!(error.contains("4x3") && error.contains(text), "{error}");
        }
    }

    #[test]
    fn too_many_too_small_or_too_alike() {
        let tiles = |tiles| Tiling::new(tiles);
        let error = |tiling: Tiling| tiling.windows((3840, 2160), 1008).unwrap_err().to_string();
        let found = error(tiles(Tiles::Size(20)));
        assert!(found.contains("3840 x 2160") && found.contains("20 x 20"), "{found}");
        assert!(error(tiles(Tiles::Size(4))).contains("at least 16"));
        assert!(error(tiles(Tiles::Grid { columns: 1000, rows: 1 })).contains("at least 16"));
        assert!(error(tiles(Tiles::Grid { columns: 0, rows: 1 })).contains("found 0"));
        for overlap in [-0.1, 0.8, f32::NAN, f32::INFINITY] {
            assert!(error(tiles(Tiles::Auto).overlap(overlap)).contains("from 0 to 0.75"));
        }
        assert!(
            tiles(Tiles::Size(16)).windows((10, 300), 1008).is_ok(),
            "a picture thinner than a tile"
        );
    }
}
