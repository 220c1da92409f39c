//! Named parameters out of a checkpoint, with every missing and every unexpected key accounted for.

mod layers;
mod stored;

use std::{cell::RefCell, collections::BTreeSet, rc::Rc, sync::Arc};

use sam3_package::StateDict;
use sam3_tensor::{DType, Device, Shape, Tensor, Weight, ops::Compute};

use crate::error::{Error, Result};

/// A place in the state dict: `weights.pp("blocks").pp(0).layer_norm("norm1", 1024, 1e-5)`.
///
/// Loading goes on after a missing key, so that one error can list them all: what a missing key yields is
/// never run, because [`Weights::finish`] fails.
#[derive(Clone)]
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
            prefix: format!("{}{step}.", self.prefix),
            ..self.clone()
        }
    }

    /// The same place, with what lies from here down on another device.
    pub fn on(&self, device: &Device) -> Self {
        Self {
            device: device.clone(),
            ..self.clone()
        }
    }

    /// The same place, with large products of this precision from here down.
    pub fn with_compute(&self, compute: Compute) -> Self {
        Self {
            compute,
            ..self.clone()
        }
    }

    /// The same place, with all products f32 from here down.
    pub fn exact(&self) -> Self {
        self.with_compute(Compute::F32)
    }

    /// The same place, with no activation quantised from here down.
    pub fn in_floats(&self) -> Self {
        self.with_compute(self.compute.float())
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
            None => Ok(Tensor::zeros(shape, DType::F32, &self.device)?),
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

    /// A table of the model's own, where its parameters live.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn constant(&self, values: Vec<f32>, shape: impl Shape) -> Result<Tensor> {
        Ok(Tensor::from_vec(values, shape, &self.device)?)
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
        stored::open(&self.dict, index, scale, shape, &self.device)
            .map(Some)
            .map_err(|reason| self.fault(format!("{name}: {reason}")))
    }

    fn fault(&self, reason: String) -> Error {
        Error::Checkpoint {
            path: self.dict.path().to_owned(),
            reason,
        }
    }

    /// An error that lists the missing keys; `what` says who misses them, such as `clicks need`.
    ///
    /// # Errors
    /// When there are some.
    pub(crate) fn check(&self, what: &str) -> Result<()> {
        let seen = self.seen.borrow();
        if seen.missing.is_empty() {
            return Ok(());
        }
        Err(self.fault(format!(
            "{} keys that {what} are missing, so nothing was run:\n  {}\n{}\
             expected a whole SAM 3 checkpoint; package it again from the original",
            seen.missing.len(),
            seen.missing.join("\n  "),
            not_read(&self.dict)
        )))
    }

    /// Ends loading: an error that lists the missing keys, or the keys that nothing asked for.
    ///
    /// # Errors
    /// When a key that the image model needs is missing.
    pub fn finish(self) -> Result<Vec<String>> {
        self.check("the image model needs")?;
        let seen = self.seen.borrow();
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
pub(crate) fn not_read(dict: &StateDict) -> String {
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

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;

    /// `dtype`, extents and bytes under a name.
    type Entry<'a> = (&'a str, &'a str, &'a [usize], Vec<u8>);

    /// A checkpoint of these tensors, in a file that is removed with it.
    struct Checkpoint(PathBuf);

    impl Checkpoint {
        fn new(name: &str, entries: &[Entry<'_>]) -> Self {
            let path = std::env::temp_dir().join(format!("sam3-weights-{name}-{}.safetensors", std::process::id()));
            let (mut header, mut data) = (Vec::new(), Vec::new());
            for (name, dtype, shape, bytes) in entries {
                let offsets = [data.len(), data.len() + bytes.len()];
                header.push(format!(
                    r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":{offsets:?}}}"#
                ));
                data.extend(bytes);
            }
            let header = format!("{{{}}}", header.join(","));
            let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat();
            fs::write(&path, bytes).unwrap();
            Self(path)
        }

        fn weights(&self) -> Weights {
            Weights::new(Arc::new(StateDict::open(&self.0).unwrap()), Device::Cpu)
        }
    }

    impl Drop for Checkpoint {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    const BLOCK: &str = "detector.backbone.vision_backbone.trunk.blocks.0";

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn halves(bits: &[u16]) -> Vec<u8> {
        bits.iter().flat_map(|bits| bits.to_le_bytes()).collect()
    }

    fn block(weights: &Weights) -> Weights {
        let trunk = weights.pp("detector").pp("backbone").pp("vision_backbone").pp("trunk");
        trunk.pp("blocks").pp(0)
    }

    #[test]
    fn every_element_type_is_widened() {
        let name = |end: &str| format!("{BLOCK}.{end}");
        let names = [
            "norm1.weight",
            "norm1.bias",
            "norm2.weight",
            "mlp.fc1.weight",
            "mlp.fc1.weight_scale",
        ]
        .map(name);
        let checkpoint = Checkpoint::new(
            "types",
            &[
                (&names[0], "F32", &[2], bytes(&[1.5, -3e38])),
                (&names[1], "F16", &[4], halves(&[0x3c00, 0xc100, 0x0001, 0x7c00])),
                (&names[2], "BF16", &[3], halves(&[0x3f80, 0xc049, 0x7f80])),
                (&names[3], "I8", &[2, 3], vec![1, 127, 0x81, 0, 0xff, 2]),
                (&names[4], "F32", &[2, 1], bytes(&[0.5, 3.0])),
            ],
        );
        let weights = checkpoint.weights();
        let block = block(&weights);
        let vector = |name: &str, len: usize| block.tensor(name, &[len]).unwrap().to_vec::<f32>().unwrap();
        assert_eq!(vector("norm1.weight", 2), [1.5, -3e38]);
        assert_eq!(vector("norm1.bias", 4), [1.0, -2.5, 2f32.powi(-24), f32::INFINITY]);
        assert_eq!(vector("norm2.weight", 3), [1.0, -3.140_625, f32::INFINITY]);
        let codes = [[0.5, 63.5, -63.5], [0.0, -3.0, 6.0]];
        let matrix = block.weight("mlp.fc1.weight", &[2, 3]).unwrap();
        let values = |x: Tensor| x.to_vec::<f32>().unwrap();
        assert_eq!(values(matrix.to_tensor().unwrap()), codes.concat());
        assert_eq!(values(matrix.rows(1..2).to_tensor().unwrap()), codes[1]);
        let rows = [codes[1], codes[0], codes[1]].concat();
        assert_eq!(values(matrix.gather(&[1, 0, 1]).unwrap()), rows);
        // The scales were read with their codes.
        assert_eq!(weights.finish().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn every_missing_key_is_listed() {
        let checkpoint = Checkpoint::new(
            "missing",
            &[(&format!("{BLOCK}.norm1.weight"), "F32", &[1], bytes(&[1.0]))],
        );
        let weights = checkpoint.weights();
        let block = block(&weights);
        assert_eq!(block.rows("norm1.weight"), Some(1));
        assert_eq!(block.rows("norm2.weight"), None);
        block.tensor("norm1.weight", &[1]).unwrap();
        block.tensor("norm1.bias", &[1]).unwrap();
        block.weight("mlp.fc1.weight", &[3, 1]).unwrap();
        let error = weights.finish().unwrap_err().to_string();
        for expected in [
            "2 keys that the image model needs are missing",
            &format!("{BLOCK}.norm1.bias\n"),
            &format!("{BLOCK}.mlp.fc1.weight\n"),
        ] {
            assert!(error.contains(expected), "{error}");
        }
        assert!(!error.contains("norm1.weight"), "{error}");
    }

    #[test]
    fn a_key_that_nothing_asked_for_is_told() {
        let names = [
            format!("{BLOCK}.norm1.weight"),
            format!("{BLOCK}.norm9.weight"),
            "detector.geometry_encoder.points_direct_project.weight".to_owned(),
            "tracker.maskmem_tpos_enc".to_owned(),
        ];
        let entries = names
            .each_ref()
            .map(|name| (name.as_str(), "F32", &[1][..], bytes(&[1.0])));
        let checkpoint = Checkpoint::new("unexpected", &entries);
        let weights = checkpoint.weights();
        block(&weights).tensor("norm1.weight", &[1]).unwrap();
        assert_eq!(weights.finish().unwrap(), [names[1].clone()]);
    }

    #[test]
    fn another_shape_or_element_type_is_refused() {
        let names = ["norm1.weight", "norm1.bias", "mlp.fc1.weight"].map(|end| format!("{BLOCK}.{end}"));
        let checkpoint = Checkpoint::new(
            "shapes",
            &[
                (&names[0], "F32", &[2], bytes(&[1.0, 2.0])),
                (&names[1], "I64", &[1], vec![0; 8]),
                (&names[2], "I8", &[1, 2], vec![1, 2]),
            ],
        );
        let weights = checkpoint.weights();
        let block = block(&weights);
        let refusal = |name: &str, shape: &[usize]| match block.weight(name, shape) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{name} was taken"),
        };
        assert!(refusal("norm1.weight", &[3]).contains("norm1.weight: expected shape [3], found [2]"));
        assert!(refusal("norm1.bias", &[1]).contains("norm1.bias: expected F32, F16, BF16 or I8, found I64"));
        assert!(refusal("mlp.fc1.weight", &[1, 2]).contains("mlp.fc1.weight: int8 without its _scale tensor"));
    }
}
