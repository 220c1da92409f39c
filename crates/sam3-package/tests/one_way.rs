//! Data flows one way: a module of this crate imports only those that stand before it in [`ORDER`].

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

/// The crate's modules. ARCHITECTURE.md says what each is; a new one takes its place here.
const ORDER: [&str; 18] = [
    "error",
    "progress",
    "digest",
    "file_id",
    "drive",
    "naming",
    "mapped",
    "staged",
    "regular",
    "checkpoint",
    "precision",
    "layout",
    "archive",
    "package",
    "unpack",
    "copy",
    "hub",
    // The type of every fallible function, and no module.
    "Result",
];

#[test]
fn no_module_imports_one_that_comes_after_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let names = Names::of(&fs::read_to_string(root.join("lib.rs")).unwrap());
    let mut files = Vec::new();
    list(&root, &mut files);
    let mut complaints = Vec::new();
    let mut checked = 0;
    for file in files {
        let inside = file.strip_prefix(&root).unwrap();
        let is_test = inside
            .iter()
            .any(|part| part == "tests" || part == "tests.rs" || part == "testing.rs");
        if is_test || inside == Path::new("lib.rs") {
            continue;
        }
        let module = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        checked += 1;
        complaints.extend(names.complaints(
            module,
            &inside.display().to_string(),
            &fs::read_to_string(&file).unwrap(),
        ));
    }
    assert!(checked > 60, "only {checked} files were found");
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn a_backward_import_is_found_however_it_is_written() {
    let names = Names::of(
        "mod error;\npub use error::Error;\npub mod package;\npub use package::{\n    Draft, Report as Told,\n};\nmod copy;\npub use copy::copy;",
    );
    let complain = |text: &str| names.complaints("checkpoint", "checkpoint/x.rs", text).len();
    for backward in [
        "use crate::package::FORMAT;",
        "use crate::{\n    Error,\n    digest::{self, hex},\n    package::{Draft, draft},\n};",
        "use crate::{Result, Told};",
        "fn f() -> crate::Draft { todo!() }",
        "use crate::copy;",
        "use crate::unheard_of;",
    ] {
        assert_eq!(complain(backward), 1, "{backward}");
    }
    for forward in [
        "use crate::{Error, digest::{self, hex}};",
        "// as crate::package does",
        "pub(in crate::checkpoint) struct X;",
        "#[cfg(test)]\nmod tests {\n    use crate::package::FORMAT;\n}",
    ] {
        assert_eq!(complain(forward), 0, "{forward}");
    }
}

/// Which module each name at the crate's root comes from.
struct Names(HashMap<String, String>);

impl Names {
    fn of(lib: &str) -> Self {
        let mut names: HashMap<String, String> = ORDER
            .iter()
            .map(|name| ((*name).to_owned(), (*name).to_owned()))
            .collect();
        for (at, start) in lib.match_indices("pub use ") {
            let statement = &lib[at + start.len()..];
            let statement = &statement[..statement.find(';').unwrap()];
            let (module, exported) = statement.split_once("::").unwrap();
            for item in exported.trim_matches(['{', '}']).split(',') {
                let name = item.rsplit(' ').next().unwrap_or(item).trim();
                // A function may be called as its module is.
                if !name.is_empty() {
                    names.entry(name.to_owned()).or_insert_with(|| module.to_owned());
                }
            }
        }
        for (at, start) in lib.match_indices("mod ") {
            let module = &lib[at + start.len()..];
            let module = &module[..module.find(';').unwrap()];
            assert!(ORDER.contains(&module), "`mod {module}` has no place in ORDER");
        }
        Self(names)
    }

    /// A line for each import of a file of `module` that leads to a module after it, or to none that is known.
    fn complaints(&self, module: &str, file: &str, text: &str) -> Vec<String> {
        let place = |module: &str| ORDER.iter().position(|known| *known == module);
        let own = place(module).unwrap_or_else(|| panic!("{module} has no place in ORDER"));
        let backward = |name: &String| match self.0.get(name.as_str()) {
            Some(target) if target == "Result" => None,
            Some(target) if place(target)? <= own => None,
            Some(target) => Some(format!(
                "{file}: {module} imports {name} of {target}, which comes after it"
            )),
            None => Some(format!("{file}: crate::{name} is no name of lib.rs")),
        };
        roots(&code(text)).iter().filter_map(backward).collect()
    }
}

/// The text without comments, and without the tests at its end.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The first names of all paths that begin at the crate's root.
fn roots(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, start) in code.match_indices("crate::") {
        let path = &code[at + start.len()..];
        let Some(list) = path.strip_prefix('{') else {
            found.push(word(path));
            continue;
        };
        let (mut depth, mut begins) = (0, 0);
        for (here, letter) in list.char_indices() {
            let ends = depth == 0 && (letter == ',' || letter == '}');
            if ends {
                found.push(word(list[begins..here].trim_start()));
                begins = here + 1;
            }
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                _ => {}
            }
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

/// The identifier that a text begins with.
fn word(text: &str) -> String {
    text.chars()
        .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
        .collect()
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(&path, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
}
