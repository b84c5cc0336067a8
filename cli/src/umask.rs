//! The umask: the permissions that new files of the process do not get.
//!
//! A daemon writes files for commands, each of which has its own umask. A process has only one umask, so the daemon
//! adopts that of a command while it works for it: commands with the same umask run concurrently, others wait. The
//! daemon's own files have access for their owner only, whatever the umask.

use std::{
    fs,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::{fs::Mode, process};
use tokio::sync::Notify;

/// The umask bits that are adopted. Those of the owner are ignored, because the daemon must be able to use the files it
/// creates.
const OF_OTHERS: u32 = 0o077;

/// Reads the umask of this process. If the system does not report it, the umask is changed for an instant, so no other
/// thread may create a file at that time.
pub(crate) fn current() -> u32 {
    let told = fs::read_to_string("/proc/self/status").ok().and_then(|status| in_status(&status));
    told.unwrap_or_else(|| {
        let mask = process::umask(Mode::from_raw_mode(0o077));
        process::umask(mask);
        mask.as_raw_mode() as u32
    })
}

/// Takes no permission from the owner of what this process makes: it has to open that again. No other thread may be about to
/// make a file.
pub(crate) fn spare_owner() {
    let umask = current();
    if umask & !OF_OTHERS != 0 {
        process::umask(Mode::from_raw_mode((umask & OF_OTHERS) as _));
    }
}

fn in_status(status: &str) -> Option<u32> {
    let text = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(text.trim(), 8).ok()
}

/// The umask of a daemon, shared by the commands that it works for. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lent {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    /// Notified when the last user releases the umask.
    free: Notify,
}

#[derive(Debug, Default)]
struct State {
    umask: u32,
    users: usize,
}

impl Lent {
    /// Waits until the process can adopt this umask, and keeps it until the returned value is dropped. Cancel-safe.
    pub(crate) async fn take_on(&self, umask: u32) -> Holding {
        let umask = umask & OF_OTHERS;
        loop {
            let freed = self.inner.free.notified();
            tokio::pin!(freed);
            // Registered before the check, so that a release in between is not missed.
            freed.as_mut().enable();
            if self.inner.try_take(umask) {
                return Holding(Arc::clone(&self.inner));
            }
            freed.await;
        }
    }
}

impl Inner {
    fn try_take(&self, umask: u32) -> bool {
        let mut state = self.state();
        if state.users > 0 && state.umask != umask {
            return false;
        }
        if state.users == 0 {
            process::umask(Mode::from_raw_mode(umask as _));
            state.umask = umask;
        }
        state.users += 1;
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Both fields are changed together, and nothing in between panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the umask of a command in effect.
#[derive(Debug)]
pub(crate) struct Holding(Arc<Inner>);

impl Drop for Holding {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.users -= 1;
        if state.users == 0 {
            self.0.free.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_of_linux_is_read() {
        assert_eq!(in_status("Name:\tggen\nUmask:\t0027\nState:\tR (running)\n"), Some(0o027));
        assert_eq!(in_status("Name:\tggen\n"), None);
    }

    #[tokio::test]
    async fn commands_with_one_umask_work_side_by_side_and_others_wait() {
        let lent = Lent::default();
        // The umask of this process is kept, because other tests create files at the same time.
        let mine = current();
        let (first, second) = (lent.take_on(mine).await, lent.take_on(mine | 0o700).await);
        assert_eq!(current(), mine & OF_OTHERS);
        let other = lent.clone();
        let waiting = tokio::spawn(async move { drop(other.take_on(mine ^ 0o1).await) });
        tokio::task::yield_now().await;
        drop(first);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "one of them still works");
        drop(second);
        waiting.await.unwrap();
        drop(lent.take_on(mine).await);
        assert_eq!(current(), mine & OF_OTHERS);
    }
}
