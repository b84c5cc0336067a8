//! Providers that pause, as a stopped process does, and those that never go on.

use super::*;

/// Runs until so many seconds after the start.
fn run_until(sim: &mut Sim, seconds: f64) {
    while (sim.now - sim.start).as_secs_f64() < seconds {
        sim.step();
    }
}

/// One provider of `content` at `rate` that pauses from `from` to `until`, in seconds.
fn paused(content: &[Block], rate: f64, from: f64, until: f64) -> Sim {
    let start = Instant::now();
    let mut provider = Provider::new(rate, 1, content, start);
    provider.paused = Some((start + Duration::from_secs_f64(from), start + Duration::from_secs_f64(until)));
    let mut sim = Sim::new(CREDIT, start, vec![provider]);
    sim.add_all();
    sim
}

/// Kubo, stopped for 5 s, had a fetch wait for half a minute: what it had been asked for counted as refused, and those who
/// refuse are asked again only so often.
#[test]
fn a_provider_that_pauses_costs_its_pause_and_little_more() {
    let content = blocks(400, 64 << 10);
    let rate = 12.5e6;
    let alone = seconds(&[rate], &content, None).0;
    for (sizes, until) in [(true, 6.0), (false, 6.0), (true, 21.0), (true, 2.5)] {
        let mut sim = paused(&content, rate, 1.0, until);
        sim.want(&content, sizes);
        let took = sim.run(content.len());
        assert!(took < alone + (until - 1.0) + 1.0, "{took} s with a pause until {until}, {alone} s without");
        let wants = sim.providers[0].wants;
        assert!(wants <= content.len() * 2, "{wants} wants for {} blocks", content.len());
    }
}

#[test]
fn a_provider_that_pauses_before_its_first_block_is_asked_again_too() {
    let content = blocks(100, 4 << 10);
    let mut sim = paused(&content, 12.5e6, 0.0, 12.0);
    sim.want(&content, true);
    let took = sim.run(content.len());
    assert!(took < 13.0, "{took} s");
}

#[test]
fn what_two_providers_pause_over_comes_from_the_one_that_goes_on() {
    let content = blocks(200, 64 << 10);
    let start = Instant::now();
    let mut providers: Vec<_> = (0..2).map(|_| Provider::new(6e6, 1, &content, start)).collect();
    let at = |seconds| start + Duration::from_secs(seconds);
    providers[0].paused = Some((at(1), at(8)));
    providers[1].paused = Some((at(1), at(600)));
    let mut sim = Sim::new(CREDIT, start, providers);
    sim.add_all();
    sim.want(&content, true);
    let took = sim.run(content.len());
    assert!(took < 8.0 + 3.5, "{took} s");
}

#[test]
fn a_provider_that_never_goes_on_is_sent_little_while_it_is_silent() {
    let content = blocks(400, 64 << 10);
    let mut sim = paused(&content, 12.5e6, 1.0, 3600.0);
    sim.want(&content, true);
    run_until(&mut sim, 120.0);
    let sent = |sim: &Sim| sim.providers[0].inbox.iter().map(|(_, message)| message.wants.len()).sum::<usize>();
    let (wants, messages) = (sent(&sim), sim.providers[0].inbox.len());
    // What was open is taken back, and a few blocks are asked about, once.
    assert!(wants <= 400 && messages <= 20, "{wants} wants in {messages} messages");
}
