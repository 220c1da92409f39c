//! Writing the results of a picture: an overlay, the JSON, the masks, the map of ids.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sam3_model::{
    Detections, Prompt,
    image::Image,
    masks::{IdMap, OverlayInstance, overlay},
    report::text_of,
};
use sam3_package::{Error, Staged, remove_old};

use super::{
    places::{Guard, Place, Wanted, mask_name},
    report::Results,
    stamp,
};
use crate::{failure::Failure, signals};

/// How results are written, the same for all pictures of a run.
pub struct Writer<'a> {
    pub guard: &'a Guard,
    pub wanted: &'a Wanted,
}

impl Writer<'_> {
    /// Writes one picture's results, all before any gets its name, and removes what an earlier run left beside them.
    pub fn write(&self, place: &Place, image: &Image, report: &impl Results) -> anyhow::Result<Vec<PathBuf>> {
        let _uninterrupted = signals::uninterrupted();
        make_folder(place.folder())?;
        let mut staged = Vec::new();
        if self.wanted.masks {
            make_folder(&place.masks())?;
            for (prefix, (_, instances)) in self.wanted.prefixes.iter().zip(report.groups()) {
                for (index, instance) in instances.iter().enumerate() {
                    let target = place.masks().join(mask_name(prefix, index + 1));
                    staged.push(self.stage(target, &stamp::png(instance.mask.to_png()))?);
                }
            }
        }
        if self.wanted.ids {
            staged.push(self.stage(place.ids(), &stamp::png(id_map(image, report)?.to_png()))?);
        }
        staged.push(self.stage(place.overlay(), &stamp::png(draw(image, report).to_png()))?);
        // Last: where the JSON is, the rest is, and nothing of an earlier run.
        let json = self.stage(place.json(), &report.to_json_file(self.wanted.polygons)?)?;
        // The JSON of an earlier run vouches for its own files and must not for these, should this run be killed now.
        if stamp::is_ours(&place.json()) {
            remove_old(&place.json())?;
        }
        let mut written = Vec::with_capacity(staged.len() + 1);
        for file in staged {
            written.push(file.target().to_owned());
            file.commit()?;
        }
        self.remove_earlier(place, &written)?;
        written.push(json.target().to_owned());
        json.commit()?;
        Ok(written)
    }

    fn stage(&self, target: PathBuf, bytes: &[u8]) -> Result<Staged, Error> {
        let file = Staged::create(&target, self.guard.may_replace(&target))?;
        file.write_at(bytes, 0)?;
        Ok(file)
    }

    /// Removes results of an earlier run that this one has no successor for: they would contradict the new JSON.
    fn remove_earlier(&self, place: &Place, written: &[PathBuf]) -> anyhow::Result<()> {
        let mut earlier = place.earlier_masks();
        earlier.extend(Some(place.ids()).filter(|ids| stamp::is_stamped(ids)));
        earlier.retain(|path| !written.contains(path) && !self.guard.is_input(path));
        for path in earlier {
            remove_old(&path)?;
        }
        if !self.wanted.masks {
            // What somebody else put there keeps the folder.
            let _ = fs::remove_dir(place.masks());
        }
        Ok(())
    }
}

/// An id a pixel, in the order of the JSON's instances.
fn id_map(image: &Image, report: &impl Results) -> anyhow::Result<IdMap> {
    let instances: Vec<_> = report
        .instances()
        .map(|(_, found)| (found.score, &found.mask))
        .collect();
    IdMap::new(image.width(), image.height(), &instances).ok_or_else(|| {
        Failure::usage(
            format!(
                "--id-map: {} instances, and 16 bits tell {} apart",
                instances.len(),
                IdMap::MOST
            ),
            "ask for fewer at a time, or raise the threshold",
        )
    })
}

/// The image with every instance tinted, outlined and labelled.
pub fn draw(image: &Image, report: &impl Results) -> Image {
    let instances: Vec<OverlayInstance> = report
        .instances()
        .enumerate()
        .map(|(color, (label, instance))| OverlayInstance {
            mask: &instance.mask,
            bounding_box: None,
            label,
            score: Some(instance.score),
            color,
        })
        .collect();
    overlay(image, &instances)
}

/// Writes raw outputs as safetensors.
pub fn dump(target: &Path, detections: &Detections, guard: &Guard) -> anyhow::Result<()> {
    let file = Staged::create(target, guard.may_replace(target))?;
    detections.save(file.temporary()).map_err(|error| {
        Failure::environment(
            format!("{}: {error}", target.display()),
            "raw outputs take 70 MB at SAM 3's size: free some space, or name a file on another drive",
        )
    })?;
    Ok(file.commit()?)
}

/// What the names of each prompt's masks begin with.
pub fn mask_prefixes(prompts: &[Prompt]) -> Vec<String> {
    let prefix = |(index, prompt): (usize, &Prompt)| match prompts.len() {
        1 => file_name(text_of(prompt)),
        _ => format!("{}_{}", index + 1, file_name(text_of(prompt))),
    };
    prompts.iter().enumerate().map(prefix).collect()
}

/// A prompt as a part of a file's name.
fn file_name(prompt: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || c == '-' { c } else { '_' };
    prompt.chars().take(40).map(plain).collect()
}

/// Makes a folder and those above it.
pub fn make_folder(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|source| Error::Output {
        path: folder.to_owned(),
        source,
    })
}
