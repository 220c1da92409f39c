//! What a package says about itself: `X_metadata.json`, byte for byte the same inside the package and beside it.

mod shallow;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Value, value::RawValue};

use self::shallow::Shallow;
use super::{plan::Planned, source::Source};
use crate::{
    Component, TensorInfo,
    layout::MAX_CONFIG,
    naming::{FORMAT, MAX_METADATA_BYTES, RECORD},
    precision::{Precision, QuantisationError},
};

/// Value of `format_version` that this crate writes, and the highest it reads.
pub const FORMAT_VERSION: u32 = 1;
/// Values in the metadata, which take more memory than their text; a full package's has some 20,000.
const MAX_VALUES: usize = 400_000;

const LICENSE: &str = "The weights are Meta's SAM Materials under the SAM License \
    (https://github.com/facebookresearch/sam3/blob/main/LICENSE): pass a copy of it on with them.";

/// The metadata of a package.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// [`FORMAT`].
    pub format: String,
    /// [`FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// The program that wrote the package.
    pub tool: String,
    /// Its version.
    pub tool_version: String,
    /// UTC, `2026-01-31T12:00:00Z`.
    pub created: String,
    /// Whose the weights are.
    pub license: String,
    /// What was packaged.
    pub source: Source,
    /// How it was stored.
    pub quantization: Quantization,
    /// Everything together.
    pub total: Tally,
    /// By element type, as safetensors names it.
    pub dtypes: BTreeMap<String, Tally>,
    /// By part of the model.
    pub components: BTreeMap<String, Tally>,
    /// Tensors that the source lacks and the official model needs, computed from what it has.
    #[serde(default)]
    pub synthesised: Vec<String>,
    /// Prompts whose features travel in place of the text encoder, in the order of the tensor `baked_prompts.features`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub baked_prompts: Vec<String>,
    /// What segmenting a picture with the source and with the package gave, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<TestRun>,
    /// Model config in the schema of transformers' `config.json`.
    #[serde(default, deserialize_with = "bounded_config")]
    pub config: Option<Value>,
    /// Every tensor, in the order of the package.
    pub tensors: Vec<TensorRecord>,
}

/// One picture, segmented with the source and with the package before it was given its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestRun {
    /// Name of the picture, without its folder.
    pub image: String,
    /// What was asked for; several prompts stand here with commas between them, as on the command line.
    pub prompt: String,
    /// The prompts one by one, where there are several; the counts below are sums over them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<String>,
    /// Where it ran, and in which precision: `cpu, f32` or `cuda:0 (Orin), f32`.
    pub device: String,
    /// Instances that the source found.
    pub source_instances: u64,
    /// How the package compares, at the model's own image size as the source.
    #[serde(flatten)]
    pub agreement: Agreement,
    /// How it compares at other image sizes, the source still at its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sizes: Vec<SizedRun>,
}

/// How near what a package found is to what the source found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Instances that the package found.
    pub package_instances: u64,
    /// Pairs with the source's whose masks overlap.
    pub matched: u64,
    /// The lowest intersection over union of a pair's masks; absent where there is no pair.
    #[serde(default)]
    pub worst_mask_iou: Option<f64>,
    /// The largest difference of a pair's scores; absent where there is no pair.
    #[serde(default)]
    pub largest_score_difference: Option<f64>,
}

/// The same picture, seen by the package at another size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SizedRun {
    /// Pixels in a side of what it saw.
    pub image_size: u64,
    /// How it compares with the source.
    #[serde(flatten)]
    pub agreement: Agreement,
}

/// How tensors were stored and the error that it cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantization {
    /// What `--quantize` asked for.
    pub scheme: Precision,
    /// The same in a sentence.
    pub description: String,
    /// Tensors whose values changed.
    pub changed: u64,
    /// The five with the lowest signal-to-noise ratio, worst first.
    pub worst: Vec<WorstTensor>,
}

/// One line of the error report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorstTensor {
    /// Official name.
    pub name: String,
    /// Its error.
    #[serde(flatten)]
    pub error: QuantisationError,
}

/// A count with its sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Number of tensors.
    pub tensors: u64,
    /// Elements of all of them.
    pub elements: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// One tensor of the package.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorRecord {
    /// Official name.
    pub name: String,
    /// Element type, as safetensors names it.
    pub dtype: String,
    /// Extent of each axis.
    pub shape: Vec<usize>,
    /// Lower-case hexadecimal SHA-256 of the tensor's bytes, row-major, little-endian.
    pub sha256: String,
    /// What storing it cost; absent where every value is exactly the source's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<QuantisationError>,
}

/// The totals of a list of tensors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tallies {
    /// Everything together.
    pub total: Tally,
    /// By element type, as safetensors names it.
    pub dtypes: BTreeMap<String, Tally>,
    /// By part of the model.
    pub components: BTreeMap<String, Tally>,
}

impl Tallies {
    /// Counts tensors under their official names.
    pub fn of<'a>(tensors: impl Iterator<Item = TensorInfo<'a>>) -> Self {
        let mut all = Self::default();
        for tensor in tensors {
            all.total.add(tensor);
            all.dtypes
                .entry(tensor.dtype.name().to_owned())
                .or_default()
                .add(tensor);
            all.components
                .entry(Component::of(tensor.name).name().to_owned())
                .or_default()
                .add(tensor);
        }
        all
    }
}

impl Tally {
    fn add(&mut self, tensor: TensorInfo<'_>) {
        let elements: u64 = tensor.shape.iter().map(|extent| *extent as u64).product();
        self.tensors += 1;
        self.elements += elements;
        self.bytes += elements * tensor.dtype.size() as u64;
    }
}

impl Metadata {
    /// Gathers the metadata of tensors that are written; what else a package has is for the caller to add.
    pub(super) fn new(
        created: u64,
        source: Source,
        precision: Precision,
        stored: &[Planned],
        tensors: Vec<TensorRecord>,
    ) -> Self {
        let Tallies {
            total,
            dtypes,
            components,
        } = Tallies::of(stored.iter().map(Planned::info));
        let mut worst: Vec<WorstTensor> = tensors
            .iter()
            .filter_map(|tensor| {
                tensor.error.map(|error| WorstTensor {
                    name: tensor.name.clone(),
                    error,
                })
            })
            .collect();
        let changed = worst.len() as u64;
        worst.sort_by(|a, b| a.error.snr_db.total_cmp(&b.error.snr_db));
        worst.truncate(5);
        Self {
            format: FORMAT.to_owned(),
            format_version: FORMAT_VERSION,
            tool: "sam3".to_owned(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            created: utc(created),
            license: LICENSE.to_owned(),
            source,
            quantization: Quantization {
                scheme: precision,
                description: description(precision).to_owned(),
                changed,
                worst,
            },
            total,
            dtypes,
            components,
            synthesised: Vec::new(),
            baked_prompts: Vec::new(),
            test: None,
            config: None,
            tensors,
        }
    }

    /// The text of `X_metadata.json`: one line a tensor, so that two packages can be compared with `diff`.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 * self.tensors.len() + 4096);
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, Shallow::default());
        self.serialize(&mut serializer)
            .expect("every key is a string and a Vec takes every byte");
        out.push(b'\n');
        out
    }

    /// Reads the text back. The error is a sentence without the file's name.
    pub fn from_json(text: &[u8]) -> Result<Self, String> {
        check_size(text)?;
        #[derive(Deserialize)]
        struct Head {
            format: String,
            format_version: u32,
        }
        let head: Head =
            serde_json::from_slice(text).map_err(|error| format!("its {RECORD} cannot be read: {error}"))?;
        if head.format != FORMAT {
            return Err(format!(
                "its {RECORD} says format {:?}, expected {FORMAT:?}",
                head.format
            ));
        }
        if head.format_version > FORMAT_VERSION {
            return Err(format!(
                "it is a package of format version {}, this program reads up to {FORMAT_VERSION}: use a newer sam3",
                head.format_version
            ));
        }
        serde_json::from_slice(text).map_err(|error| format!("its {RECORD} cannot be read: {error}"))
    }
}

/// Refuses a text that no package has, before it becomes many times its size in memory.
pub(super) fn check_size(text: &[u8]) -> Result<(), String> {
    if text.len() as u64 > MAX_METADATA_BYTES {
        let bytes = text.len();
        return Err(format!(
            "its {RECORD} has {bytes} bytes; at most {MAX_METADATA_BYTES} are read"
        ));
    }
    // Each value but the first of a list or object stands behind a comma.
    let values = text.iter().filter(|byte| b",[{".contains(byte)).count();
    if values > MAX_VALUES {
        return Err(format!(
            "its {RECORD} has {values} values; at most {MAX_VALUES} are read"
        ));
    }
    Ok(())
}

/// A [`Value`] may take eighty times the memory of its text.
fn bounded_config<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    let Some(text) = Option::<Box<RawValue>>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let bytes = text.get().len();
    if bytes as u64 > MAX_CONFIG {
        let reason = format!("the config in it has {bytes} bytes; at most {MAX_CONFIG} are read");
        return Err(D::Error::custom(reason));
    }
    serde_json::from_str(text.get()).map(Some).map_err(D::Error::custom)
}

fn description(precision: Precision) -> &'static str {
    match precision {
        Precision::None => "every float as in the source",
        Precision::Fp16 => {
            "matrices, convolutions and embeddings as IEEE half, rounded to nearest even; \
             vectors, position tables and coordinates as in the source"
        }
        Precision::Bf16 => {
            "matrices, convolutions and embeddings as bfloat16, rounded to nearest even; \
             vectors, position tables and coordinates as in the source"
        }
        Precision::Int8 => {
            "Linear weights of at least 16384 elements and the token embedding as int8, symmetric, \
             with one f32 scale a row in NAME_scale (compressed-tensors, value = code * scale); the rest as fp16"
        }
    }
}

/// Seconds since 1970 as `2026-01-31T12:00:00Z`; proleptic Gregorian (Howard Hinnant, "chrono-compatible
/// low-level date algorithms", `civil_from_days`).
pub fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_the_calendar_s() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_795_468_074), "2026-11-23T21:07:54Z");
        assert_eq!(utc(4_107_542_399), "2100-02-28T23:59:59Z");
        assert_eq!(utc(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn foreign_and_future_metadata_are_refused_in_words() {
        assert!(Metadata::from_json(b"{").unwrap_err().contains("cannot be read"));
        assert!(
            Metadata::from_json(br#"{"format":"x","format_version":1}"#)
                .unwrap_err()
                .contains("expected")
        );
        let future = Metadata::from_json(br#"{"format":"sam3-package","format_version":2}"#).unwrap_err();
        assert!(future.contains("newer sam3"), "{future}");
    }
}
