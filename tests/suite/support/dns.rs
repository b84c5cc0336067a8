//! A DNS server on loopback that serves only the records a test gives it.

use std::{
    collections::HashMap,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

const HEADER_BYTES: usize = 12;
const TXT: u16 = 16;
/// Flags of a response: recursion desired and available.
const ANSWER_FLAGS: u16 = 0x8180;
const NO_SUCH_NAME: u16 = 3;
/// Longest string in a TXT record.
const MAX_STRING_BYTES: usize = 255;

/// The server; ends when it is dropped.
pub(crate) struct Dns {
    address: SocketAddr,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Dns {
    /// Serves TXT records: names without a final dot, and the texts of each.
    pub(crate) fn serve(records: &[(&str, &[String])]) -> Self {
        let records = records.iter().map(|(name, texts)| ((*name).to_owned(), texts.to_vec())).collect();
        Self::start(Some(records))
    }

    /// Receives queries and never responds.
    pub(crate) fn silent() -> Self {
        Self::start(None)
    }

    /// The address on which it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    fn start(records: Option<HashMap<String, Vec<String>>>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = socket.local_addr().expect("the socket is bound");
        let ends = Arc::new(AtomicBool::new(false));
        let told = ends.clone();
        let thread = std::thread::spawn(move || {
            let mut packet = [0; 1500];
            while let Ok((bytes, from)) = socket.recv_from(&mut packet) {
                if told.load(Ordering::Relaxed) {
                    return;
                }
                if let Some(answer) = records.as_ref().and_then(|records| answer(records, &packet[..bytes])) {
                    // A client that has gone away needs no response.
                    drop(socket.send_to(&answer, from));
                }
            }
        });
        Self { address, ends, thread: Some(thread) }
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let woken = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(&[0], self.address));
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            drop(thread.join());
        }
    }
}

/// Responds to one query; an invalid query gets no response.
fn answer(records: &HashMap<String, Vec<String>>, packet: &[u8]) -> Option<Vec<u8>> {
    let (name, end) = name_at(packet, HEADER_BYTES)?;
    let question = packet.get(HEADER_BYTES..end + 4)?;
    let kind = u16::from_be_bytes([packet[end], packet[end + 1]]);
    let known = records.get(&name);
    let texts = known.filter(|_| kind == TXT).map(Vec::as_slice).unwrap_or_default();
    let flags = ANSWER_FLAGS | if known.is_some() { 0 } else { NO_SUCH_NAME };
    let mut out = packet[..2].to_vec();
    for number in [flags, 1, texts.len() as u16, 0, 0] {
        out.extend(number.to_be_bytes());
    }
    out.extend(question);
    for text in texts {
        let data: Vec<u8> =
            text.as_bytes().chunks(MAX_STRING_BYTES).flat_map(|part| [&[part.len() as u8], part].concat()).collect();
        // The name in the question, class IN, a TTL of one minute.
        out.extend([0xc0, HEADER_BYTES as u8]);
        out.extend(TXT.to_be_bytes());
        out.extend([0, 1, 0, 0, 0, 60]);
        out.extend((data.len() as u16).to_be_bytes());
        out.extend(data);
    }
    Some(out)
}

/// The name at an offset, in lower case, and the offset of its end.
fn name_at(packet: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        let label = packet.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += length;
    }
}
