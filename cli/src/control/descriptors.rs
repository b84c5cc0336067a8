//! Open files that travel over the control socket, beside the request that names them (SCM_RIGHTS).
//!
//! The system delivers them with the first byte of the message that they were sent with, so a request that has been read
//! to its end has its files here.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use rustix::{
    io::{FdFlags, fcntl_setfd},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, recvmsg, sendmsg,
    },
};
use tokio::{
    io::{AsyncRead, AsyncWriteExt, Interest, ReadBuf},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// Files of one request.
pub(super) const MAX_DESCRIPTORS: usize = 4;
/// Files that have come and that no request has named yet.
const MAX_WAITING: usize = 16;

/// Writes a message and the files that go with it.
pub(super) async fn send(write: &mut OwnedWriteHalf, message: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let stream: &UnixStream = write.as_ref();
    let sent = stream
        .async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !files.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(files)) {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many files for one request"));
            }
            Ok(sendmsg(stream, &[IoSlice::new(message)], &mut ancillary, SendFlags::empty())?)
        })
        .await?;
    write.write_all(&message[sent..]).await
}

/// Files that have come, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Received(Arc<Mutex<VecDeque<OwnedFd>>>);

impl Received {
    /// The next `count` files; nothing if fewer have come.
    pub(super) fn take(&self, count: usize) -> Option<Vec<OwnedFd>> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (waiting.len() >= count).then(|| waiting.drain(..count).collect())
    }

    fn add(&self, files: Vec<OwnedFd>) -> io::Result<()> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extend(files);
        if waiting.len() > MAX_WAITING {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "more files came than requests name"));
        }
        Ok(())
    }
}

/// A connection's reading end that takes in files as well.
#[derive(Debug)]
pub(super) struct Reader {
    half: OwnedReadHalf,
    received: Received,
}

impl Reader {
    /// The end, and where the files go that come over it.
    pub(super) fn new(half: OwnedReadHalf) -> (Self, Received) {
        let received = Received::default();
        (Self { half, received: received.clone() }, received)
    }
}

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream: &UnixStream = self.half.as_ref();
        loop {
            ready!(stream.poll_read_ready(cx))?;
            match stream.try_io(Interest::READABLE, || receive(stream, buffer.initialize_unfilled())) {
                Ok((bytes, files)) => {
                    self.received.add(files)?;
                    buffer.advance(bytes);
                    return Poll::Ready(Ok(()));
                }
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
                Err(cause) => return Poll::Ready(Err(cause)),
            }
        }
    }
}

/// Reads bytes and files. No program that this process starts gets the files.
fn receive(stream: &UnixStream, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(stream.as_fd(), &mut [IoSliceMut::new(buffer)], &mut ancillary, FLAGS)?;
    let mut files = Vec::new();
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            files.extend(rights);
        }
    }
    for file in &files {
        fcntl_setfd(file, FdFlags::CLOEXEC)?;
    }
    if message.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "more files came with a message than one may have"));
    }
    Ok((message.bytes, files))
}

#[cfg(target_os = "linux")]
const FLAGS: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const FLAGS: RecvFlags = RecvFlags::empty();

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read as _, Seek as _, Write as _},
    };

    use super::*;
    use crate::control::frame::FrameReader;

    #[tokio::test]
    async fn files_come_with_the_line_they_were_sent_with() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (_, mut write) = ours.into_split();
        let (reader, received) = Reader::new(theirs.into_split().0);
        let mut frames = FrameReader::new(reader, 1 << 20);
        let file = |text: &str| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file.rewind().unwrap();
            file
        };
        let (first, second, third) = (file("first"), file("second"), file("third"));
        // The long line does not fit the socket's buffer: the rest of it follows without files.
        let long = [vec![b'x'; 500_000], b"\n".to_vec()].concat();
        let sending = async {
            send(&mut write, b"none\n", &[]).await.unwrap();
            send(&mut write, &long, &[first.as_fd(), second.as_fd()]).await.unwrap();
            send(&mut write, b"last\n", &[third.as_fd()]).await.unwrap();
        };
        let reading = async {
            assert_eq!(frames.next().await.unwrap().unwrap(), b"none");
            assert_eq!(frames.next().await.unwrap().unwrap().len(), 500_000);
            let read = |file: OwnedFd| {
                let mut text = String::new();
                File::from(file).read_to_string(&mut text).unwrap();
                text
            };
            let files: Vec<_> = received.take(2).unwrap().into_iter().map(read).collect();
            assert_eq!(files, ["first", "second"]);
            assert_eq!(frames.next().await.unwrap().unwrap(), b"last");
            assert_eq!(received.take(1).unwrap().into_iter().map(read).collect::<Vec<_>>(), ["third"]);
            assert!(received.take(1).is_none());
        };
        tokio::join!(sending, reading);
    }

    #[tokio::test]
    async fn files_that_no_request_names_end_the_connection() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (_, mut write) = ours.into_split();
        let (reader, _received) = Reader::new(theirs.into_split().0);
        let mut frames = FrameReader::new(reader, 1 << 20);
        let file = tempfile::tempfile().unwrap();
        for _ in 0..=MAX_WAITING {
            send(&mut write, b"x", &[file.as_fd()]).await.unwrap();
        }
        drop(write);
        assert!(frames.next().await.is_err());
    }
}
