//! How long a deployment takes: row 11, from the rename of a file into the folder of modules to the first answer that the new
//! version gives.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::Bench;
use crate::client::Client;
use crate::figures::{Bound, Figure, Measured, Unit, Verdict};
use crate::servers::guesthouse;

/// Two guests that do not say the same there: a small one, and one of the size that the target names.
const PATH: &str = "/module/hello";
const SMALL: &str = "hello.wasm";
const LARGE: &str = "probe.wasm";

/// What is not served after this never will be.
const PATIENCE: Duration = Duration::from_secs(60);

/// Row 11: back and forth between two guests. One is in the cache of native code, the other is a new file each time.
pub(super) fn deployment(bench: &Bench) -> Result<Measured> {
    let guest = |name: &str| fs::read(bench.guests.join(name)).with_context(|| format!("there is no guest {name}"));
    let (small, large) = (guest(SMALL)?, guest(LARGE)?);
    let (mut setup, file) = guesthouse::deployed(bench, &small)?;
    let started = setup.start(PATH)?;
    let mut client = Client::connect(started.server.address(), None)?;
    let (mut cached, mut compiled) = (Vec::new(), Vec::new());
    for _ in 0..bench.effort.starts {
        let small_says = client.get(PATH)?;
        compiled.push(deploy(&file, &another(&large), &mut client, |body| body != small_says)?);
        cached.push(deploy(&file, &small, &mut client, |body| body == small_says)?);
    }
    let kilobytes = large.len() / 1000;
    let figures = [
        (Figure::new("Guesthouse, native code cached", Unit::Milliseconds, cached), 50.0),
        (Figure::new(format!("Guesthouse, {kilobytes} KB of Rust compiled"), Unit::Milliseconds, compiled), 1000.0),
    ];
    let verdict = |(figure, most): &(Figure, f64)| Verdict {
        what: format!("{}, ms", figure.name),
        value: figure.median(),
        must: Some(Bound::AtMost(*most)),
        go_for: None,
    };
    Ok(Measured {
        verdicts: figures.iter().map(verdict).collect(),
        figures: figures.into_iter().map(|(figure, _)| figure).collect(),
        ..Measured::default()
    })
}

/// Milliseconds.
fn deploy(file: &Path, wasm: &[u8], client: &mut Client, is_new: impl Fn(&[u8]) -> bool) -> Result<f64> {
    let unfinished = file.with_file_name(".unfinished");
    fs::write(&unfinished, wasm)?;
    let began = Instant::now();
    fs::rename(unfinished, file)?;
    while !is_new(&client.get(PATH)?) {
        if began.elapsed() > PATIENCE {
            bail!("a module that was deployed does not serve after {PATIENCE:?}: the server's log says why");
        }
    }
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

/// The same guest in a file that nobody has seen before: with a custom section of its own at the end.
fn another(wasm: &[u8]) -> Vec<u8> {
    let unique = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let mut section = vec![5];
    section.extend_from_slice(b"bench");
    section.extend_from_slice(&unique.to_le_bytes());
    let length = u8::try_from(section.len()).expect("a short section");
    [wasm, &[0, length], &section].concat()
}
