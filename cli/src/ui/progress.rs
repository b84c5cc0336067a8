//! The progress bar: on stderr, only on a terminal, and only after a command has taken a noticeable time.

use std::{
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ggen_marketplace::{Progress, Reporter};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::MissedTickBehavior;

use super::text;

/// A shorter command shows no bar.
const DELAY: Duration = Duration::from_millis(250);
/// How often the bar is redrawn without events.
const TICK: Duration = Duration::from_millis(100);
/// Number of positions of a bar with a known total; bars of bytes and of blocks use the same scale.
const STEPS: u64 = 1000;

/// Shows progress events as one line, which is cleared at the end.
#[derive(Debug)]
pub(crate) struct Bar {
    enabled: bool,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    view: Option<View>,
    line: Option<ProgressBar>,
}

/// The display of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
struct View {
    message: String,
    /// Thousandths done, if the total is known.
    done: Option<u64>,
}

impl Bar {
    pub(super) fn new(enabled: bool) -> Self {
        Self { enabled, started: Instant::now(), state: Mutex::new(State::default()) }
    }

    /// Runs `work` while the bar is animated, and clears the bar at its end. Cancelling clears the bar too.
    pub(crate) async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let _gone_at_the_end = Clearing(self);
        if !self.enabled {
            return work.await;
        }
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(work);
        loop {
            tokio::select! {
                outcome = &mut work => return outcome,
                _ = ticks.tick() => self.show(),
            }
        }
    }

    /// Hides the bar while `write` writes to the terminal.
    pub(crate) fn aside(&self, write: impl FnOnce()) {
        let line = self.state().line.clone();
        match line {
            Some(line) => line.suspend(write),
            None => write(),
        }
    }

    fn show(&self) {
        let mut state = self.state();
        let Some(view) = state.view.clone() else { return };
        if !due(self.started.elapsed()) {
            return;
        }
        let line = state.line.get_or_insert_with(|| ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()));
        draw(line, view);
    }

    fn clear(&self) {
        if let Some(line) = self.state().line.take() {
            line.finish_and_clear();
        }
    }

    /// A panic elsewhere cannot leave a state of two fields inconsistent.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reporter for Bar {
    fn report(&self, progress: Progress) {
        if self.enabled {
            self.state().view = Some(view(&progress));
        }
    }
}

struct Clearing<'a>(&'a Bar);

impl Drop for Clearing<'_> {
    fn drop(&mut self) {
        self.0.clear();
    }
}

fn due(elapsed: Duration) -> bool {
    elapsed >= DELAY
}

fn draw(line: &ProgressBar, view: View) {
    let template = if view.done.is_some() { "{bar:24} {percent:>3}%  {wide_msg}" } else { "{spinner} {wide_msg}" };
    line.set_style(ProgressStyle::with_template(template).expect("the template is well-formed"));
    // The message is set first, because each of these calls may draw.
    line.set_message(view.message);
    if let Some(done) = view.done {
        line.set_length(STEPS);
        line.set_position(done);
    }
    line.tick();
}

fn view(progress: &Progress) -> View {
    match progress {
        Progress::Importing { files, bytes, total_bytes } => View {
            message: format!("importing: {}, {}", text::count(*files, "file"), text::bytes(*bytes)),
            done: total_bytes.and_then(|total| thousandths(*bytes, total)),
        },
        Progress::Announcing => View { message: "announcing".to_owned(), done: None },
        Progress::Finding { peers_asked } => {
            View { message: format!("finding: {} asked", text::count(*peers_asked, "peer")), done: None }
        }
        Progress::FindingProviders { peers_asked } => {
            View { message: format!("looking for providers: {} asked", text::count(*peers_asked, "peer")), done: None }
        }
        Progress::Fetching { blocks, total_blocks, bytes, total_bytes, providers } => View {
            message: format!("fetching: {} from {}", text::bytes(*bytes), text::count(*providers, "peer")),
            done: match (total_bytes, total_blocks) {
                (Some(total), _) => thousandths(*bytes, *total),
                (None, Some(total)) => thousandths(*blocks, *total),
                (None, None) => None,
            },
        },
        Progress::Replicating { replicas, wanted } => View {
            message: format!("replicating: {} of {wanted}", text::count(*replicas, "peer")),
            done: thousandths(*replicas, *wanted),
        },
        Progress::Checking { blocks, total_blocks } => View {
            message: format!("checking: {}", text::count(*blocks, "block")),
            done: total_blocks.and_then(|total| thousandths(*blocks, total)),
        },
        Progress::Writing { bytes, total_bytes } => {
            View { message: format!("writing: {}", text::bytes(*bytes)), done: thousandths(*bytes, *total_bytes) }
        }
        // A newer library may report stages that this command line does not know.
        _ => View { message: "working".to_owned(), done: None },
    }
}

/// The completed part of `total` in thousandths; `None` if the total is zero.
fn thousandths(done: u64, total: u64) -> Option<u64> {
    let share = u128::from(done.min(total)) * u128::from(STEPS);
    share.checked_div(u128::from(total)).and_then(|share| u64::try_from(share).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_is_bounded_and_survives_extremes() {
        assert_eq!(thousandths(0, 0), None);
        assert_eq!(thousandths(5, 10), Some(500));
        assert_eq!(thousandths(11, 10), Some(1000));
        assert_eq!(thousandths(u64::MAX, u64::MAX), Some(1000));
    }

    #[test]
    fn fetch_counts_bytes_if_their_total_is_known_and_blocks_otherwise() {
        let event = |total_bytes| Progress::Fetching {
            blocks: 1,
            total_blocks: Some(4),
            bytes: 500,
            total_bytes,
            providers: 1,
        };
        assert_eq!(view(&event(Some(1000))).done, Some(500));
        assert_eq!(view(&event(None)).done, Some(250));
        assert_eq!(view(&event(None)).message, "fetching: 500 B from 1 peer");
    }

    #[test]
    fn quick_commands_show_no_bar() {
        assert!(!due(Duration::from_millis(249)));
        assert!(due(DELAY));
    }

    #[tokio::test]
    async fn disabled_bar_ignores_events_and_lets_the_work_through() {
        let bar = Bar::new(false);
        bar.report(Progress::Announcing);
        assert_eq!(bar.during(async { 7 }).await, 7);
        assert_eq!(bar.state().view, None);
    }
}
