//! `icecore probe --check-rules`: is a file of rules without fault.

use std::path::PathBuf;

use clap::ArgMatches;

use super::print;
use crate::compose::probes;
use crate::error::Outcome;

/// Says what is in the file, or what is wrong with it; starts nothing.
pub(super) fn check_rules(matches: &ArgMatches) -> Outcome {
    let Some(file) = matches.get_one::<String>("check-rules").map(PathBuf::from) else {
        return Ok(());
    };
    print(&format!("{}\n", probes::check_rules(&file)?))
}
