//! Where frames come from, spelled as NVIDIA's jetson-utils does.

use std::{fmt, path::PathBuf, str::FromStr};

/// A source of frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uri {
    /// `-`.
    Stdin,
    /// A file or a folder: `street.mp4`, `file:///videos/street.mp4`.
    Path(PathBuf),
    /// A camera of Video4Linux: `v4l2:///dev/video0`, `/dev/video0`.
    V4l2(PathBuf),
    /// A camera at a Jetson's CSI connector, by its number: `csi://0`.
    Csi(u32),
    /// What a server sends: `rtsp://camera:8554/street`, also `rtsps`, `http` and `https`.
    Server(String),
    /// RTP without a session: `rtp://@:5000`, H.264 unless `?codec=h265`.
    Rtp {
        /// The address to listen at, or the group to join; all of this machine's where it is empty.
        host: String,
        /// The port to listen at.
        port: u16,
        /// What is in the packets.
        codec: Codec,
    },
    /// MPEG-TS in packets of UDP: `udp://@:5000`.
    Udp {
        /// As of [`Uri::Rtp`].
        host: String,
        /// The port to listen at.
        port: u16,
    },
}

/// How RTP's packets are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// H.264.
    H264,
    /// H.265.
    H265,
}

/// A name that is no source: what was expected and what was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UriError(String);

const KNOWN: &str = "v4l2:///dev/video0, csi://0, rtsp://…, rtp://@:PORT, udp://@:PORT, http://… or a file";

impl Uri {
    /// Whether frames come when they please: who is late misses some.
    pub fn is_live(&self) -> bool {
        !matches!(self, Self::Stdin | Self::Path(_))
    }
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(match text {
                "-" => Self::Stdin,
                // As jetson-utils has it.
                _ if text.starts_with("/dev/video") => Self::V4l2(camera(text)?),
                _ => Self::Path(text.into()),
            });
        };
        match scheme {
            "file" => Ok(Self::Path(rest.into())),
            "v4l2" => Ok(Self::V4l2(camera(rest)?)),
            "csi" => rest
                .parse()
                .map(Self::Csi)
                .map_err(|_| UriError(format!("expected csi:// and a camera's number, found {text:?}"))),
            "rtsp" | "rtsps" | "http" | "https" if !rest.is_empty() => Ok(Self::Server(text.to_owned())),
            "rtp" => {
                let (address, codec) = match rest.split_once('?') {
                    None => (rest, Codec::H264),
                    Some((address, "codec=h264")) => (address, Codec::H264),
                    Some((address, "codec=h265")) => (address, Codec::H265),
                    Some(_) => return Err(UriError(format!("expected ?codec=h264 or ?codec=h265, found {text:?}"))),
                };
                let (host, port) = listening(address, text)?;
                Ok(Self::Rtp { host, port, codec })
            }
            "udp" => {
                let (host, port) = listening(rest, text)?;
                Ok(Self::Udp { host, port })
            }
            _ => Err(UriError(format!("expected {KNOWN}, found {text:?}"))),
        }
    }
}

/// A camera's device file: nothing else is handed to a decoder as one.
fn camera(path: &str) -> Result<PathBuf, UriError> {
    let name = path.strip_prefix("/dev/").unwrap_or_default();
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.' | ':' | '/');
    match !name.is_empty() && name.chars().all(is_plain) && !name.split('/').any(|part| part == "..") {
        true => Ok(path.into()),
        false => Err(UriError(format!(
            "expected v4l2:// and a camera such as /dev/video0, found {path:?}"
        ))),
    }
}

/// `@HOST:PORT`, where `@` and the host may be missing.
fn listening(address: &str, text: &str) -> Result<(String, u16), UriError> {
    let refused = || {
        UriError(format!(
            "expected a port to listen at, as in rtp://@:5000, found {text:?}"
        ))
    };
    let address = address.strip_prefix('@').unwrap_or(address);
    let (host, port) = address.rsplit_once(':').ok_or_else(refused)?;
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-');
    let port = port.parse().ok().filter(|&port| port > 0).ok_or_else(refused)?;
    match host.chars().all(is_plain) && !host.starts_with('-') {
        true => Ok((host.to_owned(), port)),
        false => Err(refused()),
    }
}

/// A password is left out: names stand in logs.
impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("stdin"),
            Self::Path(path) => path.display().fmt(f),
            Self::V4l2(path) => write!(f, "v4l2://{}", path.display()),
            Self::Csi(number) => write!(f, "csi://{number}"),
            Self::Server(uri) => f.write_str(&without_password(uri)),
            Self::Rtp { host, port, codec } => {
                write!(f, "rtp://@{host}:{port}")?;
                match codec {
                    Codec::H264 => Ok(()),
                    Codec::H265 => f.write_str("?codec=h265"),
                }
            }
            Self::Udp { host, port } => write!(f, "udp://@{host}:{port}"),
        }
    }
}

/// A query may hold one, too.
fn without_password(uri: &str) -> String {
    let uri = match uri.split_once('?') {
        Some((uri, _)) => &format!("{uri}?…"),
        None => uri,
    };
    let (scheme, rest) = uri.split_once("://").unwrap_or(("", uri));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':')) {
        Some((user, _)) => {
            let behind = authority.rfind('@').unwrap_or(0);
            format!("{scheme}://{user}:…{}", &rest[behind..])
        }
        None => uri.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_jetson_utils() {
        for (text, expected) in [
            ("-", Uri::Stdin),
            ("street.mp4", Uri::Path("street.mp4".into())),
            ("./a:b//c", Uri::Path("./a:b//c".into())),
            ("file:///a b/c.mp4", Uri::Path("/a b/c.mp4".into())),
            ("/dev/video2", Uri::V4l2("/dev/video2".into())),
            (
                "v4l2:///dev/v4l/by-id/usb-x:1",
                Uri::V4l2("/dev/v4l/by-id/usb-x:1".into()),
            ),
            ("csi://1", Uri::Csi(1)),
            ("rtsp://a/b?c=d", Uri::Server("rtsp://a/b?c=d".into())),
            (
                "rtp://@:5000",
                Uri::Rtp {
                    host: String::new(),
                    port: 5000,
                    codec: Codec::H264,
                },
            ),
            (
                "rtp://239.0.0.1:5000?codec=h265",
                Uri::Rtp {
                    host: "239.0.0.1".into(),
                    port: 5000,
                    codec: Codec::H265,
                },
            ),
            (
                "udp://:9",
                Uri::Udp {
                    host: String::new(),
                    port: 9,
                },
            ),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_source_is_told() {
        for (text, expected) in [
            ("webrtc://@:8554/x", "expected v4l2://"),
            ("csi://left", "a camera's number"),
            ("csi://", "a camera's number"),
            ("v4l2:///etc/passwd", "such as /dev/video0"),
            ("v4l2:///dev/../etc/passwd", "such as /dev/video0"),
            ("/dev/video0 ! filesink", "such as /dev/video0"),
            ("rtp://@", "a port to listen at"),
            ("rtp://@:0", "a port to listen at"),
            ("rtp://@:70000", "a port to listen at"),
            ("rtp://a b:1", "a port to listen at"),
            ("rtp://@:1?codec=vp9", "?codec=h264"),
            ("udp://-i:1", "a port to listen at"),
            ("rtsp://", "expected v4l2://"),
        ] {
            let error = text.parse::<Uri>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        for (text, shown) in [
            ("rtsp://me:secret@cam/x", "rtsp://me:…@cam/x"),
            ("rtsp://me:se@cret@cam:1/x?y@z", "rtsp://me:…@cam:1/x?…"),
            ("http://cam/x?token=secret", "http://cam/x?…"),
            ("rtsp://me@cam/x:y@z", "rtsp://me@cam/x:y@z"),
            ("rtsp://cam:8554/x", "rtsp://cam:8554/x"),
            ("rtp://@:5000?codec=h265", "rtp://@:5000?codec=h265"),
        ] {
            assert_eq!(text.parse::<Uri>().unwrap().to_string(), shown);
        }
    }
}
