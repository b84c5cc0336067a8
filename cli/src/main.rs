//! The `ggen` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(ggen_cli::run(std::env::args_os()))
}
