//! `stop`: ends the daemon of the home and waits until it has gone.

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

/// Pause between two looks whether the process has gone.
const PAUSE: Duration = Duration::from_millis(10);
/// How long it may take, beyond what the daemon gives itself.
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

/// Waits until the process has released its lock, which is the last thing it does.
async fn wait_for_end(context: &Context, pid: u32) -> Result<(), Failure> {
    let patience = SHUTDOWN_PATIENCE + MARGIN;
    let deadline = Instant::now() + patience;
    // A successor that already has the lock says as well that this process has gone.
    while Holder::of(&context.home)?.is_some_and(|holder| holder.pid.is_none_or(|holding| holding == pid)) {
        if Instant::now() >= deadline {
            let message = format!("process {pid} was asked to stop and still runs after {} s", patience.as_secs());
            return Err(Failure::new(ErrorKind::TimedOut, message).hinted(format!("end it with `kill {pid}`")));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
