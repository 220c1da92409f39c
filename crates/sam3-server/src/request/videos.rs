//! What is asked of videos.

use axum::{
    body::Bytes,
    http::{HeaderMap, header},
};
use sam3_model::{MemoryDtype, VideoOptions, tracking::Emission};
use serde::Deserialize;

use super::{Pointed, VideoObjectBody, at_most, check_prompts, decode, json, no_picture};
use crate::{
    body::{Form, Kind, form},
    failure::Failure,
    settings::Limits,
};

/// The JSON of `/v1/videos`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VideoBody {
    pub prompts: Vec<String>,
    at_once: bool,
    frames: Option<usize>,
    memory_dtype: Memory,
    pub image_size: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Memory {
    F32,
    #[default]
    Bf16,
}

impl VideoBody {
    pub fn check(&self, limits: &Limits) -> Result<(), Failure> {
        check_prompts(&self.prompts, limits)
    }

    pub fn options(&self) -> VideoOptions {
        let options = VideoOptions::new().memory(match self.memory_dtype {
            Memory::F32 => MemoryDtype::F32,
            Memory::Bf16 => MemoryDtype::Bf16,
        });
        let options = options.emission(match self.at_once {
            true => Emission::AtOnce,
            false => Emission::Final,
        });
        match self.frames {
            Some(frames) => options.frames(frames),
            None => options,
        }
    }
}

/// How streams are followed: each frame is told at once.
pub fn live_video() -> VideoOptions {
    VideoOptions::new().memory(MemoryDtype::Bf16).emission(Emission::AtOnce)
}

/// The JSON of a video's `frames`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FrameBody {
    image: String,
    #[serde(default)]
    objects: Vec<VideoObjectBody>,
}

/// The field `objects` of a form.
#[derive(Debug, Default, Deserialize)]
struct Objects(Vec<VideoObjectBody>);

/// The JSON of a video's `prompts`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PromptsBody {
    pub prompts: Vec<String>,
    objects: Vec<VideoObjectBody>,
}

impl PromptsBody {
    /// What is shown on the last frame; with the texts that are looked for from the next one on, it is something.
    pub fn check(&self, limits: &Limits) -> Result<Vec<Shown>, Failure> {
        check_prompts(&self.prompts, limits)?;
        if self.prompts.is_empty() && self.objects.is_empty() {
            return Err(Failure::invalid("nothing is asked for: give prompts, objects, or both"));
        }
        shown(&self.objects, limits)
    }
}

/// The JSON of a stream's `prompts`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamPromptsBody {
    /// In place of those before them; none leaves them as they are.
    pub prompts: Option<Vec<String>>,
    objects: Vec<VideoObjectBody>,
}

impl StreamPromptsBody {
    /// What is shown on the latest frame.
    pub fn check(&self, limits: &Limits) -> Result<Vec<Shown>, Failure> {
        check_prompts(self.prompts.as_deref().unwrap_or_default(), limits)?;
        match (&self.prompts, self.objects.is_empty()) {
            (None, true) => Err(Failure::invalid("nothing is asked for: give prompts or objects")),
            // Who is new is followed from the next frame on, and that has no clicks yet.
            (Some(_), false) => Err(Failure::invalid(
                "other prompts begin anew, with the next frame: give prompts first, then show objects",
            )),
            _ => shown(&self.objects, limits),
        }
    }
}

/// An object that is shown: one that was shown before, or a new one.
#[derive(Debug)]
pub struct Shown {
    pub id: Option<u32>,
    pub by: Pointed,
}

fn shown(objects: &[VideoObjectBody], limits: &Limits) -> Result<Vec<Shown>, Failure> {
    at_most("objects", objects.len(), limits.objects)?;
    for (place, object) in objects.iter().enumerate() {
        if let Some(id) = object.id
            && objects[..place].iter().any(|other| other.id == Some(id))
        {
            return Err(Failure::invalid(format!(
                "object {id} is there twice: give all its points and its box at once"
            )));
        }
    }
    let shown = |object: &VideoObjectBody| {
        let by = object.pointed(limits)?;
        Ok(Shown { id: object.id, by })
    };
    objects.iter().map(shown).collect()
}

/// The next frame's picture, and what is shown on it.
pub async fn frame(
    query: &str,
    headers: &HeaderMap,
    bytes: Bytes,
    limits: &Limits,
) -> Result<(Bytes, Vec<Shown>), Failure> {
    if !query.is_empty() {
        return Err(Failure::invalid(
            "a frame has no query: its objects come with its picture, in a form or in JSON",
        ));
    }
    let (picture, objects) = match Kind::of(headers) {
        Kind::Picture => (bytes, Vec::new()),
        Kind::Multipart => {
            let kind = headers.get(header::CONTENT_TYPE).expect("it told the kind");
            let Form { texts, image } = form(kind, bytes).await?;
            let mut objects = Objects::default();
            for (name, text) in texts {
                if name != "objects" {
                    return Err(Failure::invalid(format!(
                        "unknown field {name:?}: expected image or objects"
                    )));
                }
                let read = serde_json::from_str(&text);
                objects =
                    read.map_err(|error| Failure::invalid(format!("objects: expected a list in JSON: {error}")))?;
            }
            (image.unwrap_or_default(), objects.0)
        }
        Kind::Json => {
            let body: FrameBody = json(&bytes)?;
            (decode(&body.image)?, body.objects)
        }
    };
    if picture.is_empty() {
        return Err(no_picture());
    }
    Ok((picture, shown(&objects, limits)?))
}
