//! `--skip-existing`: whether a picture's results of an earlier run are those that this run would write.

use std::{fs::File, io::BufReader, path::PathBuf};

use sam3_model::{
    Prompt,
    report::{BoxRecord, How, Loaded, TilingRecord, text_of},
};
use serde::{Deserialize, de::IgnoredAny};

use super::{
    inputs::Input,
    places::{Place, Wanted, mask_name},
    stamp,
};

/// What decides the results of any picture.
pub struct Settings<'a> {
    pub loaded: &'a Loaded,
    pub prompts: &'a [Prompt],
    pub how: How,
    pub wanted: &'a Wanted,
}

/// What the JSON tells of them.
#[derive(Deserialize)]
struct Earlier {
    image: EarlierImage,
    model: EarlierModel,
    threshold: f32,
    #[serde(default)]
    refined: bool,
    tiling: Option<TilingRecord>,
    prompts: Vec<EarlierPrompt>,
}

#[derive(Deserialize)]
struct EarlierImage {
    sha256: String,
}

#[derive(Deserialize)]
struct EarlierModel {
    id: String,
    compute: String,
    image_size: usize,
}

#[derive(Deserialize)]
struct EarlierPrompt {
    prompt: String,
    #[serde(default)]
    boxes: Vec<BoxRecord>,
    instances: Vec<EarlierInstance>,
}

#[derive(Deserialize)]
struct EarlierInstance {
    polygons: Option<IgnoredAny>,
}

impl Settings<'_> {
    /// Whether the picture has its results already: of the same bytes, package, prompts and threshold, all that are
    /// asked for.
    pub fn is_done(&self, input: &Input, place: &Place) -> bool {
        if input.is_stdin() || !stamp::is_stamped(&place.json()) {
            return false;
        }
        let Some(earlier) = read(place) else {
            return false;
        };
        self.is_same(&earlier)
            && self.are_files_there(&earlier, place)
            && input.digest().is_ok_and(|digest| digest == earlier.image.sha256)
    }

    fn is_same(&self, earlier: &Earlier) -> bool {
        let is_same = |prompt: &Prompt, earlier: &EarlierPrompt| {
            let boxes: Vec<BoxRecord> = prompt.boxes.iter().map(BoxRecord::of).collect();
            text_of(prompt) == earlier.prompt && boxes == earlier.boxes
        };
        let mut prompts = self.prompts.iter().zip(&earlier.prompts);
        earlier.model.id == self.loaded.id()
            && earlier.model.compute == self.loaded.compute()
            && earlier.model.image_size == self.loaded.segmenter.image_size()
            && earlier.threshold == self.how.threshold
            && earlier.refined == self.how.refine
            && self.has_tiles_of(earlier)
            && earlier.prompts.len() == self.prompts.len()
            && prompts.all(|(prompt, earlier)| is_same(prompt, earlier))
    }

    fn has_tiles_of(&self, earlier: &Earlier) -> bool {
        let own = self.how.tiling.map(|tiling| (tiling.tiles.to_string(), tiling.overlap));
        let its = earlier
            .tiling
            .as_ref()
            .map(|tiling| (tiling.tiles.clone(), tiling.overlap));
        own == its
    }

    fn are_files_there(&self, earlier: &Earlier, place: &Place) -> bool {
        let is_there = |path: PathBuf| stamp::is_whole_png(&path);
        let mut instances = earlier.prompts.iter().flat_map(|prompt| &prompt.instances);
        let masks = || {
            let prompts = self.wanted.prefixes.iter().zip(&earlier.prompts);
            prompts.flat_map(|(prefix, prompt)| {
                (1..=prompt.instances.len()).map(move |number| place.masks().join(mask_name(prefix, number)))
            })
        };
        is_there(place.overlay())
            && (!self.wanted.ids || is_there(place.ids()))
            && (!self.wanted.masks || masks().all(is_there))
            && (!self.wanted.polygons || instances.all(|instance| instance.polygons.is_some()))
    }
}

fn read(place: &Place) -> Option<Earlier> {
    serde_json::from_reader(BufReader::new(File::open(place.json()).ok()?)).ok()
}
