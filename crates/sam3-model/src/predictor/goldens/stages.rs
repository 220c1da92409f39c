//! The networks one by one: where a difference begins.

use sam3_tensor::{Device, Tensor};

use super::{Expected, GRID, Video, apart};
use crate::{input_size::position, model::MemoryTokens};

/// Of tensors that one network made: several times what f32 is from f64.
const TOLERANCE: f32 = 1e-3;

/// `[places, channels]` as the official code has it, its channels first.
fn channels_first(x: &Tensor) -> Vec<f32> {
    let places = x.elem_count() / x.last_dim().unwrap();
    x.reshape((places, ())).unwrap().t().unwrap().to_vec().unwrap()
}

#[track_caller]
fn check(expected: &Expected, name: &str, found: &[f32], tolerance: f32) {
    let apart = apart(found, &expected.get(name).unwrap(), name);
    assert!(apart <= tolerance, "{name}: {apart} apart");
}

#[test]
fn maps_and_positions_are_the_official_ones() {
    let (video, expected) = (Video::get(), Expected::open("pvs.safetensors"));
    let features = &video.features[0];
    for (name, found) in [("s0", &features.s0), ("s1", &features.s1), ("f", &features.f)] {
        check(&expected, &format!("frame0.{name}"), &channels_first(found), TOLERANCE);
    }
    for (name, width) in [("sine_d", 32), ("sine_memory", 8)] {
        let found = position(GRID, width, &Device::Cpu).unwrap();
        check(&expected, name, &channels_first(&found), 1e-5);
    }
    check(&expected, "dense_pe", &channels_first(&features.image_pe), 1e-5);
}

#[test]
fn a_memory_conditions_the_map_as_officially() {
    let (video, expected) = (Video::get(), Expected::open("pvs.safetensors"));
    let tensor = |name: &str| {
        let x = &expected.0[&format!("a.2.02.{name}")];
        x.reshape((x.elem_count() / 8, 8)).unwrap()
    };
    let (values, positions) = (tensor("memory_tokens"), tensor("memory_positions"));
    let memory = MemoryTokens {
        spatial: 2 * GRID * GRID,
        placed: (&values + positions).unwrap(),
        values,
    };
    let (features, tables) = (&video.features[2], video.tracker.tables(GRID).unwrap());
    check(&expected, "a.2.02.f", &channels_first(&features.f), TOLERANCE);
    let start = video.tracker.start(features, &tables).unwrap();
    let found = video.tracker.condition(&start, &memory, &tables).unwrap();
    check(&expected, "a.2.02.conditioned", &channels_first(&found), TOLERANCE);
}
