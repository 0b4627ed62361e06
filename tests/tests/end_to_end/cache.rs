//! Native code is made once, kept where nobody else can write, and never trusted when it has changed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use guesthouse_tests::{Client, Mpm, Server, Setup, Signal, under_every_mpm};

under_every_mpm! {
    a_second_start_uses_what_the_first_has_compiled,
    a_corrupt_entry_is_compiled_anew,
    an_entry_that_was_cut_off_is_compiled_anew,
    the_cache_is_for_its_owner_alone,
}

fn a_second_start_uses_what_the_first_has_compiled(mpm: Mpm) {
    let server = started_and_stopped(mpm);
    let before = native_code(&server);
    serves_again(&server);
    assert_eq!(inodes(&native_code(&server)), inodes(&before), "the code was compiled again");
}

fn a_corrupt_entry_is_compiled_anew(mpm: Mpm) {
    let server = started_and_stopped(mpm);
    let before = native_code(&server);
    for (path, bytes) in &before {
        let mut corrupt = bytes.1.clone();
        let middle = corrupt.len() / 2;
        corrupt[middle..].iter_mut().for_each(|byte| *byte = !*byte);
        fs::write(path, corrupt).unwrap();
    }
    serves_again(&server);
    assert_eq!(contents(&native_code(&server)), contents(&before));
}

fn an_entry_that_was_cut_off_is_compiled_anew(mpm: Mpm) {
    let server = started_and_stopped(mpm);
    let before = native_code(&server);
    for path in before.keys() {
        fs::write(path, b"").unwrap();
    }
    serves_again(&server);
    assert_eq!(contents(&native_code(&server)), contents(&before));
}

fn the_cache_is_for_its_owner_alone(mpm: Mpm) {
    let server = started_and_stopped(mpm);
    let cache = server.folder().join("cache");
    assert_eq!(fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);

    // Where others may write, nothing is believed and the server says so.
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).unwrap();
    let mut again = server.launch_again();
    assert!(!again.wait_for_exit().success());
    again.log.wait_for("cache");
}

fn started_and_stopped(mpm: Mpm) -> Server {
    let mut server = Setup::new(mpm).own_cache().start();
    assert_eq!(server.get("/hello").status, 200);
    server.signal(Signal::SIGTERM);
    assert!(server.wait_for_exit().success());
    server
}

fn serves_again(server: &Server) {
    let again = server.launch_again();
    assert_eq!(Client::connect(again.wait_until_ready()).get("/hello").text(), "hello\n");
}

type Files = BTreeMap<PathBuf, (u64, Vec<u8>)>;

/// The files with native code, with inode and content.
fn native_code(server: &Server) -> Files {
    let entries = fs::read_dir(server.folder().join("cache")).unwrap().map(|entry| entry.unwrap().path());
    let native = entries.filter(|path| path.extension().is_some_and(|extension| extension == "cwasm"));
    let files: Files = native
        .map(|path| {
            let facts = (fs::metadata(&path).unwrap().ino(), fs::read(&path).unwrap());
            (path, facts)
        })
        .collect();
    assert!(!files.is_empty(), "there is no native code in the cache");
    files
}

fn inodes(files: &Files) -> Vec<u64> {
    files.values().map(|(inode, _)| *inode).collect()
}

fn contents(files: &Files) -> Vec<&Vec<u8>> {
    files.values().map(|(_, content)| content).collect()
}
