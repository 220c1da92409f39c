//! How flags spell what is clicked: `--point x,y[,0|1]`, `--box x1,y1,x2,y2` and `--mask FILE`, any number of them in
//! any order, are of one object until `--object` begins the next.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches, error::ErrorKind, value_parser};

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

/// The objects of a command line, in its order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObjectsFlags(pub Vec<ObjectFlags>);

/// One flag.
enum Shown {
    Point(([f32; 2], bool)),
    Box([f32; 4]),
    Mask(PathBuf),
    Object,
}

impl clap::Args for ObjectsFlags {
    fn augment_args(command: Command) -> Command {
        let repeated = |name: &'static str| Arg::new(name).long(name).action(ArgAction::Append);
        command.args([
            repeated("point")
                .value_name("x,y[,0|1]")
                .help("A point of the object in pixels, or with 0 one that is not of it; may be repeated")
                .allow_hyphen_values(true)
                .value_parser(parse_point),
            repeated("box")
                .value_name("x1,y1,x2,y2")
                .help("A box around the object, in pixels")
                .allow_hyphen_values(true)
                .value_parser(parse_box),
            repeated("mask")
                .value_name("FILE")
                .help(
                    "What is known of the object: a picture of the image's size, 128 and above inside, or saved logits",
                )
                .value_parser(value_parser!(PathBuf)),
            repeated("object")
                .help("Begin the next object: the points, box and mask before it are of the one before")
                .num_args(0)
                .value_parser(value_parser!(bool))
                .default_missing_value("true"),
        ])
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ObjectsFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        // The place of each flag on the command line.
        let mut shown: Vec<(usize, Shown)> = Vec::new();
        shown.extend(placed(matches, "point", Shown::Point));
        shown.extend(placed(matches, "box", Shown::Box));
        shown.extend(placed(matches, "mask", Shown::Mask));
        shown.extend(placed(matches, "object", |_: bool| Shown::Object));
        shown.sort_by_key(|(place, _)| *place);
        objects(shown.into_iter().map(|(_, shown)| shown))
            .map(Self)
            .map_err(|reason| clap::Error::raw(ErrorKind::ArgumentConflict, format!("{reason}\n")))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn placed<T: Clone + Send + Sync + 'static>(
    matches: &ArgMatches,
    name: &str,
    of: impl Fn(T) -> Shown,
) -> Vec<(usize, Shown)> {
    let places = matches.indices_of(name).into_iter().flatten();
    let values = matches.get_many::<T>(name).into_iter().flatten();
    places.zip(values.cloned().map(of)).collect()
}

fn objects(shown: impl Iterator<Item = Shown>) -> Result<Vec<ObjectFlags>, String> {
    let mut objects = vec![ObjectFlags::default()];
    for (place, shown) in shown.enumerate() {
        let count = objects.len();
        let object = objects.last_mut().expect("there is one at first");
        let twice = |flag: &str| format!("{flag}: object {count} has one already; --object begins the next object");
        match shown {
            Shown::Point(point) => object.points.push(point),
            Shown::Box(_) if object.bounding_box.is_some() => return Err(twice("--box")),
            Shown::Box(xyxy) => object.bounding_box = Some(xyxy),
            Shown::Mask(_) if object.mask.is_some() => return Err(twice("--mask")),
            Shown::Mask(file) => object.mask = Some(file),
            // Before everything else it begins the first.
            Shown::Object if place == 0 => {}
            Shown::Object => objects.push(ObjectFlags::default()),
        }
    }
    if objects == [ObjectFlags::default()] {
        return Ok(Vec::new());
    }
    match objects.iter().position(|object| *object == ObjectFlags::default()) {
        Some(empty) => Err(format!(
            "--object: object {} has no --point, --box or --mask",
            empty + 1
        )),
        None => Ok(objects),
    }
}

/// `x,y` and perhaps `,0` or `,1`.
fn parse_point(text: &str) -> Result<([f32; 2], bool), String> {
    match numbers(text).as_deref() {
        Some([x, y]) => Ok(([*x, *y], true)),
        Some([x, y, label @ (0.0 | 1.0)]) => Ok(([*x, *y], *label == 1.0)),
        _ => Err(format!("expected x,y in pixels and perhaps ,0 or ,1, found {text:?}")),
    }
}

/// `x1,y1,x2,y2`.
fn parse_box(text: &str) -> Result<[f32; 4], String> {
    let Some(&[x1, y1, x2, y2]) = numbers(text).as_deref() else {
        return Err(format!("expected x1,y1,x2,y2 in pixels, found {text:?}"));
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
        objects.map(|objects| objects.0).map_err(|error| error.to_string())
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
            ("click --point 1,2@3", "expected x,y in pixels"),
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
}
