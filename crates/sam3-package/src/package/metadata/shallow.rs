//! How the metadata's text is laid out: pretty outside, compact inside.

use std::io;

use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};

/// Indents the two outer levels and keeps what is deeper on one line.
#[derive(Default)]
pub(super) struct Shallow {
    depth: usize,
    pretty: PrettyFormatter<'static>,
}

const INDENTED: usize = 2;

/// Hands a call to the pretty formatter in the outer levels and to the compact one below.
macro_rules! by_depth {
    ($self:ident, $method:ident($($argument:expr),*)) => {
        if $self.depth <= INDENTED { $self.pretty.$method($($argument),*) } else { CompactFormatter.$method($($argument),*) }
    };
}

impl Formatter for Shallow {
    fn begin_array<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        by_depth!(self, begin_array(writer))
    }
    fn end_array<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        let result = by_depth!(self, end_array(writer));
        self.depth -= 1;
        result
    }
    fn begin_array_value<W: io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        by_depth!(self, begin_array_value(writer, first))
    }
    fn end_array_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        by_depth!(self, end_array_value(writer))
    }
    fn begin_object<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        by_depth!(self, begin_object(writer))
    }
    fn end_object<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        let result = by_depth!(self, end_object(writer));
        self.depth -= 1;
        result
    }
    fn begin_object_key<W: io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        by_depth!(self, begin_object_key(writer, first))
    }
    fn begin_object_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        by_depth!(self, begin_object_value(writer))
    }
    fn end_object_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        by_depth!(self, end_object_value(writer))
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    #[test]
    fn inner_levels_stay_on_one_line() {
        let value = serde_json::json!({"a": [], "b": [{"c": [1, 2], "d": {}}], "e": {"f": [1]}});
        let mut out = Vec::new();
        value
            .serialize(&mut serde_json::Serializer::with_formatter(
                &mut out,
                Shallow::default(),
            ))
            .unwrap();
        let expected =
            "{\n  \"a\": [],\n  \"b\": [\n    {\"c\":[1,2],\"d\":{}}\n  ],\n  \"e\": {\n    \"f\": [1]\n  }\n}";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
