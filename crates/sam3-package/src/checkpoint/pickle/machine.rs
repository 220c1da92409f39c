//! The pickle machine: a stack, a memo and an arena, each with a limit.

use super::{Node, Value, text};

/// Limits on the tables; `sam3.pt` needs about 8 % of each.
const MAX_STACK: usize = 125_000;
const MAX_NODES: usize = 125_000;
const MAX_CHILDREN: usize = 250_000;
const MAX_MEMO: usize = 200_000;
/// Bytes of a string that is kept: names and keys are short, and are compared often.
const MAX_TEXT: usize = 4096;

/// The state between opcodes.
pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    /// Stack heights.
    marks: Vec<usize>,
    memo: Vec<Option<Value>>,
    /// Entries of the memo in use; MEMOIZE takes this as its index.
    memoized: usize,
    nodes: Vec<Node>,
    children: usize,
}

impl<'a> Machine<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Vec::new(),
            memoized: 0,
            nodes: Vec::new(),
            children: 0,
        }
    }

    /// The value STOP leaves and the nodes it refers to; or what is wrong, and where.
    pub fn run(mut self) -> Result<(Value, Vec<Node>), (String, usize)> {
        match self.steps() {
            Ok(root) => Ok((root, self.nodes)),
            Err(reason) => Err((reason, self.at)),
        }
    }

    fn steps(&mut self) -> Result<Value, String> {
        loop {
            let op = self.take(1)?[0];
            match op {
                b'.' => return self.pop(),
                // PROTO, FRAME: the frame's length only says how to buffer.
                0x80 => {
                    let version = self.take(1)?[0];
                    if version > 5 {
                        return Err(format!("has protocol {version}; 2 to 5 are read"));
                    }
                }
                0x95 => drop(self.take(8)?),
                b'(' => {
                    if self.marks.len() >= MAX_STACK {
                        return Err("nests too deeply".into());
                    }
                    self.marks.push(self.stack.len());
                }
                b'0' => drop(self.pop()?),
                b'1' => drop(self.since_mark()?),
                b'2' => {
                    let top = self.top()?;
                    self.push(top)?;
                }
                _ if self.scalar(op)?
                    || self.string(op)?
                    || self.container(op)?
                    || self.object(op)?
                    || self.memo(op)? => {}
                _ => return Err(format!("has opcode 0x{op:02x}, which no checkpoint needs")),
            }
        }
    }

    fn scalar(&mut self, op: u8) -> Result<bool, String> {
        let value = match op {
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'K' => Value::Int(self.take(1)?[0].into()),
            b'M' => Value::Int(u16::from_le_bytes(self.array()?).into()),
            b'J' => Value::Int(i32::from_le_bytes(self.array()?).into()),
            // LONG1, LONG4: little-endian two's complement of any length.
            0x8a | 0x8b => {
                let len = if op == 0x8a {
                    self.take(1)?[0].into()
                } else {
                    u32::from_le_bytes(self.array()?) as usize
                };
                let digits = self.take(len)?;
                match digits.last() {
                    None => Value::Int(0),
                    Some(_) if len > 8 => Value::Opaque,
                    Some(&high) => {
                        let mut wide = [if high & 0x80 == 0 { 0 } else { 0xff }; 8];
                        wide[..len].copy_from_slice(digits);
                        Value::Int(i64::from_le_bytes(wide))
                    }
                }
            }
            // INT and LONG of protocols 0 and 1; "I00" and "I01" are booleans.
            b'I' | b'L' => match self.line()? {
                "00" => Value::Bool(false),
                "01" => Value::Bool(true),
                digits => digits.trim_end_matches('L').parse().map_or(Value::Opaque, Value::Int),
            },
            b'G' => {
                self.take(8)?;
                Value::Opaque
            }
            _ => return Ok(false),
        };
        self.push(value)?;
        Ok(true)
    }

    fn string(&mut self, op: u8) -> Result<bool, String> {
        let len = match op {
            // SHORT_BINUNICODE, SHORT_BINSTRING, SHORT_BINBYTES
            0x8c | b'U' | b'C' => self.take(1)?[0].into(),
            // BINUNICODE, BINSTRING, BINBYTES
            b'X' | b'T' | b'B' => u64::from(u32::from_le_bytes(self.array()?)),
            // BINUNICODE8, BINBYTES8, BYTEARRAY8
            0x8d | 0x8e | 0x96 => u64::from_le_bytes(self.array()?),
            _ => return Ok(false),
        };
        let start = self.at;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let bytes = self.take(len)?;
        let is_text =
            len <= MAX_TEXT && matches!(op, 0x8c | 0x8d | b'X' | b'U' | b'T') && std::str::from_utf8(bytes).is_ok();
        let value = if is_text {
            Value::Text(start as u32, len as u32)
        } else {
            Value::Opaque
        };
        self.push(value)?;
        Ok(true)
    }

    fn container(&mut self, op: u8) -> Result<bool, String> {
        match op {
            b')' => self.push_node(Node::Tuple(Vec::new()))?,
            b']' | 0x8f => self.push_node(Node::List(Vec::new()))?,
            b'}' => self.push_node(Node::Dict(Vec::new()))?,
            b't' => {
                let items = self.since_mark()?;
                self.push_node(Node::Tuple(items))?;
            }
            b'l' | 0x91 => {
                let items = self.since_mark()?;
                self.push_node(Node::List(items))?;
            }
            0x85..=0x87 => {
                let at = self.below(usize::from(op - 0x84))?;
                let items = self.stack.split_off(at);
                self.grow(items.len())?;
                self.push_node(Node::Tuple(items))?;
            }
            b'd' => {
                let items = self.since_mark()?;
                self.push_node(Node::Dict(Vec::new()))?;
                self.extend_dict(&items)?;
            }
            b's' => {
                let at = self.below(2)?;
                let items = self.stack.split_off(at);
                self.grow(items.len())?;
                self.extend_dict(&items)?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.extend_dict(&items)?;
            }
            b'a' => {
                let item = self.pop()?;
                self.grow(1)?;
                self.extend_list(&[item])?;
            }
            b'e' | 0x90 => {
                let items = self.since_mark()?;
                self.extend_list(&items)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn object(&mut self, op: u8) -> Result<bool, String> {
        match op {
            b'c' => {
                let module = self.line_value()?;
                let name = self.line_value()?;
                self.push_node(Node::Global { module, name })?;
            }
            0x93 => {
                let name = self.pop()?;
                let module = self.pop()?;
                self.push_node(Node::Global { module, name })?;
            }
            // REDUCE, NEWOBJ
            b'R' | 0x81 => {
                let args = self.pop()?;
                let callable = self.pop()?;
                self.call(callable, args)?;
            }
            // NEWOBJ_EX: keyword arguments are of no use here.
            0x92 => {
                self.pop()?;
                let args = self.pop()?;
                let callable = self.pop()?;
                self.call(callable, args)?;
            }
            // BUILD: attributes, such as a state dict's `_metadata`, are dropped.
            b'b' => {
                self.pop()?;
                self.top()?;
            }
            b'Q' => {
                let id = self.pop()?;
                self.push_node(Node::Persistent(id))?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn memo(&mut self, op: u8) -> Result<bool, String> {
        match op {
            b'q' | b'r' | 0x94 => {
                let index = match op {
                    b'q' => self.take(1)?[0].into(),
                    b'r' => u32::from_le_bytes(self.array()?) as usize,
                    _ => self.memoized,
                };
                if index >= MAX_MEMO {
                    return Err(format!("remembers more than {MAX_MEMO} objects"));
                }
                let top = self.top()?;
                if self.memo.len() <= index {
                    self.memo.resize(index + 1, None);
                }
                if self.memo[index].replace(top).is_none() {
                    self.memoized += 1;
                }
            }
            b'h' | b'j' => {
                let index = if op == b'h' {
                    self.take(1)?[0].into()
                } else {
                    u32::from_le_bytes(self.array()?) as usize
                };
                let value = self.memo.get(index).copied().flatten();
                self.push(value.ok_or_else(|| format!("recalls object {index}, which it never stored"))?)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn call(&mut self, callable: Value, args: Value) -> Result<(), String> {
        let is_dict = match callable {
            Value::Node(i) => match self.nodes[i as usize] {
                Node::Global { module, name } => {
                    text(self.bytes, module) == Some("collections")
                        && matches!(text(self.bytes, name), Some("OrderedDict" | "defaultdict"))
                }
                _ => false,
            },
            _ => false,
        };
        self.push_node(if is_dict {
            Node::Dict(Vec::new())
        } else {
            Node::Call { callable, args }
        })
    }

    /// Adds key, value, key, value… to the dict on top; an unknown object on top swallows them.
    fn extend_dict(&mut self, items: &[Value]) -> Result<(), String> {
        if !items.len().is_multiple_of(2) {
            return Err("sets a dict key without a value".into());
        }
        match self.top_node()? {
            Some(Node::Dict(entries)) => entries.extend(items.chunks_exact(2).map(|kv| (kv[0], kv[1]))),
            Some(Node::Call { .. }) => {}
            _ => return Err("sets items of something that is not a dict".into()),
        }
        Ok(())
    }

    fn extend_list(&mut self, items: &[Value]) -> Result<(), String> {
        match self.top_node()? {
            Some(Node::List(list)) => list.extend_from_slice(items),
            Some(Node::Call { .. }) => {}
            _ => return Err("appends to something that is not a list".into()),
        }
        Ok(())
    }

    fn push(&mut self, value: Value) -> Result<(), String> {
        if self.stack.len() >= MAX_STACK {
            return Err(format!("holds more than {MAX_STACK} objects at once"));
        }
        self.stack.push(value);
        Ok(())
    }

    fn push_node(&mut self, node: Node) -> Result<(), String> {
        if self.nodes.len() >= MAX_NODES {
            return Err(format!("makes more than {MAX_NODES} objects"));
        }
        self.nodes.push(node);
        self.push(Value::Node(self.nodes.len() as u32 - 1))
    }

    fn pop(&mut self) -> Result<Value, String> {
        let at = self.below(1)?;
        let value = self.stack[at];
        self.stack.truncate(at);
        Ok(value)
    }

    fn top(&self) -> Result<Value, String> {
        Ok(self.stack[self.below(1)?])
    }

    fn top_node(&mut self) -> Result<Option<&mut Node>, String> {
        Ok(match self.top()? {
            Value::Node(i) => self.nodes.get_mut(i as usize),
            _ => None,
        })
    }

    /// Stack height with `n` values gone; they must lie above the last mark.
    fn below(&self, n: usize) -> Result<usize, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack
            .len()
            .checked_sub(n)
            .filter(|&at| at >= floor)
            .ok_or_else(|| "takes more values than it has put down".into())
    }

    fn since_mark(&mut self) -> Result<Vec<Value>, String> {
        let at = self.marks.pop().ok_or("closes a group it never opened")?;
        let items = self.stack.split_off(at);
        self.grow(items.len())?;
        Ok(items)
    }

    fn grow(&mut self, items: usize) -> Result<(), String> {
        self.children += items;
        if self.children > MAX_CHILDREN {
            return Err(format!("holds more than {MAX_CHILDREN} items"));
        }
        Ok(())
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let left = self.bytes.len() - self.at;
        if len > left {
            return Err(format!(
                "is cut off: the next object needs {len} bytes and {left} are left"
            ));
        }
        self.at += len;
        Ok(&self.bytes[self.at - len..self.at])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        Ok(self.take(N)?.try_into().expect("take returns what it was asked for"))
    }

    fn line_value(&mut self) -> Result<Value, String> {
        let start = self.at;
        let len = self.line()?.len();
        if len > MAX_TEXT {
            return Err(format!("names a global with {len} bytes"));
        }
        Ok(Value::Text(start as u32, len as u32))
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let rest = &self.bytes[self.at..];
        let len = rest
            .iter()
            .position(|&b| b == b'\n')
            .ok_or("is cut off in a line of text")?;
        self.at += len + 1;
        std::str::from_utf8(&rest[..len]).map_err(|_| "has a line that is not UTF-8".into())
    }
}
