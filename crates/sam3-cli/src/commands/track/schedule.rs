//! Which frames of a source are gone through, in which order, and what is shown on which.

use std::collections::BTreeMap;

use clap::ValueEnum;
use sam3_model::tracking::Direction;

use crate::{
    commands::objects::{ObjectFlags, VideoObjectsFlags},
    failure::Failure,
};

/// What `--direction` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Directions {
    /// From the first prompt to the end
    Forward,
    /// From the last prompt to the beginning
    Backward,
    /// Forward, and then backward from the frame before the first prompt
    Both,
}

/// The frames that are chosen from a source. A session knows them by their places, from 0.
#[derive(Clone, Copy, Debug)]
pub struct Frames {
    pub start: usize,
    pub every: usize,
    /// The frame to end before.
    pub stop: Option<usize>,
    /// Frames of the source, where that is known.
    pub count: Option<usize>,
}

/// One object's flags on one frame, with the object's place.
pub type Shown = (usize, ObjectFlags);

/// One walk: from a place on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    pub from: usize,
    pub direction: Direction,
}

impl Frames {
    /// The source's number of the frame at a place.
    pub fn number(&self, place: usize) -> usize {
        // No video has a frame of the largest number.
        self.start.saturating_add(place.saturating_mul(self.every))
    }

    /// Whether there may be a frame at a place.
    pub fn has(&self, place: usize) -> bool {
        let number = self.number(place);
        self.end().is_none_or(|end| number < end)
    }

    /// How many are chosen, where that is known.
    pub fn len(&self) -> Option<usize> {
        // What is told to end may end earlier.
        let count = self.count?;
        let end = self.stop.map_or(count, |stop| stop.min(count));
        Some(end.saturating_sub(self.start).div_ceil(self.every))
    }

    fn end(&self) -> Option<usize> {
        [self.stop, self.count].into_iter().flatten().min()
    }

    /// The place of a frame that a flag names by its number.
    ///
    /// # Errors
    /// When the frame is not among the chosen ones.
    pub fn place(&self, flag: &str, number: usize) -> anyhow::Result<usize> {
        if let Some(count) = self.count.filter(|count| number >= *count) {
            return Err(Failure::usage(
                format!("{flag}: there is no frame {number}: the video has {count} frames"),
                format!("its frames are 0 to {}", count.saturating_sub(1)),
            ));
        }
        let is_between = number >= self.start && self.stop.is_none_or(|stop| number < stop);
        let behind = number.saturating_sub(self.start);
        if !is_between || !behind.is_multiple_of(self.every) {
            let nearest = self.number(behind / self.every);
            return Err(Failure::usage(
                format!("{flag}: frame {number} is left out by --start, --stop or --every"),
                match is_between {
                    true => format!("the nearest before it that is looked at is frame {nearest}"),
                    false => "name a frame between --start and --stop".to_owned(),
                },
            ));
        }
        Ok(behind / self.every)
    }

    /// The place of the frame that a direction begins with, where nothing names another.
    ///
    /// # Errors
    /// When that is the last, and it is not known.
    fn first(&self, directions: Directions) -> anyhow::Result<usize> {
        match directions {
            Directions::Forward | Directions::Both => Ok(0),
            Directions::Backward => self.len().and_then(|len| len.checked_sub(1)).ok_or_else(no_way_back),
        }
    }

    /// What is shown on each frame, by its place. What names no frame is on the first that there is in the direction.
    ///
    /// # Errors
    /// When a frame is not among the chosen ones, or is told both ways to have two boxes or masks of an object; when
    /// the last frame has to be known, and is not.
    pub fn shown(
        &self,
        objects: &VideoObjectsFlags,
        directions: Directions,
    ) -> anyhow::Result<BTreeMap<usize, Vec<Shown>>> {
        let mut shown: BTreeMap<usize, Vec<Shown>> = BTreeMap::new();
        for (object, frames) in objects.0.iter().enumerate() {
            for (frame, flags) in frames {
                let place = match frame {
                    Some(frame) => self.place(&format!("@{frame}"), *frame)?,
                    None => self.first(directions)?,
                };
                let on_frame = shown.entry(place).or_default();
                match on_frame.iter_mut().find(|(own, _)| *own == object) {
                    Some((_, own)) => join(own, flags, object, self.number(place))?,
                    None => on_frame.push((object, flags.clone())),
                }
            }
        }
        Ok(shown)
    }

    /// The walks that prompts from the place `first` to `last` ask for; without one, those of a text on the first frame
    /// that there is in the direction.
    ///
    /// # Errors
    /// When the last frame has to be known, and is not.
    pub fn walks(&self, directions: Directions, prompted: Option<(usize, usize)>) -> anyhow::Result<Vec<Walk>> {
        let walk = |from, direction| Walk { from, direction };
        let (first, last) = match prompted {
            Some(prompted) => prompted,
            None => {
                let first = self.first(directions)?;
                (first, first)
            }
        };
        Ok(match directions {
            Directions::Forward => vec![walk(first, Direction::Forward)],
            Directions::Backward => vec![walk(last, Direction::Backward)],
            Directions::Both => {
                let back = first.checked_sub(1).map(|from| walk(from, Direction::Backward));
                [Some(walk(first, Direction::Forward)), back]
                    .into_iter()
                    .flatten()
                    .collect()
            }
        })
    }
}

/// The error for a stream that should go backward.
pub fn no_way_back() -> anyhow::Error {
    Failure::usage(
        "--direction: a stream only goes forward",
        "write the video into a file, X.y4m, or its frames into a folder, and name that by --source",
    )
}

fn join(own: &mut ObjectFlags, more: &ObjectFlags, object: usize, frame: usize) -> anyhow::Result<()> {
    let twice = |flag: &str| {
        Failure::usage(
            format!("{flag}: object {} has one already on frame {frame}", object + 1),
            "--object begins the next object",
        )
    };
    own.points.extend(&more.points);
    match (own.bounding_box, more.bounding_box) {
        (Some(_), Some(_)) => return Err(twice("--box")),
        (None, more) => own.bounding_box = more,
        _ => {}
    }
    match (&own.mask, &more.mask) {
        (Some(_), Some(_)) => return Err(twice("--mask")),
        (None, more) => own.mask = more.clone(),
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(start: usize, every: usize, stop: Option<usize>, count: Option<usize>) -> Frames {
        Frames {
            start,
            every,
            stop,
            count,
        }
    }

    #[test]
    fn chosen_frames_have_places() {
        let some = frames(4, 3, Some(15), Some(24));
        assert_eq!((some.len(), some.number(3)), (Some(4), 13));
        assert_eq!([3, 4].map(|place| some.has(place)), [true, false]);
        assert_eq!(some.place("@10", 10).unwrap(), 2);
        for (number, words) in [
            (
                11,
                [
                    "frame 11 is left out",
                    "nearest before it that is looked at is frame 10",
                ],
            ),
            (3, ["frame 3 is left out", "between --start and --stop"]),
            (16, ["frame 16 is left out", "between --start and --stop"]),
            (24, ["no frame 24: the video has 24 frames", "0 to 23"]),
        ] {
            let error = some.place("@", number).unwrap_err();
            let hint = crate::failure::hint(&error).unwrap();
            assert!(
                error.to_string().contains(words[0]) && hint.contains(words[1]),
                "{error} {hint}"
            );
        }
        assert_eq!(frames(30, 1, None, Some(24)).len(), Some(0));
        assert_eq!(frames(0, 1, Some(99), Some(24)).len(), Some(24));
        let stream = frames(0, 2, Some(5), None);
        assert_eq!((stream.len(), stream.has(2), stream.has(3)), (None, true, false));
        assert_eq!(stream.place("@", 4).unwrap(), 2);
    }

    #[test]
    fn walks_begin_at_prompts() {
        use Direction::{Backward, Forward};
        let all = frames(0, 1, None, Some(24));
        let walks = |directions, prompted| {
            let walks = all.walks(directions, prompted).unwrap();
            walks
                .into_iter()
                .map(|walk| (walk.from, walk.direction))
                .collect::<Vec<_>>()
        };
        assert_eq!(walks(Directions::Forward, Some((3, 9))), [(3, Forward)]);
        assert_eq!(walks(Directions::Backward, Some((3, 9))), [(9, Backward)]);
        assert_eq!(walks(Directions::Both, Some((3, 9))), [(3, Forward), (2, Backward)]);
        assert_eq!(walks(Directions::Both, Some((0, 9))), [(0, Forward)]);
        assert_eq!(walks(Directions::Backward, None), [(23, Backward)]);
        assert_eq!(walks(Directions::Forward, None), [(0, Forward)]);
        assert!(frames(0, 1, None, None).walks(Directions::Backward, None).is_err());
    }
}
