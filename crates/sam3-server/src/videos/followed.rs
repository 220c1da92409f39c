//! A video under way: the session that follows it, and what its objects are called.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use sam3_model::{
    Error, Prompt, Segmenter, Session, VideoOptions,
    image::Image,
    report::{FrameRecord, FrameTiming, SeenRecord},
    tracking::{Absences, FrameObject, FrameResult, ObjectId},
};
use serde::Serialize;

use crate::{failure::Failure, model::Gone, request::Shown, routes::answer};

/// A session with what the client was told.
pub struct Followed {
    model: Segmenter,
    session: Session,
    texts: Vec<String>,
    /// What objects are called that were clicked or that a frame showed.
    names: BTreeMap<ObjectId, String>,
    /// Those that were shown as new ones, and were not removed.
    clicked: Vec<ObjectId>,
    /// How many were ever clicked.
    clicked_ever: usize,
    /// Width and height of the frames, once there is one.
    size: Option<(u32, u32)>,
    /// Frames that were sent.
    frames: usize,
    /// The number of the last one.
    last: usize,
    /// Of each frame that has not come out yet, when it was sent and what it took.
    took: VecDeque<FrameTiming>,
    is_whole: bool,
    /// Of a stream.
    absences: Absences,
}

/// The answer to a frame.
#[derive(Serialize)]
pub struct FrameAnswer<'a> {
    /// Its number, from 0.
    frame: usize,
    /// What the objects look like that were shown on it.
    clicked: Vec<SeenRecord<'a>>,
    /// The frames that are final with it.
    frames: Vec<FrameRecord<'a>>,
}

/// What is told of a frame of a stream.
pub struct LiveFrame {
    /// In JSON.
    pub record: Vec<u8>,
    /// The objects on it, and what they are called.
    pub objects: Vec<(FrameObject, String)>,
    pub compute_ms: f64,
}

/// The answer to prompts.
#[derive(Serialize)]
pub struct PromptsAnswer<'a> {
    /// All texts of the video.
    prompts: &'a [String],
    /// The frame that objects were shown on, if there are some.
    #[serde(skip_serializing_if = "Option::is_none")]
    frame: Option<usize>,
    clicked: Vec<SeenRecord<'a>>,
}

impl Followed {
    /// Begins a video that is seen by a model.
    pub fn new(model: Segmenter, options: VideoOptions) -> Result<Self, Failure> {
        Ok(Self {
            session: model.video(options)?,
            model,
            texts: Vec::new(),
            names: BTreeMap::new(),
            clicked: Vec::new(),
            clicked_ever: 0,
            size: None,
            frames: 0,
            last: 0,
            took: VecDeque::new(),
            is_whole: true,
            absences: Absences::default(),
        })
    }

    /// What sees it.
    pub fn model(&self) -> &Segmenter {
        &self.model
    }

    /// Whether it may go on: nothing failed that it cannot go back from.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    pub fn bytes(&self) -> u64 {
        self.session.bytes()
    }

    /// How many texts it follows.
    pub fn texts(&self) -> usize {
        self.texts.len()
    }

    /// Follows what texts mean, from the next frame on.
    pub fn look_for(&mut self, texts: Vec<String>, gone: &Gone) -> Result<(), Failure> {
        for text in &texts {
            self.model
                .encode_text_watched(&Prompt::text(text), &mut |_| gone.go_on())?;
        }
        for text in texts {
            self.session.text(&text)?;
            self.texts.push(text);
        }
        Ok(())
    }

    /// Shows objects on the last frame, and looks for texts from the next one on.
    pub fn prompt(&mut self, texts: Vec<String>, shown: &[Shown], gone: &Gone) -> Result<PromptsAnswer<'_>, Failure> {
        if self.frames == 0 && !shown.is_empty() {
            return Err(Failure::invalid("there is no frame yet that objects could be shown on"));
        }
        if shown.is_empty() {
            self.look_for(texts, gone)?;
            return Ok(PromptsAnswer {
                prompts: &self.texts,
                frame: None,
                clicked: Vec::new(),
            });
        }
        Self::check_inside(shown, self.size.unwrap_or_default())?;
        self.check_followed(shown, false)?;
        self.look_for(texts, gone)?;
        let clicked = self.click(shown)?;
        self.is_whole = true;
        Ok(PromptsAnswer {
            prompts: &self.texts,
            frame: Some(self.last),
            clicked: self.records(&clicked),
        })
    }

    /// Follows all to the next frame. The client may go away until it is looked through, or where objects are
    /// shown, encoded; the frame is then not counted.
    pub fn frame(&mut self, image: &Image, shown: &[Shown], gone: &Gone) -> Result<FrameAnswer<'_>, Failure> {
        let size = (image.width(), image.height());
        Self::check_inside(shown, size)?;
        self.check_followed(shown, true)?;
        let frame = self.frames;
        let timing = FrameTiming {
            number: frame,
            time_ms: None,
            compute_ms: 0.0,
            live: None,
        };
        let (clicked, results) = self.follow(image, shown, timing, gone)?;
        let timings = self.came_out(&results);
        Ok(FrameAnswer {
            frame,
            clicked: self.records(&clicked),
            frames: self.frame_records(&results, &timings),
        })
    }

    /// Whether frames of this width and height may follow those before them.
    pub fn takes(&self, size: (u32, u32)) -> bool {
        self.size.is_none_or(|own| own == size)
    }

    /// Follows all to the next frame of a stream, which is told at once.
    pub fn live_frame(&mut self, image: &Image, timing: FrameTiming, gone: &Gone) -> Result<LiveFrame, Failure> {
        let (_, results) = self.follow(image, &[], timing, gone)?;
        let timings = self.came_out(&results);
        let (record, compute_ms) = match self.frame_records(&results, &timings).as_slice() {
            [record] => (answer::bytes(record)?, timings[0].compute_ms),
            records => {
                let told = records.len();
                return Err(Failure::internal(format!(
                    "{told} frames were told at once, expected one"
                )));
            }
        };
        for result in &results {
            let followed = self.session.objects();
            for id in self.absences.after(result, &followed, &self.clicked) {
                self.session.remove(id)?;
                self.names.remove(&id);
            }
        }
        let named = |object: FrameObject| {
            let name = self.name(object.id).unwrap_or_default().to_owned();
            (object, name)
        };
        Ok(LiveFrame {
            record,
            objects: results
                .into_iter()
                .flat_map(|result| result.objects)
                .map(named)
                .collect(),
            compute_ms,
        })
    }

    /// Shows objects on the next frame, and follows all to it.
    fn follow(
        &mut self,
        image: &Image,
        shown: &[Shown],
        timing: FrameTiming,
        gone: &Gone,
    ) -> Result<(Vec<FrameObject>, Vec<FrameResult>), Failure> {
        let start = Instant::now();
        let mut watch = |_| gone.go_on();
        let (clicked, pushed) = match shown.is_empty() {
            true => (Vec::new(), self.session.push_watched(image, &mut watch)),
            false => {
                self.session.look_watched(self.frames, image, &mut watch)?;
                // Who was clicked cannot be taken back.
                (self.click(shown)?, self.session.push(image))
            }
        };
        self.is_whole = matches!(pushed, Ok(_) | Err(Error::Video(_) | Error::Stopped { .. }));
        let results = pushed?;
        self.model.synchronize()?;
        self.size = Some((image.width(), image.height()));
        self.frames += 1;
        self.last = timing.number;
        self.took.push_back(FrameTiming {
            compute_ms: start.elapsed().as_secs_f64() * 1e3,
            ..timing
        });
        Ok((clicked, results))
    }

    /// Stops following an object; whether it was followed.
    pub fn remove(&mut self, id: ObjectId) -> Result<bool, Failure> {
        self.clicked.retain(|own| *own != id);
        Ok(self.session.remove(id)?)
    }

    /// The frames that were held back.
    pub fn finish(&mut self) -> Vec<FrameRecord<'_>> {
        let results = self.session.finish();
        let timings = self.came_out(&results);
        self.frame_records(&results, &timings)
    }

    /// That what shows objects lies inside, before any is shown.
    fn check_inside(shown: &[Shown], size: (u32, u32)) -> Result<(), Failure> {
        shown.iter().try_for_each(|shown| shown.by.check_inside(size))
    }

    /// That objects are there that are shown again, before any is shown. What a text found is corrected where it was
    /// followed to, which a frame that `is_new` is not.
    fn check_followed(&self, shown: &[Shown], is_new: bool) -> Result<(), Failure> {
        let followed = self.session.objects();
        for id in shown.iter().filter_map(|shown| shown.id) {
            if !followed.contains(&id) {
                return Err(Failure::invalid(match self.names.contains_key(&id) {
                    true => format!("object {id} is followed no more: show it as a new one, without an id"),
                    false => format!("there is no object {id}: a new one is shown without an id"),
                }));
            }
            if is_new && !self.clicked.contains(&id) {
                return Err(Failure::invalid(format!(
                    "object {id} was found by a text, and cannot be shown before it is followed to this frame: send the \
                     frame without it, then show it by the video's prompts"
                )));
            }
        }
        Ok(())
    }

    /// Shows objects on the frame that was seen last. Until the caller says otherwise, the video is then not whole.
    fn click(&mut self, shown: &[Shown]) -> Result<Vec<FrameObject>, Failure> {
        let mut clicked = Vec::with_capacity(shown.len());
        for Shown { id, by } in shown {
            self.is_whole = false;
            let object = self.session.click(*id, &by.clicks())?;
            if id.is_none() {
                self.clicked.push(object.id);
                self.clicked_ever += 1;
                self.names.insert(object.id, format!("object {}", self.clicked_ever));
            }
            self.name_by_text(&object);
            clicked.push(object);
        }
        Ok(clicked)
    }

    /// Notes what objects are called that are shown for the first time; returns when the frames were sent.
    fn came_out(&mut self, results: &[FrameResult]) -> Vec<FrameTiming> {
        for object in results.iter().flat_map(|result| &result.objects) {
            self.name_by_text(object);
        }
        // They come out in the order in which they were sent.
        self.took.drain(..results.len().min(self.took.len())).collect()
    }

    /// What a text found is called as the text.
    fn name_by_text(&mut self, object: &FrameObject) {
        if let Some(text) = object.text {
            self.names.entry(object.id).or_insert_with(|| self.texts[text].clone());
        }
    }

    fn frame_records(&self, results: &[FrameResult], timings: &[FrameTiming]) -> Vec<FrameRecord<'_>> {
        let record =
            |(result, timing): (&FrameResult, &FrameTiming)| FrameRecord::new(result, *timing, |id| self.name(id));
        results.iter().zip(timings).map(record).collect()
    }

    fn records(&self, objects: &[FrameObject]) -> Vec<SeenRecord<'_>> {
        let record = |object: &FrameObject| SeenRecord::of(object, self.name(object.id).unwrap_or_default());
        objects.iter().map(record).collect()
    }

    fn name(&self, id: ObjectId) -> Option<&str> {
        self.names.get(&id).map(String::as_str)
    }
}
