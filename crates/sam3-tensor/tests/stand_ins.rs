//! The stand-ins for NVIDIA's libraries find what they are there to find.

use std::{fs, path::Path, process::Command};

#[test]
fn wrong_use_of_a_gpu_is_found() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("stand_ins");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stand-ins");
    fs::create_dir_all(&folder).unwrap();
    let built = Command::new(sources.join("build.sh")).arg(&folder).status().unwrap();
    assert!(built.success());
    let program = folder.join("misuse");
    let compiler = std::env::var("CXX").unwrap_or("c++".to_owned());
    let mut compile = Command::new(compiler);
    compile
        .args(["-std=c++17", "-O1", "-o"])
        .arg(&program)
        .arg(sources.join("misuse.cpp"))
        .arg("-ldl");
    assert!(compile.status().unwrap().success());
    // The driver's own error, or none where the program is ended with a word on it.
    for (what, status, says) in [
        ("right", Some(0), ""),
        ("no context", Some(201), ""),
        ("too much", Some(2), ""),
        ("copied too far", Some(1), ""),
        ("copied elsewhere", Some(1), ""),
        ("freed elsewhere", Some(1), "not there to be freed"),
        ("freed twice", Some(1), "not there to be freed"),
        (
            "used when freed",
            Some(700 % 256),
            "copy_1: an address of memory that was freed",
        ),
        (
            "written behind",
            Some(700 % 256),
            "bytes behind the end of an allocation were written",
        ),
        ("read too far", None, "copy_1 touched byte 11"),
    ] {
        let output = Command::new(&program)
            .arg(folder.join("libcuda.so.1"))
            .arg(what)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), status, "{what}: {said}");
        assert!(said.contains(says), "{what}: {said}");
    }
}
