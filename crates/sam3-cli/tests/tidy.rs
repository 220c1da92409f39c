//! What a machine can keep true about the sources and their documents, as rust-analyzer's tidy does.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const MAX_LINES: usize = 500;
const CRATES: [&str; 6] = [
    "sam3-package",
    "sam3-tensor",
    "sam3-model",
    "sam3-video",
    "sam3-server",
    "sam3-cli",
];

/// What is no member of the workspace.
const WHEEL: &str = "sam3-python";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("crates/sam3-cli lies two levels down")
        .to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file under `folder`, but for what is built.
fn visit(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a directory entry").path();
        if path.is_dir() {
            let name = path.file_name().unwrap_or_default();
            if name != "target" && name != "__pycache__" && name != ".git" {
                visit(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

/// Files under `folder` with one of these extensions, as paths below the repository's root.
fn files(folder: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    visit(&root().join(folder), &mut found);
    found.retain(|path| path.extension().is_some_and(|own| extensions.iter().any(|e| own == *e)));
    found.sort();
    assert!(!found.is_empty(), "no {extensions:?} under {folder}");
    found
}

fn sources() -> Vec<PathBuf> {
    let mut all = files("crates", &["rs"]);
    all.extend(files("fuzz/src", &["rs"]));
    all
}

/// One assertion for a whole list, so that a run names every culprit.
fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// `name = …` and `name.workspace = true` lines of the dependency tables of a `Cargo.toml`.
fn direct_dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if let Some(table) = line.strip_prefix('[') {
            inside = table.trim_end_matches(']').ends_with("dependencies");
        } else if inside && let Some(end) = line.find([' ', '.', '=']) {
            names.push(line[..end].to_owned());
        }
    }
    // Neither ours, nor what is no name: comments, and lists of features that go on.
    names.retain(|name| name.starts_with(char::is_alphabetic) && !name.starts_with("sam3-"));
    names
}

#[test]
fn every_direct_dependency_is_justified_in_architecture_md() {
    let document = read(&root().join("ARCHITECTURE.md"));
    let mut complaints = Vec::new();
    let mut seen = 0;
    for name in CRATES.into_iter().chain([WHEEL]) {
        for dependency in direct_dependencies(&read(&root().join("crates").join(name).join("Cargo.toml"))) {
            seen += 1;
            if !document.contains(&format!("| `{dependency}` |")) {
                complaints.push(format!(
                    "{name} depends on {dependency}: give it a row in ARCHITECTURE.md"
                ));
            }
        }
    }
    assert!(
        seen > 10,
        "only {seen} dependencies were found: the manifests are read wrongly"
    );
    none(complaints);
}

#[test]
fn every_dependency_in_architecture_md_is_used() {
    let manifests: Vec<_> = CRATES
        .into_iter()
        .chain([WHEEL])
        .map(|c| read(&root().join("crates").join(c).join("Cargo.toml")))
        .collect();
    let used: Vec<_> = manifests
        .iter()
        .flat_map(|manifest| direct_dependencies(manifest))
        .collect();
    let document = read(&root().join("ARCHITECTURE.md"));
    let table = document
        .split("\n## Dependencies")
        .nth(1)
        .expect("a section named Dependencies");
    let rows = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    none(
        rows.filter(|(name, _)| !used.iter().any(|own| own == name))
            .map(|(name, _)| format!("ARCHITECTURE.md justifies {name}, which no crate depends on"))
            .collect(),
    );
}

/// A Rust toolchain and its linker build everything: no crate may compile C, look for a system library or run clang.
///
/// Asks cargo and not Cargo.lock, which lists what optional features of dependencies would bring, built or not.
#[test]
fn no_dependency_needs_more_than_rust() {
    let tree = Command::new(env!("CARGO"))
        .args("tree --workspace --locked --offline --edges normal,build --prefix none".split(' '))
        .current_dir(root())
        .output()
        .expect("cargo runs this test");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8_lossy(&tree.stdout);
    let has = |name: &str| tree.lines().any(|line| line.split(' ').next() == Some(name));
    assert!(has("rayon"), "cargo tree is read wrongly");
    let banned = ["bindgen", "cc", "cmake", "pkg-config", "vcpkg"];
    none(
        banned
            .iter()
            .filter(|name| has(name))
            .map(|name| format!("something needs {name}: cargo tree -i {name}"))
            .collect(),
    );
}

/// `rust-version` is a promise that clippy's `incompatible_msrv` keeps for our code, and this for that of others.
#[test]
fn every_dependency_builds_with_the_declared_rust() {
    let metadata = Command::new(env!("CARGO"))
        .args("metadata --locked --offline --format-version 1 --filter-platform".split(' '))
        .arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH))
        .current_dir(root())
        .output()
        .expect("cargo runs this test");
    assert!(
        metadata.status.success(),
        "{}",
        String::from_utf8_lossy(&metadata.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("a list");
    // "1.89" or "1.89.0"
    let version = |package: &serde_json::Value| -> Option<Vec<u32>> {
        let text = package["rust_version"].as_str()?;
        Some(
            text.split('.')
                .chain(["0"])
                .take(3)
                .map(|part| part.parse().expect("a number"))
                .collect(),
        )
    };
    let ours = packages.iter().find(|package| package["name"] == "sam3-cli");
    let ours = ours.and_then(version).expect("a rust-version in Cargo.toml");
    let later = packages.iter().filter(|package| version(package) > Some(ours.clone()));
    assert!(packages.len() > 50, "the metadata are read wrongly");
    none(
        later
            .map(|package| {
                format!(
                    "{} {} wants Rust {}",
                    package["name"], package["version"], package["rust_version"]
                )
            })
            .collect(),
    );
}

#[test]
fn every_module_is_named_in_architecture_md() {
    let document = read(&root().join("ARCHITECTURE.md"));
    let mut complaints = Vec::new();
    for name in CRATES {
        let folder = root().join("crates").join(name).join("src");
        for entry in fs::read_dir(&folder).expect("src/ of a crate") {
            let entry = entry.expect("a directory entry").path();
            let mut file = entry.file_name().expect("a name").to_string_lossy().into_owned();
            if entry.is_dir() {
                file.push('/');
            }
            // A module in two places, `x.rs` and `x/`, is named once.
            let other = file
                .strip_suffix('/')
                .map(|stem| format!("`{stem}.rs`"))
                .unwrap_or_default();
            if !document.contains(&format!("`{file}`")) && (other.is_empty() || !document.contains(&other)) {
                complaints.push(format!("{name}/src/{file}: give it a line in ARCHITECTURE.md"));
            }
        }
    }
    none(complaints);
}

/// Is a file what cargo compiles by itself: a library, a binary, a build script, a test?
fn is_root(package: &Path, file: &Path) -> bool {
    let below = file.strip_prefix(package).expect("a file of the package");
    let parts: Vec<_> = below.iter().map(|part| part.to_str().unwrap_or_default()).collect();
    matches!(
        parts[..],
        ["build.rs"] | ["src", "lib.rs" | "main.rs"] | ["src", "bin", _] | ["tests" | "benches" | "examples", _]
    )
}

/// The files of the modules that a source file names, each `mod x;` on a line of its own. They lie beside it where
/// `has_them_beside`, else in a folder of its name.
fn modules_named_by(file: &Path, has_them_beside: bool) -> Vec<PathBuf> {
    let folder = if has_them_beside {
        file.with_file_name("")
    } else {
        file.with_extension("")
    };
    let mut own_path = None;
    let mut found = Vec::new();
    for line in read(file).lines().map(str::trim) {
        if let Some(path) = line
            .strip_prefix("#[path = \"")
            .and_then(|rest| rest.strip_suffix("\"]"))
        {
            own_path = Some(file.with_file_name(path));
        }
        if let Some((visibility, name)) = line.strip_suffix(';').and_then(|line| line.split_once("mod "))
            && (visibility.is_empty() || visibility.starts_with("pub"))
        {
            let places = [folder.join(name).with_extension("rs"), folder.join(name).join("mod.rs")];
            found.extend(
                own_path
                    .take()
                    .or_else(|| places.into_iter().find(|place| place.exists())),
            );
        }
    }
    found
}

/// The files of a package that no `mod` names, from its roots on and at any depth: nothing compiles them.
fn orphans(package: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    visit(package, &mut all);
    all.retain(|path| path.extension().is_some_and(|own| own == "rs"));
    let roots = all.iter().filter(|path| is_root(package, path));
    let mut reached: Vec<PathBuf> = roots.cloned().collect();
    let mut next = 0;
    while let Some(file) = reached.get(next).cloned() {
        let has_them_beside = is_root(package, &file) || file.ends_with("mod.rs");
        reached.extend(modules_named_by(&file, has_them_beside));
        next += 1;
    }
    all.retain(|path| !reached.contains(path));
    all
}

#[test]
fn every_source_file_is_named_by_a_mod() {
    let mut packages = CRATES.map(|name| root().join("crates").join(name)).to_vec();
    packages.push(root().join("fuzz"));
    let orphans = packages.iter().flat_map(|package| orphans(package));
    none(
        orphans
            .map(|path| format!("{}: no mod names it", path.display()))
            .collect(),
    );
}

#[test]
fn a_source_file_that_no_mod_names_is_found() {
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("orphans");
    for (file, text) in [
        ("build.rs", "#[path = \"build/step.rs\"]\nmod step;\n"),
        ("build/step.rs", ""),
        ("src/lib.rs", "mod a;\npub(crate) mod b;\n// mod c;\nmod inline {}\n"),
        ("src/a.rs", "mod deep;\n"),
        ("src/a/deep.rs", ""),
        ("src/a/lost.rs", ""),
        ("src/b/mod.rs", "pub mod beside;\n"),
        ("src/b/beside.rs", "//! mod lost;\n"),
        ("src/b/lost/mod.rs", "mod of_it;\n"),
        ("src/b/lost/of_it.rs", ""),
        ("src/tests/mod.rs", ""),
        ("src/c.rs", ""),
        ("src/deep.rs", ""),
        ("tests/one.rs", "mod support;\n"),
        ("tests/support/mod.rs", "mod more;\n"),
        ("tests/support/more.rs", ""),
        ("tests/support/lost.rs", ""),
    ] {
        let path = package.join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    let mut found = orphans(&package);
    found.sort();
    let lost = [
        "src/a/lost.rs",
        "src/b/lost/mod.rs",
        "src/b/lost/of_it.rs",
        "src/c.rs",
        "src/deep.rs",
        "src/tests/mod.rs",
        "tests/support/lost.rs",
    ];
    assert_eq!(found, lost.map(|file| package.join(file)));
}

#[test]
fn every_source_file_opens_with_what_it_is() {
    let bad = |path: &PathBuf| !read(path).starts_with("//! ");
    none(
        sources()
            .iter()
            .filter(|path| bad(path))
            .map(|p| format!("{}: no //!", p.display()))
            .collect(),
    );
}

#[test]
fn no_source_file_is_long() {
    let length = |path: PathBuf| (read(&path).lines().count(), path);
    let long = sources()
        .into_iter()
        .map(length)
        .filter(|(lines, _)| *lines > MAX_LINES);
    none(
        long.map(|(lines, path)| format!("{}: {lines} lines, at most {MAX_LINES}", path.display()))
            .collect(),
    );
}

#[test]
fn no_line_ends_in_space_and_none_names_a_place_of_one_machine() {
    // In pieces, so that this file is not its own culprit.
    let places = [
        ["/wo", "rk/"].concat(),
        ["/ho", "me/"].concat(),
        ["/ro", "ot/"].concat(),
    ];
    let mut complaints = Vec::new();
    let mut all = sources();
    for folder in ["docs", "tools"] {
        all.extend(files(folder, &["md", "py", "txt", "toml"]));
    }
    let documents = fs::read_dir(root())
        .expect("the root")
        .map(|entry| entry.expect("an entry").path());
    all.extend(documents.filter(|path| path.extension().is_some_and(|own| own == "md" || own == "toml")));
    all.push(root().join(".ci/run"));
    for path in all {
        for (index, line) in read(&path).lines().enumerate() {
            let at = format!("{}:{}", path.display(), index + 1);
            if line.ends_with([' ', '\t']) {
                complaints.push(format!("{at}: trailing space"));
            }
            if let Some(place) = places.iter().find(|place| line.contains(place.as_str())) {
                complaints.push(format!("{at}: {place} exists on one machine only"));
            }
        }
    }
    none(complaints);
}
