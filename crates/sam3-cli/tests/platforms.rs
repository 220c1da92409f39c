//! Where the program can be built: on the platforms that the documents name, and elsewhere not without a word.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The build script that cargo runs before most crates, as a program.
fn build_script() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sam3-tensor/build.rs");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("build-script");
    let rustc = env::var_os("RUSTC").unwrap_or("rustc".into());
    let mut command = Command::new(rustc);
    let built = command
        .args(["--edition", "2024", "-o"])
        .arg(&program)
        .arg(script)
        .status();
    assert!(built.expect("rustc, which built this test").success());
    program
}

/// What cargo would get of it for a target.
fn run(program: &Path, system: &str, cpu: &str, anyway: bool) -> Output {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("CARGO_CFG_TARGET_OS", system)
        .env("CARGO_CFG_TARGET_ARCH", cpu);
    if anyway {
        command.env("SAM3_ANY_PLATFORM", "1");
    }
    command.output().unwrap()
}

#[test]
fn other_platforms_are_refused_in_one_sentence() {
    let program = build_script();
    for cpu in ["x86_64", "aarch64"] {
        let output = run(&program, "linux", cpu, false);
        assert!(output.status.success(), "{output:?}");
    }
    for (system, cpu) in [
        ("windows", "x86_64"),
        ("macos", "aarch64"),
        ("freebsd", "x86_64"),
        ("android", "aarch64"),
        ("linux", "arm"),
        ("linux", "riscv64"),
    ] {
        let output = run(&program, system, cpu, false);
        let said = String::from_utf8(output.stdout).unwrap();
        let errors: Vec<_> = said
            .lines()
            .filter_map(|line| line.strip_prefix("cargo::error="))
            .collect();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            matches!(errors[..], [one] if one.contains(&format!("{system} on {cpu}")) && one.contains("x86-64 and aarch64")),
            "{said}"
        );
        assert!(run(&program, system, cpu, true).status.success());
    }
}
