//! A daemon that outlives the command that started it.
//!
//! `start --daemon` runs this binary again with a hidden flag. The two processes share a socket pair, which is the
//! daemon's stdin. Over it the daemon reports the outcome of its start, in the form of the control protocol; if the
//! daemon dies, the pair closes. The parent thus waits for the event itself and needs no polling.

use std::{
    ffi::OsString,
    fs, io,
    io::Write,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream as StdUnixStream,
    },
    process::{Child, Command, Stdio},
    time::Duration,
};

use ggen_marketplace::{ErrorKind, Failure, Listening};
use tokio::net::UnixStream;

use crate::{
    context::Context,
    control::{Answer, Body, FrameReader, MAX_ANSWER_BYTES},
    error,
    home::Holder,
    log::{MAX_LOG_BYTES, RotatedFile},
};

/// How long a node may take to start.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How much of the end of the log is searched for the last line of a daemon, in bytes.
const LAST_WORDS_BYTES: u64 = 4096;

/// Starts a detached node with `args`, and waits until it answers requests.
pub(crate) async fn spawn(context: &Context, args: Vec<OsString>) -> Result<Listening, Failure> {
    if let Some(holder) = Holder::of(&context.home)? {
        return Err(holder.in_use(&context.home));
    }
    context.home.create_writable()?;
    let (ours, theirs) = StdUnixStream::pair().map_err(|cause| cannot_start(&cause))?;
    let mut process = Process::start(context, args, theirs)?;
    ours.set_nonblocking(true).map_err(|cause| cannot_start(&cause))?;
    let mut reports =
        FrameReader::new(UnixStream::from_std(ours).map_err(|cause| cannot_start(&cause))?, MAX_ANSWER_BYTES);
    let Ok(report) = tokio::time::timeout(START_PATIENCE, reports.next()).await else {
        let message = format!("the node did not come up within {} s", START_PATIENCE.as_secs());
        return Err(Failure::new(ErrorKind::TimedOut, message).hinted(log_hint(context)));
    };
    let Some(line) = report.map_err(|cause| cannot_start(&cause))? else {
        return Err(process.died(context));
    };
    let answer: Answer = serde_json::from_slice(&line).map_err(|cause| cannot_start(&cause))?;
    match answer.body {
        Body::Result(value) => {
            let listening = serde_json::from_value(value).map_err(|cause| cannot_start(&cause))?;
            process.keep();
            Ok(listening)
        }
        Body::Failure(failure) => Err(failure),
        Body::Progress(_) | Body::Working {} => {
            Err(Failure::new(ErrorKind::Failed, "the node reported something else than its start"))
        }
    }
}

/// A child process that is killed if its start is abandoned.
struct Process {
    child: Child,
    kept: bool,
}

impl Process {
    fn start(context: &Context, args: Vec<OsString>, report_to: StdUnixStream) -> Result<Self, Failure> {
        let log = context.home.log_file();
        let log = RotatedFile::open(&log, MAX_LOG_BYTES)
            .and_then(|file| file.file())
            .map_err(|cause| error::io("open log", &log, &cause))?;
        let second = log.try_clone().map_err(|cause| cannot_start(&cause))?;
        let program = std::env::current_exe().map_err(|cause| cannot_start(&cause))?;
        let child = Command::new(program)
            .args(args)
            .current_dir(context.home.path())
            .stdin(Stdio::from(OwnedFd::from(report_to)))
            .stdout(Stdio::from(log))
            .stderr(Stdio::from(second))
            .spawn()
            .map_err(|cause| cannot_start(&cause))?;
        Ok(Self { child, kept: false })
    }

    fn keep(&mut self) {
        self.kept = true;
    }

    /// The failure of a daemon that ended without a report. Its end of the pair is closed, so the process is ending or
    /// has ended.
    fn died(&mut self, context: &Context) -> Failure {
        let end = match self.child.wait() {
            Ok(status) => status.to_string(),
            Err(cause) => cause.to_string(),
        };
        let failure = Failure::new(ErrorKind::Failed, format!("the node ended while it started: {end}"));
        let causes = last_words(context).into_iter().collect();
        Failure { causes, ..failure }.hinted(log_hint(context))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It fails if the process has already ended.
        if !self.kept && self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

/// The daemon's side: a process in a session of its own, with a parent that waits for its report.
#[derive(Debug)]
pub(crate) struct Detached {
    parent: Option<StdUnixStream>,
}

impl Detached {
    /// Leaves the parent's session, and takes the socket to the parent from stdin.
    pub(crate) fn take_over() -> Result<Self, Failure> {
        let line = io::stdin().as_fd().try_clone_to_owned().map_err(|cause| cannot_start(&cause))?;
        rustix::process::setsid().map_err(|cause| cannot_start(&io::Error::from(cause)))?;
        Ok(Self { parent: Some(StdUnixStream::from(line)) })
    }

    /// Reports to the parent once. Later reports are dropped, because the parent no longer waits.
    pub(crate) fn tell(&mut self, outcome: Result<&Listening, &Failure>) -> Result<(), Failure> {
        let Some(mut parent) = self.parent.take() else { return Ok(()) };
        let body = match outcome {
            Ok(listening) => Body::Result(serde_json::to_value(listening).map_err(|cause| cannot_start(&cause))?),
            Err(failure) => Body::Failure(failure.clone()),
        };
        let mut line = serde_json::to_vec(&Answer { id: 0, body }).map_err(|cause| cannot_start(&cause))?;
        line.push(b'\n');
        parent.write_all(&line).map_err(|cause| cannot_start(&cause))
    }
}

fn cannot_start(cause: &dyn std::error::Error) -> Failure {
    Failure::from_error(ErrorKind::Failed, cause).while_doing("cannot start the node in the background")
}

fn log_hint(context: &Context) -> String {
    format!("its log is `{}`", context.home.log_file().display())
}

/// The last line of the log, in which a panic or the loader reports the cause.
fn last_words(context: &Context) -> Option<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut log = fs::File::open(context.home.log_file()).ok()?;
    let length = log.metadata().ok()?.len();
    log.seek(SeekFrom::Start(length.saturating_sub(LAST_WORDS_BYTES))).ok()?;
    let mut end = Vec::new();
    log.take(LAST_WORDS_BYTES).read_to_end(&mut end).ok()?;
    let end = String::from_utf8_lossy(&end);
    end.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned)
}
