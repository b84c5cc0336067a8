//! `ggen man`: the manual page, for those who package the binary.

use clap::CommandFactory;
use ggen_marketplace::{ErrorKind, Failure};

use crate::{args::Args, ui::Ui};

pub(crate) fn run(ui: &Ui) -> Result<(), Failure> {
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(Args::command()).render(&mut page);
    rendered
        .map_err(|cause| Failure::from_error(ErrorKind::Failed, &cause).while_doing("cannot write the manual page"))?;
    ui.raw(&page)
}
