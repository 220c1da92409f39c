//! What a package's metadata say, as far as they do not depend on its tensors' values.

use serde_json::Value;

use super::{
    Metadata, Options, Source, TensorRecord,
    compressed_tensors::quantization_config,
    plan::{Plan, Planned},
    write::Written,
};
use crate::{Error, Result, StateDict, checkpoint::SourceFile, digest::hex};

/// What is known of a package before its tensors are written.
pub(super) struct Description<'a> {
    source: &'a StateDict,
    options: &'a Options,
    stored: &'a [Planned],
    config: Option<Value>,
    baked_prompts: Vec<String>,
    /// Where the source came from, where it is a package itself.
    pub origin: Option<Source>,
}

impl<'a> Description<'a> {
    /// # Errors
    /// Where the source is a package whose metadata cannot be read.
    pub fn new(source: &'a StateDict, options: &'a Options, plan: &'a Plan) -> Result<Self> {
        let text = source.metadata_json();
        let package = text.map(Metadata::from_json).transpose();
        let package = package.map_err(|reason| Error::invalid(source.path(), reason))?;
        let baked_prompts = match (&options.baked, &package) {
            (Some(baked), _) => baked.texts.clone(),
            (None, Some(package)) => package.baked_prompts.clone(),
            (None, None) => Vec::new(),
        };
        let mut config = options.config.clone();
        if let Some(Value::Object(config)) = &mut config {
            let how = quantization_config(&plan.stored);
            config.extend(how.map(|how| ("quantization_config".to_owned(), how)));
        }
        Ok(Self {
            source,
            options,
            stored: &plan.stored,
            config,
            baked_prompts,
            origin: package.map(|package| package.source),
        })
    }

    /// The metadata, once the source and the tensors are known.
    pub fn of(&self, source: Source, written: &[Written]) -> Metadata {
        let records = self.stored.iter().zip(written).map(|(stored, written)| TensorRecord {
            name: stored.name.clone(),
            dtype: stored.dtype.name().to_owned(),
            shape: stored.shape.clone(),
            sha256: hex(&written.sha256),
            error: written.cost.error(),
        });
        let (created, precision) = (self.options.created, self.options.precision);
        Metadata {
            config: self.config.clone(),
            synthesised: self.source.synthesised().map(str::to_owned).collect(),
            baked_prompts: self.baked_prompts.clone(),
            ..Metadata::new(created, source, precision, self.stored, records.collect())
        }
    }

    /// As long as the metadata can become, apart from what rounding cost: a `.safetensors` keeps room for it.
    pub fn longest(&self, files: &[SourceFile]) -> Metadata {
        let unknown = vec![Written::default(); self.stored.len()];
        let source = Source::unread(self.source.path(), files, self.origin.clone());
        Metadata {
            test: self.options.test.clone(),
            ..self.of(source, &unknown)
        }
    }
}
