//! `sam3 manual`: man pages and completions of shells, for those who release the program.
//!
//! Behind a feature, so that the first build of a user compiles no crate for it. No subcommand of [`crate::args`], so
//! that neither the pages nor the completions name it.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use clap::{CommandFactory, Parser};
use clap_complete::Shell;
use sam3_package::Error;
use serde_json::json;

use crate::{
    args::Global,
    output::{Output, plain},
};

/// Write man pages and completions of shells. Files of an earlier run are replaced.
#[derive(Debug, Parser)]
#[command(name = "sam3 manual")]
pub struct Args {
    /// The folder to write man/ and completions/ into, made if it is not there
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    pub global: Global,
}

impl Args {
    /// Those of `sam3 manual`; `None` for any other command.
    pub fn of_process() -> Option<Self> {
        let words = || env::args_os().skip(1);
        (words().next()? == "manual").then(|| Self::parse_from(words()))
    }
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<()> {
    let (pages, completions) = (args.folder.join("man"), args.folder.join("completions"));
    write(&pages, |folder| {
        clap_mangen::generate_to(crate::args::Args::command().disable_help_subcommand(true), folder)
    })?;
    write(&completions, |folder| {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            clap_complete::generate_to(shell, &mut crate::args::Args::command(), "sam3", folder)?;
        }
        Ok(())
    })?;
    output.result(
        &json!({"man": plain(&pages), "completions": plain(&completions)}),
        &format!("{}\n{}\n", pages.display(), completions.display()),
    )
}

fn write(folder: &Path, generate: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), Error> {
    let path = folder.to_owned();
    let written = fs::create_dir_all(folder).and_then(|()| generate(folder));
    written.map_err(|source| Error::Output { path, source })
}
