//! The head of an ELF file: which machine a program for Linux is for.

/// Bytes of the header.
pub(crate) const HEADER: usize = 64;
/// Bytes of an entry of the program header table.
const SEGMENT: usize = 56;

/// The CPU that a program runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// A Jetson's.
    Aarch64,
    /// A desktop's.
    X86_64,
}

impl Machine {
    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64",
            Self::X86_64 => "x86-64",
        }
    }

    /// What a file that begins with `head` runs on; else what it is instead, as a clause of a sentence.
    pub(crate) fn of(head: &[u8]) -> Result<Self, String> {
        let Some(head) = head.first_chunk::<HEADER>().filter(|head| head.starts_with(b"\x7fELF")) else {
            return Err(format!("is {}, not a program for Linux", other_than_elf(head)));
        };
        let half = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let (class, order, kind, machine) = (head[4], head[5], half(16), half(18));
        match (class, order, kind, machine) {
            (2, 1, 2 | 3, 183) => Ok(Self::Aarch64),
            (2, 1, 2 | 3, 62) => Ok(Self::X86_64),
            (2, 1, 2 | 3, 243) => Err("is a program for RISC-V".to_owned()),
            (1, 1, 2 | 3, 40) => Err("is a program for ARM of 32 bits".to_owned()),
            (1, 1, 2 | 3, 3) => Err("is a program for x86 of 32 bits".to_owned()),
            (_, 1, 2 | 3, other) => Err(format!("is a program for another CPU (ELF machine {other})")),
            _ => Err("is an ELF file, but not a program".to_owned()),
        }
    }

    /// As [`Machine::of`], of a whole program: all that it loads is there.
    pub(super) fn of_whole(program: &[u8]) -> Result<Self, String> {
        let machine = Self::of(program)?;
        let cut = || format!("is cut off after {} bytes", program.len());
        let word = |at: usize| {
            program
                .get(at..at + 8)
                .map(|bytes| u64::from_le_bytes(bytes.try_into().expect("8 bytes")))
        };
        let table = word(32).and_then(|at| usize::try_from(at).ok()).ok_or_else(cut)?;
        let count = usize::from(u16::from_le_bytes([program[56], program[57]]));
        let segments = program
            .get(table..)
            .and_then(|rest| rest.get(..count * SEGMENT))
            .ok_or_else(cut)?;
        for segment in segments.as_chunks::<SEGMENT>().0 {
            let word = |at: usize| u64::from_le_bytes(segment[at..at + 8].try_into().expect("8 bytes"));
            let end = word(8).checked_add(word(32));
            if end.is_none_or(|end| end > program.len() as u64) {
                return Err(cut());
            }
        }
        if count == 0 {
            return Err("is an ELF file, but not a program".to_owned());
        }
        Ok(machine)
    }
}

fn other_than_elf(head: &[u8]) -> &'static str {
    match head {
        [] => "empty",
        [0x7f, b'E', b'L', b'F', ..] => "cut off",
        [b'#', b'!', ..] => "a script",
        [b'M', b'Z', ..] => "a program for Windows",
        [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] | [0xca, 0xfe, 0xba, 0xbe, ..] => "a program for macOS",
        _ => "another kind of file",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The smallest program: a header, one segment, `size` bytes in all.
    pub fn program(machine: u16, size: usize) -> Vec<u8> {
        let mut program = vec![0; size.max(HEADER + SEGMENT)];
        program[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        program[16] = 3;
        program[18..20].copy_from_slice(&machine.to_le_bytes());
        program[32] = HEADER as u8;
        program[54] = SEGMENT as u8;
        program[56] = 1;
        let size = (program.len() as u64).to_le_bytes();
        program[HEADER + 32..HEADER + 40].copy_from_slice(&size);
        program
    }

    #[test]
    fn machines_are_told_apart_and_other_files_named() {
        assert_eq!(Machine::of_whole(&program(183, 500)), Ok(Machine::Aarch64));
        assert_eq!(Machine::of_whole(&program(62, 0)), Ok(Machine::X86_64));
        for (head, words) in [
            (program(243, 0), "RISC-V"),
            (program(8, 0), "machine 8"),
            (b"\x7fELF\x01\x01".to_vec(), "is cut off"),
            (b"#!/bin/sh\n".to_vec(), "a script"),
            (b"MZ\x90".to_vec(), "Windows"),
            (b"\xcf\xfa\xed\xfe".to_vec(), "macOS"),
            (Vec::new(), "empty"),
            (vec![0; 100], "another kind of file"),
        ] {
            let said = Machine::of_whole(&head).unwrap_err();
            assert!(said.contains(words), "{said}");
        }
        let mut object = program(183, 0);
        object[16] = 1;
        assert!(Machine::of(&object).unwrap_err().contains("not a program"));
        let mut narrow = program(40, 0);
        narrow[4] = 1;
        assert!(Machine::of(&narrow).unwrap_err().contains("32 bits"));
    }

    #[test]
    fn what_is_cut_off_is_no_program() {
        let whole = program(183, 1000);
        for length in [HEADER, HEADER + 10, 999] {
            let said = Machine::of_whole(&whole[..length]).unwrap_err();
            assert!(said.contains("cut off"), "{length}: {said}");
        }
        let mut lies = whole;
        lies[HEADER + 8..HEADER + 16].fill(0xff);
        assert!(Machine::of_whole(&lies).is_err());
        lies[32..40].fill(0xff);
        assert!(Machine::of_whole(&lies).is_err());
    }
}
