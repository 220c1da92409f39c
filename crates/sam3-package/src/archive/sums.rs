//! `SHA256SUMS`: the digests of an archive's files, as `sha256sum` writes and checks them.

/// The lines for files by name and digest.
pub(super) fn lines<'a>(files: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let line = |(name, digest): (&str, String)| {
        // As sha256sum does: its own way to keep a name in one line.
        let escape = if name.contains('\\') { "\\" } else { "" };
        format!("{escape}{digest}  {}\n", name.replace('\\', "\\\\"))
    };
    files.into_iter().map(line).collect()
}

/// Name and digest of a line.
fn parse(line: &str) -> Option<(String, String)> {
    let (line, is_escaped) = match line.strip_prefix('\\') {
        Some(line) => (line, true),
        None => (line, false),
    };
    let (digest, name) = line.split_once(' ')?;
    let name = name.strip_prefix([' ', '*'])?;
    let name = name.strip_prefix("./").unwrap_or(name);
    let is_digest = digest.len() == 64 && digest.bytes().all(|digit| digit.is_ascii_hexdigit());
    let name = if is_escaped {
        name.replace("\\\\", "\\")
    } else {
        name.to_owned()
    };
    is_digest.then(|| (name, digest.to_ascii_lowercase()))
}

/// A line for each of the files, by name and digest, whose digest differs from the list's.
///
/// # Errors
/// A clause of a sentence, where the list is not one of exactly these files.
pub(crate) fn compare(list: &[u8], files: &[(&str, &str)]) -> Result<Vec<String>, String> {
    let list = std::str::from_utf8(list).map_err(|_| "is not UTF-8".to_owned())?;
    let mut expected: Vec<Option<String>> = vec![None; files.len()];
    for line in list.lines().filter(|line| !line.trim().is_empty()) {
        let Some((name, digest)) = parse(line) else {
            return Err(format!("has the line {line:?}: expected a SHA-256 and a name"));
        };
        let Some(index) = files.iter().position(|(file, _)| file.eq_ignore_ascii_case(&name)) else {
            return Err(format!("lists {name:?}, and no such file is in the archive"));
        };
        if expected[index].replace(digest).is_some() {
            return Err(format!("lists {name:?} twice"));
        }
    }
    let mut mismatches = Vec::new();
    for ((name, found), expected) in files.iter().zip(expected) {
        let Some(expected) = expected else {
            return Err(format!(
                "does not list {name:?}, so nothing tells whether that is right"
            ));
        };
        if expected != *found {
            mismatches.push(format!("  {name}: expected sha256 {expected}, found {found}"));
        }
    }
    Ok(mismatches)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(digit: char) -> String {
        std::iter::repeat_n(digit, 64).collect()
    }

    #[test]
    fn a_list_is_of_exactly_the_files() {
        let (a, b) = (digest('a'), digest('b'));
        let files = [("sam3", &*a), ("a\\b.pth", &*b)];
        let list = lines([("sam3", a.clone()), ("a\\b.pth", b.clone())]);
        assert_eq!(list, format!("{a}  sam3\n\\{b}  a\\\\b.pth\n"));
        assert_eq!(compare(list.as_bytes(), &files), Ok(Vec::new()));
        let others = format!("{}  ./SAM3\r\n\n\\{b} *a\\\\b.pth", a.to_uppercase());
        assert_eq!(compare(others.as_bytes(), &files), Ok(Vec::new()));
        let wrong = lines([("sam3", b.clone()), ("a\\b.pth", b.clone())]);
        let said = compare(wrong.as_bytes(), &files).unwrap();
        assert_eq!(said, [format!("  sam3: expected sha256 {b}, found {a}")]);
        for (list, words) in [
            (lines([("sam3", a.clone())]), "does not list"),
            (lines([("sam3", a.clone()), ("sam3", a.clone())]), "twice"),
            (format!("{list}{a}  y.pth\n"), "no such file"),
            (format!("{a} sam3\n"), "expected a SHA-256"),
            (format!("{}  sam3\n", &a[1..]), "expected a SHA-256"),
            (String::new(), "does not list"),
        ] {
            let said = compare(list.as_bytes(), &files).unwrap_err();
            assert!(said.contains(words), "{said}");
        }
        assert!(compare(b"\xff", &files).is_err());
    }
}
