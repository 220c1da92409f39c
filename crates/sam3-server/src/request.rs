//! What requests ask for, however they say it: in the query, in a form, in JSON.

mod clicks;
mod videos;

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue, StatusCode, header},
};
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
pub use clicks::{ClickBody, ObjectBody, Pointed, VideoObjectBody};
use sam3_model::{ExemplarBox, Prompt, Segmenter, Tiles, Tiling, report::How};
use serde::{Deserialize, de::DeserializeOwned};
pub use videos::{PromptsBody, Shown, StreamPromptsBody, VideoBody, frame, live_video};

use crate::{
    body::{Form, Kind, form},
    failure::Failure,
    settings::Limits,
};

/// With and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// In which form masks are given beside their run lengths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Masks {
    /// In none.
    #[default]
    Rle,
    /// As outlines.
    Polygons,
    /// As PNGs in base64.
    Png,
}

/// What to look for in an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub prompts: Vec<String>,
    pub boxes: Vec<ExemplarBox>,
    pub threshold: f32,
    pub refine: bool,
    pub masks: Masks,
    /// Pixels in a side of what the model sees.
    pub image_size: Option<usize>,
    /// How the picture is cut into tiles, which are looked at as well.
    pub tiles: Option<Tiles>,
    pub overlap: Option<f32>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            prompts: Vec::new(),
            boxes: Vec::new(),
            threshold: Segmenter::THRESHOLD,
            refine: false,
            masks: Masks::Rle,
            image_size: None,
            tiles: None,
            overlap: None,
        }
    }
}

/// The JSON of `/v1/segment` and, but for the picture and the size, of an image's `segment`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SegmentBody {
    image: Option<String>,
    prompts: Vec<String>,
    boxes: Vec<BoxBody>,
    threshold: Option<f32>,
    refine: bool,
    masks: Masks,
    image_size: Option<usize>,
    tiles: Option<TilesBody>,
    overlap: Option<f32>,
}

/// Tiles as the query has them, or the pixels in a side of one.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected tiles: \"auto\", \"4x3\", or the pixels in a side of one"
)]
enum TilesBody {
    Side(u32),
    Text(String),
}

/// A box as the answer gives it, or its numbers.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "expected a box: [x1, y1, x2, y2], or {\"box\": [x1, y1, x2, y2], \"label\": 0 or 1}"
)]
enum BoxBody {
    Numbers([f32; 4]),
    Labelled {
        #[serde(rename = "box")]
        xyxy: [f32; 4],
        #[serde(default = "of_it")]
        label: u8,
    },
}

/// The JSON of `/v1/images`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageBody {
    image: String,
    #[serde(default)]
    image_size: Option<usize>,
}

fn of_it() -> u8 {
    1
}

fn is_positive(label: f32) -> Result<bool, Failure> {
    match label {
        1.0 => Ok(true),
        0.0 => Ok(false),
        other => Err(Failure::invalid(format!(
            "a label is 1 of what is meant or 0 of what is not, found {other}"
        ))),
    }
}

/// Reads JSON of a kind.
pub fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    // Serde would take a list for a struct's fields in their order.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Failure::invalid("the JSON of the request: expected an object"));
    }
    serde_json::from_slice(bytes).map_err(|error| Failure::invalid(format!("the JSON of the request: {error}")))
}

/// As [`json`], of a request that has to be JSON.
pub fn only_json<T: DeserializeOwned>(headers: &HeaderMap, bytes: &[u8]) -> Result<T, Failure> {
    if Kind::of(headers) != Kind::Json {
        return Err(Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "send application/json",
        ));
    }
    json(bytes)
}

/// The picture of a request and what it is asked for.
pub async fn picture(
    query: &str,
    headers: &HeaderMap,
    bytes: Bytes,
    limits: &Limits,
) -> Result<(Bytes, Wanted), Failure> {
    let mut wanted = Wanted::default();
    wanted.take_fields(form_urlencoded::parse(query.as_bytes()))?;
    let picture = match Kind::of(headers) {
        Kind::Picture => Some(bytes),
        Kind::Multipart => {
            let kind = headers.get(header::CONTENT_TYPE).expect("it told the kind");
            let Form { texts, image } = form(kind, bytes).await?;
            wanted.take_fields(texts.into_iter())?;
            image
        }
        Kind::Json => {
            let mut body: SegmentBody = json(&bytes)?;
            drop(bytes);
            let image = body.image.take().map(|text| decode(&text)).transpose()?;
            wanted.take_body(body)?;
            image
        }
    };
    let picture = picture.filter(|picture| !picture.is_empty());
    let picture = picture.ok_or_else(no_picture)?;
    wanted.check(limits)?;
    Ok((picture, wanted))
}

fn no_picture() -> Failure {
    Failure::invalid(
        "there is no picture: send its bytes as the body, as the field image of a form, or as image in base64",
    )
}

/// The picture that is to be encoded, and at which size.
pub async fn upload(
    query: &str,
    headers: &HeaderMap,
    bytes: Bytes,
    limits: &Limits,
) -> Result<(Bytes, Option<usize>), Failure> {
    if Kind::of(headers) == Kind::Json {
        let body: ImageBody = json(&bytes)?;
        return Ok((decode(&body.image)?, body.image_size));
    }
    let (picture, wanted) = picture(query, headers, bytes, limits).await?;
    let only_size = Wanted {
        image_size: wanted.image_size,
        ..Wanted::default()
    };
    if wanted != only_size {
        return Err(Failure::invalid(
            "an image is encoded before anything is looked for in it: send image and image_size alone",
        ));
    }
    Ok((picture, wanted.image_size))
}

/// What is asked of an image that is encoded.
pub fn of_image(headers: &HeaderMap, bytes: &[u8], limits: &Limits) -> Result<Wanted, Failure> {
    let body: SegmentBody = only_json(headers, bytes)?;
    if body.image.is_some() || body.image_size.is_some() {
        return Err(Failure::invalid(
            "image and image_size are of an image that is still to be encoded",
        ));
    }
    if body.tiles.is_some() || body.overlap.is_some() {
        return Err(Failure::invalid(
            "tiles are cut out of the picture, which is not kept: send it to /v1/segment",
        ));
    }
    let mut wanted = Wanted::default();
    wanted.take_body(body)?;
    wanted.check(limits)?;
    Ok(wanted)
}

/// Base64, as it is or as a `data:` URI.
fn decode(text: &str) -> Result<Bytes, Failure> {
    let data = match text.strip_prefix("data:") {
        Some(uri) => uri.split_once(";base64,").map(|(_, data)| data),
        None => Some(text),
    };
    let not_base64 = || Failure::invalid("image: expected a picture's bytes in base64");
    let data = data.ok_or_else(not_base64)?.trim_ascii();
    // MIME's has lines.
    let lines = data.contains(['\r', '\n']).then(|| data.replace(['\r', '\n'], ""));
    let bytes = BASE64.decode(lines.as_deref().unwrap_or(data));
    bytes.map(Bytes::from).map_err(|_| not_base64())
}

impl Wanted {
    /// The prompts as the model takes them: every text with all the boxes; the boxes alone where there is no text.
    pub fn prompts(&self) -> Vec<Prompt> {
        if self.prompts.is_empty() {
            return vec![Prompt::boxes(self.boxes.clone())];
        }
        let with_text = |text: &String| Prompt::text(text).with_boxes(self.boxes.clone());
        self.prompts.iter().map(with_text).collect()
    }

    /// Fields of a query or a form; `prompt` and `box` may be repeated.
    fn take_fields<S: AsRef<str>>(&mut self, fields: impl Iterator<Item = (S, S)>) -> Result<(), Failure> {
        for (name, text) in fields {
            let (name, text) = (name.as_ref(), text.as_ref());
            let expected = |what: &str| Failure::invalid(format!("{name}: expected {what}, found {text:?}"));
            match name {
                "prompt" => self.prompts.push(text.to_owned()),
                "box" => self.boxes.push(parse_box(text)?),
                "threshold" => self.threshold = text.parse().map_err(|_| expected("a number"))?,
                "image_size" => self.image_size = Some(text.parse().map_err(|_| expected("a number of pixels"))?),
                "tiles" => self.tiles = Some(parse_tiles(text)?),
                "overlap" => self.overlap = Some(text.parse().map_err(|_| expected("a number"))?),
                "refine" => self.refine = text.parse().map_err(|_| expected("true or false"))?,
                "masks" => {
                    self.masks = match text {
                        "rle" => Masks::Rle,
                        "polygons" => Masks::Polygons,
                        "png" => Masks::Png,
                        _ => return Err(expected("rle, polygons or png")),
                    }
                }
                _ => {
                    return Err(Failure::invalid(format!(
                        "unknown field {name:?}: expected prompt, box, threshold, image_size, tiles, overlap, refine \
                         or masks"
                    )));
                }
            }
        }
        Ok(())
    }

    fn take_body(&mut self, body: SegmentBody) -> Result<(), Failure> {
        self.prompts.extend(body.prompts);
        for given in body.boxes {
            let (xyxy, label) = match given {
                BoxBody::Numbers(xyxy) => (xyxy, 1),
                BoxBody::Labelled { xyxy, label } => (xyxy, label),
            };
            self.boxes.push(exemplar(xyxy, is_positive(label.into())?));
        }
        self.threshold = body.threshold.unwrap_or(self.threshold);
        self.image_size = body.image_size.or(self.image_size);
        self.tiles = match body.tiles {
            Some(TilesBody::Side(side)) => Some(parse_tiles(&side.to_string())?),
            Some(TilesBody::Text(text)) => Some(parse_tiles(&text)?),
            None => self.tiles,
        };
        self.overlap = body.overlap.or(self.overlap);
        self.refine |= body.refine;
        if body.masks != Masks::Rle {
            self.masks = body.masks;
        }
        Ok(())
    }

    /// What does not depend on the picture.
    fn check(&self, limits: &Limits) -> Result<(), Failure> {
        check_prompts(&self.prompts, limits)?;
        at_most("boxes", self.boxes.len(), limits.boxes)?;
        if !(0.0..=1.0).contains(&self.threshold) {
            return Err(Failure::invalid(format!(
                "threshold: expected a score from 0 to 1, found {}",
                self.threshold
            )));
        }
        if self.overlap.is_some() && self.tiles.is_none() {
            return Err(Failure::invalid(
                "overlap is that of tiles: say which, such as \"tiles\": \"auto\"",
            ));
        }
        for exemplar in &self.boxes {
            check_box(&exemplar.xyxy)?;
        }
        Ok(())
    }

    /// What is kept, and where it is looked for.
    pub fn how(&self) -> How {
        let tiling = |tiles| Tiling::new(tiles).overlap(self.overlap.unwrap_or(Tiling::OVERLAP));
        How {
            threshold: self.threshold,
            refine: self.refine,
            tiling: self.tiles.map(tiling),
        }
    }

    /// That something is looked for.
    pub fn check_is_something(&self) -> Result<(), Failure> {
        if self.prompts.is_empty() && self.boxes.is_empty() {
            return Err(Failure::new(
                StatusCode::BAD_REQUEST,
                "invalid_prompt",
                "nothing to look for: give a prompt, a box, or both",
            ));
        }
        Ok(())
    }
}

fn parse_tiles(text: &str) -> Result<Tiles, Failure> {
    text.parse()
        .map_err(|error| Failure::invalid(format!("tiles: {error}")))
}

fn check_prompts(prompts: &[String], limits: &Limits) -> Result<(), Failure> {
    at_most("prompts", prompts.len(), limits.prompts)?;
    for prompt in prompts {
        at_most("characters of a prompt", prompt.chars().count(), limits.characters)?;
        if prompt.trim().is_empty() {
            return Err(Failure::new(
                StatusCode::BAD_REQUEST,
                "invalid_prompt",
                "a prompt is empty; name what to look for, such as \"boat\"",
            ));
        }
    }
    Ok(())
}

pub fn at_most(what: &str, found: usize, most: usize) -> Result<(), Failure> {
    if found > most {
        return Err(Failure::too_large(format!(
            "{what}: expected at most {most}, found {found}"
        )));
    }
    Ok(())
}

/// Whoever gives shares of the sides would look for something in one pixel.
fn check_box(xyxy: &[f32; 4]) -> Result<(), Failure> {
    if xyxy.iter().all(|side| (0.0..=1.0).contains(side)) {
        return Err(Failure::invalid(
            "a box lies within the first pixel: it is x1, y1, x2, y2 in pixels, not in shares of the picture's sides",
        ));
    }
    Ok(())
}

fn exemplar(xyxy: [f32; 4], is_positive: bool) -> ExemplarBox {
    match is_positive {
        true => ExemplarBox::positive(xyxy),
        false => ExemplarBox::negative(xyxy),
    }
}

/// `x1,y1,x2,y2` and perhaps `,0` or `,1`.
fn parse_box(text: &str) -> Result<ExemplarBox, Failure> {
    let number = |text: &str| text.trim().parse::<f32>().ok().filter(|number| number.is_finite());
    let numbers: Option<Vec<f32>> = text.split(',').map(number).collect();
    match numbers.as_deref() {
        Some([x1, y1, x2, y2]) => Ok(exemplar([*x1, *y1, *x2, *y2], true)),
        Some([x1, y1, x2, y2, label]) => Ok(exemplar([*x1, *y1, *x2, *y2], is_positive(*label)?)),
        _ => Err(Failure::invalid(format!(
            "box: expected x1,y1,x2,y2 in pixels and perhaps ,0 or ,1, found {text:?}"
        ))),
    }
}

/// Reads a body as every route would, for who looks for one that does harm; whether any took it.
///
/// # Panics
/// Never, or there is a fault.
pub fn fuzz_body(kind: &str, bytes: &[u8]) -> bool {
    let Ok(kind) = HeaderValue::from_str(kind) else {
        return false;
    };
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]);
    let limits = Limits::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let taken = runtime.is_ok_and(|runtime| {
        let bytes = || Bytes::copy_from_slice(bytes);
        let asked = runtime.block_on(picture("", &headers, bytes(), &limits));
        let framed = runtime.block_on(frame("", &headers, bytes(), &limits));
        asked.is_ok() || framed.is_ok()
    });
    let clicks = json::<ClickBody>(bytes).and_then(|body| {
        let pointed = body.objects.iter().map(|object| object.pointed(&limits));
        pointed.collect::<Result<Vec<_>, _>>()
    });
    let image = of_image(&headers, bytes, &limits).map(|wanted| wanted.prompts());
    let video = json::<VideoBody>(bytes).and_then(|body| body.check(&limits));
    let prompts = json::<PromptsBody>(bytes).and_then(|body| body.check(&limits));
    taken || clicks.is_ok() || image.is_ok() || video.is_ok() || prompts.is_ok()
}
