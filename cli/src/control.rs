//! The control protocol: how commands talk to the daemon of a home.
//!
//! Over a Unix socket that only the owner can open, both sides send JSON documents, one per line. A request is
//! `{"version": 3, "id": N, "method": M, "params": P}`; it is answered by any number of `{"id": N, "progress": {...}}`
//! and then by one `{"id": N, "result": ...}` or `{"id": N, "failure": {...}}`. Several requests may run on one
//! connection. The method `interrupt`, with the id of a request, asks that it end; that request is answered, as it then
//! stands, and `interrupt` itself is not. Closing the connection cancels what runs on it.
//!
//! | bound | value |
//! |---|---|
//! | a request | [`MAX_REQUEST_BYTES`](protocol::MAX_REQUEST_BYTES) |
//! | an answer | [`MAX_ANSWER_BYTES`] |
//! | connections | [`MAX_CONNECTIONS`](server::MAX_CONNECTIONS) |
//! | requests that run on one connection | `MAX_RUNNING` of [`connection`] |

mod client;
mod connection;
mod frame;
mod protocol;
mod server;
mod socket;

pub(crate) use client::Client;
pub(crate) use frame::FrameReader;
pub(crate) use protocol::{Answer, Body, Call, MAX_ANSWER_BYTES};
pub(crate) use server::{Handler, Stop, serve};
pub(crate) use socket::{bind, connect, remove};
