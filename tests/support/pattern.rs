//! Large bodies that neither end has to hold: bytes that can be made and checked by their position alone.
//!
//! Every block of 64 KiB begins with its own number (8 bytes, big endian) and goes on with zeros, so a byte lost, doubled or out of
//! order anywhere shows in the next block's number.

/// The length of a block.
const BLOCK: u64 = 64 * 1024;
const BLOCK_BYTES: usize = 64 * 1024;
const NUMBER: u64 = 8;

/// Makes `length` bytes, a piece at a time.
pub(crate) struct Maker {
    at: u64,
    length: u64,
    block: Vec<u8>,
}

impl Maker {
    /// The first `length` bytes of the pattern.
    pub(crate) fn new(length: u64) -> Self {
        Self {
            at: 0,
            length,
            block: vec![0; BLOCK_BYTES],
        }
    }

    /// The next piece: at most one block; none at the end.
    pub(crate) fn next_piece(&mut self) -> Option<&[u8]> {
        let left = self.length - self.at;
        if left == 0 {
            return None;
        }
        self.block[..8].copy_from_slice(&(self.at / BLOCK).to_be_bytes());
        self.at += left.min(BLOCK);
        let piece = usize::try_from(left.min(BLOCK)).expect("a block fits in memory");
        Some(&self.block[..piece])
    }
}

/// Checks bytes against the pattern, however they are cut into pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checker {
    at: u64,
    number: u64,
    wrong: u64,
}

impl Checker {
    /// The next bytes.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) {
        while let Some(first) = bytes.first() {
            let in_block = self.at % BLOCK;
            if in_block < NUMBER {
                self.take_number_byte(in_block, *first);
                bytes = &bytes[1..];
                continue;
            }
            let zeros = usize::try_from(BLOCK - in_block).expect("a block fits in memory");
            let piece = &bytes[..zeros.min(bytes.len())];
            // the last byte stands for the piece: comparing all of a GiB would cost an unoptimised build seconds
            self.wrong += u64::from(piece.last() != Some(&0));
            self.at += piece.len() as u64;
            bytes = &bytes[piece.len()..];
        }
    }

    /// How many bytes came.
    pub(crate) fn length(&self) -> u64 {
        self.at
    }

    /// How many blocks were not where they belong.
    pub(crate) fn wrong(&self) -> u64 {
        self.wrong
    }

    fn take_number_byte(&mut self, in_block: u64, byte: u8) {
        self.number = if in_block == 0 { 0 } else { self.number << 8 } | u64::from(byte);
        if in_block == NUMBER - 1 && self.number != self.at / BLOCK {
            self.wrong += 1;
        }
        self.at += 1;
    }
}
