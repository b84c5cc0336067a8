//! One of the two outbound streams of a connection: opened for the first message, kept open, and reopened after a
//! failure.

use std::{
    collections::VecDeque,
    io,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::AsyncWrite;

use crate::node::exchange::bitswap::{
    frame::FrameWriter,
    message::{Message, Version},
};

/// Number of consecutive failures after which the messages of a stream are not worth sending again, and after which a
/// stream that breaks off rests before it is opened again.
const MAX_FAILURES: u32 = 3;
/// How long it rests. Time-outs need no rest: they last long enough.
const REST_FOR: Duration = Duration::from_secs(5);
/// Bytes that must be written within the time limit, unless the queue is emptied: a peer that reads a byte now and then
/// must not occupy the memory of its responses.
const MIN_PROGRESS_BYTES: usize = 64 << 10;

/// An action for the handler, or the outcome of one.
#[derive(Debug)]
pub(in crate::node::exchange) enum StreamEvent {
    /// Open a stream.
    Open,
    /// The message was written.
    Sent(Message),
    /// The stream failed, and `lost` were not written completely.
    Failed { lost: Vec<Message>, prospect: Prospect },
}

/// Why a stream failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node::exchange) enum Cause {
    /// The peer does not support the protocol.
    Unsupported,
    /// The peer did not answer in time. It may be stopped, and may go on.
    TimedOut,
    /// The stream broke off.
    Broken,
}

/// What follows from a failure. A later message opens the stream again in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node::exchange) enum Prospect {
    /// The messages may be sent again.
    Hopeful,
    /// The stream has failed so often that the messages are out of date.
    Poor,
    /// The peer does not support the protocol.
    None,
}

#[derive(Debug)]
enum State<S> {
    Closed,
    Opening,
    Open { stream: S, version: Version },
}

/// An outbound stream and its queue of messages.
#[derive(Debug)]
pub(in crate::node::exchange) struct OutboundStream<S> {
    state: State<S>,
    queue: VecDeque<Message>,
    writer: FrameWriter,
    /// The first message of the queue is being written.
    writing: bool,
    flushed: bool,
    failures: u32,
    /// No stream is opened before this time.
    rests_until: Option<Instant>,
    /// When [`MIN_PROGRESS_BYTES`] were last written, or the queue was last empty.
    progress_at: Instant,
    /// Bytes written since then.
    progress_bytes: usize,
}

impl<S: AsyncWrite + Unpin> OutboundStream<S> {
    pub(in crate::node::exchange) fn new(now: Instant) -> Self {
        Self {
            state: State::Closed,
            queue: VecDeque::new(),
            writer: FrameWriter::default(),
            writing: false,
            flushed: true,
            failures: 0,
            rests_until: None,
            progress_at: now,
            progress_bytes: 0,
        }
    }

    /// Queues a message. The caller must limit what it queues before [`StreamEvent::Sent`].
    pub(in crate::node::exchange) fn push(&mut self, message: Message, now: Instant) {
        if self.queue.is_empty() {
            self.note_progress(now);
        }
        self.queue.push_back(message);
    }

    /// The negotiated version of the protocol, while the stream is open.
    pub(in crate::node::exchange) fn version(&self) -> Option<Version> {
        match &self.state {
            State::Open { version, .. } => Some(*version),
            State::Closed | State::Opening => None,
        }
    }

    /// Whether messages wait to be written.
    pub(in crate::node::exchange) fn is_busy(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Stores the stream that was opened.
    pub(in crate::node::exchange) fn opened(&mut self, stream: S, version: Version, now: Instant) {
        self.state = State::Open { stream, version };
        self.note_progress(now);
    }

    fn note_progress(&mut self, now: Instant) {
        self.progress_at = now;
        self.progress_bytes = 0;
    }

    /// Closes the stream, and empties the queue.
    pub(in crate::node::exchange) fn fail(&mut self, cause: Cause, now: Instant) -> StreamEvent {
        self.state = State::Closed;
        self.writer = FrameWriter::default();
        self.writing = false;
        self.flushed = true;
        self.failures = self.failures.saturating_add(1);
        let is_often = self.failures >= MAX_FAILURES;
        self.rests_until = (cause == Cause::Broken && is_often).then(|| now + REST_FOR);
        let prospect = match cause {
            Cause::Unsupported => Prospect::None,
            Cause::TimedOut | Cause::Broken if is_often => Prospect::Poor,
            Cause::TimedOut | Cause::Broken => Prospect::Hopeful,
        };
        StreamEvent::Failed { lost: self.queue.drain(..).collect(), prospect }
    }

    /// Whether there was data to write for longer than `limit`, without [`MIN_PROGRESS_BYTES`] of it written.
    pub(in crate::node::exchange) fn is_stuck(&self, now: Instant, limit: Duration) -> bool {
        self.is_busy() && now.saturating_duration_since(self.progress_at) > limit
    }

    /// Requests a stream if necessary, and writes as far as possible.
    pub(in crate::node::exchange) fn poll(&mut self, now: Instant, cx: &mut Context<'_>) -> Poll<StreamEvent> {
        match self.state {
            State::Closed if self.queue.is_empty() || self.rests_until.is_some_and(|until| now < until) => {
                Poll::Pending
            }
            State::Closed => {
                self.state = State::Opening;
                Poll::Ready(StreamEvent::Open)
            }
            State::Opening => Poll::Pending,
            State::Open { .. } => match self.poll_write(now, cx) {
                Poll::Ready(Ok(message)) => Poll::Ready(StreamEvent::Sent(message)),
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "cannot write to a bitswap stream");
                    Poll::Ready(self.fail(Cause::Broken, now))
                }
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn poll_write(&mut self, now: Instant, cx: &mut Context<'_>) -> Poll<io::Result<Message>> {
        let State::Open { stream, version } = &mut self.state else { return Poll::Pending };
        let Some(message) = self.queue.front() else {
            if !self.flushed {
                self.flushed = std::task::ready!(std::pin::Pin::new(stream).poll_flush(cx)).map(|()| true)?;
            }
            return Poll::Pending;
        };
        if !self.writing {
            self.writer.push(message.encode(*version));
            self.writing = true;
            self.flushed = false;
        }
        let mut progress = 0;
        let written = self.writer.poll_write(stream, &mut progress, cx);
        self.progress_bytes += progress;
        if self.progress_bytes >= MIN_PROGRESS_BYTES {
            self.note_progress(now);
        }
        std::task::ready!(written)?;
        debug_assert!(self.writer.is_empty(), "a writer that is ready has nothing left");
        self.writing = false;
        self.failures = 0;
        let message = self.queue.pop_front().unwrap_or_default();
        if self.queue.is_empty() {
            self.note_progress(now);
        }
        Poll::Ready(Ok(message))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use ggen_blockstore::Block;

    use super::*;

    /// Accepts this many bytes, then fails.
    #[derive(Debug)]
    struct Sink(usize);

    impl AsyncWrite for Sink {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            if self.0 == 0 {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            Poll::Ready(Ok(taken))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn message(bytes: usize) -> Message {
        Message { blocks: vec![Block::raw(vec![1; bytes]).unwrap().into_parts()], ..Message::default() }
    }

    #[test]
    fn several_messages_go_over_one_stream_and_a_failure_gives_back_what_was_not_written() {
        let now = Instant::now();
        let mut cx = Context::from_waker(futures::task::noop_waker_ref());
        let mut stream_out = OutboundStream::new(now);
        assert!(stream_out.poll(now, &mut cx).is_pending());
        (0..3).for_each(|_| stream_out.push(message(100), now));
        assert!(matches!(stream_out.poll(now, &mut cx), Poll::Ready(StreamEvent::Open)));
        assert!(stream_out.poll(now, &mut cx).is_pending());
        stream_out.opened(Sink(250), Version::V1_2, now);
        assert!(matches!(stream_out.poll(now, &mut cx), Poll::Ready(StreamEvent::Sent(_))));
        assert!(matches!(stream_out.poll(now, &mut cx), Poll::Ready(StreamEvent::Sent(_))));
        let failed = stream_out.poll(now, &mut cx);
        assert!(
            matches!(failed, Poll::Ready(StreamEvent::Failed { lost, prospect: Prospect::Hopeful }) if lost.len() == 1)
        );
        assert!(!stream_out.is_busy());
    }

    #[test]
    fn a_stream_that_only_breaks_off_rests_and_is_opened_again() {
        let mut now = Instant::now();
        let mut cx = Context::from_waker(futures::task::noop_waker_ref());
        let mut stream_out = OutboundStream::new(now);
        let mut prospects = Vec::new();
        for _ in 0..MAX_FAILURES {
            stream_out.push(message(1), now);
            assert!(matches!(stream_out.poll(now, &mut cx), Poll::Ready(StreamEvent::Open)));
            stream_out.opened(Sink(0), Version::V1_2, now);
            let Poll::Ready(StreamEvent::Failed { prospect, .. }) = stream_out.poll(now, &mut cx) else { panic!() };
            prospects.push(prospect);
        }
        assert_eq!(prospects, [Prospect::Hopeful, Prospect::Hopeful, Prospect::Poor]);
        stream_out.push(message(1), now);
        assert!(stream_out.poll(now, &mut cx).is_pending(), "it rests");
        now += REST_FOR;
        assert!(matches!(stream_out.poll(now, &mut cx), Poll::Ready(StreamEvent::Open)));
    }

    #[test]
    fn a_stream_that_is_not_answered_is_opened_again_at_once_however_often() {
        let now = Instant::now();
        let mut cx = Context::from_waker(futures::task::noop_waker_ref());
        let mut stream_out = OutboundStream::<Sink>::new(now);
        for _ in 0..10 {
            stream_out.push(message(1), now);
            assert!(matches!(stream_out.poll(now, &mut cx), Poll::Ready(StreamEvent::Open)));
            let failed = stream_out.fail(Cause::TimedOut, now);
            assert!(!matches!(failed, StreamEvent::Failed { prospect: Prospect::None, .. }), "{failed:?}");
        }
        let failed = stream_out.fail(Cause::Unsupported, now);
        assert!(matches!(failed, StreamEvent::Failed { prospect: Prospect::None, .. }), "{failed:?}");
    }

    /// Accepts `each` bytes, then is pending once.
    #[derive(Debug)]
    struct Sip {
        each: usize,
        left: usize,
    }

    impl AsyncWrite for Sip {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.left);
            self.left -= taken;
            if taken == 0 {
                self.left = self.each;
                return Poll::Pending;
            }
            Poll::Ready(Ok(taken))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_reader_that_sips_is_stuck_and_one_that_drinks_slowly_is_not() {
        let limit = Duration::from_secs(30);
        let mut cx = Context::from_waker(futures::task::noop_waker_ref());
        for (each, expected) in [(100, true), (8 << 10, false)] {
            let mut now = Instant::now();
            let mut stream_out = OutboundStream::new(now);
            stream_out.push(message(1 << 20), now);
            assert!(matches!(stream_out.poll(now, &mut cx), Poll::Ready(StreamEvent::Open)));
            stream_out.opened(Sip { each, left: each }, Version::V1_2, now);
            let mut stuck = false;
            for _ in 0..60 {
                now += Duration::from_secs(1);
                assert!(stream_out.poll(now, &mut cx).is_pending());
                stuck |= stream_out.is_stuck(now, limit);
            }
            assert_eq!(stuck, expected, "{each} bytes a second");
        }
    }

    #[test]
    fn a_lane_is_stuck_only_while_it_has_something_to_write() {
        let now = Instant::now();
        let (limit, later) = (Duration::from_secs(5), now + Duration::from_secs(10));
        let mut stream_out = OutboundStream::<Sink>::new(now);
        assert!(!stream_out.is_stuck(later, limit));
        stream_out.push(message(1), later);
        assert!(!stream_out.is_stuck(later, limit));
        assert!(stream_out.is_stuck(later + limit * 2, limit));
    }
}
