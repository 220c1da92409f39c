//! Which of the kernels that the program holds a card runs.

use crate::launch::Image;

/// Jetson's cards: they do not run other cards' machine code, and other cards do not run theirs.
const JETSONS: [u32; 2] = [87, 110];

/// What a card of that compute capability runs: its own machine code, else that of the nearest card before it with the
/// same first digits, else the latest PTX that is not later than it.
pub fn best(images: &[Image], capability: u32) -> Option<&'static [u8]> {
    let is_own = |of: u32| of == capability;
    let is_near = |of: u32| {
        let is_jetson = JETSONS.contains(&of) || JETSONS.contains(&capability);
        !is_jetson && of / 10 == capability / 10 && of < capability
    };
    let rank = |image: &Image| match *image {
        Image::Code(of, code) if is_own(of) => Some(((2, of), code)),
        Image::Code(of, code) if is_near(of) => Some(((1, of), code)),
        Image::Ptx(of, code) if of <= capability => Some(((0, of), code)),
        _ => None,
    };
    let best = images.iter().filter_map(rank).max_by_key(|(rank, _)| *rank);
    best.map(|(_, code)| code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_runs_its_own_code_or_what_is_near_or_ptx() {
        let images = [
            Image::Code(80, b"80"),
            Image::Code(86, b"86"),
            Image::Code(87, b"87"),
            Image::Code(90, b"90"),
            Image::Code(110, b"110"),
            Image::Ptx(80, b"ptx 80"),
            Image::Ptx(90, b"ptx 90"),
        ];
        for (capability, expected) in [
            (80, "80"),
            (86, "86"),
            (87, "87"),
            (89, "86"),
            (90, "90"),
            (100, "ptx 90"),
            (101, "ptx 90"),
            (110, "110"),
            (120, "ptx 90"),
        ] {
            assert_eq!(best(&images, capability), Some(expected.as_bytes()), "{capability}");
        }
        assert_eq!(best(&images, 75), None);
        assert_eq!(best(&images[3..4], 87), None, "another generation");
        assert_eq!(best(&images[1..2], 87), None, "a desktop's code");
    }
}
