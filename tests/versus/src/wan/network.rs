//! Hosts joined by links with a round-trip time and a rate: network namespaces whose TUN devices this process reads and
//! writes, for kernels without netem.
//!
//! Every host has an access link of its own, with one rate for both directions. A packet between two hosts passes the
//! sender's link and the receiver's, and takes half the round-trip time besides. A link queues what takes it
//! [`QUEUE`] to send and drops what does not fit, as a router does. The namespaces reach each other and nothing else.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use crate::command::output_of;
use crate::host::Host;

/// How long a packet may wait for a link.
const QUEUE: Duration = Duration::from_millis(100);
/// Largest packet of a device.
const MTU: usize = 1500;
/// The device in every namespace.
const DEVICE: &str = "wan0";
/// Namespaces are called so, then the process, then the host.
const PREFIX: &str = "versus";
/// Packets that may be on their way at once; far more than the queues of links hold.
const UNDER_WAY: usize = 65_536;

/// A running network; its namespaces go when this is dropped. End what runs in them before.
pub(crate) struct Network {
    pub(crate) hosts: Vec<Host>,
    names: Vec<String>,
}

impl Network {
    /// Makes one host for each rate in Mbit/s, where 0 is no limit.
    pub(crate) fn start(round_trip: Duration, rates: &[f64]) -> Result<Self> {
        remove_leftovers()?;
        let process = std::process::id();
        let third = (process % 250 + 1) as u8;
        let mut network = Self { hosts: Vec::new(), names: Vec::new() };
        let mut ports = Vec::new();
        for (index, &mbit) in rates.iter().enumerate() {
            let name = format!("{PREFIX}-{process}-{index}");
            let address = Ipv4Addr::new(10, 77, third, u8::try_from(index + 1).context("too many hosts")?);
            let device = Arc::new(network.add_host(&name, address, &format!("vs{process}-{index}"))?);
            let link = || Mutex::new(Link::new(mbit * 1e6 / 8.0));
            ports.push(Arc::new(Port { address, device, up: link(), down: link() }));
            network.hosts.push(Host::in_namespace(name, address));
        }
        let (sender, receiver) = mpsc::sync_channel(UNDER_WAY);
        let ports: Arc<[Arc<Port>]> = ports.into();
        for port in ports.iter() {
            let (port, ports, sender) = (Arc::clone(port), Arc::clone(&ports), sender.clone());
            thread::spawn(move || read(&port, &ports, round_trip / 2, &sender));
        }
        thread::spawn(move || deliver(&ports, &receiver));
        Ok(network)
    }

    /// Makes a namespace with a device. The device is made here and moved there, where its descriptor keeps working.
    fn add_host(&mut self, name: &str, address: Ipv4Addr, device_name: &str) -> Result<SyncDevice> {
        ip(&["netns", "add", name])?;
        self.names.push(name.to_owned());
        let device = DeviceBuilder::new()
            .name(device_name)
            .layer(Layer::L3)
            .enable(false)
            .build_sync()
            .context("cannot make a TUN device; it needs root and /dev/net/tun")?;
        ip(&["link", "set", device_name, "netns", name, "name", DEVICE])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        ip(&["-n", name, "addr", "add", &format!("{address}/24"), "dev", DEVICE])?;
        ip(&["-n", name, "link", "set", DEVICE, "mtu", &MTU.to_string(), "txqueuelen", "1000", "up"])?;
        Ok(device)
    }

    /// Returns how many bytes a host has received, as its kernel counts them: whole packets, whatever is in them.
    pub(crate) fn received(&self, host: usize) -> Result<u64> {
        let text = ip(&["-n", &self.names[host], "-s", "-j", "link", "show", DEVICE])?;
        let links: serde_json::Value = serde_json::from_str(&text).context("`ip` printed no JSON")?;
        links[0]["stats64"]["rx"]["bytes"].as_u64().context("`ip` tells no received bytes")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in &self.names {
            if let Err(error) = ip(&["netns", "del", name]) {
                eprintln!("cannot remove namespace {name}: {error:#}");
            }
        }
    }
}

/// Removes the namespaces of processes that were killed.
fn remove_leftovers() -> Result<()> {
    for line in ip(&["netns", "list"])?.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let mut parts = name.split('-');
        let process =
            if parts.next() == Some(PREFIX) { parts.next().and_then(|id| id.parse::<u32>().ok()) } else { None };
        if process.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            ip(&["netns", "del", name])?;
        }
    }
    Ok(())
}

fn ip(args: &[&str]) -> Result<String> {
    output_of(Command::new("ip").args(args))
}

/// One host's side of the network.
struct Port {
    address: Ipv4Addr,
    device: Arc<SyncDevice>,
    up: Mutex<Link>,
    down: Mutex<Link>,
}

/// One direction of an access link: a queue that is drained at a rate.
struct Link {
    bytes_per_s: f64,
    free_at: Option<Instant>,
}

impl Link {
    fn new(bytes_per_s: f64) -> Self {
        Self { bytes_per_s, free_at: None }
    }

    /// Returns when a packet that comes at `now` has left the link; `None` if it is dropped.
    fn pass(&mut self, size: usize, now: Instant) -> Option<Instant> {
        if self.bytes_per_s <= 0.0 {
            return Some(now);
        }
        let start = self.free_at.map_or(now, |free| free.max(now));
        if start - now > QUEUE {
            return None;
        }
        let end = start + Duration::from_secs_f64(size as f64 / self.bytes_per_s);
        self.free_at = Some(end);
        Some(end)
    }
}

/// A packet that arrives at some time at the port of some index. The number keeps equal times in order.
#[derive(Eq, Ord, PartialEq, PartialOrd)]
struct Packet {
    at: Instant,
    number: u64,
    port: usize,
    bytes: Vec<u8>,
}

/// Reads what a host sends, and says when it arrives where; ends when the device goes.
fn read(port: &Port, ports: &[Arc<Port>], delay: Duration, packets: &SyncSender<(Instant, usize, Vec<u8>)>) {
    let mut buffer = [0; 2 * MTU];
    while let Ok(size) = port.device.recv(&mut buffer) {
        let bytes = &buffer[..size];
        let Some(to) = destination(bytes) else { continue };
        let Some(index) = ports.iter().position(|other| other.address == to) else { continue };
        let left = lock(&port.up).pass(size, Instant::now());
        let arrives = left.and_then(|left| lock(&ports[index].down).pass(size, left));
        if let Some(at) = arrives
            && packets.send((at + delay, index, bytes.to_vec())).is_err()
        {
            return;
        }
    }
}

/// Returns where a packet of IPv4 goes.
fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    (packet[0] >> 4 == 4).then(|| octets.into())
}

/// Gives packets to their hosts when their time has come; ends when nobody sends any more.
fn deliver(ports: &[Arc<Port>], packets: &Receiver<(Instant, usize, Vec<u8>)>) {
    let mut waiting: BinaryHeap<Reverse<Packet>> = BinaryHeap::new();
    let mut number = 0;
    loop {
        while waiting.peek().is_some_and(|Reverse(packet)| packet.at <= Instant::now()) {
            if let Some(Reverse(packet)) = waiting.pop()
                && ports[packet.port].device.send(&packet.bytes).is_err()
            {
                return;
            }
        }
        let next = waiting.peek().map(|Reverse(packet)| packet.at.saturating_duration_since(Instant::now()));
        match packets.recv_timeout(next.unwrap_or(Duration::from_secs(1))) {
            Ok((at, port, bytes)) => {
                number += 1;
                waiting.push(Reverse(Packet { at, number, port, bytes }));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn lock(link: &Mutex<Link>) -> std::sync::MutexGuard<'_, Link> {
    link.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fails with a hint where networks cannot be made.
pub(crate) fn ensure_possible() -> Result<()> {
    ensure!(Path::new("/dev/net/tun").exists(), "a network needs /dev/net/tun");
    ip(&["netns", "list"]).context("a network needs iproute2").map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_sends_at_its_rate_and_drops_what_would_wait_too_long() {
        let now = Instant::now();
        let mut link = Link::new(1e6);
        let left: Vec<Option<Instant>> = (0..200).map(|_| link.pass(1000, now)).collect();
        assert_eq!(left[0], Some(now + Duration::from_millis(1)));
        assert_eq!(left[99], Some(now + Duration::from_millis(100)));
        assert_eq!(left.iter().flatten().count(), 101);
        let later = now + Duration::from_secs(1);
        assert_eq!(link.pass(2000, later), Some(later + Duration::from_millis(2)));
        assert_eq!(Link::new(0.0).pass(1500, now), Some(now));
    }

    #[test]
    fn only_packets_of_ipv4_have_a_destination() {
        let mut packet = [0; 20];
        packet[16..].copy_from_slice(&[10, 77, 1, 2]);
        assert_eq!(destination(&packet), None);
        packet[0] = 0x45;
        assert_eq!(destination(&packet), Some(Ipv4Addr::new(10, 77, 1, 2)));
        assert_eq!(destination(&packet[..19]), None);
    }
}
