//! `stop`: ends the daemon of the home and waits until its process has ended.

use std::time::Duration;

use ggen_marketplace::{ErrorKind, Failure};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{
    context::{Context, ask},
    control::Call,
    daemon::SHUTDOWN_PATIENCE,
    home::Holder,
};

/// Interval between two checks whether the process has ended.
const PAUSE: Duration = Duration::from_millis(10);
/// How much longer it may take than the daemon's own shutdown timeout.
const MARGIN: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ggen marketplace p2p stop")]
pub(crate) struct Args {}

#[derive(Debug, Serialize, Deserialize)]
struct Stopped {
    stopped: bool,
    pid: u32,
}

pub(crate) async fn run(context: &Context, _: &Args) -> Result<(), Failure> {
    let mut daemon = context.running_daemon().await.map_err(|failure| match failure.kind {
        ErrorKind::NotFound => failure.hinted("to stop the node of another home, name it with `--home DIR`"),
        _ => failure,
    })?;
    let answer: Stopped = ask(&mut daemon, Call::Stop).await?;
    wait_for_end(context, answer.pid).await?;
    context.ui.answer(&answer, |answer| format!("node stopped (pid {})\n", answer.pid))
}

/// Waits until the process has released its lock, which it does last.
async fn wait_for_end(context: &Context, pid: u32) -> Result<(), Failure> {
    let patience = SHUTDOWN_PATIENCE + MARGIN;
    let deadline = Instant::now() + patience;
    // A successor that holds the lock also proves that the process has ended.
    while Holder::of(&context.home)?.is_some_and(|holder| holder.pid.is_none_or(|holding| holding == pid)) {
        if Instant::now() >= deadline {
            let message = format!("process {pid} was asked to stop and still runs after {} s", patience.as_secs());
            return Err(Failure::new(ErrorKind::TimedOut, message).hinted(format!("end it with `kill {pid}`")));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
