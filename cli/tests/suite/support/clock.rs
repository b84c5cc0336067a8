//! A wrong clock: a preloaded library that shifts the time which the system reports. It needs a C compiler, as the
//! build does.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Shifts the time of day by the number of seconds in a variable, or in a file that is read each time. Other clocks are
/// unchanged.
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static long shift(void) {
    const char *seconds = getenv("GGEN_TEST_CLOCK_SECONDS"), *path = getenv("GGEN_TEST_CLOCK_FILE");
    char text[32] = {0};
    if (path) {
        int file = open(path, O_RDONLY);
        seconds = file >= 0 && read(file, text, sizeof text - 1) > 0 ? text : NULL;
        close(file);
    }
    return seconds ? atol(seconds) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (result == 0 && clock == CLOCK_REALTIME)
        now->tv_sec += shift();
    return result;
}
"#;

/// Shifts the clock of the command and of its child processes by `seconds`.
pub(super) fn shift(command: &mut Command, seconds: i64) {
    command.env("LD_PRELOAD", library()).env("GGEN_TEST_CLOCK_SECONDS", seconds.to_string());
}

/// Shifts the clock of the command and of its child processes by the number of seconds in a file, which is read each
/// time.
pub(super) fn follow(command: &mut Command, file: &Path) {
    command.env("LD_PRELOAD", library()).env("GGEN_TEST_CLOCK_FILE", file);
}

fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(build)
}

fn build() -> PathBuf {
    // Specific to this process, because another process may build its own library at the same time.
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("clock-{}", std::process::id()));
    fs::create_dir_all(&place).expect("the target directory can be written to");
    let (source, library) = (place.join("clock.c"), place.join("clock.so"));
    fs::write(&source, SOURCE).expect("the target directory can be written to");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    assert!(built.expect("the C compiler runs").success(), "the clock does not compile");
    library
}
