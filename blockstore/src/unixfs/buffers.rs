//! Buffers for chunks, used again when their block is written: pages that are mapped already cost the kernel nothing.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;

/// A stock of buffers of one size.
#[derive(Debug)]
pub(crate) struct Buffers {
    free: Arc<Stock>,
}

#[derive(Debug)]
struct Stock {
    buffers: Mutex<Vec<Vec<u8>>>,
    /// Bytes that each buffer has room for.
    capacity: usize,
    /// Most buffers kept.
    limit: usize,
}

impl Buffers {
    /// A stock that keeps up to `limit` buffers with room for `capacity` bytes.
    pub(crate) fn new(capacity: usize, limit: usize) -> Self {
        Self { free: Arc::new(Stock { buffers: Mutex::default(), capacity, limit }) }
    }

    /// An empty buffer with room for `length` bytes, from the stock if it is worth it.
    pub(crate) fn take(&self, length: usize) -> Vec<u8> {
        let stock = &self.free;
        if length > stock.capacity || length < stock.capacity / 2 {
            return Vec::with_capacity(length);
        }
        let used = stock.buffers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        used.unwrap_or_else(|| Vec::with_capacity(stock.capacity))
    }

    /// Hands a filled buffer out as bytes, without a copy. When the last of them is gone, the buffer comes back.
    pub(crate) fn freeze(&self, buffer: Vec<u8>) -> Bytes {
        if buffer.capacity() < self.free.capacity {
            return buffer.into();
        }
        Bytes::from_owner(Lent { buffer, home: Arc::downgrade(&self.free) })
    }
}

/// A buffer that returns to its stock, if there still is one.
struct Lent {
    buffer: Vec<u8>,
    home: Weak<Stock>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(stock) = self.home.upgrade() else { return };
        let mut buffers = stock.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if buffers.len() < stock.limit {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.clear();
            buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_bytes_are_gone_and_no_more_than_the_limit_stay() {
        let buffers = Buffers::new(1000, 1);
        let [first, second] = [buffers.take(1000), buffers.take(999)];
        let place = first.as_ptr();
        let (first, second) = (buffers.freeze(first), buffers.freeze(second));
        let copy = first.clone();
        drop(first);
        let third = buffers.take(1000);
        assert_ne!(third.as_ptr(), place);
        drop(copy);
        drop(second);
        let fourth = buffers.take(1000);
        assert_eq!(fourth.as_ptr(), place);
        assert_eq!(buffers.take(10).capacity(), 10);
    }

    #[test]
    fn bytes_outlive_the_stock() {
        let buffers = Buffers::new(4, 1);
        let mut buffer = buffers.take(4);
        buffer.extend_from_slice(b"data");
        let bytes = buffers.freeze(buffer);
        drop(buffers);
        assert_eq!(bytes, "data");
    }
}
