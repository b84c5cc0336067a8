//! A wrong clock: a library that is loaded before the C library's and shifts what the system says. It needs the C compiler
//! that the build needs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Shifts the time of day by as many seconds as the variable says, and no other clock.
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    const char *shift = getenv("GGEN_TEST_CLOCK_SECONDS");
    if (result == 0 && clock == CLOCK_REALTIME && shift)
        now->tv_sec += atol(shift);
    return result;
}
"#;

/// Makes the command, and what it starts, live `seconds` from now.
pub(super) fn shift(command: &mut Command, seconds: i64) {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    command.env("LD_PRELOAD", LIBRARY.get_or_init(build)).env("GGEN_TEST_CLOCK_SECONDS", seconds.to_string());
}

fn build() -> PathBuf {
    // Of this process alone: another one may build its own at the same time.
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("clock-{}", std::process::id()));
    fs::create_dir_all(&place).expect("the target directory can be written to");
    let (source, library) = (place.join("clock.c"), place.join("clock.so"));
    fs::write(&source, SOURCE).expect("the target directory can be written to");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    assert!(built.expect("the C compiler runs").success(), "the clock does not compile");
    library
}
