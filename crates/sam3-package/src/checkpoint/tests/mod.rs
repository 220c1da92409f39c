//! Real torch files, and files made to be refused.

use std::path::PathBuf;

use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

#[test]
fn reads_what_torch_saves() {
    for name in ["flat.pt", "protocol3.pt", "protocol4.pt", "protocol5.pt", "wrapped.pt"] {
        let checkpoint = Checkpoint::open(&fixture(name)).unwrap();
        assert_eq!(
            (checkpoint.container(), checkpoint.len()),
            (Container::Pth, 16),
            "{name}"
        );
        let view = |key: &str| checkpoint.view(checkpoint.position(key).unwrap());
        let f32s = |key: &str| view(key).to_f32().unwrap();
        assert_eq!(f32s("weight"), [0.5; 6], "{name}");
        assert_eq!(f32s("transposed"), [0., 4., 8., 1., 5., 9., 2., 6., 10., 3., 7., 11.]);
        assert_eq!(f32s("row"), [4., 5., 6., 7.]);
        assert!(matches!(view("row").parts[0], Cow::Borrowed(_)));
        assert_eq!(f32s("column"), [2., 6., 10.]);
        assert_eq!(f32s("parameter"), [1., 2.]);
        assert_eq!(f32s("half"), [1.5, -2.]);
        assert_eq!(f32s("brain"), [1.5, -2.]);
        assert_eq!(
            (view("int8").dtype, &view("int8").parts[0][..]),
            (Dtype::I8, &[0x80, 0x7f][..])
        );
        assert_eq!((view("complex").dtype, view("complex").byte_len()), (Dtype::C64, 16));
        assert_eq!((view("counter").dtype, view("counter").shape), (Dtype::I64, &[][..]));
        assert_eq!((view("empty").shape, view("empty").byte_len()), (&[0, 3][..], 0));
        assert_eq!(
            [view("flags").dtype, view("double").dtype, view("float8").dtype],
            [Dtype::Bool, Dtype::F64, Dtype::F8E4M3]
        );
        assert!(view("counter").to_f32().is_none());
        let order: Vec<_> = checkpoint.tensors().take(3).map(|t| t.name.to_owned()).collect();
        assert_eq!(order, ["weight", "bias", "base"]);
    }
}

mod beside;
mod build;
mod folders;
mod hostile;
mod sharded;
