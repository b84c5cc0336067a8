//! `start`: runs a node in the foreground, or detached from the terminal.

use std::path::PathBuf;

use ggen_marketplace::{Failure, Listening};

use super::{block_on, cancellable};
use crate::{
    config::Assignment,
    context::Context,
    daemon::{self, Detached},
    error, home,
    interrupt::Interrupts,
    log::{self, Level, MAX_LOG_BYTES, RotatedFile},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ggen marketplace p2p start --daemon\n  ggen marketplace p2p start --listen \
                  /ip4/0.0.0.0/tcp/4001 --bootstrap /dnsaddr/bootstrap.libp2p.io")]
pub(crate) struct Args {
    /// Address to listen on, instead of those in the configuration; several are separated by commas, or the flag repeated
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    listen: Vec<String>,
    /// Bootstrap node address, with /p2p/<peer id> or as /dnsaddr/<name>, instead of those in the
    /// configuration; several are separated by commas, or the flag repeated
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    bootstrap: Vec<String>,
    /// Run in the background, logging to ggen.log in the home
    #[arg(long)]
    daemon: bool,
    /// Serve the package DHT, overriding the configuration
    #[arg(long, conflicts_with = "dht_client")]
    dht_server: bool,
    /// Use the package DHT as a client, overriding the configuration
    #[arg(long)]
    dht_client: bool,
    /// Do not look for peers on the local network
    #[arg(long)]
    no_mdns: bool,
    /// This process was made by `start --daemon`, which waits at its stdin to hear how the start went.
    #[arg(long, hide = true, conflicts_with = "daemon")]
    detached: bool,
}

pub(crate) fn run(context: &Context, args: &Args, level: Level) -> Result<(), Failure> {
    let node_level = if level == Level::Verbose { level } else { Level::Node };
    if args.detached {
        let log = context.home.log_file();
        let file = RotatedFile::open(&log, MAX_LOG_BYTES).map_err(|cause| error::io("open log", &log, &cause))?;
        log::to_file(node_level, file);
        return run_detached(context, args);
    }
    if args.daemon {
        log::to_stderr(level, context.ui.color());
        // Checking the configuration here avoids starting a process that would fail.
        context.configuration(flags(args))?;
        return cancellable(context, async {
            let listening = daemon::spawn(context, forwarded(context, args)?).await?;
            context.ui.answer(&listening, render)?;
            alone(context, args)
        });
    }
    log::to_stderr(if context.global.quiet { Level::Silent } else { node_level }, context.ui.color());
    serve(context, args, |listening| {
        context.ui.answer(listening, render)?;
        alone(context, args)?;
        context.ui.note("press Ctrl-C to stop");
        Ok(())
    })
}

/// A hint how a node without bootstrap nodes finds other nodes.
fn alone(context: &Context, args: &Args) -> Result<(), Failure> {
    if context.configuration(flags(args))?.config.bootstrap_nodes.is_empty() {
        context.ui.note(
            "no bootstrap nodes are configured: `ggen marketplace p2p bootstrap ADDRESS` connects to another node",
        );
    }
    Ok(())
}

fn run_detached(context: &Context, args: &Args) -> Result<(), Failure> {
    let mut parent = Detached::take_over()?;
    let outcome = serve(context, args, |listening| parent.tell(Ok(listening)));
    if let Err(failure) = &outcome {
        tracing::error!(%failure, causes = ?failure.causes, "the node failed");
        // If the node was already up, the parent has exited; the failure is in the log.
        drop(parent.tell(Err(failure)));
    }
    outcome
}

/// Runs the node until a signal or `stop`; calls `ready` once it listens and answers requests.
fn serve(context: &Context, args: &Args, ready: impl FnOnce(&Listening) -> Result<(), Failure>) -> Result<(), Failure> {
    let config = context.configuration(flags(args))?.config;
    context.home.create_writable()?;
    // The lock outlives the runtime, so that it is released only after the whole node has ended.
    let mut lock = None;
    block_on(async {
        let interrupts = Interrupts::install()?;
        refuse_second(context).await?;
        let lock = lock.insert(home::DaemonLock::acquire(&context.home).await?);
        daemon::run(lock, config, interrupts, ready).await
    })
}

/// Fails if a node that answers is running.
async fn refuse_second(context: &Context) -> Result<(), Failure> {
    match home::Holder::of(&context.home)? {
        Some(holder) if holder.pid.is_some() => Err(holder.in_use(&context.home)),
        // A process that only checks the lock or is just starting: the lock decides.
        _ => Ok(()),
    }
}

/// The flags that change the configuration.
fn flags(args: &Args) -> Vec<Assignment> {
    let mut flags = Vec::new();
    if !args.listen.is_empty() {
        flags.push(Assignment::flag("--listen", "listen_addresses", args.listen.clone()));
    }
    if !args.bootstrap.is_empty() {
        flags.push(Assignment::flag("--bootstrap", "bootstrap_nodes", args.bootstrap.clone()));
    }
    if args.dht_server {
        flags.push(Assignment::flag("--dht-server", "dht_server_mode", true));
    }
    if args.dht_client {
        flags.push(Assignment::flag("--dht-client", "dht_server_mode", false));
    }
    if args.no_mdns {
        flags.push(Assignment::flag("--no-mdns", "mdns", false));
    }
    flags
}

/// The arguments for the detached process, which runs in another directory.
fn forwarded(context: &Context, args: &Args) -> Result<Vec<std::ffi::OsString>, Failure> {
    let mut words: Vec<std::ffi::OsString> = ["marketplace", "p2p", "start", "--detached"].map(Into::into).into();
    let mut option = |name: &str, value: PathBuf| words.extend([name.into(), value.into_os_string()]);
    option("--home", context.home.path().to_owned());
    let file = context.config_file()?;
    if file.required {
        option("--config", file.path);
    }
    for address in &args.listen {
        option("--listen", address.into());
    }
    for address in &args.bootstrap {
        option("--bootstrap", address.into());
    }
    let switches = [
        (args.dht_server, "--dht-server"),
        (args.dht_client, "--dht-client"),
        (args.no_mdns, "--no-mdns"),
        (context.global.verbose, "--verbose"),
    ];
    words.extend(switches.into_iter().filter(|(given, _)| *given).map(|(_, name)| name.into()));
    Ok(words)
}

fn render(listening: &Listening) -> String {
    let mut out = format!("peer id {}\n", listening.peer_id);
    for address in &listening.listen_addresses {
        out += &format!("listening on {address}\n");
    }
    out + &format!("node started (pid {})\n", listening.pid)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{
        args::{Args as Whole, Command, Marketplace, P2p},
        ui::Ui,
    };

    fn parse(words: Vec<std::ffi::OsString>) -> (Context, Args) {
        let whole = Whole::try_parse_from(words).unwrap();
        let Command::Marketplace(Marketplace::P2p(P2p::Start(args))) = whole.command else { panic!("not a start") };
        (Context::new(Ui::new(&whole.global), whole.global).unwrap(), args)
    }

    #[test]
    fn detached_process_is_started_with_the_same_flags() {
        let line = "ggen --home /h marketplace p2p start --daemon --config c --listen /a --listen /b --bootstrap /c \
                    --dht-client --no-mdns --verbose";
        let (context, args) = parse(line.split_whitespace().map(Into::into).collect());
        let forwarded = forwarded(&context, &args).unwrap();
        let (again, same) = parse([vec!["ggen".into()], forwarded].concat());
        assert!(same.detached && !same.daemon);
        assert_eq!(flags(&same), flags(&args));
        assert_eq!(again.home, context.home);
        assert_eq!(again.config_file().unwrap().path, std::env::current_dir().unwrap().join("c"));
        assert!(again.global.verbose);
    }
}
