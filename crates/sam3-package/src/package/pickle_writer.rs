//! The pickle of a state dict, as `torch.save` writes it: protocol 2, `_rebuild_tensor_v2` over persistent storages.

use super::plan::Planned;

/// Memo slots of what every tensor repeats; the storages' classes follow.
const REBUILD: u8 = 0;
const STORAGE: u8 = 1;
const CPU: u8 = 2;
const ORDERED_DICT: u8 = 3;
const CLASSES: u8 = 4;

/// Pickles `{name: tensor}` in the given order, tensor `i` over storage `i`.
pub(super) fn state_dict(stored: &[Planned]) -> Vec<u8> {
    let mut out = b"\x80\x02}(".to_vec(); // PROTO 2, EMPTY_DICT, MARK
    let mut memo = Memo {
        seen: [false; CLASSES as usize],
        classes: Vec::new(),
    };
    for (index, tensor) in stored.iter().enumerate() {
        text(&mut out, &tensor.name);
        memo.shared(&mut out, REBUILD, |out| {
            global(out, "torch._utils", "_rebuild_tensor_v2")
        });
        out.extend(b"((");
        memo.shared(&mut out, STORAGE, |out| text(out, "storage"));
        memo.class(
            &mut out,
            tensor
                .dtype
                .storage()
                .expect("the caller refused the types without one"),
        );
        text(&mut out, &index.to_string());
        memo.shared(&mut out, CPU, |out| text(out, "cpu"));
        integer(&mut out, tensor.elements());
        out.extend(b"tQK\0"); // TUPLE, BINPERSID, storage offset 0
        tuple(&mut out, tensor.shape.iter().map(|extent| *extent as u64));
        tuple(&mut out, strides(&tensor.shape).into_iter());
        out.push(0x89); // requires_grad: NEWFALSE
        memo.shared(&mut out, ORDERED_DICT, |out| global(out, "collections", "OrderedDict"));
        out.extend(b")RtR"); // EMPTY_TUPLE, REDUCE: no hooks; TUPLE, REDUCE: the tensor
    }
    out.extend(b"u."); // SETITEMS, STOP
    out
}

struct Memo {
    seen: [bool; CLASSES as usize],
    classes: Vec<&'static str>,
}

impl Memo {
    /// Emits a value the first time and its memo slot from then on.
    fn shared(&mut self, out: &mut Vec<u8>, slot: u8, emit: impl FnOnce(&mut Vec<u8>)) {
        if std::mem::replace(&mut self.seen[slot as usize], true) {
            out.extend([b'h', slot]); // BINGET
        } else {
            emit(out);
            out.extend([b'q', slot]); // BINPUT
        }
    }

    fn class(&mut self, out: &mut Vec<u8>, class: &'static str) {
        if let Some(slot) = self.classes.iter().position(|known| *known == class) {
            out.extend([b'h', CLASSES + slot as u8]);
        } else {
            global(out, "torch", class);
            out.extend([b'q', CLASSES + self.classes.len() as u8]);
            self.classes.push(class);
        }
    }
}

fn global(out: &mut Vec<u8>, module: &str, name: &str) {
    out.extend(format!("c{module}\n{name}\n").as_bytes());
}

fn text(out: &mut Vec<u8>, value: &str) {
    out.push(b'X');
    out.extend((value.len() as u32).to_le_bytes());
    out.extend(value.as_bytes());
}

/// The shortest of BININT1, BININT2, BININT and LONG1, as Python chooses.
fn integer(out: &mut Vec<u8>, value: u64) {
    if let Ok(value) = u8::try_from(value) {
        out.extend([b'K', value]);
    } else if let Ok(value) = u16::try_from(value) {
        out.push(b'M');
        out.extend(value.to_le_bytes());
    } else if let Ok(value) = i32::try_from(value) {
        out.push(b'J');
        out.extend(value.to_le_bytes());
    } else {
        out.extend([0x8a, 9]);
        out.extend(value.to_le_bytes());
        out.push(0); // the sign: two's complement would read a high top bit as negative
    }
}

fn tuple(out: &mut Vec<u8>, values: impl ExactSizeIterator<Item = u64>) {
    let count = values.len();
    if count > 3 {
        out.push(b'(');
    }
    values.for_each(|value| integer(out, value));
    out.push(match count {
        0 => b')',
        1..=3 => 0x84 + count as u8, // TUPLE1, TUPLE2, TUPLE3
        _ => b't',
    });
}

/// Strides of a row-major tensor in elements; an empty axis counts as one, as in PyTorch.
fn strides(shape: &[usize]) -> Vec<u64> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis].max(1) as u64;
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_python_s() {
        for (value, expected) in [
            (0, &b"K\0"[..]),
            (255, b"K\xff"),
            (256, b"M\0\x01"),
            (65_536, b"J\0\0\x01\0"),
            (1 << 31, b"\x8a\x09\0\0\0\x80\0\0\0\0\0"),
        ] {
            let mut out = Vec::new();
            integer(&mut out, value);
            assert_eq!(out, expected, "{value}");
        }
    }

    #[test]
    fn strides_are_row_major() {
        assert_eq!(strides(&[]), [0u64; 0]);
        assert_eq!(strides(&[3, 4, 5]), [20, 5, 1]);
        assert_eq!(strides(&[2, 0, 5]), [5, 5, 1]);
    }
}
