//! How flags spell what is clicked: `--point x,y[,0|1]`, `--box x1,y1,x2,y2` and `--mask FILE`, any number of them in
//! any order, are of one object until `--object` begins the next. In a video each of them may name its frame, `@FRAME`.

use std::path::PathBuf;

use clap::{
    Arg, ArgAction, ArgMatches, Command, FromArgMatches,
    builder::{PathBufValueParser, TypedValueParser},
};

use crate::failure::Failure;

/// What shows one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObjectFlags {
    /// `x, y` in pixels, and whether it is of the object.
    pub points: Vec<([f32; 2], bool)>,
    /// `x1, y1, x2, y2` in pixels.
    pub bounding_box: Option<[f32; 4]>,
    /// A mask's file.
    pub mask: Option<PathBuf>,
}

/// The objects of a command line of one picture, in its order; none where something is wrong with them.
#[derive(Clone, Debug, Default)]
pub struct ObjectsFlags(pub Vec<ObjectFlags>, Option<Wrong>);

/// The objects of a command line of a video, in its order; none where something is wrong with them.
#[derive(Clone, Debug, Default)]
pub struct VideoObjectsFlags(pub Vec<ShownOn>, Option<Wrong>);

/// What is wrong with the flags of all objects together, and what to do: clap would tell how `sam3` is used beside it.
#[derive(Clone, Debug)]
struct Wrong {
    message: String,
    hint: &'static str,
}

impl ObjectsFlags {
    /// That nothing is wrong with them.
    pub fn check(&self) -> anyhow::Result<()> {
        self.1.as_ref().map_or(Ok(()), Wrong::refuse)
    }
}

impl VideoObjectsFlags {
    /// That nothing is wrong with them.
    pub fn check(&self) -> anyhow::Result<()> {
        self.1.as_ref().map_or(Ok(()), Wrong::refuse)
    }
}

impl Wrong {
    fn refuse(&self) -> anyhow::Result<()> {
        Err(Failure::usage(&self.message, self.hint))
    }
}

/// The frames that an object is shown on, in the order of the command line. One without a number is the first.
pub type ShownOn = Vec<(Option<usize>, ObjectFlags)>;

/// One flag.
enum Shown {
    Point(([f32; 2], bool)),
    Box([f32; 4]),
    Mask(PathBuf),
    Object,
}

/// What a flag shows, and on which frame.
#[derive(Clone)]
struct On<T> {
    shown: T,
    frame: Option<usize>,
}

impl clap::Args for ObjectsFlags {
    fn augment_args(command: Command) -> Command {
        augment(
            command,
            ["x,y[,0|1]", "x1,y1,x2,y2", "FILE"],
            [
                "A point of the object in pixels, or with 0 one that is not of it; may be repeated",
                "A box around the object, in pixels",
                "What is known of the object: a picture of the image's size, 128 and above inside, or saved logits",
            ],
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ObjectsFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let of_the_picture = |frames: ShownOn| match &frames[..] {
            [(None, shown)] => Ok(shown.clone()),
            frames => {
                let frame = frames.iter().find_map(|(frame, _)| *frame).unwrap_or_default();
                Err(Wrong {
                    message: format!("@{frame} names a frame, and an image is one picture"),
                    hint: "leave it away, or follow the object through a video by `sam3 track`",
                })
            }
        };
        let objects = objects(matches).and_then(|objects| objects.into_iter().map(of_the_picture).collect());
        Ok(match objects {
            Ok(objects) => Self(objects, None),
            Err(wrong) => Self(Vec::new(), Some(wrong)),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for VideoObjectsFlags {
    fn augment_args(command: Command) -> Command {
        augment(
            command,
            ["x,y[,0|1][@FRAME]", "x1,y1,x2,y2[@FRAME]", "FILE[@FRAME]"],
            [
                "A point of an object in pixels, or with 0 one that is not of it; without @FRAME on the first frame, with \
                 --direction backward on the last; may be repeated",
                "A box around the object, in pixels",
                "The object's mask: a picture of the frame's size, 128 and above inside, or saved logits",
            ],
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for VideoObjectsFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(match objects(matches) {
            Ok(objects) => Self(objects, None),
            Err(wrong) => Self(Vec::new(), Some(wrong)),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// `values` and `helps` are those of a point, a box and a mask.
fn augment(command: Command, values: [&'static str; 3], helps: [&'static str; 3]) -> Command {
    let repeated = |name: &'static str| Arg::new(name).long(name).action(ArgAction::Append);
    command.args([
        repeated("point")
            .value_name(values[0])
            .help(helps[0])
            .allow_hyphen_values(true)
            .value_parser(|text: &str| numbers_on_frame(text, parse_point)),
        repeated("box")
            .value_name(values[1])
            .help(helps[1])
            .allow_hyphen_values(true)
            .value_parser(|text: &str| numbers_on_frame(text, parse_box)),
        repeated("mask")
            .value_name(values[2])
            .help(helps[2])
            .value_parser(PathBufValueParser::new().try_map(mask_on_frame)),
        repeated("object")
            .help("Begin the next object: the points, box and mask before it are of the one before")
            .num_args(0)
            .value_parser(|_: &str| Ok::<_, String>(On { shown: (), frame: None }))
            .default_missing_value("true"),
    ])
}

/// The same as [`on_frame`], of a value that is no name: behind the sign there is a frame.
fn numbers_on_frame<T>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<On<T>, String> {
    match text.rsplit_once('@') {
        Some((_, frame)) if frame.is_empty() || !frame.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(format!("@{frame}: expected the number of a frame behind @, from 0 on"))
        }
        _ => on_frame(text, parse),
    }
}

/// What `parse` makes of a value, and the frame that it may end with.
fn on_frame<T>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<On<T>, String> {
    let (shown, frame) = match text.rsplit_once('@') {
        // The name of a mask may have such a sign in it.
        Some((shown, frame)) if frame.bytes().all(|byte| byte.is_ascii_digit()) && !frame.is_empty() => {
            let number = frame
                .parse()
                .map_err(|_| format!("@{frame}: no video has a frame of that number"))?;
            (shown, Some(number))
        }
        _ => (text, None),
    };
    Ok(On {
        shown: parse(shown)?,
        frame,
    })
}

fn mask_on_frame(path: PathBuf) -> Result<On<PathBuf>, String> {
    match path.to_str() {
        Some("-") => Err("expected a file: a mask is not read from stdin".to_owned()),
        Some(text) => on_frame(text, |text| Ok(PathBuf::from(text))),
        None => Ok(On {
            shown: path,
            frame: None,
        }),
    }
}

/// The objects of a command line: for each, the frames that it is shown on.
fn objects(matches: &ArgMatches) -> Result<Vec<ShownOn>, Wrong> {
    // The place of each flag on the command line.
    let mut shown: Vec<(usize, On<Shown>)> = Vec::new();
    shown.extend(placed(matches, "point", Shown::Point));
    shown.extend(placed(matches, "box", Shown::Box));
    shown.extend(placed(matches, "mask", Shown::Mask));
    shown.extend(placed(matches, "object", |()| Shown::Object));
    shown.sort_by_key(|(place, _)| *place);
    in_turn(shown.into_iter().map(|(_, shown)| shown))
}

fn placed<T: Clone + Send + Sync + 'static>(
    matches: &ArgMatches,
    name: &str,
    of: impl Fn(T) -> Shown,
) -> Vec<(usize, On<Shown>)> {
    let places = matches.indices_of(name).into_iter().flatten();
    let values = matches.get_many::<On<T>>(name).into_iter().flatten();
    let shown = |on: &On<T>| On {
        shown: of(on.shown.clone()),
        frame: on.frame,
    };
    places.zip(values.map(shown)).collect()
}

fn in_turn(shown: impl Iterator<Item = On<Shown>>) -> Result<Vec<ShownOn>, Wrong> {
    let mut objects: Vec<ShownOn> = vec![Vec::new()];
    for (place, On { shown, frame }) in shown.enumerate() {
        let count = objects.len();
        let frames = objects.last_mut().expect("there is one at first");
        if matches!(shown, Shown::Object) {
            // Before everything else it begins the first.
            if place > 0 {
                objects.push(Vec::new());
            }
            continue;
        }
        let known = frames.iter().position(|(own, _)| *own == frame);
        let known = known.unwrap_or_else(|| {
            frames.push((frame, ObjectFlags::default()));
            frames.len() - 1
        });
        add(&mut frames[known].1, shown).map_err(|flag| {
            let on = frame.map_or(String::new(), |frame| format!(" on frame {frame}"));
            Wrong {
                message: format!("{flag}: object {count} has one already{on}"),
                hint: "an object has one; --object before it begins the next object",
            }
        })?;
    }
    if objects == [Vec::new()] {
        return Ok(Vec::new());
    }
    match objects.iter().position(Vec::is_empty) {
        Some(empty) => Err(Wrong {
            message: format!("--object: object {} has no --point, --box or --mask", empty + 1),
            hint: "--object stands between two objects, each with what shows it",
        }),
        None => Ok(objects),
    }
}

/// The flag, where the object has as many of it as it may have.
fn add(object: &mut ObjectFlags, shown: Shown) -> Result<(), &'static str> {
    match shown {
        Shown::Point(point) => object.points.push(point),
        Shown::Box(_) if object.bounding_box.is_some() => return Err("--box"),
        Shown::Box(xyxy) => object.bounding_box = Some(xyxy),
        Shown::Mask(_) if object.mask.is_some() => return Err("--mask"),
        Shown::Mask(file) => object.mask = Some(file),
        Shown::Object => {}
    }
    Ok(())
}

/// `x,y` and perhaps `,0` or `,1`.
fn parse_point(text: &str) -> Result<([f32; 2], bool), String> {
    match numbers(text).as_deref() {
        Some([x, y]) => Ok(([*x, *y], true)),
        Some([x, y, label @ (0.0 | 1.0)]) => Ok(([*x, *y], *label == 1.0)),
        _ => Err(format!(
            "expected x,y in pixels of the image, and perhaps ,0 or ,1, found {text:?}"
        )),
    }
}

/// `x1,y1,x2,y2`.
fn parse_box(text: &str) -> Result<[f32; 4], String> {
    let Some(&[x1, y1, x2, y2]) = numbers(text).as_deref() else {
        return Err(format!("expected x1,y1,x2,y2 in pixels of the image, found {text:?}"));
    };
    if [x1, y1, x2, y2].iter().all(|side| (0.0..=1.0).contains(side)) {
        return Err(format!(
            "{text} lies within the first pixel: a box is x1,y1,x2,y2 in pixels, not in shares of the picture's sides"
        ));
    }
    Ok([x1, y1, x2, y2])
}

/// The numbers between commas, if all of them are finite.
fn numbers(text: &str) -> Option<Vec<f32>> {
    let number = |text: &str| text.trim().parse().ok().filter(|number: &f32| number.is_finite());
    text.split(',').map(number).collect()
}

#[cfg(test)]
mod tests {
    use clap::Args as _;

    use super::*;

    fn parse(line: &str) -> Result<Vec<ObjectFlags>, String> {
        let command = ObjectsFlags::augment_args(Command::new("click"));
        let matches = command.try_get_matches_from(line.split_whitespace());
        let objects = matches.and_then(|matches| ObjectsFlags::from_arg_matches(&matches));
        let objects = objects.map_err(|error| error.to_string())?;
        told(objects.1).map(|()| objects.0)
    }

    fn told(wrong: Option<Wrong>) -> Result<(), String> {
        wrong.map_or(Ok(()), |Wrong { message, hint }| Err(format!("{message}; {hint}")))
    }

    #[test]
    fn flags_are_of_one_object_until_the_next_begins() {
        let objects =
            parse("click --point 1,2 --box 3,4,50,60 --point 5.5,6,0 --object --mask a@2.png --point 7,8,1").unwrap();
        let expected = [
            ObjectFlags {
                points: vec![([1.0, 2.0], true), ([5.5, 6.0], false)],
                bounding_box: Some([3.0, 4.0, 50.0, 60.0]),
                mask: None,
            },
            ObjectFlags {
                points: vec![([7.0, 8.0], true)],
                bounding_box: None,
                mask: Some("a@2.png".into()),
            },
        ];
        assert_eq!(objects, expected);
        assert_eq!(
            parse("click --object --point 1,2 --object --point 3,4").unwrap().len(),
            2
        );
        assert_eq!(parse("click --point=-1,2").unwrap()[0].points, [([-1.0, 2.0], true)]);
        assert_eq!(parse("click"), Ok(vec![]));
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        for (line, expected) in [
            ("click --point 1", "expected x,y in pixels"),
            ("click --point 1,2,2", "expected x,y in pixels"),
            ("click --point 1,2,1,1", "expected x,y in pixels"),
            ("click --point 1,nan", "expected x,y in pixels"),
            ("click --point ,", "expected x,y in pixels"),
            (
                "click --point 1e308,5",
                "expected x,y in pixels of the image, and perhaps ,0 or ,1, found \"1e308,5\"",
            ),
            ("click --mask -", "expected a file: a mask is not read from stdin"),
            ("click --point 1,2@x", "@x: expected the number of a frame"),
            ("click --point 1,2@", "@: expected the number of a frame"),
            ("click --point 1,2@3", "@3 names a frame"),
            ("click --point 1,2 --mask a.png@0", "`sam3 track`"),
            ("click --box 1,2,3", "expected x1,y1,x2,y2 in pixels"),
            ("click --box 1,2,3,4,1", "expected x1,y1,x2,y2 in pixels"),
            ("click --box 0.1,0.2,0.3,0.4", "not in shares"),
            (
                "click --box 1,2,3,4 --point 1,2 --box 5,6,7,8",
                "object 1 has one already",
            ),
            (
                "click --point 1,2 --object --mask a --mask b",
                "object 2 has one already",
            ),
            ("click --point 1,2 --object", "object 2 has no --point"),
            (
                "click --point 1,2 --object --object --point 1,2",
                "object 2 has no --point",
            ),
            ("click --object --object --point 1,2", "object 1 has no --point"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }

    fn parse_video(line: &str) -> Result<Vec<ShownOn>, String> {
        let command = VideoObjectsFlags::augment_args(Command::new("track"));
        let matches = command.try_get_matches_from(line.split_whitespace());
        let objects = matches.and_then(|matches| VideoObjectsFlags::from_arg_matches(&matches));
        let objects = objects.map_err(|error| error.to_string())?;
        told(objects.1).map(|()| objects.0)
    }

    #[test]
    fn in_a_video_flags_are_of_a_frame() {
        let objects = parse_video(
            "track --point 1,2 --point 3,4,0@7 --box 1,2,30,40 --point 5,6@7 --object --mask a@2.png@12 --mask b@0",
        );
        let points = |points: &[([f32; 2], bool)]| ObjectFlags {
            points: points.to_vec(),
            ..ObjectFlags::default()
        };
        let mask = |file: &str| ObjectFlags {
            mask: Some(file.into()),
            ..ObjectFlags::default()
        };
        let first = ObjectFlags {
            bounding_box: Some([1.0, 2.0, 30.0, 40.0]),
            ..points(&[([1.0, 2.0], true)])
        };
        let expected = vec![
            vec![
                (None, first),
                (Some(7), points(&[([3.0, 4.0], false), ([5.0, 6.0], true)])),
            ],
            vec![(Some(12), mask("a@2.png")), (Some(0), mask("b"))],
        ];
        assert_eq!(objects, Ok(expected));
        assert_eq!(parse_video("track"), Ok(vec![]));
        for (line, expected) in [
            (
                "track --box 1,2,3,4@5 --box 1,2,3,4@6 --box 1,2,3,4@5",
                "--box: object 1 has one already on frame 5",
            ),
            (
                "track --mask a --mask b",
                "--mask: object 1 has one already; an object has one; --object",
            ),
            ("track --point 1,2@99999999999999999999999", "no video has a frame"),
            (
                "track --point 1,2@-1",
                "@-1: expected the number of a frame behind @, from 0 on",
            ),
            ("track --box 1,2,3,4@1.5", "@1.5: expected the number of a frame"),
            ("track --point @3", "expected x,y in pixels"),
            ("track --point 1,2@0 --object", "object 2 has no --point"),
        ] {
            let error = parse_video(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
