//! A tensor of the mapped checkpoint, as the weight of an op.

use std::{borrow::Cow, sync::Arc};

use sam3_package::{Dtype, StateDict};
use sam3_tensor::{Device, Mapped, Stored, Weight};

/// The tensor `index` of a state dict.
struct Entry {
    dict: Arc<StateDict>,
    index: usize,
}

impl Mapped for Entry {
    fn parts(&self) -> Vec<Cow<'_, [u8]>> {
        self.dict.view(self.index).parts
    }

    fn release(&self) {
        self.dict.release(self.index);
    }
}

/// Checks shape and element type; the error says what was expected and found.
pub fn open(
    dict: &Arc<StateDict>,
    index: usize,
    scale: Option<usize>,
    shape: &[usize],
    device: &Device,
) -> Result<Weight, String> {
    let view = dict.view(index);
    if view.shape != shape {
        return Err(format!("expected shape {shape:?}, found {:?}", view.shape));
    }
    let (stored, scale) = match (view.dtype, scale) {
        (Dtype::F32, _) => (Stored::F32, None),
        (Dtype::F16, _) => (Stored::F16, None),
        (Dtype::BF16, _) => (Stored::BF16, None),
        (Dtype::I8, Some(scale)) => (Stored::I8, Some(scales(dict, scale, shape[0])?)),
        (Dtype::I8, None) => return Err("int8 without its _scale tensor".into()),
        (other, _) => {
            return Err(format!(
                "expected F32, F16, BF16 or I8, found {other:?}; store the checkpoint as float32 first"
            ));
        }
    };
    let bytes = Arc::new(Entry {
        dict: dict.clone(),
        index,
    });
    Ok(Weight::mapped(bytes, stored, scale, shape, device))
}

/// What a code of each of the `rows` is worth.
fn scales(dict: &StateDict, index: usize, rows: usize) -> Result<Arc<[f32]>, String> {
    let scale = dict.view(index);
    if scale.shape != [rows, 1] {
        return Err(format!(
            "its scale: expected shape {:?}, found {:?}",
            [rows, 1],
            scale.shape
        ));
    }
    let values = scale.to_f32();
    let values = values.ok_or_else(|| format!("its scale: expected F32, found {:?}", scale.dtype))?;
    Ok(values.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    const NAME: &str = "detector.backbone.vision_backbone.trunk.blocks.0.mlp.fc1.weight";
    const ROWS: usize = 1024;
    const DEPTH: usize = 1024;

    /// A checkpoint of one weight, all ones in f16, and where it lies.
    fn checkpoint() -> (Arc<StateDict>, std::path::PathBuf) {
        let path = std::env::temp_dir().join(format!("sam3-release-{}.safetensors", std::process::id()));
        let len = ROWS * DEPTH * 2;
        let header = format!(r#"{{"{NAME}":{{"dtype":"F16","shape":[{ROWS},{DEPTH}],"data_offsets":[0,{len}]}}}}"#);
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend([0x00, 0x3c].repeat(ROWS * DEPTH));
        fs::write(&path, bytes).unwrap();
        (Arc::new(StateDict::open(&path).unwrap()), path)
    }

    /// Bytes of a mapped file that count as this process's memory.
    fn resident(path: &Path) -> usize {
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let of_file = maps.lines().skip_while(|line| !line.ends_with(path.to_str().unwrap()));
        let mut sizes = of_file.filter_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB"));
        sizes.next().expect("the file is mapped").parse::<usize>().unwrap() << 10
    }

    #[test]
    fn what_was_read_is_let_go_of() {
        let (dict, path) = checkpoint();
        let index = dict.position(NAME).unwrap();
        let weight = open(&dict, index, None, &[ROWS, DEPTH], &Device::Cpu).unwrap();
        for _ in 0..2 {
            let bytes = dict.view(index).parts.concat();
            assert_eq!(bytes.len(), ROWS * DEPTH * 2);
            assert!(resident(&path) >= bytes.len(), "{} bytes", resident(&path));
            let values = weight.to_tensor().unwrap();
            assert!(values.values::<f32>().unwrap().iter().all(|value| *value == 1.0));
            // The pages at both ends are shared with what lies beside.
            assert!(resident(&path) <= 64 << 10, "{} bytes", resident(&path));
        }
        fs::remove_file(path).unwrap();
    }
}
