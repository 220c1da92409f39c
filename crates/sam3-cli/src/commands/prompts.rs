//! How a flag spells prompts: a comma separates them, and `\,` is a comma.
//!
//! One rule for `--prompt`, `--bake-prompts` and `--test-prompt`. A line of a file is one prompt, and JSON and the
//! library never split.

use sam3_model::Segmenter;

use crate::{failure::Failure, output::Output};

/// The prompts of a flag's value, without the space around them; what stands between two commas may be empty and is
/// left out.
pub fn split(text: &str) -> Vec<String> {
    let (mut prompts, mut prompt) = (Vec::new(), String::new());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.next_if_eq(&',').is_some() => prompt.push(','),
            ',' => prompts.push(std::mem::take(&mut prompt)),
            other => prompt.push(other),
        }
    }
    prompts.push(prompt);
    let trimmed = prompts.iter().map(|prompt| prompt.trim().to_owned());
    trimmed.filter(|prompt| !prompt.is_empty()).collect()
}

/// The prompt of a command that takes one.
///
/// # Errors
/// A usage error where there is none, or where a comma makes several.
pub fn one(flag: &str, text: &str) -> anyhow::Result<String> {
    let mut prompts = split(text);
    match prompts.len() {
        1 => Ok(prompts.remove(0)),
        0 => Err(empty(flag)),
        count => Err(Failure::usage(
            format!("{flag} {text:?}: expected one prompt, found {count}"),
            "a comma separates prompts: write \\, for a comma inside of one",
        )),
    }
}

/// Warns of prompts that are too long for the model, with what it reads of them.
pub fn warn_of_long<'a>(prompts: impl IntoIterator<Item = &'a str>, model: &Segmenter, output: &Output) {
    for prompt in prompts {
        if let Some(read) = model.truncated_prompt(prompt) {
            let start: String = prompt.chars().take(40).collect();
            output.warn(format!(
                "the prompt \"{start}…\" is too long for the model, which reads only {read:?}"
            ));
        }
    }
}

/// Nothing was asked for.
pub fn empty(flag: &str) -> anyhow::Error {
    Failure::usage(
        format!("{flag} is empty"),
        format!("name what to look for, for example {flag} \"boat\""),
    )
}

/// Prompts as [`split`] reads them.
pub fn join(prompts: &[String]) -> String {
    let escaped: Vec<String> = prompts.iter().map(|prompt| prompt.replace(',', "\\,")).collect();
    escaped.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_separate_and_escaped_ones_do_not() {
        for (text, prompts) in [
            ("boat", &["boat"][..]),
            ("boat, rectangle", &["boat", "rectangle"]),
            ("red car ,,boat,", &["red car", "boat"]),
            (r"cup\, saucer, spoon", &["cup, saucer", "spoon"]),
            (r"a\b\\,c\", &[r"a\b\,c\"]),
            (r"\,", &[","]),
            (" , ", &[]),
            ("", &[]),
        ] {
            assert_eq!(split(text), prompts, "{text}");
        }
    }

    #[test]
    fn what_is_joined_is_split_again() {
        let prompts = ["cup, saucer".to_owned(), "boat".to_owned(), ",".to_owned()];
        assert_eq!(split(&join(&prompts)), prompts);
    }

    #[test]
    fn one_prompt_is_not_two() {
        assert_eq!(one("--prompt", r" cup\, saucer ").unwrap(), "cup, saucer");
        assert!(one("--prompt", "a, b").unwrap_err().to_string().contains("found 2"));
        assert!(one("--prompt", " ").is_err());
    }
}
