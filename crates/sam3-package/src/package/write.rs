//! Streams tensors from the source into the package: read, cast, measure, hash, write, a mebibyte at a time.
//!
//! Every tensor's place in the file is known beforehand, so the threads share nothing but a counter and each
//! takes the next tensor. Memory does not grow with the checkpoint.

use std::{
    borrow::Cow,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use sha2::{Digest, Sha256};

use super::plan::{Plan, Planned, Step};
use crate::{
    Error, Progress, Result, StateDict,
    checkpoint::{Dtype, TensorView},
    precision::{BLOCK, Cost, Scratch, quantise_row, restore_row},
    staged::Staged,
};

/// Bytes hashed and written at a time: they stay in the second-level cache in between.
const PIECE: usize = 1 << 20;

/// A tensor that was written.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    pub sha256: [u8; 32],
    pub crc: u32,
    pub cost: Cost,
}

/// Writes every tensor of the plan and returns what was written, in the plan's order. Ends early, with an error or with
/// tensors missing, once `stop` is set; sets it where it fails.
pub(super) fn tensors(
    source: &StateDict,
    plan: &Plan,
    file: &Staged,
    offset: impl Fn(usize) -> u64 + Sync,
    progress: &dyn Progress,
    stop: &AtomicBool,
) -> Result<Vec<Written>> {
    let next = AtomicUsize::new(0);
    let written = Mutex::new(vec![Written::default(); plan.stored.len()]);
    let worker = |_: rayon::BroadcastContext<'_>| -> Result<()> {
        let mut scratch = Scratch::new();
        while !stop.load(Ordering::Relaxed) {
            let Some(step) = plan.steps.get(next.fetch_add(1, Ordering::Relaxed)) else {
                break;
            };
            let mut slots = vec![Slot::new(file, offset(step.output), progress)];
            if step.makes_scale {
                slots.push(Slot::new(file, offset(step.output + 1), progress));
            }
            let result = store(source, *step, &plan.stored[step.output], &mut scratch, &mut slots);
            // The others need not go on with a package that will not be.
            let cost = result.inspect_err(|_| stop.store(true, Ordering::Relaxed))?;
            let mut written = written.lock().expect("no thread panicked");
            for (index, slot) in slots.into_iter().enumerate() {
                written[step.output + index] = slot.finish();
            }
            written[step.output].cost = cost;
        }
        Ok(())
    };
    rayon::broadcast(worker).into_iter().collect::<Result<()>>()?;
    let mut written = written.into_inner().expect("no thread panicked");
    if let (Some(bytes), Some(last)) = (&plan.baked, written.last_mut()) {
        let mut slot = Slot::new(file, offset(plan.stored.len() - 1), progress);
        slot.write(bytes)?;
        *last = slot.finish();
    }
    Ok(written)
}

/// Stores one tensor; `slots` are its place and, for a weight that becomes int8 here, that of its scales.
fn store(
    source: &StateDict,
    step: Step,
    stored: &Planned,
    scratch: &mut Scratch,
    slots: &mut [Slot<'_>],
) -> Result<Cost> {
    let view = source.view(step.source);
    let expected = stored.elements() * view.dtype.size() as u64;
    if view.byte_len() as u64 != expected {
        let found = view.byte_len();
        return Err(Error::invalid(
            source.path(),
            format!("{}: expected {expected} bytes, found {found}", view.name),
        ));
    }
    let mut cost = Cost::default();
    let mut out = Vec::with_capacity(PIECE);
    if step.makes_scale {
        quantise(&view, scratch, &mut out, slots, &mut cost)?;
    } else if let Some(scale) = step.scale {
        restore(
            &view,
            &source.view(scale),
            stored.dtype,
            scratch,
            &mut out,
            &mut slots[0],
            &mut cost,
        )?;
    } else if view.dtype == stored.dtype {
        for piece in view.parts.iter().flat_map(|part| part.chunks(PIECE)) {
            check_finite(piece, view.dtype, scratch, &mut cost);
            slots[0].write(piece)?;
        }
    } else {
        for piece in view
            .parts
            .iter()
            .flat_map(|part| part.chunks(BLOCK * view.dtype.size()))
        {
            scratch.values.clear();
            scratch.widen(piece, view.dtype);
            scratch.narrow(stored.dtype, &mut out, &mut cost);
            slots[0].flush(&mut out, PIECE)?;
        }
        slots[0].flush(&mut out, 0)?;
    }
    source.release(step.source);
    Ok(cost)
}

/// A 2-D weight to int8 codes in `slots[0]` and one scale a row in `slots[1]`.
fn quantise(
    view: &TensorView<'_>,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
    slots: &mut [Slot<'_>],
    cost: &mut Cost,
) -> Result<()> {
    let row_bytes = view.shape[1] * view.dtype.size();
    let mut scales = Vec::with_capacity(4 * view.shape[0]);
    for part in whole_rows(&view.parts, row_bytes) {
        for row in part.chunks(row_bytes.max(1)) {
            scratch.values.clear();
            scratch.widen(row, view.dtype);
            scales.extend(quantise_row(&scratch.values, out, cost).to_le_bytes());
            slots[0].flush(out, PIECE)?;
        }
    }
    slots[0].flush(out, 0)?;
    slots[1].write(&scales)
}

/// int8 codes and their scales back to floats of the package's precision.
fn restore(
    view: &TensorView<'_>,
    scales: &TensorView<'_>,
    dtype: Dtype,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
    slot: &mut Slot<'_>,
    cost: &mut Cost,
) -> Result<()> {
    let scales = scales.to_f32().expect("the plan asks for F32 scales");
    let columns = view.numel() / scales.len().max(1);
    let parts = whole_rows(&view.parts, columns);
    for (row, scale) in parts.iter().flat_map(|part| part.chunks(columns.max(1))).zip(scales) {
        scratch.values.clear();
        restore_row(row, scale, &mut scratch.values);
        scratch.narrow(dtype, out, cost);
        slot.flush(out, PIECE)?;
    }
    slot.flush(out, 0)
}

/// The parts unchanged if each holds whole rows; otherwise all of them joined into one.
fn whole_rows<'a>(parts: &'a [Cow<'a, [u8]>], row_bytes: usize) -> Vec<Cow<'a, [u8]>> {
    if row_bytes == 0 || parts.iter().all(|part| part.len() % row_bytes == 0) {
        parts.iter().map(|part| Cow::Borrowed(&part[..])).collect()
    } else {
        vec![Cow::Owned(parts.concat())]
    }
}

/// Counts what is not finite among bytes that are stored as they are.
fn check_finite(bytes: &[u8], dtype: Dtype, scratch: &mut Scratch, cost: &mut Cost) {
    let dtype = match dtype {
        Dtype::C64 => Dtype::F32,
        Dtype::F32 | Dtype::F16 | Dtype::BF16 => dtype,
        _ => return,
    };
    for block in bytes.chunks(BLOCK * dtype.size()) {
        scratch.values.clear();
        scratch.widen(block, dtype);
        cost.add(&scratch.values, &scratch.values);
    }
}

/// One tensor's place in the package: takes its bytes in order.
struct Slot<'a> {
    file: &'a Staged,
    offset: u64,
    sha: Sha256,
    crc: crc32fast::Hasher,
    progress: &'a dyn Progress,
}

impl<'a> Slot<'a> {
    fn new(file: &'a Staged, offset: u64, progress: &'a dyn Progress) -> Self {
        Self {
            file,
            offset,
            sha: Sha256::new(),
            crc: crc32fast::Hasher::new(),
            progress,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        for piece in bytes.chunks(PIECE) {
            self.sha.update(piece);
            self.crc.update(piece);
            self.file.write_at(piece, self.offset)?;
            self.offset += piece.len() as u64;
            self.progress.advance(piece.len() as u64);
        }
        Ok(())
    }

    /// Writes and empties the buffer once it holds at least `threshold` bytes.
    fn flush(&mut self, buffer: &mut Vec<u8>, threshold: usize) -> Result<()> {
        if buffer.len() >= threshold {
            self.write(buffer)?;
            buffer.clear();
        }
        Ok(())
    }

    fn finish(self) -> Written {
        Written {
            sha256: self.sha.finalize().into(),
            crc: self.crc.finalize(),
            cost: Cost::default(),
        }
    }
}
