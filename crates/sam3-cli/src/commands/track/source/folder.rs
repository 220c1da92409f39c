//! A folder of pictures as a video: in the order in which the official loader reads it.

use std::path::Path;

use crate::commands::segment::{Input, Inputs, Walk};

/// The pictures of a folder, as `segment` finds them, in their order as frames: by number where all their names are
/// numbers, else by name.
///
/// # Errors
/// When the folder cannot be read or holds no picture.
pub fn frames(folder: &Path, except: &Path) -> anyhow::Result<Vec<Input>> {
    let walk = Walk {
        recursive: false,
        hint: "a video's frames are in one folder: name the sub-folder that has them",
        except,
    };
    let mut inputs = Inputs::gather(&[folder.to_owned()], None, walk)?;
    if let Some(error) = inputs.failed.pop() {
        return Err(error);
    }
    let numbers: Option<Vec<i128>> = inputs.pictures.iter().map(|input| input.stem().parse().ok()).collect();
    if let Some(numbers) = numbers {
        let mut numbered: Vec<_> = numbers.into_iter().zip(inputs.pictures).collect();
        // 1.png and 01.png stay as they are by name.
        numbered.sort_by_key(|(number, _)| *number);
        inputs.pictures = numbered.into_iter().map(|(_, input)| input).collect();
    }
    Ok(inputs.pictures)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sam3_model::masks::Mask;

    use super::*;

    #[test]
    fn numbers_go_by_their_size_and_names_by_their_letters() {
        let folder = std::env::temp_dir().join(format!("sam3-frames-{}", std::process::id()));
        for (names, expected) in [
            (
                &["10.png", "9.png", "-1.png", "011.png", "notes.txt"][..],
                &["-1", "9", "10", "011"][..],
            ),
            (&["10.png", "9.png", "cover.png"], &["10", "9", "cover"]),
            (&["frame_2.png", "frame_10.png"], &["frame_10", "frame_2"]),
        ] {
            fs::create_dir(&folder).unwrap();
            for name in names {
                let bytes = match name.ends_with(".png") {
                    true => Mask::new(4, 4).to_png(),
                    false => b"notes".to_vec(),
                };
                fs::write(folder.join(name), bytes).unwrap();
            }
            let found = frames(&folder, Path::new("elsewhere")).unwrap();
            let stems: Vec<String> = found.iter().map(Input::stem).collect();
            assert_eq!(stems, expected);
            fs::remove_dir_all(&folder).unwrap();
        }
    }
}
