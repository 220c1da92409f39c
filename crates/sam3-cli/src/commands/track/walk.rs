//! Going through the frames: each is read, shown what is clicked on it, followed to, and written.

use std::{collections::BTreeMap, time::Instant};

use sam3_model::{
    Error, Segmenter, Session,
    image::Image,
    report::FrameTiming,
    tracking::{Absences, Direction, ObjectId},
};

use sam3_video::VideoError;

use super::{
    formats::Video,
    interrupt, nothing_to_see,
    results::Results,
    schedule::{Frames, Shown, Walk},
    source::{Shot, Source},
};
use crate::{
    commands::{
        bench::memory,
        click::{
            label,
            shown::{self, GivenMask},
        },
        segment::milliseconds,
    },
    failure::Failure,
    output::{Output, Spinner, size},
    signals,
};

/// A run under way.
pub struct Walker<'a> {
    pub model: &'a Segmenter,
    pub session: Session,
    pub source: Source,
    pub frames: Frames,
    /// Frames to follow through, in each direction.
    pub most: Option<usize>,
    /// What is clicked on which frame and was not yet.
    pub shown: BTreeMap<usize, Vec<Shown>>,
    pub results: Results<'a>,
    /// Those of the objects of the command line, once they were clicked.
    pub ids: Vec<Option<ObjectId>>,
    /// Of a live source, who may be let go of.
    pub absences: Absences,
    /// Width and height of the frames.
    pub size: Option<(u32, u32)>,
    /// The first frame that could not be read.
    pub failed: Option<anyhow::Error>,
    pub spinner: Spinner,
    pub output: &'a Output,
}

impl Walker<'_> {
    /// Goes all walks, and tells what was found. A signal ends the process once all that was followed is written.
    ///
    /// # Errors
    /// Of a frame that cannot be read, once the others were gone through; of all else at once. What was written stays,
    /// and is converted.
    pub fn run(mut self, walks: &[Walk]) -> anyhow::Result<()> {
        interrupt::watch(self.output);
        let went = self.go_all(walks);
        let frames = self.results.objects.frames;
        let mut errors = Vec::new();
        if frames > 0 {
            errors = self.finish();
        }
        if let Err(error) = went {
            errors.iter().for_each(|error| self.output.complain(error));
            return Err(error);
        }
        if frames > 0 {
            self.sum_up()?;
        }
        if interrupt::is_interrupted() {
            drop(self.spinner);
            errors.iter().for_each(|error| self.output.complain(error));
            let are = if frames == 1 { "frame is" } else { "frames are" };
            self.output.note(format!("ended by a signal: {frames} {are} written"));
            signals::end_as_signalled();
            return Ok(());
        }
        if frames == 0 && self.failed.is_none() {
            self.failed = Some(nothing_to_see(self.source.name(), &self.frames));
        }
        errors.extend(self.failed.take().or_else(|| self.not_reached()));
        let Some(last) = errors.pop() else {
            return Ok(());
        };
        self.spinner
            .suspend(|| errors.iter().for_each(|error| self.output.complain(error)));
        Err(last)
    }

    fn go_all(&mut self, walks: &[Walk]) -> anyhow::Result<()> {
        for walk in walks {
            self.session.walk(walk.from, walk.direction)?;
            self.go(*walk)?;
            let rest = self.session.finish();
            self.results.came_out(rest)?;
            if interrupt::is_interrupted() || self.failed.is_some() && !self.source.is_folder() {
                break;
            }
        }
        Ok(())
    }

    /// Makes what is made at the end.
    fn finish(&mut self) -> Vec<anyhow::Error> {
        self.spinner.say("writing what is written at the end".to_owned());
        let source = &self.source;
        let video = Video {
            size: self.size.expect("a frame was read"),
            texts: self.results.texts,
            file_name: &|frame| source.file_name(frame),
        };
        self.results.finish(&video)
    }

    /// Tells of the objects, and of the files that were written.
    fn sum_up(&self) -> anyhow::Result<()> {
        let mut text = self.results.objects.to_text();
        for file in self.results.written() {
            text += &format!("wrote {file}\n");
        }
        self.spinner.suspend(|| self.output.text(&text))
    }

    fn go(&mut self, walk: Walk) -> anyhow::Result<()> {
        let mut place = Some(walk.from);
        let mut followed = 0;
        while let Some(at) = place.filter(|at| self.frames.has(*at) && self.most.is_none_or(|most| followed < most)) {
            let read = self.read(at);
            if interrupt::is_interrupted() {
                return Ok(());
            }
            match read {
                Ok(Some(shot)) => match self.follow(at, shot) {
                    Ok(()) => followed += 1,
                    // The frame is left out.
                    Err(error) if matches!(error.downcast_ref(), Some(Error::Stopped { .. })) => return Ok(()),
                    Err(error) => return Err(error),
                },
                Ok(None) => break,
                // Each picture of a folder stands for itself; a frame that clicks are on is needed.
                Err(error) if self.source.is_folder() && !self.shown.contains_key(&at) => {
                    self.spinner.suspend(|| self.output.complain(&error));
                    let first = || error.context("some frames were left out, the first because");
                    self.failed.get_or_insert_with(first);
                    self.session.skip();
                }
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            }
            place = match walk.direction {
                Direction::Forward => Some(at + 1),
                Direction::Backward => at.checked_sub(1),
            };
        }
        // A file's last frame may lie ahead, where the walk began behind it, or be the next one.
        let is_end = |at: usize| self.frames.count.is_some_and(|count| self.frames.number(at) >= count);
        if walk.direction == Direction::Backward || place.is_some_and(is_end) {
            self.failed = self.failed.take().or(self.source.check_end().err());
        }
        Ok(())
    }

    /// A frame that is as large as those before it.
    fn read(&mut self, place: usize) -> anyhow::Result<Option<Shot>> {
        let number = self.frames.number(place);
        let (spinner, output) = (&self.spinner, self.output);
        let mut lost = |error: &VideoError| {
            spinner.suspend(|| {
                output.note(format!(
                    "the source is away ({error}): it is opened again until it is back"
                ))
            });
        };
        let Some(shot) = self.source.read(number, &mut lost)? else {
            return Ok(None);
        };
        let found = (shot.image.width(), shot.image.height());
        let (width, height) = *self.size.get_or_insert(found);
        if found == (width, height) {
            return Ok(Some(shot));
        }
        Err(Failure::input(
            format!(
                "{}: expected {width} x {height} pixels, as the frames before it have, found {} x {}",
                self.source.name_of(number),
                found.0,
                found.1
            ),
            "all frames of a video have one size: resize it, or leave it out of the folder",
        ))
    }

    /// Clicks what is to be clicked on a frame, follows all objects to it and writes what came out.
    fn follow(&mut self, place: usize, shot: Shot) -> anyhow::Result<()> {
        let start = Instant::now();
        let Shot { image, number, .. } = shot;
        if let Some(shown) = self.shown.remove(&place) {
            self.session.look_watched(place, &image, &mut |_| interrupt::go_on())?;
            for (object, flags) in shown {
                self.click(number, &image, object, &flags)?;
            }
        }
        let came_out = self.session.push_watched(&image, &mut |_| interrupt::go_on())?;
        self.model.synchronize()?;
        let timing = FrameTiming {
            number,
            time_ms: shot.time_ms,
            compute_ms: milliseconds(start),
            live: shot.live,
        };
        if self.source.is_live() {
            let clicked: Vec<ObjectId> = self.ids.iter().copied().flatten().collect();
            for result in &came_out {
                for id in self.absences.after(result, &self.session.objects(), &clicked) {
                    self.session.remove(id)?;
                }
            }
        }
        let Self { session, results, .. } = self;
        results.pushed(place, timing, image, || session.low_res_masks(), self.model.mask_side())?;
        results.came_out(came_out)?;
        self.tell(timing);
        Ok(())
    }

    /// Shows an object of the command line on a frame.
    fn click(
        &mut self,
        number: usize,
        image: &Image,
        object: usize,
        flags: &crate::commands::objects::ObjectFlags,
    ) -> anyhow::Result<()> {
        let extents = (image.width(), image.height());
        shown::check_inside(std::slice::from_ref(flags), extents.0, extents.1)
            .map_err(|error| error.context(format!("frame {number}")))?;
        let mut clicks = shown::points_and_box(flags);
        let mut id = self.ids[object];
        if let Some(file) = &flags.mask {
            match shown::read_mask(file, object, extents, self.model.mask_side())? {
                GivenMask::Picture(mask) => id = Some(self.session.mask(id, &mask)?.id),
                GivenMask::Logits(logits) => clicks = clicks.mask(logits),
            }
        }
        if clicks != sam3_model::Clicks::new() {
            id = Some(self.session.click(id, &clicks)?.id);
        }
        if self.ids[object].is_none()
            && let Some(id) = id
        {
            self.results.clicked.push((id, label(object + 1)));
            self.ids[object] = Some(id);
        }
        Ok(())
    }

    /// How far it is, on a terminal.
    fn tell(&self, timing: FrameTiming) {
        let of = self.frames.len().map_or(String::new(), |len| format!(" of {len}"));
        let memory = memory::resident().map_or(String::new(), |bytes| format!(", {}", size(bytes)));
        self.spinner.say(format!(
            "frame {}{of}, {:.1} a second, {} objects{memory}",
            timing.number,
            1e3 / timing.compute_ms.max(1e-3),
            self.session.objects().len(),
        ));
    }

    /// The error for what was to be clicked behind the end.
    fn not_reached(&self) -> Option<anyhow::Error> {
        let (&place, _) = self.shown.first_key_value()?;
        let number = self.frames.number(place);
        Some(match self.most {
            Some(most) => Failure::usage(
                format!("@{number}: --max-frames {most} ends before frame {number}, and its clicks were not looked at"),
                "raise it, or leave these clicks away",
            ),
            None => Failure::usage(
                format!(
                    "@{number}: {} ended before frame {number}, and its clicks were not looked at",
                    self.source.name()
                ),
                "frames are counted from 0; what was followed until then is written",
            ),
        })
    }
}
