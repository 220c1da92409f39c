//! `--with-program` and `--license-file`: what goes along in the archive, for a device that has nothing yet.

use std::{
    env,
    path::{Path, PathBuf},
    sync::Arc,
};

use sam3_package::{
    Error, FileId,
    archive::{Extra, Machine, Program, read_license},
};

use serde_json::{Value, json};

use crate::{
    failure::Failure,
    output::{Output, size},
};

/// What stands for the program that runs now.
const SELF: &str = "self";
/// What to name.
const RELEASES: &str = "name sam3-VERSION-aarch64-linux.tar.gz, which tools/dist.sh makes";
/// Names that the SAM License goes by, beside a checkpoint; the first is that in our archives.
const LICENSES: [&str; 6] = [
    "LICENSE-weights.txt",
    "SAM_LICENSE",
    "SAM_LICENSE.txt",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
];
/// In place of a licence of the weights that nobody has given.
const WHERE_TO_READ: &str = "\
The weights in this archive (*.pth, *.safetensors) are Meta's SAM 3, or made from it, and are under Meta's SAM License:

    https://github.com/facebookresearch/sam3/blob/main/LICENSE

No copy of it stood beside the checkpoint when this archive was made. Who passes the weights on has to pass a copy on
with them: `sam3 package --license-file FILE` puts it here.
";
/// In place of the licences of all crates, which stand beside a released program.
const OWN_LICENSES: &str = concat!(
    "The program sam3 is under the MIT License or the Apache License 2.0, as you like. The texts of the licences of the\n",
    "crates that are linked into it come with its release, as LICENSE-program.txt; none stood beside this program.\n",
    "\n================ MIT ================\n\n",
    include_str!("../../../LICENSE-MIT"),
    "\n================ Apache-2.0 ================\n\n",
    include_str!("../../../LICENSE-APACHE"),
    "\n================ THIRD_PARTY.md ================\n\n",
    include_str!("../../../THIRD_PARTY.md"),
);

/// What goes along in the archive.
#[derive(Debug, clap::Args)]
#[group(id = "along")]
pub struct Args {
    /// Put the program for the device into the archive: out of sam3-VERSION-aarch64-linux.tar.gz, or the one that runs
    /// now
    #[arg(long, value_name = "ARCHIVE|self", conflicts_with = "no_tarball")]
    with_program: Option<PathBuf>,
    /// Let the program be for another CPU than aarch64, a Jetson's
    #[arg(long, requires = "with_program")]
    any_machine: bool,
    /// Put this licence of the weights into the archive [default, with a program: the SAM License beside the
    /// checkpoint]
    #[arg(long, value_name = "FILE", conflicts_with = "no_tarball")]
    license_file: Option<PathBuf>,
}

impl Args {
    /// Reads what the flags name, and refuses what no device could use, before any long work. `outputs` are the files
    /// that the run writes.
    pub fn open(&self, outputs: &[&Path]) -> anyhow::Result<Along> {
        let inputs = [
            ("--with-program", &self.with_program),
            ("--license-file", &self.license_file),
        ];
        for (flag, path) in inputs
            .into_iter()
            .filter_map(|(flag, path)| Some((flag, path.as_deref()?)))
        {
            if outputs.iter().any(|output| FileId::is_same(output, path)) {
                return Err(Failure::usage(
                    format!("{flag} {}: the package would replace it", path.display()),
                    "choose another --output",
                ));
            }
        }
        let program = self
            .with_program
            .as_deref()
            .map(|path| self.open_program(path))
            .transpose()?;
        let license = self.license_file.as_deref().map(read_license).transpose();
        let license = license.map_err(|error| {
            named(
                "--license-file",
                error,
                "name a text file, such as the LICENSE of facebook/sam3",
            )
        })?;
        Ok(Along { program, license })
    }

    fn open_program(&self, path: &Path) -> anyhow::Result<Program> {
        let is_self = path == Path::new(SELF);
        let program = if is_self {
            let action = "find";
            let path = path.to_owned();
            let running = env::current_exe().map_err(|source| Error::Io { action, path, source })?;
            Program::from_file(&running).map_err(|error| named("--with-program self:", error, RELEASES))?
        } else {
            Program::from_archive(path).map_err(|error| named("--with-program", error, RELEASES))?
        };
        if program.machine == Machine::Aarch64 || self.any_machine {
            return Ok(program);
        }
        let whose = if is_self { "this program" } else { "the program in it" };
        Err(Failure::usage(
            format!(
                "--with-program {}: {whose} is for {}, and a Jetson is {}",
                path.display(),
                program.machine.name(),
                Machine::Aarch64.name()
            ),
            format!("{RELEASES}; or pass --any-machine for another device"),
        ))
    }
}

/// What is wrong with the file that a flag names, with the next step for that flag.
fn named(flag: &str, error: Error, hint: &str) -> anyhow::Error {
    match error {
        Error::Invalid { .. } | Error::NotAFile { .. } | Error::Empty { .. } => {
            Failure::input(format!("{flag} {error}"), hint)
        }
        error => error.into(),
    }
}

/// What the flags named.
pub struct Along {
    program: Option<Program>,
    license: Option<Vec<u8>>,
}

impl Along {
    /// The files for the archive of a package of `checkpoint`.
    pub fn extras(self, checkpoint: &Path, output: &Output) -> Vec<(Extra, Arc<[u8]>)> {
        let mut extras = Vec::new();
        let mut license = self.license;
        if let Some(program) = self.program {
            extras.push((Extra::Program, program.bytes));
            let own = program.license.unwrap_or_else(|| {
                output.warn(format!(
                    "no {} came with the program: the archive names the licences of what is linked into it, without their texts",
                    Extra::ProgramLicense.name()
                ));
                OWN_LICENSES.as_bytes().into()
            });
            extras.push((Extra::ProgramLicense, own));
            license = license.or_else(|| Some(license_beside(checkpoint, output)));
        }
        if let Some(text) = &license
            && !is_sam_license(text)
        {
            output.warn("--license-file: it does not call itself the SAM License, under which the weights are");
        }
        extras.extend(license.map(|text| (Extra::WeightsLicense, text.into())));
        extras
    }
}

/// True where a copy of the weights' licence is among the extras, and not only where to read it.
pub fn has_license(extras: &[(Extra, Arc<[u8]>)]) -> bool {
    extras.iter().any(|(extra, text)| {
        *extra == Extra::WeightsLicense && **text != *WHERE_TO_READ.as_bytes() && is_sam_license(text)
    })
}

/// The machine's form of what the archive holds beside the package.
pub fn as_json(extras: &[(Extra, Arc<[u8]>)]) -> Vec<Value> {
    let extras = extras.iter();
    extras
        .map(|(extra, bytes)| json!({"path": extra.name(), "bytes": bytes.len()}))
        .collect()
}

/// What the archive holds beside the package; nothing where that is all.
pub fn sentence(extras: &[(Extra, Arc<[u8]>)]) -> String {
    let one = |(extra, bytes): &(Extra, Arc<[u8]>)| format!("{} ({})", extra.name(), size(bytes.len() as u64));
    match extras {
        [] => String::new(),
        extras => {
            let names: Vec<String> = extras.iter().map(one).collect();
            format!(
                "the archive also holds {}, and the digests of all in {}\n",
                names.join(", "),
                Extra::Sums.name()
            )
        }
    }
}

/// The SAM License that stands beside the checkpoint; else where to read it.
fn license_beside(checkpoint: &Path, output: &Output) -> Vec<u8> {
    let folder = if checkpoint.is_dir() {
        checkpoint
    } else {
        checkpoint.parent().unwrap_or(Path::new(""))
    };
    let mut why = format!("no LICENSE is beside {}", checkpoint.display());
    for path in LICENSES.map(|name| folder.join(name)) {
        match read_license(&path) {
            Ok(text) if is_sam_license(&text) => return text,
            Ok(_) => why = format!("{} does not call itself the SAM License", path.display()),
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => why = error.to_string(),
        }
    }
    output.warn(format!(
        "{why}: the archive only says where to read Meta's SAM License; --license-file puts a copy into it"
    ));
    WHERE_TO_READ.as_bytes().to_vec()
}

/// The licence of another project may stand beside a checkpoint.
fn is_sam_license(text: &[u8]) -> bool {
    String::from_utf8_lossy(text).to_lowercase().contains("sam license")
}
