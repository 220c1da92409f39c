//! Sources that the server looks at by itself.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    time::Duration,
};

use sam3_server::StreamSource;
use sam3_video::{Decoded, Frames, LiveSource, Mjpeg, Switch, Uri, VideoError, Wanted, Y4M_MAGIC, Y4m};

use crate::{commands::decoding::DecodingFlags, failure::Failure};

/// A source, and what clients call it.
#[derive(Clone, Debug)]
pub struct NamedSource {
    name: String,
    uri: Uri,
}

/// Bytes that are read at once.
const BUFFER: usize = 1 << 18;

/// `gate=v4l2:///dev/video0`.
pub fn parse(text: &str) -> Result<NamedSource, String> {
    let (name, uri) = text
        .split_once('=')
        .ok_or_else(|| format!("expected NAME=URI, such as gate=v4l2:///dev/video0, found {text:?}"))?;
    let uri = uri.parse().map_err(|error: sam3_video::UriError| error.to_string())?;
    if uri == Uri::Stdin {
        return Err("expected a camera, a stream or a file: a server does not read its stdin".to_owned());
    }
    Ok(NamedSource {
        name: name.to_owned(),
        uri,
    })
}

/// All of them, for the server.
///
/// # Errors
/// When a name is none or is there twice, or a file is not there.
pub fn streams(sources: &[NamedSource], decoding: &DecodingFlags) -> anyhow::Result<Vec<StreamSource>> {
    let mut streams: Vec<StreamSource> = Vec::new();
    for NamedSource { name, uri } in sources {
        let refused = |what: String, hint: &str| Failure::usage(format!("--source {name}={uri}: {what}"), hint);
        if streams.iter().any(|stream| stream.name() == name) {
            return Err(refused(
                format!("another source is named {name:?}"),
                "give each a name of its own",
            ));
        }
        if let Uri::Path(path) = uri
            && !path.is_file()
        {
            let found = if path.exists() { "no file" } else { "nothing" };
            return Err(refused(
                format!("expected a video file, found {found}"),
                "cameras are v4l2:///dev/video0 and csi://0, streams rtsp://…, rtp://@:PORT and udp://@:PORT",
            ));
        }
        let (own, wanted) = (uri.clone(), decoding.wanted());
        let open = move |owner| {
            let forever = Some(Duration::MAX);
            match &own {
                Uri::Path(path) => {
                    let path = path.clone();
                    LiveSource::repeated(move |switch: &Switch| file(&path, &wanted, switch), forever, owner)
                }
                uri => LiveSource::decoded(uri, &wanted, forever, owner),
            }
        };
        // Clients need not know where the server's files are.
        let shown = match uri {
            Uri::Path(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            uri => uri.to_string(),
        };
        let stream = StreamSource::new(name, shown, open);
        streams.push(stream.map_err(|error| refused(error.to_string(), "clients name it in addresses"))?);
    }
    Ok(streams)
}

/// A file's frames, from the first.
fn file(path: &Path, wanted: &Wanted, switch: &Switch) -> Result<Box<dyn Frames>, VideoError> {
    let mut reader = BufReader::with_capacity(BUFFER, File::open(path)?);
    let start = reader.fill_buf()?;
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    Ok(if start.starts_with(Y4M_MAGIC) {
        Box::new(Y4m::open(reader)?)
    } else if extension == "mjpeg" || extension == "mjpg" {
        Box::new(Mjpeg::new(reader, wanted.rate))
    } else {
        Box::new(Decoded::open(&Uri::Path(path.to_owned()), wanted, switch)?)
    })
}
