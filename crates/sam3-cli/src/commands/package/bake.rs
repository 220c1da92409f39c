//! `--bake-prompts`: the text encoder runs here, and what it makes of the prompts travels in its place.

use std::{fs, path::Path, sync::Arc};

use sam3_model::{Config, config::DetectorConfig};
use sam3_package::{
    Progress, StateDict,
    package::{self, BakedPrompts, Components, Options},
};

use crate::{commands::prompts, failure::Failure};

/// The prompts that the flag names: those in a file, one a line, or those between commas.
pub fn read(flag: &str) -> anyhow::Result<Vec<String>> {
    let file = Path::new(flag);
    let found: Vec<String> = if file.is_file() {
        let text = fs::read(file).map_err(|error| unreadable(flag, &error.to_string()))?;
        let text = String::from_utf8(text).map_err(|_| unreadable(flag, "it is not UTF-8 text"))?;
        // Editors on Windows put a mark before UTF-8.
        let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
        let prompts = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        prompts.map(str::to_owned).collect()
    } else if is_meant_as_file(flag) {
        return Err(unreadable(flag, "there is no such file"));
    } else {
        prompts::split(flag)
    };
    if found.is_empty() {
        return Err(Failure::usage(
            format!("--bake-prompts {flag}: no prompt in it"),
            "for example --bake-prompts \"boat,buoy\", or a file with one prompt a line",
        ));
    }
    Ok(found)
}

/// A path that leads nowhere would otherwise become a prompt, and the text encoder be gone.
fn is_meant_as_file(flag: &str) -> bool {
    ["/", "./", "../", "~/"].iter().any(|start| flag.starts_with(start))
        || flag.ends_with('/')
        || (!flag.contains([',', ' ']) && flag.ends_with(".txt"))
}

fn unreadable(flag: &str, reason: &str) -> anyhow::Error {
    Failure::input(
        format!("--bake-prompts {flag}: {reason}"),
        "a file of prompts is text with one a line; prompts themselves go between commas, --bake-prompts \"boat,buoy\"",
    )
}

/// Encodes prompts with the weights that the package would have had: those of `options.precision`.
pub fn bake(
    source: &StateDict,
    config: &Config,
    prompts: &[String],
    options: &Options,
    progress: &dyn Progress,
) -> anyhow::Result<BakedPrompts> {
    let is_baked = |detector: &DetectorConfig| detector.text.is_none();
    if config.detector.as_ref().is_none_or(is_baked) {
        return Err(Failure::input(
            format!(
                "{}: its prompts are baked already, and its text encoder is gone",
                source.path().display()
            ),
            "bake from the checkpoint that this package was made of",
        ));
    }
    let mut options = options.clone();
    options.components = Components::Text;
    (options.archive, options.split) = (None, None);
    // Removed when it is dropped: only its rounding is wanted.
    let draft = package::draft(source, &options, progress)?;
    let text = Arc::new(StateDict::open(draft.path())?);
    Ok(sam3_model::bake_prompts(config, text, prompts)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_come_from_the_flag_or_a_file() {
        assert_eq!(read("boat, red car ,,boat").unwrap(), ["boat", "red car", "boat"]);
        assert_eq!(read(r"cup\, saucer").unwrap(), ["cup, saucer"]);
        assert_eq!(read("person/animal").unwrap(), ["person/animal"]);
        for flag in ["", " , ", "no-such-prompts.txt", "./boats", "/", "~/boats"] {
            assert!(read(flag).is_err(), "{flag:?}");
        }
        let path = std::env::temp_dir().join(format!("sam3-prompts-{}.txt", std::process::id()));
        let flag = path.to_str().unwrap();
        fs::write(
            &path,
            "\u{feff}# what to look for\r\nboat\r\n\r\n  café, crème \r\nhäuser",
        )
        .unwrap();
        assert_eq!(read(flag).unwrap(), ["boat", "café, crème", "häuser"]);
        fs::write(&path, "caf\u{e9}".chars().map(|c| c as u8).collect::<Vec<_>>()).unwrap();
        assert!(read(flag).unwrap_err().to_string().contains("not UTF-8"));
        fs::write(&path, "# nothing\n\n").unwrap();
        assert!(read(flag).unwrap_err().to_string().contains("no prompt"));
        fs::remove_file(path).unwrap();
    }
}
