//! `--split`: the size of an archive's parts.

/// The largest whole MiB below the 4 GiB at which FAT32 stops.
const FAT32: u64 = 4095 << 20;

/// `fat32`, or a number with a unit as `split --bytes` reads it: K, M, G are powers of 1024, KB, MB, GB of 1000.
pub fn parse_split(text: &str) -> Result<u64, String> {
    if text.eq_ignore_ascii_case("fat32") {
        return Ok(FAT32);
    }
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let unit: u64 = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "K" | "KIB" => 1 << 10,
        "M" | "MIB" => 1 << 20,
        "G" | "GIB" => 1 << 30,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err("expected fat32 or a size such as 3900M, 2GB or 1000000".to_owned()),
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)) {
        Some(0) | None => Err("expected fat32 or a size such as 3900M, above zero".to_owned()),
        Some(size) => Ok(size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_parts_are_read_as_split_reads_them() {
        for (text, size) in [
            ("fat32", FAT32),
            ("1", 1),
            ("3900M", 3900 << 20),
            ("2GB", 2_000_000_000),
            ("4g", 4 << 30),
        ] {
            assert_eq!(parse_split(text), Ok(size), "{text}");
        }
        for text in [
            "",
            "0",
            "M",
            "-1",
            "1.5G",
            "1T",
            "99999999999999999999",
            "9999999999999G",
        ] {
            assert!(parse_split(text).is_err(), "{text}");
        }
    }
}
