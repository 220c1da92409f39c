//! Programs that nobody runs.

pub const AARCH64: u16 = 183;
pub const X86_64: u16 = 62;

/// The head of a program of some 100 kB for a machine, as ELF numbers them, and bytes that do not repeat.
pub fn program(machine: u16) -> Vec<u8> {
    let mut program: Vec<u8> = (0..100_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    program[..120].fill(0);
    program[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    program[16] = 3; // an executable that is loaded anywhere
    program[18..20].copy_from_slice(&machine.to_le_bytes());
    // One segment, described behind the head, of all bytes.
    (program[32], program[54], program[56]) = (64, 56, 1);
    let size = (program.len() as u64).to_le_bytes();
    program[64 + 32..64 + 40].copy_from_slice(&size);
    program
}
