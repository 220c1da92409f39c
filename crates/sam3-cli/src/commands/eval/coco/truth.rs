//! COCO's labels: which pictures, which classes, what is where.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
};

use sam3_model::masks::{Mask, Rle};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::Failure;

/// What was read of the file.
pub struct Truth {
    /// By id.
    pub pictures: Vec<Picture>,
    /// By id.
    pub categories: Vec<Category>,
    /// Of each picture's id, in the file's order.
    labels: HashMap<i64, Vec<Label>>,
    /// Whether the file has masks.
    pub has_masks: bool,
    /// Whether each picture brings a phrase of its own, as in SA-Co.
    pub has_phrases: bool,
}

/// A picture's entry.
#[derive(Clone, Debug, Deserialize)]
pub struct Picture {
    pub id: i64,
    pub file_name: String,
    pub width: u32,
    pub height: u32,
    /// SA-Co's phrase.
    #[serde(default)]
    pub text_input: Option<String>,
    /// SA-Co: whether all that the phrase means is labelled.
    #[serde(default)]
    is_instance_exhaustive: Option<Value>,
}

/// A class.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Category {
    pub id: i64,
    pub name: String,
}

/// One labelled object, or a crowd.
#[derive(Clone, Debug, Deserialize)]
pub struct Label {
    pub id: i64,
    image_id: i64,
    pub category_id: i64,
    #[serde(default)]
    bbox: Option<Vec<f64>>,
    #[serde(default)]
    area: Option<f64>,
    #[serde(default)]
    segmentation: Option<Shape>,
    #[serde(default)]
    iscrowd: Option<Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Shape {
    Polygons(Vec<Vec<f64>>),
    Compressed(Rle),
    Runs { size: [u32; 2], counts: Vec<u64> },
}

#[derive(Deserialize)]
struct File {
    images: Vec<Picture>,
    annotations: Vec<Label>,
    categories: Vec<Category>,
}

/// A label as it is scored.
pub struct Object {
    pub id: i64,
    pub category: i64,
    /// `x, y, width, height`.
    pub bbox: [f64; 4],
    pub area: f64,
    pub is_crowd: bool,
    pub mask: Option<Mask>,
}

/// As Python takes them.
fn is_true(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(value)) => *value,
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        _ => false,
    }
}

/// The first id that stood before.
fn twice(mut ids: impl Iterator<Item = i64>) -> Option<i64> {
    let mut seen = HashSet::new();
    ids.find(|&id| !seen.insert(id))
}

impl Truth {
    /// Reads the file and looks at all that a score depends on.
    ///
    /// # Errors
    /// Where it is no such file, or says what cannot be.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let wrong = |what: String| {
            Failure::input(
                format!("--coco {}: {what}", path.display()),
                "expected COCO's labels: images with id, file_name, width and height; categories with id and name; \
                 annotations with id, image_id, category_id, and bbox or segmentation",
            )
        };
        let bytes = fs::read(path).map_err(|source| sam3_package::Error::Io {
            action: "read --coco",
            path: path.to_owned(),
            source,
        })?;
        let file: File = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        let File {
            images: mut pictures,
            annotations,
            mut categories,
        } = file;
        pictures.sort_by_key(|picture| picture.id);
        categories.sort_by_key(|category| category.id);
        for (what, id) in [
            ("images", twice(pictures.iter().map(|picture| picture.id))),
            ("categories", twice(categories.iter().map(|category| category.id))),
            ("annotations", twice(annotations.iter().map(|label| label.id))),
        ] {
            if let Some(id) = id {
                return Err(wrong(format!("the id {id} stands twice in {what}")));
            }
        }
        if pictures.is_empty() || categories.is_empty() {
            return Err(wrong("no images or no categories".to_owned()));
        }
        let has_phrases = pictures.iter().any(|picture| picture.text_input.is_some());
        if has_phrases && (categories.len() > 1 || pictures.iter().any(|picture| picture.text_input.is_none())) {
            return Err(wrong(
                "text_input, a phrase of a picture's own, wants one category and a phrase in every image".to_owned(),
            ));
        }
        let known: HashSet<i64> = categories.iter().map(|category| category.id).collect();
        let mut labels: HashMap<i64, Vec<Label>> = pictures.iter().map(|picture| (picture.id, Vec::new())).collect();
        let mut shapes = 0;
        for label in annotations {
            let (id, image) = (label.id, label.image_id);
            label
                .check()
                .map_err(|what| wrong(format!("annotation {id}: {what}")))?;
            if !known.contains(&label.category_id) {
                return Err(wrong(format!(
                    "annotation {id}: there is no category {}",
                    label.category_id
                )));
            }
            shapes += usize::from(label.has_shape());
            let of_picture = labels.get_mut(&image);
            of_picture
                .ok_or_else(|| wrong(format!("annotation {id}: there is no image {image}")))?
                .push(label);
        }
        let count: usize = labels.values().map(Vec::len).sum();
        if shapes > 0 && shapes < count {
            return Err(wrong(format!(
                "{shapes} of {count} annotations have a segmentation: masks are scored where all have one"
            )));
        }
        if has_phrases {
            // What is missing from such a picture's labels would count as found wrongly.
            pictures.retain(|picture| match &picture.is_instance_exhaustive {
                None => true,
                value => is_true(value.as_ref()),
            });
        }
        Ok(Self {
            pictures,
            categories,
            labels,
            has_masks: shapes > 0,
            has_phrases,
        })
    }

    /// What is labelled in a picture.
    ///
    /// # Errors
    /// A sentence where a label's mask is none of the picture's.
    pub fn objects(&self, picture: &Picture) -> Result<Vec<Object>, String> {
        let labels = self.labels.get(&picture.id).into_iter().flatten();
        labels
            .map(|label| {
                let object = label.object(picture, self.has_phrases);
                object.map_err(|what| format!("annotation {}: {what}", label.id))
            })
            .collect()
    }
}

impl Label {
    fn has_shape(&self) -> bool {
        !matches!(&self.segmentation, None | Some(Shape::Polygons(_)))
            || matches!(&self.segmentation, Some(Shape::Polygons(polygons)) if !polygons.is_empty())
    }

    fn check(&self) -> Result<(), String> {
        match self.bbox.as_deref() {
            None | Some([]) if !self.has_shape() => return Err("neither bbox nor segmentation".to_owned()),
            None | Some([]) => {}
            Some(&[x, y, width, height]) if [x, y].iter().all(|at| at.is_finite()) && width >= 0.0 && height >= 0.0 => {
            }
            Some(other) => return Err(format!("bbox: expected x, y, width and height, found {other:?}")),
        }
        if let Some(Shape::Polygons(polygons)) = &self.segmentation
            && let Some(bad) = polygons
                .iter()
                .find(|polygon| polygon.len() < 6 || polygon.len() % 2 == 1)
        {
            return Err(format!(
                "segmentation: a polygon of {} numbers has no three corners",
                bad.len()
            ));
        }
        match self.area {
            Some(area) if area < 0.0 => Err(format!("area: {area}")),
            _ => Ok(()),
        }
    }

    /// SA-Co's boxes and areas are shares of the picture: where `of_mask`, both are the mask's.
    fn object(&self, picture: &Picture, of_mask: bool) -> Result<Object, String> {
        let mask = match self.segmentation.as_ref().filter(|_| self.has_shape()) {
            Some(shape) => Some(shape.mask(picture)?),
            None => None,
        };
        let of_mask_box = || {
            let [x1, y1, x2, y2] = mask
                .as_ref()
                .and_then(Mask::bounding_box)
                .unwrap_or_default()
                .map(f64::from);
            [x1, y1, x2 - x1, y2 - y1]
        };
        let bbox = match self.bbox.as_deref() {
            Some(&[x, y, width, height]) if !of_mask => [x, y, width, height],
            _ => of_mask_box(),
        };
        let area = self.area.filter(|_| !of_mask);
        let area = area.or_else(|| mask.as_ref().map(|mask| mask.area() as f64));
        Ok(Object {
            id: self.id,
            category: self.category_id,
            bbox,
            area: area.unwrap_or(bbox[2] * bbox[3]),
            is_crowd: is_true(self.iscrowd.as_ref()),
            mask,
        })
    }
}

impl Shape {
    fn mask(&self, picture: &Picture) -> Result<Mask, String> {
        let (width, height) = (picture.width, picture.height);
        let right = |size: [u32; 2]| match size == [height, width] {
            true => Ok(()),
            false => Err(format!(
                "segmentation: {} x {} pixels, and image {} has {width} x {height}",
                size[1], size[0], picture.id
            )),
        };
        match self {
            Self::Polygons(polygons) => Mask::from_polygons(polygons, width, height),
            Self::Compressed(rle) => {
                right(rle.size)?;
                Mask::from_rle(rle)
            }
            Self::Runs { size, counts } => {
                right(*size)?;
                Mask::from_runs(counts, width, height)
            }
        }
        .map_err(|error| format!("segmentation: {error}"))
    }
}

/// The labels of these pictures alone, as they stand in the file: what pycocotools is given beside results of a part.
///
/// # Errors
/// Where the file cannot be read again.
pub fn part(path: &Path, pictures: &HashSet<i64>) -> anyhow::Result<Vec<u8>> {
    let mut file: serde_json::Map<String, Value> = serde_json::from_slice(&fs::read(path)?)?;
    for (list, key) in [("images", "id"), ("annotations", "image_id")] {
        if let Some(Value::Array(entries)) = file.get_mut(list) {
            entries.retain(|entry| entry[key].as_i64().is_some_and(|id| pictures.contains(&id)));
        }
    }
    let stamp = Value::from(sam3_model::report::GENERATOR);
    let mut stamped = serde_json::Map::from_iter([("generator".to_owned(), stamp)]);
    file.remove("generator");
    stamped.extend(file);
    Ok(serde_json::to_vec(&stamped)?)
}
