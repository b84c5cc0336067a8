//! `ggen completions SHELL`.

use clap::CommandFactory;
use clap_complete::Shell;
use ggen_marketplace::Failure;

use crate::{args, ui::Ui};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ggen completions bash > ~/.local/share/bash-completion/completions/ggen")]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    let mut script = Vec::new();
    let mut command = args::Args::command();
    let name = command.get_name().to_owned();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    ui.raw(&script)
}
