//! Reading the content of a file from a store that contains all of it.

use std::{
    io::{self, Read},
    vec,
};

use bytes::{Buf, Bytes};

use super::{FileNode, Node};
use crate::{Blockstore, Cid, Error, MAX_WALK_DEPTH, MAX_WALK_PENDING, Result};

/// Reads and decodes a block.
pub(crate) fn read_node<S: Blockstore + ?Sized>(store: &S, cid: &Cid) -> Result<Node> {
    let block = store.get(cid)?.ok_or(Error::NotFound { cid: *cid })?;
    Node::parse(cid, &block)
}

/// Reads a part of a file that must contain `size` bytes of content.
pub(crate) fn read_part<S: Blockstore + ?Sized>(store: &S, cid: &Cid, size: u64) -> Result<FileNode> {
    let invalid = |reason: &str| Error::InvalidNode { cid: Box::new(*cid), reason: reason.to_owned() };
    match read_node(store, cid)? {
        Node::File(file) if file.size == size => Ok(file),
        Node::File(_) => Err(invalid("its content has another length than its parent says")),
        _ => Err(invalid("it is a part of a file and not one itself")),
    }
}

/// The content of a file in pieces: one per block with content, in order. Ends after an error.
///
/// Parts without content are not read, so that their number does not matter.
#[derive(Debug)]
pub(crate) struct Chunks<'a, S: ?Sized> {
    store: &'a S,
    stack: Vec<vec::IntoIter<(Cid, u64)>>,
    pending: usize,
}

impl<'a, S: Blockstore + ?Sized> Chunks<'a, S> {
    /// The content of `cid`, which must have `size` bytes.
    pub(crate) fn new(store: &'a S, cid: Cid, size: u64) -> Self {
        Self { store, stack: vec![vec![(cid, size)].into_iter()], pending: 1 }
    }

    fn next_chunk(&mut self) -> Result<Option<Bytes>> {
        while let Some(parts) = self.stack.last_mut() {
            let Some((cid, size)) = parts.next() else {
                self.stack.pop();
                continue;
            };
            self.pending -= 1;
            if size == 0 {
                continue;
            }
            let node = read_part(self.store, &cid, size)?;
            if !node.parts.is_empty() {
                self.pending += node.parts.len();
                self.stack.push(node.parts.into_iter());
            }
            if self.stack.len() > MAX_WALK_DEPTH {
                return Err(Error::LimitExceeded { what: "levels of one file", limit: MAX_WALK_DEPTH as u64 });
            }
            if self.pending > MAX_WALK_PENDING {
                return Err(Error::LimitExceeded { what: "links of one file", limit: MAX_WALK_PENDING as u64 });
            }
            if !node.data.is_empty() {
                return Ok(Some(node.data));
            }
        }
        Ok(None)
    }
}

impl<S: Blockstore + ?Sized> Iterator for Chunks<'_, S> {
    type Item = Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        let chunk = self.next_chunk().transpose();
        if matches!(chunk, Some(Err(_))) {
            self.stack.clear();
        }
        chunk
    }
}

/// Reads a file from a store that contains all of it.
#[derive(Debug)]
pub struct FileReader<'a, S: ?Sized> {
    chunks: Chunks<'a, S>,
    chunk: Bytes,
    size: u64,
}

impl<'a, S: Blockstore + ?Sized> FileReader<'a, S> {
    /// Opens the file `cid`.
    ///
    /// # Errors
    /// [`Error::InvalidNode`] if it is not a file, [`Error::NotFound`], a store error.
    pub fn open(store: &'a S, cid: Cid) -> Result<Self> {
        match read_node(store, &cid)? {
            Node::File(file) => {
                Ok(Self { chunks: Chunks::new(store, cid, file.size), chunk: Bytes::new(), size: file.size })
            }
            _ => Err(Error::InvalidNode { cid: Box::new(cid), reason: "it is not a file".to_owned() }),
        }
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl<S: Blockstore + ?Sized> Read for FileReader<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.chunks.next() {
                Some(chunk) => self.chunk = chunk.map_err(io::Error::other)?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.chunk.len());
        buffer[..length].copy_from_slice(&self.chunk[..length]);
        self.chunk.advance(length);
        Ok(length)
    }
}
