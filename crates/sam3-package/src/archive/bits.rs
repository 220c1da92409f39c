//! Bits into bytes, the lowest first: what deflate and Zstandard's tables share.

/// Appends to `out`; fewer than eight bits wait in between.
pub(super) struct BitWriter<'a> {
    pub out: &'a mut Vec<u8>,
    pub bits: u64,
    pub count: u32,
}

impl<'a> BitWriter<'a> {
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, bits: 0, count: 0 }
    }

    /// At most 32 bits at a time.
    pub fn put(&mut self, value: u64, length: u32) {
        self.bits |= value << self.count;
        self.count += length;
        while self.count >= 8 {
            self.out.push(self.bits as u8);
            self.bits >>= 8;
            self.count -= 8;
        }
    }

    /// Zeros up to the next byte.
    pub fn finish_byte(&mut self) {
        self.put(0, (8 - self.count) % 8);
    }
}
