//! The control protocol: how commands talk to the daemon of a home.
//!
//! Over a Unix socket that only the owner can open, both sides send JSON documents, one per line. A request is
//! `{"version": 4, "id": N, "method": M, "params": P}`; it is answered by `{"id": N, "working": {}}` at once, by any
//! number of `{"id": N, "progress": {...}}`, and then by one `{"id": N, "result": ...}` or `{"id": N, "failure": {...}}`.
//! As long as it runs, an answer of some kind comes at least once a second, `working` if there is no other: a daemon that
//! is stopped or wedged shows by its silence. A daemon that answers and gets no further with one request shows by progress
//! that does not change ([`watch`]). Several requests may run on one connection. The method `interrupt`, with the
//! id of a request, asks that it end; that request is answered, as it then stands, and `interrupt` itself is not. Closing
//! the connection cancels what runs on it.
//!
//! With a request goes the command's `umask`, under which files are written for it. A request may name open files in
//! `attached` (`input`: the package to publish is read from it), which travel beside the line as descriptors. Paths are
//! strings, or `{"bytes": [...]}` where they are not UTF-8.
//!
//! | bound | value |
//! |---|---|
//! | a request | [`MAX_REQUEST_BYTES`](protocol::MAX_REQUEST_BYTES) |
//! | an answer | [`MAX_ANSWER_BYTES`] |
//! | connections | [`MAX_CONNECTIONS`](server::MAX_CONNECTIONS) |
//! | requests that run on one connection | `MAX_RUNNING` of [`connection`] |
//! | open files of one request | `MAX_DESCRIPTORS` of [`descriptors`] |

mod client;
mod connection;
mod descriptors;
mod frame;
mod handler;
mod protocol;
mod server;
mod socket;
mod watch;

pub(crate) use client::{Client, no_socket, silent, stalled, waits_for};
pub(crate) use frame::FrameReader;
pub(crate) use handler::{Handler, Stop};
pub(crate) use protocol::{Answer, Body, Call, MAX_ANSWER_BYTES};
pub(crate) use server::serve;
pub(crate) use socket::{bind, bind_if_missing, connect, is_there, remove};
pub(crate) use watch::{NOTICE, Watch, limit};
