//! Named parameters out of a checkpoint, with every missing and every unexpected key accounted for.

mod weight;

use std::{cell::RefCell, collections::BTreeSet, rc::Rc, sync::Arc};

use candle_core::{Device, Tensor};
use sam3_package::StateDict;
pub use weight::{Reader, Weight};

use crate::{
    error::{Error, Result},
    ops::Compute,
};

/// A place in the state dict: `weights.pp("blocks").pp(0).vector("norm1.weight", 1024)`.
///
/// Loading goes on after a missing key, so that one error can list them all: what a missing key yields is
/// never run, because [`Weights::finish`] fails.
pub struct Weights {
    dict: Arc<StateDict>,
    device: Device,
    prefix: String,
    compute: Compute,
    seen: Rc<RefCell<Seen>>,
}

#[derive(Default)]
struct Seen {
    used: BTreeSet<usize>,
    missing: Vec<String>,
}

impl Weights {
    /// The root of `dict`; tensors are made on `device`.
    pub fn new(dict: Arc<StateDict>, device: Device) -> Self {
        Self {
            dict,
            device,
            prefix: String::new(),
            compute: Compute::F32,
            seen: Rc::default(),
        }
    }

    /// One step down: a module's name, or a layer's number.
    pub fn pp(&self, step: impl std::fmt::Display) -> Self {
        Self {
            dict: self.dict.clone(),
            device: self.device.clone(),
            prefix: format!("{}{step}.", self.prefix),
            compute: self.compute,
            seen: self.seen.clone(),
        }
    }

    /// The same place, with large products of this precision from here down.
    pub fn with_compute(&self, compute: Compute) -> Self {
        Self {
            dict: self.dict.clone(),
            device: self.device.clone(),
            prefix: self.prefix.clone(),
            compute,
            seen: self.seen.clone(),
        }
    }

    /// What precision the large products of modules here take.
    pub fn compute(&self) -> Compute {
        self.compute
    }

    /// Where the tensors live.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The first extent of a tensor, where only the checkpoint can tell it.
    pub fn rows(&self, name: &str) -> Option<usize> {
        let index = self.dict.position(&format!("{}{name}", self.prefix))?;
        self.dict.info(index).shape.first().copied()
    }

    /// A small parameter, widened to f32 and copied to the device.
    ///
    /// # Errors
    /// When the checkpoint's tensor has another shape or an element type that is not a float.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        match self.find(name, shape)? {
            Some(weight) => Ok(weight.to_tensor()?),
            None => Ok(Tensor::zeros(shape, candle_core::DType::F32, &self.device)?),
        }
    }

    /// A large parameter of products: left as it is in the mapped file until it is used, or copied to the device.
    ///
    /// # Errors
    /// As [`Weights::tensor`]; and when the device has no room for it.
    pub fn weight(&self, name: &str, shape: &[usize]) -> Result<Weight> {
        Ok(self.table(name, shape)?.on_device(self.compute)?)
    }

    /// A large parameter of which rows are looked up: left in the mapped file, whatever the device.
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    pub fn table(&self, name: &str, shape: &[usize]) -> Result<Weight> {
        Ok(self
            .find(name, shape)?
            .unwrap_or_else(|| Weight::absent(shape, &self.device)))
    }

    fn find(&self, name: &str, shape: &[usize]) -> Result<Option<Weight>> {
        let name = format!("{}{name}", self.prefix);
        let Some(index) = self.dict.position(&name) else {
            self.seen.borrow_mut().missing.push(name);
            return Ok(None);
        };
        let scale = self.dict.position(&format!("{name}_scale"));
        self.seen
            .borrow_mut()
            .used
            .extend([Some(index), scale].into_iter().flatten());
        Weight::open(&self.dict, index, scale, shape, &self.device)
            .map(Some)
            .map_err(|reason| self.fault(format!("{name}: {reason}")))
    }

    fn fault(&self, reason: String) -> Error {
        Error::Checkpoint {
            path: self.dict.path().to_owned(),
            reason,
        }
    }

    /// Ends loading: an error that lists the missing keys, or the keys that nothing asked for.
    ///
    /// # Errors
    /// When a key that the image model needs is missing.
    pub fn finish(self) -> Result<Vec<String>> {
        let seen = self.seen.borrow();
        if !seen.missing.is_empty() {
            return Err(self.fault(format!(
                "{} keys that the image model needs are missing, so nothing was run:\n  {}\n{}\
                 expected a whole SAM 3 checkpoint; package it again from the original",
                seen.missing.len(),
                seen.missing.join("\n  "),
                not_read(&self.dict)
            )));
        }
        let unexpected = |(index, name): (usize, &str)| {
            (!seen.used.contains(&index) && !is_known_unused(name)).then(|| name.to_owned())
        };
        Ok(self
            .dict
            .tensors()
            .map(|tensor| tensor.name)
            .enumerate()
            .filter_map(unexpected)
            .collect())
    }
}

/// The tensors of the file that are not read, as lines for an error: what is missing may be one of them.
fn not_read(dict: &StateDict) -> String {
    dict.unread()
        .iter()
        .take(5)
        .map(|why| format!("not read: {why}\n"))
        .collect()
}

/// Keys of an official checkpoint that its image detector never reads.
fn is_known_unused(name: &str) -> bool {
    sam3_package::is_unused_for_images(name) || name.contains(".attn.freqs_cis")
}
