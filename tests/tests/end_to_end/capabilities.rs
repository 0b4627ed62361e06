//! A guest begins with nothing, and gets exactly what the configuration grants.

use guesthouse_tests::upstream::Upstream;
use guesthouse_tests::{Mpm, Setup, under_every_mpm_and_confined, with_wasi_0_3_and_confined_too};

under_every_mpm_and_confined! {
    without_a_grant_there_is_no_variable_and_no_file,
    a_guest_sees_the_variables_that_it_is_given,
    a_guest_knows_its_name,
    a_directory_is_read_only_unless_said,
    a_directory_is_written_to_when_said,
    a_guest_cannot_leave_its_directory,
    without_a_grant_no_server_is_called,
    a_granted_server_is_called,
    a_grant_is_for_one_port,
    a_name_does_not_reach_the_inside,
}

with_wasi_0_3_and_confined_too! {
    a_guest_sees_the_variables_that_it_is_given,
    without_a_grant_no_server_is_called,
    a_granted_server_is_called,
    a_grant_is_for_one_port,
    a_name_does_not_reach_the_inside,
}

fn without_a_grant_there_is_no_variable_and_no_file(mpm: Mpm) {
    let server = Setup::new(mpm).start();
    assert_eq!(server.get("/env").text(), "");
    for target in ["/read?path=/etc/hostname", "/list?path=/", "/list?path=.", "/write?path=/tmp/x&text=y"] {
        assert_eq!(server.get(target).status, 403, "{target}");
    }
}

fn a_guest_sees_the_variables_that_it_is_given(mpm: Mpm) {
    let server = Setup::new(mpm).probe("[module.env]\nGREETING = \"hi\"").start();
    assert_eq!(server.get("/env").text(), "GREETING=hi\n");
    assert_eq!(server.get("/env?name=GREETING").text(), "hi");
    assert_eq!(server.get("/env?name=PATH").status, 404);
}

fn a_guest_knows_its_name(mpm: Mpm) {
    assert_eq!(Setup::new(mpm).start().get("/args").text(), "probe\n");
}

/// A folder `data` with one file, and a file beside the folder.
fn with_data(mpm: Mpm, write: bool) -> Setup {
    let setup = Setup::new(mpm);
    let data = setup.folder().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("file.txt"), "content\n").unwrap();
    std::fs::write(setup.folder().join("outside.txt"), "secret\n").unwrap();
    std::os::unix::fs::symlink("../outside.txt", data.join("way-out.txt")).unwrap();
    setup.probe(&format!("[[module.dir]]\nhost = \"data\"\nguest = \"/data\"\nwrite = {write}"))
}

fn a_directory_is_read_only_unless_said(mpm: Mpm) {
    let server = with_data(mpm, false).start();
    assert_eq!(server.get("/read?path=/data/file.txt").text(), "content\n");
    assert_eq!(server.get("/list?path=/data").text(), "file.txt\nway-out.txt\n");
    assert_eq!(server.get("/write?path=/data/new.txt&text=y").status, 403);
    assert_eq!(server.get("/write?path=/data/file.txt&text=y").status, 403);
    assert!(!server.folder().join("data/new.txt").exists());
    assert_eq!(server.get("/read?path=/data/file.txt").text(), "content\n");
}

/// Through the functions of WASI 0.3 itself, and not those of 0.2 that a Rust program uses.
mod wasi_0_3 {
    use super::*;

    #[test]
    fn a_guest_cannot_take_all_descriptors() {
        let server = with_data(Mpm::Event03, false).start();
        assert_eq!(server.get("/open?name=file.txt&n=100").text(), "100\n");
        let open: usize = server.get("/open?name=file.txt&n=1000").text().trim().parse().unwrap();
        assert!((100..=128).contains(&open), "{open} files were open at once");
    }
}

fn a_directory_is_written_to_when_said(mpm: Mpm) {
    let server = with_data(mpm, true).start();
    assert_eq!(server.get("/write?path=/data/new.txt&text=fresh").text(), "written\n");
    assert_eq!(std::fs::read_to_string(server.folder().join("data/new.txt")).unwrap(), "fresh");
}

fn a_guest_cannot_leave_its_directory(mpm: Mpm) {
    let server = with_data(mpm, true).start();
    for path in ["/data/../outside.txt", "/outside.txt", "../outside.txt", "/data/way-out.txt", "/etc/hostname"] {
        let answer = server.get(&format!("/read?path={path}"));
        assert_eq!(answer.status, 403, "{path}: {}", answer.text());
    }
    assert_eq!(server.get("/write?path=/data/way-out.txt&text=changed").status, 403);
    assert_eq!(std::fs::read_to_string(server.folder().join("outside.txt")).unwrap(), "secret\n");
}

fn without_a_grant_no_server_is_called(mpm: Mpm) {
    let upstream = Upstream::start("from outside");
    let server = Setup::new(mpm).start();
    let answer = server.get(&format!("/fetch?url=http://{}/", upstream.address));
    assert!(answer.text().starts_with("failed: "), "{}", answer.text());
    assert_eq!(upstream.requests(), 0);
    server.log.wait_for("probe…127.0.0.1");
}

fn a_granted_server_is_called(mpm: Mpm) {
    let upstream = Upstream::start("from outside");
    let server = Setup::new(mpm).probe(&format!("outbound = [\"{}\"]", upstream.address)).start();
    let answer = server.get(&format!("/fetch?url=http://{}/path", upstream.address));
    assert_eq!(answer.text(), "answered 200\nfrom outside");
    assert_eq!(upstream.requests(), 1);
}

fn a_grant_is_for_one_port(mpm: Mpm) {
    let (granted, other) = (Upstream::start("granted"), Upstream::start("other"));
    let server = Setup::new(mpm).probe(&format!("outbound = [\"{}\"]", granted.address)).start();
    let answer = server.get(&format!("/fetch?url=http://{}/", other.address));
    assert!(answer.text().starts_with("failed: "), "{}", answer.text());
    assert_eq!(other.requests(), 0);
}

/// Where a name leads is decided by whoever runs the name server, so a name alone grants no address of the inside.
fn a_name_does_not_reach_the_inside(mpm: Mpm) {
    let upstream = Upstream::start("inside");
    let port = upstream.address.port();
    let server = Setup::new(mpm).probe(&format!("outbound = [\"*.localhost:{port}\"]")).start();
    let answer = server.get(&format!("/fetch?url=http://inside.localhost:{port}/"));
    assert!(answer.text().starts_with("failed: "), "{}", answer.text());
    assert_eq!(upstream.requests(), 0);
}
