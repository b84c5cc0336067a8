//! A wrong clock: a library that is loaded before the C library's and shifts what the system says. It needs the C compiler
//! that the build needs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Shifts the time of day by as many seconds as a variable says, or a file that is read each time; and no other clock.
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

/// Makes the command, and what it starts, live `seconds` from now.
pub(super) fn shift(command: &mut Command, seconds: i64) {
    command.env("LD_PRELOAD", library()).env("GGEN_TEST_CLOCK_SECONDS", seconds.to_string());
}

/// Makes the command, and what it starts, live as many seconds from now as stand in a file, whenever it looks.
pub(super) fn follow(command: &mut Command, file: &Path) {
    command.env("LD_PRELOAD", library()).env("GGEN_TEST_CLOCK_FILE", file);
}

fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(build)
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
