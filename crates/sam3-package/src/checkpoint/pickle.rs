//! A pickle as plain data: strings, numbers, containers, and the *names* of whatever it would call.
//!
//! Nothing is ever called or imported. `REDUCE`, `NEWOBJ` and `BUILD` leave a record of the callable and its
//! arguments; [`super::pth`] knows the handful of records that mean a tensor and refuses the rest where it needs
//! them. Values refer to each other by index into one arena, so that nesting, sharing and cycles cost nothing to
//! build, to walk or to drop, and every table has a limit: a hostile pickle ends in an error after at most some
//! 30 MB, whatever it claims. Opcodes: <https://github.com/python/cpython/blob/main/Lib/pickletools.py>.

mod machine;

use machine::Machine;

/// A value: small ones inline, the rest by reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// Bytes `start..start+len` of the pickle, UTF-8.
    Text(u32, u32),
    /// Something a state dict has no use for: a float, bytes, an integer beyond 64 bits.
    Opaque,
    /// Index into [`Pickle::nodes`].
    Node(u32),
}

/// What a [`Value::Node`] refers to.
#[derive(Debug)]
pub(super) enum Node {
    Tuple(Vec<Value>),
    List(Vec<Value>),
    /// Entries in insertion order, duplicates included. `OrderedDict` and `defaultdict` are such too.
    Dict(Vec<(Value, Value)>),
    Global {
        module: Value,
        name: Value,
    },
    /// The result of calling something, uncalled.
    Call {
        callable: Value,
        args: Value,
    },
    /// A storage, in PyTorch's use.
    Persistent(Value),
}

/// A parsed pickle.
pub(super) struct Pickle<'a> {
    bytes: &'a [u8],
    nodes: Vec<Node>,
    pub root: Value,
}

impl<'a> Pickle<'a> {
    /// Runs the opcodes up to STOP.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(format!("the pickle has {} bytes; at most 4 GiB are read", bytes.len()));
        }
        let (root, nodes) = Machine::new(bytes)
            .run()
            .map_err(|(reason, at)| format!("the pickle {reason} (at byte {at} of {})", bytes.len()))?;
        Ok(Self { bytes, nodes, root })
    }

    /// The text of a string value.
    pub fn text(&self, value: Value) -> Option<&'a str> {
        text(self.bytes, value)
    }

    /// The node behind a value.
    pub fn node(&self, value: Value) -> Option<&Node> {
        match value {
            Value::Node(i) => self.nodes.get(i as usize),
            _ => None,
        }
    }

    /// The items of a tuple or list.
    pub fn items(&self, value: Value) -> Option<&[Value]> {
        match self.node(value)? {
            Node::Tuple(items) | Node::List(items) => Some(items),
            _ => None,
        }
    }

    /// The entries of a dict.
    pub fn dict(&self, value: Value) -> Option<&[(Value, Value)]> {
        match self.node(value)? {
            Node::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    /// `module` and `name` of a global.
    pub fn global(&self, value: Value) -> Option<(&'a str, &'a str)> {
        match self.node(value)? {
            &Node::Global { module, name } => Some((self.text(module)?, self.text(name)?)),
            _ => None,
        }
    }
}

fn text(bytes: &[u8], value: Value) -> Option<&str> {
    match value {
        Value::Text(start, len) => std::str::from_utf8(bytes.get(start as usize..start as usize + len as usize)?).ok(),
        _ => None,
    }
}
