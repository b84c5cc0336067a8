use std::{
    io::{Read as _, Seek as _, Write as _},
    sync::atomic::{AtomicUsize, Ordering},
};

use ggen_marketplace::{BootstrapReport, BootstrapRequest, Caller, Interrupt, Progress, Reporter};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Notify, mpsc},
    task::JoinHandle,
};

use super::*;
use crate::{
    control::{
        Client, bind, connect,
        frame::FrameReader,
        protocol::{Call, VERSION},
    },
    home::Home,
    umask::Lent,
};

/// Longer than any answer takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Answers `listening` at once; `keys` never, telling when it starts and when it is dropped; `bootstrap` after one
/// progress event was taken; `status` by a panic; `pin_ls` by what it reads from its file.
struct Fake {
    started: mpsc::UnboundedSender<&'static str>,
    bootstrap_may_end: Arc<Notify>,
    umask: Lent,
}

struct TellsEnd(mpsc::UnboundedSender<&'static str>);

impl Drop for TellsEnd {
    fn drop(&mut self) {
        self.0.send("dropped").ok();
    }
}

impl Handler for Fake {
    async fn call(
        &self,
        call: Call,
        caller: Caller,
        reporter: Arc<dyn Reporter>,
        interrupt: Interrupt,
    ) -> Result<Value, Failure> {
        match call {
            Call::PinLs => {
                let mut text = String::new();
                caller.input.unwrap().read_to_string(&mut text).unwrap();
                Ok(json!(text))
            }
            Call::Listening => Ok(json!("here")),
            Call::Keys => {
                let _tells_end = TellsEnd(self.started.clone());
                self.started.send("started").unwrap();
                std::future::pending().await
            }
            Call::Bootstrap(request) => {
                reporter.report(Progress::Finding { peers_asked: 4 });
                self.bootstrap_may_end.notified().await;
                Ok(json!({"connected": request.nodes, "failed": [], "routing_table_peers": 0}))
            }
            Call::RecoveryKey(_) => {
                self.started.send("started").unwrap();
                interrupt.wait().await;
                Err(Failure::new(ErrorKind::Interrupted, "interrupted, but it is done already"))
            }
            Call::Status => panic!("a bug in an operation"),
            other => Err(Failure::new(ErrorKind::NotFound, format!("no {}", other.method()))),
        }
    }

    fn umask(&self) -> &Lent {
        &self.umask
    }
}

struct Daemon {
    home: TempDir,
    stop: Stop,
    served: JoinHandle<()>,
    events: mpsc::UnboundedReceiver<&'static str>,
    bootstrap_may_end: Arc<Notify>,
}

impl Daemon {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let (started, events) = mpsc::unbounded_channel();
        let bootstrap_may_end = Arc::new(Notify::new());
        let umask = Lent::default();
        let handler = Arc::new(Fake { started, bootstrap_may_end: bootstrap_may_end.clone(), umask });
        let stop = Stop::new();
        let served = tokio::spawn(serve(bind(home.path()).unwrap(), || None, handler, stop.clone()));
        Self { home, stop, served, events, bootstrap_may_end }
    }

    async fn client(&self) -> Client {
        Client::new(self.stream().await, &Home::resolve(Some(self.home.path())).unwrap(), PATIENCE)
    }

    async fn stream(&self) -> UnixStream {
        connect(self.home.path()).await.unwrap().expect("the daemon listens")
    }
}

fn ignore(_: Progress) {}

#[tokio::test]
async fn result_and_failure_come_back_as_they_were_given() {
    let daemon = Daemon::start();
    let mut client = daemon.client().await;
    let answer: String = client.call(&Call::Listening, &ignore).await.unwrap();
    assert_eq!(answer, "here");
    let search = ggen_marketplace::SearchRequest {
        query: String::new(),
        category: None,
        tags: Vec::new(),
        limit: 1,
        min_reputation: None,
        local: true,
    };
    let failure = client.call::<Value>(&Call::Search(search), &ignore).await.unwrap_err();
    assert_eq!(failure, Failure::new(ErrorKind::NotFound, "no search"));
}

#[tokio::test]
async fn open_files_go_with_a_request() {
    let daemon = Daemon::start();
    let mut client = daemon.client().await;
    let mut input = tempfile::tempfile().unwrap();
    input.write_all(b"tarball").unwrap();
    input.rewind().unwrap();
    let caller = Caller { input: Some(input) };
    let answer: String = client.call_for(&Call::PinLs, caller, &ignore, &Interrupt::new()).await.unwrap();
    assert_eq!(answer, "tarball");
}

#[tokio::test]
async fn request_that_names_files_which_did_not_come_is_refused() {
    let daemon = Daemon::start();
    let mut stream = daemon.stream().await;
    let line = format!("{{\"version\":{VERSION},\"id\":5,\"method\":\"pin_ls\",\"attached\":[\"input\"]}}\n");
    stream.write_all(line.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("did not come with it"), "{answer}");
}

#[tokio::test]
async fn daemon_that_works_long_says_that_it_is_alive_and_one_that_says_nothing_is_given_up() {
    let daemon = Daemon::start();
    let mut stream = daemon.stream().await;
    let line = format!("{{\"version\":{VERSION},\"id\":5,\"method\":\"keys\"}}\n");
    stream.write_all(line.as_bytes()).await.unwrap();
    // At once, and again while nothing else is to be said.
    let mut lines = tokio::io::BufReader::new(stream);
    for _ in 0..3 {
        let mut line = String::new();
        tokio::io::AsyncBufReadExt::read_line(&mut lines, &mut line).await.unwrap();
        assert_eq!(line, "{\"id\":5,\"working\":{}}\n");
    }

    // Somebody listens, accepts nothing and answers nothing: what a stopped process is to its clients.
    let home = tempfile::tempdir().unwrap();
    let _listener = bind(home.path()).unwrap();
    let stream = connect(home.path()).await.unwrap().unwrap();
    let mut client = Client::new(stream, &Home::resolve(Some(home.path())).unwrap(), Duration::from_millis(20));
    let failure = client.call::<Value>(&Call::Keys, &ignore).await.unwrap_err();
    assert_eq!(failure.kind, ErrorKind::TimedOut);
    assert!(failure.message.contains("has not answered"), "{failure}");
}

#[tokio::test]
async fn progress_arrives_before_the_result() {
    let daemon = Daemon::start();
    let mut client = daemon.client().await;
    let request = BootstrapRequest { nodes: vec!["/dnsaddr/x".to_owned()], timeout: Duration::from_secs(1) };
    let may_end = daemon.bootstrap_may_end.clone();
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    let reporter = move |progress: Progress| {
        assert_eq!(progress, Progress::Finding { peers_asked: 4 });
        count.fetch_add(1, Ordering::Relaxed);
        may_end.notify_one();
    };
    let report: BootstrapReport = client.call(&Call::Bootstrap(request), &reporter).await.unwrap();
    assert_eq!(report.connected, ["/dnsaddr/x"]);
    assert_eq!(seen.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn interrupted_request_is_answered_as_it_then_stands_and_others_go_on() {
    let mut daemon = Daemon::start();
    let (mut client, interrupt) = (daemon.client().await, Interrupt::new());
    let call = Call::RecoveryKey(ggen_marketplace::RecoveryKeyRequest { key: None, confirm: false });
    let asked = interrupt.clone();
    let asking = tokio::spawn(async move {
        let failure = client.call_for::<Value>(&call, Caller::default(), &ignore, &asked).await.unwrap_err();
        // The connection is as good as before.
        (failure, client.call::<String>(&Call::Listening, &ignore).await.unwrap())
    });
    assert_eq!(daemon.events.recv().await, Some("started"));
    interrupt.trigger();
    let (failure, listening) = asking.await.unwrap();
    assert_eq!(failure, Failure::new(ErrorKind::Interrupted, "interrupted, but it is done already"));
    assert_eq!(listening, "here");
}

#[tokio::test]
async fn leaving_client_cancels_its_request_and_no_other() {
    let mut daemon = Daemon::start();
    let mut leaving = daemon.client().await;
    let mut staying = daemon.client().await;
    tokio::select! {
        _ = leaving.call::<Value>(&Call::Keys, &ignore) => panic!("it never ends"),
        event = daemon.events.recv() => assert_eq!(event, Some("started")),
    }
    drop(leaving);
    assert_eq!(daemon.events.recv().await, Some("dropped"));
    let answer: String = staying.call(&Call::Listening, &ignore).await.unwrap();
    assert_eq!(answer, "here");
}

#[tokio::test]
async fn stop_is_answered_cancels_what_runs_and_ends_the_server() {
    let mut daemon = Daemon::start();
    let mut waiting = daemon.client().await;
    let waits = tokio::spawn(async move { waiting.call::<Value>(&Call::Keys, &ignore).await });
    assert_eq!(daemon.events.recv().await, Some("started"));
    let mut client = daemon.client().await;
    let answer: Value = client.call(&Call::Stop, &ignore).await.unwrap();
    assert_eq!(answer["stopped"], true);
    daemon.served.await.unwrap();
    assert_eq!(daemon.events.recv().await, Some("dropped"));
    let failure = waits.await.unwrap().unwrap_err();
    assert!(failure.message.contains("went away"), "{failure}");
    assert!(connect(daemon.home.path()).await.unwrap().is_none());
}

#[tokio::test]
async fn panic_in_an_operation_is_answered_and_the_connection_goes_on() {
    let daemon = Daemon::start();
    let mut client = daemon.client().await;
    let failure = client.call::<Value>(&Call::Status, &ignore).await.unwrap_err();
    assert_eq!(failure.kind, ErrorKind::Failed);
    client.call::<String>(&Call::Listening, &ignore).await.unwrap();
}

async fn say(daemon: &Daemon, line: &[u8]) -> String {
    let mut stream = daemon.stream().await;
    // The daemon may close the connection before it has taken everything.
    drop(stream.write_all(line).await);
    let mut answer = vec![0; 64 * 1024];
    let length = stream.read(&mut answer).await.unwrap();
    String::from_utf8(answer[..length].to_vec()).unwrap()
}

#[tokio::test]
async fn garbage_foreign_versions_and_unknown_methods_are_answered_clearly() {
    let daemon = Daemon::start();
    let answer = say(&daemon, b"hello\n").await;
    assert!(answer.contains(r#""id":0"#) && answer.contains("cannot understand"), "{answer}");
    let answer = say(&daemon, b"{\"version\":9,\"id\":5,\"method\":\"status\"}\n").await;
    assert!(answer.contains(r#""id":5"#) && answer.contains("control protocol 9"), "{answer}");
    let answer = say(&daemon, format!("{{\"version\":{VERSION},\"id\":6,\"method\":\"dance\"}}\n").as_bytes()).await;
    assert!(answer.contains(r#""id":6"#) && answer.contains("unknown variant `dance`"), "{answer}");
}

#[tokio::test]
async fn request_without_end_is_refused_at_the_bound() {
    let daemon = Daemon::start();
    let endless = vec![b'x'; crate::control::protocol::MAX_REQUEST_BYTES + 1];
    let mut client_side = daemon.stream().await;
    client_side.write_all(&endless).await.unwrap();
    let mut answer = String::new();
    client_side.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("longer than 1048576 bytes"), "{answer}");
}

#[tokio::test]
async fn client_beyond_the_bound_is_told_so() {
    let daemon = Daemon::start();
    let mut clients = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut client = daemon.client().await;
        client.call::<String>(&Call::Listening, &ignore).await.unwrap();
        clients.push(client);
    }
    let failure = daemon.client().await.call::<String>(&Call::Listening, &ignore).await.unwrap_err();
    assert!(failure.message.contains("already serves"), "{failure}");
    // One that leaves makes room.
    clients.pop();
    let patience = Duration::from_secs(20);
    let room = async { while daemon.client().await.call::<String>(&Call::Listening, &ignore).await.is_err() {} };
    tokio::time::timeout(patience, room).await.expect("a place becomes free");
    daemon.stop.trigger();
    daemon.served.await.unwrap();
}

#[tokio::test]
async fn request_beyond_the_bound_of_its_connection_is_refused_and_the_others_go_on() {
    let mut daemon = Daemon::start();
    let mut stream = daemon.stream().await;
    for id in 1..=17 {
        let line = format!("{{\"version\":{VERSION},\"id\":{id},\"method\":\"keys\"}}\n");
        stream.write_all(line.as_bytes()).await.unwrap();
    }
    let mut answers = FrameReader::new(stream, 4096);
    let answer = loop {
        let line = answers.next().await.unwrap().expect("the connection is kept");
        let answer: Value = serde_json::from_slice(&line).unwrap();
        if answer.get("working").is_none() {
            break answer;
        }
    };
    assert_eq!(answer["id"], 17, "{answer}");
    assert_eq!(answer["failure"]["message"], "more than 16 requests at once on one connection");
    for _ in 0..16 {
        assert_eq!(daemon.events.recv().await, Some("started"));
    }
}
