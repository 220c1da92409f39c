//! The binary `sam3`.

fn main() {}
