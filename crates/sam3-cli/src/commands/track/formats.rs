//! The formats of others, converted at the end from the lines on disk, so that memory does not grow with the masks.

mod davis;
mod lines;
mod mot;
mod mots;
mod ytvis;

use std::{
    fs,
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use sam3_package::{Error, Staged};

use self::lines::Lines;
use super::results::frame_name;
use crate::{
    commands::segment::{Guard, stamp},
    failure::Failure,
};

/// What `--format` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// YouTube-VIS's JSON: DIR/ytvis.json
    Ytvis,
    /// MOTChallenge's boxes: DIR/mot.txt
    Mot,
    /// MOTSChallenge's masks, which do not overlap: DIR/mots.txt
    Mots,
    /// DAVIS's indexed PNGs: DIR/davis/00000.png
    Davis,
}

/// The formats in their order, however often one was asked for.
pub fn each_once(asked: &[Format]) -> Vec<Format> {
    Format::ALL
        .into_iter()
        .filter(|format| asked.contains(format))
        .collect()
}

/// What the lines do not say of their video.
pub struct Video<'a> {
    pub size: (u32, u32),
    pub texts: &'a [String],
    /// What a frame is called, by its number.
    pub file_name: &'a dyn Fn(usize) -> String,
}

impl Video<'_> {
    /// The texts, each once; of what was clicked, one for all.
    fn categories(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for text in self.texts {
            if !names.contains(&text.as_str()) {
                names.push(text);
            }
        }
        if names.is_empty() {
            names.push("object");
        }
        names
    }

    /// A category's number, from 1.
    fn category(&self, prompt: &str) -> usize {
        let place = self.categories().iter().position(|name| *name == prompt);
        place.unwrap_or(0) + 1
    }
}

impl Format {
    pub const ALL: [Self; 4] = [Self::Ytvis, Self::Mot, Self::Mots, Self::Davis];

    /// Its file, or its folder.
    pub fn path(self, output: &Path) -> PathBuf {
        output.join(match self {
            Self::Ytvis => "ytvis.json",
            Self::Mot => "mot.txt",
            Self::Mots => "mots.txt",
            Self::Davis => "davis",
        })
    }

    pub fn is_folder(self) -> bool {
        self == Self::Davis
    }

    /// Converts the lines; the file appears whole or not at all, and of a folder each of its files.
    ///
    /// # Errors
    /// When something cannot be read or written, or does not fit the format.
    pub fn convert(self, lines: &Path, target: &Path, video: &Video, guard: &Guard) -> anyhow::Result<()> {
        let lines = Lines::open(lines)?;
        if self.is_folder() {
            return folder(&lines, target, video, guard);
        }
        let staged = Staged::create(target, guard.may_replace(target))?;
        let mut file = BufWriter::with_capacity(1 << 18, staged.file());
        match self {
            Self::Ytvis => ytvis::write(&lines, video, &mut file),
            Self::Mot => mot::write(&lines, &mut file),
            Self::Mots => mots::write(&lines, video, &mut file),
            Self::Davis => unreachable!("it is a folder"),
        }
        .and_then(|()| Ok(file.flush()?))
        .map_err(|error| unwritten(target, error))?;
        drop(file);
        Ok(staged.commit()?)
    }
}

fn folder(lines: &Lines, folder: &Path, video: &Video, guard: &Guard) -> anyhow::Result<()> {
    davis::check(lines)?;
    fs::create_dir_all(folder).map_err(|source| Error::Output {
        path: folder.to_owned(),
        source,
    })?;
    for frame in lines.objects() {
        let (frame, objects) = frame?;
        let png = stamp::png(davis::png(&objects, video)?);
        let target = folder.join(frame_name(frame, "png"));
        let staged = Staged::create(&target, guard.may_replace(&target))?;
        staged.write_at(&png, 0)?;
        staged.commit()?;
    }
    Ok(())
}

/// A full disk is the machine's fault.
fn unwritten(target: &Path, error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<io::Error>() {
        Ok(error) => Failure::environment(
            format!("{}: {error}", target.display()),
            "free some space; the lines in track.jsonl are whole",
        ),
        Err(error) => error,
    }
}

/// The texts of rows in a folder that an earlier run made of the lines beside them. They have no room for a stamp: that
/// they begin as those lines do tells.
pub fn of_earlier(output: &Path, lines: &Path) -> Vec<PathBuf> {
    let texts = [Format::Mot, Format::Mots].map(|format| (format, format.path(output)));
    let there: Vec<_> = texts.into_iter().filter(|(_, path)| path.is_file()).collect();
    if there.is_empty() || !stamp::is_ours(lines) {
        return Vec::new();
    }
    let Ok(lines) = Lines::open(lines) else {
        return Vec::new();
    };
    let is_of_lines = |(format, path): &(Format, PathBuf)| is_first(*format, path, &lines).unwrap_or(false);
    there.into_iter().filter(is_of_lines).map(|(_, path)| path).collect()
}

/// Whether the first row of a text is what the lines give.
fn is_first(format: Format, path: &Path, lines: &Lines) -> anyhow::Result<bool> {
    let mut row = String::new();
    BufReader::new(fs::File::open(path)?).read_line(&mut row)?;
    let row = row.trim_end();
    for frame in lines.objects() {
        let (frame, objects) = frame?;
        if format == Format::Mot {
            if let Some(object) = objects.first() {
                return Ok(row == mot::row(frame, object));
            }
        } else if let Some((object, rle)) = mots::apart(&objects)?.first() {
            // By which prompts that run had their classes is not known.
            let class = row.split(' ').nth(2).and_then(|class| class.parse().ok());
            return Ok(class.is_some_and(|class| row == mots::row(frame, object, class, rle)));
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use sam3_model::masks::Mask;

    use super::*;

    /// The most that was resident since the last call, in kB.
    fn most() -> u64 {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        fs::write("/proc/self/clear_refs", "5").unwrap();
        line.trim().trim_end_matches("kB").trim().parse().unwrap()
    }

    fn object(id: u32, rle: &sam3_model::masks::Rle) -> serde_json::Value {
        serde_json::json!({"id": id, "prompt": "boat", "score": 0.5, "box": [0, 0, 3, 2], "segmentation": rle})
    }

    #[test]
    fn davis_has_254_indices() {
        let output = std::env::temp_dir().join(format!("sam3-davis-{}", std::process::id()));
        fs::create_dir_all(&output).unwrap();
        let path = output.join("track.jsonl");
        let rle = Mask::from_fn(4, 3, |x, _| x > 1).to_rle();
        let removed = serde_json::json!({"id": 254, "prompt": "boat", "state": "removed"});
        let video = Video {
            size: (4, 3),
            texts: &[],
            file_name: &|_| String::new(),
        };
        let guard = Guard::new(false, std::iter::empty());
        let target = output.join("davis");
        for (last, is_right) in [(object(254, &rle), false), (removed, true)] {
            let first = serde_json::json!({"frame": 0, "objects": [object(253, &rle), object(254, &rle)]});
            let second = serde_json::json!({"frame": 1, "objects": [last]});
            // And a line that is cut.
            fs::write(&path, format!("{first}\n{second}\n{{\"frame\": 2, \"obj")).unwrap();
            let done = Format::Davis.convert(&path, &target, &video, &guard);
            match is_right {
                true => done.unwrap(),
                false => assert!(
                    done.unwrap_err()
                        .to_string()
                        .contains("up to 253, and there is an object 254")
                ),
            }
            assert_eq!(target.exists(), is_right);
        }
        assert_eq!(fs::read_dir(&target).unwrap().count(), 2);
        fs::remove_dir_all(output).unwrap();
    }

    /// Lines of 60 MB and more: of 5,000 frames, each with four masks of 3 kB.
    #[test]
    #[ignore = "long, and alone: .ci/run long_video"]
    fn lines_of_5000_frames_are_converted_in_little_memory() {
        let output = std::env::temp_dir().join(format!("sam3-formats-{}", std::process::id()));
        fs::create_dir_all(&output).unwrap();
        let path = output.join("track.jsonl");
        let mut file = BufWriter::new(fs::File::create(&path).unwrap());
        let frayed = |by: u32| Mask::from_fn(320, 240, |x, y| y > 9 && x > 9 && (x * x + by) % 7 > (y * y + x) % 5);
        let objects: Vec<_> = (0..4).map(|id| object(id, &frayed(id).to_rle())).collect();
        for frame in (0..5000).rev() {
            writeln!(file, "{}", serde_json::json!({"frame": frame, "objects": objects})).unwrap();
        }
        file.flush().unwrap();
        let size = fs::metadata(&path).unwrap().len();
        assert!(size > 60_000_000, "{size}");
        let video = Video {
            size: (320, 240),
            texts: &["boat".to_owned()],
            file_name: &|frame| format!("video/{frame:05}.jpg"),
        };
        let guard = Guard::new(false, std::iter::empty());
        most();
        for format in Format::ALL {
            let before = most();
            let start = std::time::Instant::now();
            format.convert(&path, &format.path(&output), &video, &guard).unwrap();
            let more = most().saturating_sub(before);
            println!("{format:?}: {more} kB more, {:.1} s", start.elapsed().as_secs_f64());
            assert!(more < 4000, "{format:?}: {more} kB of {} kB", size / 1000);
        }
        assert_eq!(fs::read_dir(output.join("davis")).unwrap().count(), 5000);
        fs::remove_dir_all(output).unwrap();
    }
}
