//! `--box`: an example of what to find, or of what not to find.

use std::str::FromStr;

use sam3_model::ExemplarBox;

/// `x1,y1,x2,y2` and perhaps `,0` or `,1`.
#[derive(Clone, Copy, Debug)]
pub struct BoxFlag(pub ExemplarBox);

impl FromStr for BoxFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected x1,y1,x2,y2 in pixels and perhaps ,0 or ,1, found {text:?}");
        let numbers = text
            .split(',')
            .map(|number| number.trim().parse::<f32>().ok().filter(|n| n.is_finite()));
        let numbers: Vec<f32> = numbers.collect::<Option<_>>().ok_or_else(expected)?;
        let exemplar = match *numbers {
            [x1, y1, x2, y2] | [x1, y1, x2, y2, 1.0] => ExemplarBox::positive([x1, y1, x2, y2]),
            [x1, y1, x2, y2, 0.0] => ExemplarBox::negative([x1, y1, x2, y2]),
            _ => return Err(expected()),
        };
        if exemplar.xyxy.iter().all(|side| (0.0..=1.0).contains(side)) {
            return Err(format!(
                "{text} lies within the first pixel: a box is x1,y1,x2,y2 in pixels of the picture, not in shares of its sides"
            ));
        }
        Ok(Self(exemplar))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_four_numbers_and_perhaps_a_label() {
        let parse = |text: &str| text.parse::<BoxFlag>().map(|flag| (flag.0.xyxy, flag.0.positive));
        assert_eq!(parse("1,2,3.5,4"), Ok(([1.0, 2.0, 3.5, 4.0], true)));
        assert_eq!(parse("1, 2, 3, 4, 0"), Ok(([1.0, 2.0, 3.0, 4.0], false)));
        assert_eq!(parse("1,2,3,4,1"), Ok(([1.0, 2.0, 3.0, 4.0], true)));
        assert_eq!(parse("0,0,1.5,1"), Ok(([0.0, 0.0, 1.5, 1.0], true)));
        for bad in [
            "",
            "1,2,3",
            "1,2,3,4,2",
            "1,2,3,4,1,1",
            "1,2,3,x",
            "1,2,3,nan",
            "1,2,3,inf",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        for shares in ["0.1,0.2,0.3,0.4", "0,0,1,1", "0.5,0.5,1,1,0"] {
            assert!(parse(shares).unwrap_err().contains("in pixels"), "{shares}");
        }
    }
}
