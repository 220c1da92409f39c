//! The variables by which `huggingface_hub` is told where its cache and token lie, read as it reads them.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use sam3_package::Error;

use crate::failure::Failure;

/// Variables and users, which tests make up.
pub struct Environment {
    variable: fn(&str) -> Option<OsString>,
    /// Of who runs this, where `HOME` is not set.
    home: fn() -> Option<PathBuf>,
    /// As `/etc/passwd` has them.
    users: fn() -> String,
}

impl Environment {
    /// This process's.
    pub fn of_process() -> Self {
        Self {
            variable: |name| env::var_os(name),
            home: env::home_dir,
            users: || fs::read_to_string("/etc/passwd").unwrap_or_default(),
        }
    }

    /// A variable that is set, and not to nothing.
    pub fn set(&self, name: &str) -> Option<OsString> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    /// As [`Environment::set`], for what is no path.
    pub fn text(&self, name: &str) -> Option<String> {
        self.set(name)?.into_string().ok()
    }

    /// True where no network is to be asked.
    pub fn is_offline(&self) -> bool {
        match self.set("HF_HUB_OFFLINE") {
            Some(_) => self.is_on("HF_HUB_OFFLINE"),
            None => self.is_on("TRANSFORMERS_OFFLINE"),
        }
    }

    /// True for what `huggingface_hub` takes for a switch that is on.
    fn is_on(&self, name: &str) -> bool {
        let value = self.text(name).unwrap_or_default();
        ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str())
    }

    /// The folder of the cache.
    pub fn cache(&self) -> anyhow::Result<PathBuf> {
        let named = self.set("HF_HUB_CACHE").or_else(|| self.set("HUGGINGFACE_HUB_CACHE"));
        self.path(named, "hub")
    }

    /// The token of the environment, else that of the file which `hf auth login` writes.
    pub fn token(&self) -> anyhow::Result<Option<String>> {
        if self.is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            return Ok(None);
        }
        let named = self.text("HF_TOKEN").or_else(|| self.text("HUGGING_FACE_HUB_TOKEN"));
        if let Some(token) = named.as_deref().and_then(trimmed) {
            return Ok(Some(token));
        }
        let Ok(path) = self.path(self.set("HF_TOKEN_PATH"), "token") else {
            return Ok(None);
        };
        match fs::read_to_string(&path) {
            Ok(token) => Ok(trimmed(&token)),
            Err(error) if sam3_package::is_wrong_path(&error) => Ok(None),
            Err(source) => Err(Error::Io {
                action: "read the token in",
                path,
                source,
            }
            .into()),
        }
    }

    /// A path that a variable names, else `name` in `HF_HOME`; expanded either way, as `huggingface_hub` does.
    fn path(&self, named: Option<OsString>, name: &str) -> anyhow::Result<PathBuf> {
        let path = match named {
            Some(path) => path,
            None => self.home()?.join(name).into_os_string(),
        };
        Ok(self.expanded(&path).into())
    }

    /// `HF_HOME`, else `huggingface` in the user's cache.
    fn home(&self) -> anyhow::Result<PathBuf> {
        let home = match (self.set("HF_HOME"), self.set("XDG_CACHE_HOME")) {
            (Some(home), _) => home,
            (None, Some(cache)) => Path::new(&cache).join("huggingface").into(),
            (None, None) => match self.expanded(OsStr::new("~")) {
                home if home == "~" => {
                    return Err(Failure::usage(
                        "no place to keep a download: neither HF_HOME nor HOME is set",
                        "set HF_HOME, or pass --checkpoint-path",
                    ));
                }
                home => Path::new(&home).join(".cache/huggingface").into(),
            },
        };
        Ok(self.expanded(&home).into())
    }

    /// Python's `os.path.expandvars(os.path.expanduser(path))`.
    fn expanded(&self, path: &OsStr) -> OsString {
        OsString::from_vec(self.with_variables(&self.with_home(path.as_bytes())))
    }

    /// `~` and `~user` at the beginning; what has no home stays as it is.
    fn with_home(&self, path: &[u8]) -> Vec<u8> {
        let Some(rest) = path.strip_prefix(b"~") else {
            return path.to_vec();
        };
        let (user, rest) = rest.split_at(rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len()));
        let home = match user {
            b"" => (self.variable)("HOME")
                .or_else(|| (self.home)().map(PathBuf::into_os_string))
                .map(OsString::into_vec),
            user => self.home_of(user),
        };
        let Some(mut home) = home else {
            return path.to_vec();
        };
        while home.ends_with(b"/") {
            home.pop();
        }
        home.extend(rest);
        if home.is_empty() { b"/".to_vec() } else { home }
    }

    /// The sixth field of a user's line.
    fn home_of(&self, user: &[u8]) -> Option<Vec<u8>> {
        let users = (self.users)();
        let mut lines = users.lines().map(|line| line.split(':'));
        let mut line = lines.find(|line| line.clone().next().is_some_and(|name| name.as_bytes() == user))?;
        line.nth(5).map(|home| home.as_bytes().to_vec())
    }

    /// `$NAME` and `${NAME}`; those that are not set stay as they are, and values are not expanded again.
    fn with_variables(&self, path: &[u8]) -> Vec<u8> {
        let (mut expanded, mut rest) = (Vec::new(), path);
        while let Some(&byte) = rest.first() {
            let value = match variable_at(rest) {
                Some((name, length)) => (self.variable)(name).map(|value| (value, length)),
                None => None,
            };
            match value {
                Some((value, length)) => {
                    expanded.extend(value.as_bytes());
                    rest = &rest[length..];
                }
                None => {
                    expanded.push(byte);
                    rest = &rest[1..];
                }
            }
        }
        expanded
    }
}

/// The name of a variable that `text` begins with, and how many bytes it takes there.
fn variable_at(text: &[u8]) -> Option<(&str, usize)> {
    let after = text.strip_prefix(b"$")?;
    let (name, length) = match after.strip_prefix(b"{") {
        Some(inside) => {
            let end = inside.iter().position(|byte| *byte == b'}')?;
            (&inside[..end], end + 3)
        }
        None => {
            let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
            let end = after.iter().position(|byte| !is_word(byte)).unwrap_or(after.len());
            (&after[..end], end + 1)
        }
    };
    // The system's own function panics on names that cannot be.
    let is_name = !name.is_empty() && !name.iter().any(|byte| b"=\0".contains(byte));
    Some((std::str::from_utf8(name).ok().filter(|_| is_name)?, length))
}

/// A token without the line ends that come along when it is pasted; `None` where nothing is left.
pub fn trimmed(token: &str) -> Option<String> {
    Some(token.replace(['\r', '\n'], "").trim().to_owned()).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variable: fn(&str) -> Option<OsString>) -> Environment {
        Environment {
            variable,
            home: || None,
            users: || "root:x:0:0:root:/root-home:/bin/sh\nann:x:1000:1000::/homes/ann/:/bin/sh\nshort:x\n".to_owned(),
        }
    }

    /// Each line is what Python 3.11 answers to `os.path.expandvars(os.path.expanduser(…))`.
    #[test]
    fn paths_expand_as_in_python() {
        let environment = of(|name| {
            Some(match name {
                "HOME" => "/homes/bob/".into(),
                "DATA" => "/data".into(),
                "EMPTY" => "".into(),
                "TWICE" => "$DATA".into(),
                "HOMELY" => "~/x".into(),
                "a-b" => "dash".into(),
                _ => return None,
            })
        });
        for (path, expected) in [
            ("~", "/homes/bob"),
            ("~/hf", "/homes/bob/hf"),
            ("~ann/hf", "/homes/ann/hf"),
            ("~ann", "/homes/ann"),
            ("~nobody/hf", "~nobody/hf"),
            ("~short/hf", "~short/hf"),
            ("x/~", "x/~"),
            ("$DATA/hf", "/data/hf"),
            ("${DATA}hf", "/datahf"),
            ("$DATAhf", "$DATAhf"),
            ("$DATA$DATA", "/data/data"),
            ("~/$NOT/${NOT}/$", "/homes/bob/$NOT/${NOT}/$"),
            ("${DATA", "${DATA"),
            ("${a-b}/$a-b", "dash/$a-b"),
            ("${}/$$DATA", "${}/$/data"),
            ("$EMPTY/x", "/x"),
            ("$TWICE/x", "$DATA/x"),
            ("$HOMELY", "~/x"),
            ("", ""),
        ] {
            assert_eq!(environment.expanded(OsStr::new(path)), expected, "{path}");
        }
        let odd = OsStr::from_bytes(b"~/\xff$DATA");
        assert_eq!(environment.expanded(odd), OsStr::from_bytes(b"/homes/bob/\xff/data"));
        assert_eq!(of(|_| None).expanded(OsStr::new("~/x")), "~/x");
        assert_eq!(of(|_| Some("/".into())).expanded(OsStr::new("~")), "/");
    }

    #[test]
    fn the_cache_is_where_huggingface_hub_has_it() {
        for (variable, expected) in [
            (
                (|name| (name == "HOME").then(|| "/h".into())) as fn(&str) -> Option<OsString>,
                "/h/.cache/huggingface/hub",
            ),
            (
                |name| {
                    Some(if name == "XDG_CACHE_HOME" {
                        "~/c".into()
                    } else {
                        (name == "HOME").then(|| "/h".into())?
                    })
                },
                "/h/c/huggingface/hub",
            ),
            (
                |name| {
                    Some(if name == "HF_HOME" {
                        "~/hf".into()
                    } else {
                        (name == "HOME").then(|| "/h".into())?
                    })
                },
                "/h/hf/hub",
            ),
            (
                |name| match name {
                    "HF_HOME" => Some("/hf".into()),
                    "HUGGINGFACE_HUB_CACHE" => Some("$HF_HOME/old".into()),
                    _ => None,
                },
                "/hf/old",
            ),
            (
                |name| match name {
                    "HF_HUB_CACHE" => Some("~ann/new".into()),
                    "HUGGINGFACE_HUB_CACHE" => Some("/old".into()),
                    _ => None,
                },
                "/homes/ann/new",
            ),
            // Two steps: HF_HOME becomes `~/hf` by the variable, which HF_HOME/hub then expands.
            (
                |name| match name {
                    "HF_HOME" => Some("$PLACE".into()),
                    "PLACE" => Some("~/hf".into()),
                    "HOME" => Some("/h".into()),
                    _ => None,
                },
                "/h/hf/hub",
            ),
        ] {
            assert_eq!(of(variable).cache().unwrap(), Path::new(expected));
        }
        assert!(of(|_| None).cache().is_err());
    }

    #[test]
    fn the_token_comes_from_the_first_place_that_has_one() {
        let token = |variable| of(variable).token().unwrap();
        assert_eq!(
            token(|name| (name == "HF_TOKEN").then(|| " hf_a\r\n".into())).as_deref(),
            Some("hf_a")
        );
        assert_eq!(
            token(|name| (name == "HUGGING_FACE_HUB_TOKEN").then(|| "hf_b".into())).as_deref(),
            Some("hf_b")
        );
        assert_eq!(
            token(|name| ["HF_TOKEN", "HF_HUB_DISABLE_IMPLICIT_TOKEN"]
                .contains(&name)
                .then(|| "1".into())),
            None
        );
        assert_eq!(
            token(|name| (name == "HF_TOKEN_PATH").then(|| "/nowhere/token".into())),
            None
        );
        let error = of(|name| (name == "HF_TOKEN_PATH").then(|| "/dev/null/..".into())).token();
        assert_eq!(error.unwrap(), None);
    }
}
