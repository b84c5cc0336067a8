//! The commands, and the dispatch of parsed arguments to them.

pub(crate) mod bootstrap;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod fetch;
pub(crate) mod gc;
pub(crate) mod help;
pub(crate) mod info;
pub(crate) mod key;
mod man;
pub(crate) mod mirror;
pub(crate) mod peer;
pub(crate) mod peer_info;
pub(crate) mod peer_list;
pub(crate) mod pin;
pub(crate) mod publish;
pub(crate) mod search;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod trust;
pub(crate) mod verify;
pub(crate) mod yank;

use std::{future::Future, ops::RangeInclusive, time::Duration};

use clap::CommandFactory;
use ggen_marketplace::{ErrorKind, Failure, Interrupt};
use tokio::runtime;

use crate::{
    args::{Args, Command, Marketplace, P2p},
    context::Context,
    error,
    interrupt::{or_asked_to_end, or_interrupted},
    log::{self, Level},
    ui::{Ui, text},
};

/// Valid values of `--timeout`, in seconds: up to a week.
const TIMEOUT_SECONDS: RangeInclusive<u64> = 1..=7 * 24 * 3600;
/// How long work on other threads may take to end after a command has its result.
const RUNTIME_PATIENCE: Duration = Duration::from_secs(2);

/// Runs the parsed command. Returns the exit code, or the failure if there is no answer.
pub(crate) fn run(args: Args, ui: &Ui) -> Result<u8, Failure> {
    let Args { global, command } = args;
    let command = match command {
        Command::Completions(args) => return completions::run(&args, ui).map(|()| 0),
        Command::Help(args) => return help::run(&args, Args::command(), ui),
        Command::Man => return man::run(Args::command(), ui).map(|()| 0),
        Command::Marketplace(Marketplace::P2p(command)) | Command::Short(command) => command,
    };
    let level = if global.verbose { Level::Verbose } else { Level::Silent };
    let context = Context::new(ui.clone(), global)?;
    // A node configures its log itself, depending on whether it is detached. `peer-list --verbose` requests a longer
    // list.
    match command {
        P2p::Start(_) => {}
        P2p::PeerList(_) => log::to_stderr(Level::Silent, ui.color()),
        _ => log::to_stderr(level, ui.color()),
    }
    let done = match command {
        P2p::Doctor(args) => {
            let fault = block_on(or_interrupted(doctor::run(&context, &args)))?;
            return Ok(fault.map_or(0, error::exit_code));
        }
        P2p::Start(args) => start::run(&context, &args, level),
        P2p::Stop(args) => cancellable(&context, stop::run(&context, &args)),
        P2p::Status(args) => cancellable(&context, status::run(&context, &args)),
        P2p::Publish(args) => signing(&context, async |interrupt| publish::run(&context, &args, interrupt).await),
        P2p::Fetch(args) => cancellable(&context, fetch::run(&context, &args)),
        P2p::Search(args) => cancellable(&context, search::run(&context, &args)),
        P2p::Info(args) => cancellable(&context, info::run(&context, &args)),
        P2p::Yank(args) => signing(&context, async |interrupt| yank::run(&context, &args, interrupt).await),
        P2p::Key(command) => cancellable(&context, key::run(&context, &command)),
        P2p::PeerList(args) => cancellable(&context, peer_list::run(&context, &args)),
        P2p::PeerInfo(args) => cancellable(&context, peer_info::run(&context, &args)),
        P2p::Peer(command) => cancellable(&context, peer::run(&context, &command)),
        P2p::Bootstrap(args) => cancellable(&context, bootstrap::run(&context, &args)),
        P2p::Verify(args) => cancellable(&context, verify::run(&context, &args)),
        P2p::Pin(command) => cancellable(&context, pin::run(&context, &command)),
        P2p::Gc(args) => cancellable(&context, gc::run(&context, &args)),
        P2p::Mirror(command) => cancellable(&context, mirror::run(&context, &command)),
        P2p::Trust(command) => cancellable(&context, trust::run(&context, &command)),
        P2p::Config(command) => config::run(&context, &command),
    };
    done.map(|()| 0)
}

/// Runs a command that a signal ends at once.
fn cancellable(context: &Context, command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    run_on(runtime_for(context), or_interrupted(command))
}

/// Runs a command that signs. A signal ends it, and the failure states whether it had signed before.
fn signing(context: &Context, command: impl AsyncFnOnce(&Interrupt) -> Result<(), Failure>) -> Result<(), Failure> {
    let interrupt = Interrupt::new();
    run_on(runtime_for(context), or_asked_to_end(&interrupt, command(&interrupt)))
}

fn runtime_for(context: &Context) -> runtime::Builder {
    // If a daemon does the work, starting threads that only wait would take as long as some of its answers.
    match context.is_served() {
        true => runtime::Builder::new_current_thread(),
        false => runtime::Builder::new_multi_thread(),
    }
}

/// Runs a future to completion on a runtime of its own.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    run_on(runtime::Builder::new_multi_thread(), work)
}

fn run_on<T>(mut runtime: runtime::Builder, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = runtime.enable_all().build().map_err(|cause| {
        Failure::from_error(ErrorKind::Failed, &cause).while_doing("cannot start the asynchronous runtime")
    })?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_timeout(RUNTIME_PATIENCE);
    outcome
}

/// The warning about a version that its publisher has yanked.
fn yanked(version: &str, reason: Option<&str>) -> String {
    match reason {
        Some(reason) => format!("warning: {version} is yanked: {}", text::one_line(reason)),
        None => format!("warning: {version} is yanked, without a reason"),
    }
}

/// Parses an integer from `least` to `most`.
fn count(least: u32, most: u32) -> impl Fn(&str) -> Result<u32, String> + Clone + Send + Sync {
    move |text| {
        let number: u64 = text.parse().map_err(|_| "it is not a whole number".to_owned())?;
        match u32::try_from(number) {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(format!("it is not from {least} to {most}")),
        }
    }
}

/// Parses seconds for `--timeout`.
fn seconds(text: &str) -> Result<Duration, String> {
    let number: u64 = text.parse().map_err(|_| "it is not a whole number of seconds".to_owned())?;
    if TIMEOUT_SECONDS.contains(&number) {
        Ok(Duration::from_secs(number))
    } else {
        Err(format!("it is not from {} to {}", TIMEOUT_SECONDS.start(), TIMEOUT_SECONDS.end()))
    }
}
