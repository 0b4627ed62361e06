//! Reading and writing Wasm files: what is told of good ones, and what is said of bad ones. The good ones are written as
//! text here; the bad ones are made of them.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;

use super::facts::SIZE_MAX;
use super::tag::tagged;
use super::*;

fn binary(text: &str) -> Vec<u8> {
    wat::parse_bytes(text.as_bytes()).unwrap().into_owned()
}

fn inspected(wasm: &[u8]) -> Result<Inspection, InspectError> {
    inspect::inspect(wasm, wasm.len() as u64)
}

/// A component that exports `wasi:http/incoming-handler@0.2` and imports what that takes.
fn handler() -> Vec<u8> {
    binary(&include_str!("../guest/testing.wat").replace("(; BODY ;)", "nop"))
}

/// A core module that is a command of WASI preview 1.
fn command() -> Vec<u8> {
    binary(
        r#"(module
            (import "wasi_snapshot_preview1" "environ_get" (func (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 2 16)
            (func (export "_start")))"#,
    )
}

/// A file whose section holds this.
fn saying(content: &[u8]) -> Vec<u8> {
    [&binary("(module)")[..], &custom_section("guesthouse", content)].concat()
}

fn custom_section(name: &str, content: &[u8]) -> Vec<u8> {
    let name_length = u8::try_from(name.len()).unwrap();
    section(0, &[&[name_length], name.as_bytes(), content].concat())
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    // Five bytes, whatever the length: LEB128 allows that.
    let length = content.len();
    let digits = (0..5).map(|digit| (length >> (7 * digit)) as u8 & 0x7f | if digit < 4 { 0x80 } else { 0 });
    [id].into_iter().chain(digits).chain(content.iter().copied()).collect()
}

fn facts(thread_safe: bool, version: &str, description: &str) -> Facts {
    Facts { thread_safe, version: Some(version.to_owned()), description: Some(description.to_owned()) }
}

#[test]
fn a_file_that_says_nothing_is_thread_safe_without_facts() {
    for wasm in [handler(), command()] {
        assert_eq!(Facts::of(&wasm), Ok(None));
        assert!(inspected(&wasm).unwrap().thread_safe);
    }
}

#[test]
fn facts_are_read_from_both_kinds_of_file() {
    let annotation = r#"(@custom "guesthouse" "thread_safe = false\nversion = \"1\"\ndescription = \"d\"")"#;
    for kind in ["module", "component"] {
        let wasm = binary(&format!("({kind} {annotation})"));
        assert_eq!(Facts::of(&wasm), Ok(Some(facts(false, "1", "d"))), "{kind}");
    }
}

#[test]
fn what_is_not_stated_has_its_default() {
    assert_eq!(Facts::of(&saying(b"")), Ok(Some(Facts::default())));
    assert!(Facts::default().thread_safe);
}

#[test]
fn a_component_that_says_nothing_is_spoken_for_by_its_core_module() {
    let compiled =
        r#"(core module (@custom "guesthouse" "thread_safe = false\nversion = \"1\"\ndescription = \"d\""))"#;
    let other = "(core module (func))";
    let wasm = binary(&format!("(component {other} {compiled} {other})"));
    assert_eq!(Facts::of(&wasm), Ok(Some(facts(false, "1", "d"))));
    let tagged_later = r#"(@custom "guesthouse" "thread_safe = true")"#;
    let wasm = binary(&format!("(component {compiled} {tagged_later})"));
    assert_eq!(Facts::of(&wasm), Ok(Some(Facts::default())), "its own word goes first");
    let wasm = binary(&format!("(component {compiled} {compiled})"));
    assert_eq!(Facts::of(&wasm), Err(FactsError::Twice), "nobody can say which of them counts");
}

#[test]
fn a_component_inside_a_component_is_its_own_affair() {
    let wasm = binary(r#"(component (component (core module (@custom "guesthouse" "thread_safe = false"))))"#);
    assert_eq!(Facts::of(&wasm), Ok(None));
}

#[test]
fn a_word_of_a_core_module_is_kept_when_the_component_is_tagged() {
    let wasm = binary(r#"(component (core module (@custom "guesthouse" "thread_safe = false")))"#);
    let change = Change { version: Some("2".to_owned()), ..Change::default() };
    let (tagged, facts) = tagged(&wasm, change).unwrap();
    assert_eq!((facts.thread_safe, facts.version.as_deref()), (false, Some("2")));
    assert_eq!(Facts::of(&tagged), Ok(Some(facts)));
}

#[test]
fn a_section_that_cannot_be_used_is_told_why_and_what_to_do() {
    let mend = "write it anew with `guesthouse module tag FILE --thread-safe=true` (or =false)";
    let unknown = "unknown field `threadsafe`, expected one of `thread_safe`, `version`, `description`";
    for (content, mistake) in [
        (&b"thread_safe = \xff"[..], "its section \"guesthouse\" is not UTF-8 from byte 14 on".to_owned()),
        (b"version = \"1\"\nthreadsafe = false", format!("line 2 of its section \"guesthouse\" is wrong: {unknown}")),
        (
            b"thread_safe = \"no\"",
            "line 1 of its section \"guesthouse\" is wrong: invalid type: string \"no\", expected a boolean".to_owned(),
        ),
        (
            b"version = 1",
            "line 1 of its section \"guesthouse\" is wrong: invalid type: integer `1`, expected a string".to_owned(),
        ),
        (
            b"version = \"\\u001b[2J\"",
            "version in its section \"guesthouse\" has a line break or another control character".to_owned(),
        ),
        (
            b"description = \"a\\nb\"",
            "description in its section \"guesthouse\" has a line break or another control character".to_owned(),
        ),
    ] {
        assert_eq!(Facts::of(&saying(content)).unwrap_err().to_string(), format!("{mistake}: {mend}"));
    }
    let not_toml = Facts::of(&saying(b"thread_safe: false")).unwrap_err();
    assert!(matches!(not_toml, FactsError::Wrong { line: 1, .. }), "{not_toml}");
}

#[test]
fn a_section_of_64_kib_is_read_and_a_larger_one_refused() {
    let comment = |size: usize| saying(&[b"#", &vec![b'x'; size - 1][..]].concat());
    assert_eq!(Facts::of(&comment(SIZE_MAX)), Ok(Some(Facts::default())));
    assert_eq!(Facts::of(&comment(SIZE_MAX + 1)), Err(FactsError::TooLarge(SIZE_MAX + 1)));
}

#[test]
fn two_sections_are_refused() {
    let twice = [saying(b"thread_safe = false"), custom_section("guesthouse", b"")].concat();
    assert_eq!(Facts::of(&twice), Err(FactsError::Twice));
}

#[test]
fn a_handler_is_told_with_its_interfaces() {
    let inspection = inspected(&handler()).unwrap();
    assert_eq!(inspection.kind, Kind::HttpIncomingHandler);
    assert!(inspection.exports.iter().any(|export| export.name.starts_with("wasi:http/incoming-handler@0.2.")));
    assert!(inspection.imports.iter().all(|import| import.module.is_none() && import.kind == "instance"));
    assert!(!inspection.memories.is_empty());
}

#[test]
fn a_command_is_told_with_its_functions_and_memory() {
    let inspection = inspected(&command()).unwrap();
    assert_eq!(inspection.kind, Kind::Command);
    assert_eq!(inspection.memories, [Memory { initial: 2 << 16, maximum: Some(16 << 16), is_imported: false }]);
    let import = Import { module: Some("wasi_snapshot_preview1".into()), name: "environ_get".into(), kind: "func" };
    assert_eq!(inspection.imports[0], import);
    assert_eq!(inspection.exports[1], Export { name: "_start".into(), kind: "func" });
    assert_eq!(inspection.asks_for, [Ask::Environment]);
}

#[test]
fn kinds_are_told_by_exports() {
    let exporting = |name: &str| format!("(component (instance $i) (export \"{name}\" (instance $i)))");
    for (text, kind) in [
        (exporting("wasi:http/incoming-handler@0.2.0"), Kind::HttpIncomingHandler),
        (exporting("wasi:http/incoming-handler@0.2.12"), Kind::HttpIncomingHandler),
        (exporting("wasi:http/handler@0.3.0"), Kind::HttpHandler),
        (exporting("wasi:http/handler@0.3.0-rc-2026-01-06"), Kind::HttpHandler),
        (exporting("wasi:cli/run@0.2.3"), Kind::CliComponent),
        (exporting("wasi:http/incoming-handler@0.20.0"), Kind::OtherComponent),
        (exporting("acme:greet/hello@1.0.0"), Kind::OtherComponent),
        ("(component)".to_owned(), Kind::OtherComponent),
        ("(module (func (export \"_start\")))".to_owned(), Kind::Command),
        ("(module (memory (export \"_start\") 1))".to_owned(), Kind::OtherCoreModule),
        ("(module)".to_owned(), Kind::OtherCoreModule),
    ] {
        assert_eq!(inspected(&binary(&text)).unwrap().kind, kind, "{text}");
    }
}

#[test]
fn what_a_guest_asks_for_is_told_by_its_imports() {
    let component = |name: &str| binary(&format!("(component (import \"{name}\" (instance)))"));
    let module = |name: &str| binary(&format!("(module (import \"wasi_snapshot_preview1\" \"{name}\" (func)))"));
    for (wasm, asks_for) in [
        (component("wasi:cli/environment@0.2.3"), Some(Ask::Environment)),
        (component("wasi:filesystem/preopens@0.2.3"), Some(Ask::Files)),
        (component("wasi:http/outgoing-handler@0.2.3"), Some(Ask::OutboundHttp)),
        (component("wasi:http/client@0.3.0"), Some(Ask::OutboundHttp)),
        (component("wasi:http/types@0.2.3"), None),
        (component("wasi:clocks/wall-clock@0.2.3"), Some(Ask::Clocks)),
        (component("wasi:random/insecure@0.2.3"), Some(Ask::Random)),
        (component("wasi:sockets/tcp@0.2.3"), Some(Ask::Sockets)),
        (component("acme:filesystem/types@0.2.3"), None),
        (module("environ_sizes_get"), Some(Ask::Environment)),
        (module("path_unlink_file"), Some(Ask::Files)),
        (module("fd_write"), None),
        (module("poll_oneoff"), Some(Ask::Clocks)),
        (module("random_get"), Some(Ask::Random)),
        (module("sock_accept"), Some(Ask::Sockets)),
    ] {
        assert_eq!(inspected(&wasm).unwrap().asks_for, Vec::from_iter(asks_for));
    }
}

#[test]
fn memories_are_told_in_bytes_at_any_level() {
    let memory = |initial, maximum, is_imported| Memory { initial, maximum, is_imported };
    for (text, memories) in [
        ("(module (memory 1))", vec![memory(1 << 16, None, false)]),
        ("(module (import \"a\" \"b\" (memory 0 65536)))", vec![memory(0, Some(1 << 32), true)]),
        ("(module (memory i64 1 0x1000000000000))", vec![memory(1 << 16, Some(u64::MAX), false)]),
        (
            "(component (core module (memory 1)) (component (core module (memory 2 2))))",
            vec![memory(1 << 16, None, false), memory(2 << 16, Some(2 << 16), false)],
        ),
    ] {
        assert_eq!(inspected(&binary(text)).unwrap().memories, memories, "{text}");
    }
}

#[test]
fn the_report_of_a_command_reads_well() {
    let change = Change { version: Some("1.2".into()), thread_safe: Some(false), description: Some("counts".into()) };
    let (wasm, _) = tagged(&command(), change).unwrap();
    let expected = format!(
        "\
kind         core module that runs as a command (WASI preview 1, _start)
size         {} B
thread-safe  no
version      1.2
description  counts
memory       128.0 KiB at the start, at most 1.0 MiB
asks for     environment: variables; it gets those of [module.env]
imports      wasi_snapshot_preview1 environ_get
             wasi_snapshot_preview1 fd_write
exports      memory
             _start
served       yes
",
        wasm.len()
    );
    assert_eq!(inspected(&wasm).unwrap().to_string(), expected);
}

#[test]
fn no_name_in_a_file_reaches_the_terminal_as_a_command_to_it() {
    let wasm = binary("(module (import \"a\\0a\" \"b\\07\" (func)) (func (export \"\\1b[2J\\e2\\80\\ae\\c2\\9b\")))");
    let report = inspected(&wasm).unwrap().to_string();
    assert!(report.contains("\\u{1b}[2J\\u{202e}\\u{9b}") && report.contains("a\\n b\\u{7}"), "{report}");
}

#[test]
fn json_has_what_programs_need() {
    let (wasm, _) = tagged(&command(), Change { version: Some("1.2".into()), ..Change::default() }).unwrap();
    let json = serde_json::to_value(Told::from(&inspected(&wasm).unwrap())).unwrap();
    let expected = serde_json::json!({
        "kind": "command",
        "size": wasm.len(),
        "facts": { "thread_safe": true, "version": "1.2" },
        "thread_safe": true,
        "asks_for": ["environment"],
        "imports": [
            { "module": "wasi_snapshot_preview1", "name": "environ_get", "kind": "func" },
            { "module": "wasi_snapshot_preview1", "name": "fd_write", "kind": "func" },
        ],
        "exports": [{ "name": "memory", "kind": "memory" }, { "name": "_start", "kind": "func" }],
        "memories": [{ "initial": 2 << 16, "maximum": 16 << 16, "is_imported": false }],
        "unsuitable": null,
    });
    assert_eq!(json, expected);
}

#[test]
fn what_cannot_be_served_is_told_as_such_with_what_to_do() {
    let runs = |version: &str| {
        let export = format!("(instance $i) (export \"wasi:cli/run@{version}\" (instance $i))");
        inspected(&binary(&format!("(component {export})"))).unwrap()
    };
    assert!(runs("0.2.3").to_string().ends_with("\nserved       yes\n"));
    assert_eq!(serde_json::to_value(Told::from(&runs("0.2.3"))).unwrap()["unsuitable"], serde_json::Value::Null);
    for why in [
        runs("0.3.0").to_string().split_once("\nserved       no: ").unwrap().1,
        serde_json::to_value(Told::from(&runs("0.3.0"))).unwrap()["unsuitable"].as_str().unwrap(),
    ] {
        assert!(why.contains("exports wasi:cli/run@0.3.0: build it for a world"), "{why}");
    }
}

#[test]
fn what_is_tagged_is_read_again() {
    for wasm in [handler(), command()] {
        let change =
            Change { thread_safe: Some(false), version: Some("1".into()), description: Some("\"ü\" \\ '''".into()) };
        let (tagged, said) = tagged(&wasm, change).unwrap();
        assert_eq!(said, facts(false, "1", "\"ü\" \\ '''"));
        let inspection = inspected(&tagged).unwrap();
        assert_eq!((inspection.facts, inspection.thread_safe), (Some(said), false));
        assert_eq!(inspection.imports, inspected(&wasm).unwrap().imports);
        assert!(tagged.starts_with(&wasm), "the section stands behind all that was there");
    }
}

#[test]
fn a_second_tag_replaces_the_first_and_keeps_what_it_does_not_name() {
    let (once, _) = tagged(&handler(), Change { thread_safe: Some(false), ..Change::default() }).unwrap();
    let (twice, said) = tagged(&once, Change { version: Some("2".into()), ..Change::default() }).unwrap();
    assert_eq!(said, Facts { thread_safe: false, version: Some("2".into()), description: None });
    assert_eq!(Facts::of(&twice), Ok(Some(said)));
    let (bare, _) = tagged(&twice, Change { version: Some(String::new()), ..Change::default() }).unwrap();
    assert_eq!(bare, once);
}

#[test]
fn sections_around_it_stay_where_they_are() {
    let before = [&binary("(module)")[..], &custom_section("a", b"1")].concat();
    let after = custom_section("b", b"2");
    let wasm = [&before[..], &custom_section("guesthouse", b""), &after].concat();
    let (tagged, _) = tagged(&wasm, Change { version: Some("1".into()), ..Change::default() }).unwrap();
    assert!(tagged.starts_with(&before) && tagged.ends_with(&after));
}

#[test]
fn a_section_that_nobody_understands_is_replaced_only_with_a_word_on_thread_safety() {
    let twice = [saying(b"thread_safe = false"), custom_section("guesthouse", b"")].concat();
    for wasm in [twice, saying(b"threadsafe = false"), saying(&[b'#'; SIZE_MAX + 1])] {
        assert!(tagged(&wasm, Change { version: Some("1".into()), ..Change::default() }).is_err());
        let (tagged, said) = tagged(&wasm, Change { thread_safe: Some(false), ..Change::default() }).unwrap();
        assert_eq!(Facts::of(&tagged), Ok(Some(said)));
    }
}

#[test]
fn what_could_not_be_read_is_not_written() {
    let change = |description: &str| Change { description: Some(description.into()), ..Change::default() };
    assert_eq!(tagged(&command(), change("a\nb")), Err(FactsError::Unprintable("description")));
    assert!(matches!(tagged(&command(), change(&"x".repeat(SIZE_MAX))), Err(FactsError::TooLarge(_))));
}

#[test]
fn a_file_cut_off_anywhere_is_never_tagged_as_if_it_were_whole() {
    let wasm = handler();
    let boundaries: Vec<usize> = sections::sections(&wasm).unwrap().map(|section| section.unwrap().range.end).collect();
    for length in 0..wasm.len() {
        let cut = tagged(&wasm[..length], Change { thread_safe: Some(false), ..Change::default() });
        assert_eq!(cut.is_ok(), length == 8 || boundaries.contains(&length), "{length} of {} bytes", wasm.len());
    }
}

#[test]
fn a_count_beyond_all_content_is_an_error() {
    const U32_MAX: [u8; 5] = [0xff, 0xff, 0xff, 0xff, 0x0f];
    for (preamble, ids) in [(binary("(module)"), [2, 5, 7]), (binary("(component)"), [10, 11, 4])] {
        for id in ids {
            let wasm = [&preamble[..], &section(id, &U32_MAX)].concat();
            assert!(inspected(&wasm).is_err(), "{wasm:x?}");
        }
    }
}

#[test]
fn types_within_types_without_end_do_no_harm() {
    for begin_of_type in [b"\x41\x01\x01", b"\x42\x01\x01"] {
        let types = [&[1], &begin_of_type.repeat(500_000)[..]].concat();
        let wasm = [binary("(component)"), section(7, &types)].concat();
        assert_eq!(inspected(&wasm).unwrap().kind, Kind::OtherComponent);
        assert!(tagged(&wasm, UNSAFE).is_ok());
    }
}

#[test]
fn more_imports_than_any_module_has_are_refused() {
    let (types, import) = (section(1, &[1, 0x60, 0, 0]), [1, b'm', 1, b'n', 0, 0]);
    let imports = |count: usize| {
        // Three digits of LEB128 hold the count.
        let digits = [(count & 0x7f) as u8 | 0x80, (count >> 7 & 0x7f) as u8 | 0x80, (count >> 14) as u8];
        [binary("(module)"), types.clone(), section(2, &[&digits[..], &import.repeat(count)].concat())].concat()
    };
    assert_eq!(inspected(&imports(100_000)).unwrap().imports.len(), 100_000);
    assert_eq!(inspected(&imports(100_001)), Err(InspectError::TooMany));
}

#[test]
fn components_within_components_are_entered_to_a_limit() {
    let nested = |levels: usize| {
        (1..levels).fold(binary("(component)"), |inner, _| [binary("(component)"), section(4, &inner)].concat())
    };
    assert_eq!(inspected(&nested(32)).unwrap().kind, Kind::OtherComponent);
    assert_eq!(inspected(&nested(33)), Err(InspectError::TooDeep));
    assert_eq!(inspected(&nested(2000)), Err(InspectError::TooDeep));
}

/// A folder with a file `a.wasm` in it.
fn folder_with(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wasm");
    fs::write(&path, content).unwrap();
    (folder, path)
}

const UNSAFE: Change = Change { thread_safe: Some(false), version: None, description: None };

#[test]
fn a_file_is_replaced_with_its_permissions_and_nothing_is_left_beside_it() {
    let (folder, path) = folder_with(&command());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    tag(&path, UNSAFE, None).unwrap();
    assert!(!WasmFile::read(&path).unwrap().facts().unwrap().unwrap().thread_safe);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn another_file_is_written_and_the_first_left_as_it_is() {
    let (folder, path) = folder_with(&command());
    let out = folder.path().join("b.wasm");
    tag(&path, UNSAFE, Some(&out)).unwrap();
    assert_eq!(fs::read(&path).unwrap(), command());
    assert!(!WasmFile::read(&out).unwrap().facts().unwrap().unwrap().thread_safe);
}

#[test]
fn a_link_stays_a_link() {
    let (folder, path) = folder_with(&command());
    let link = folder.path().join("current.wasm");
    symlink("a.wasm", &link).unwrap();
    tag(&link, UNSAFE, None).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(WasmFile::read(&path).unwrap().facts().unwrap().is_some());
}

#[test]
fn what_is_no_file_is_not_replaced() {
    let (folder, path) = folder_with(&command());
    for out in [folder.path(), Path::new("/dev/null")] {
        let error = tag(&path, UNSAFE, Some(out)).unwrap_err().to_string();
        assert_eq!(error, format!("cannot write {}: it is not an ordinary file: name another with -o", out.display()));
    }
}

#[test]
fn what_is_no_wasm_is_left_alone() {
    for content in [&b""[..], b"\x7fELF", b"#!/bin/sh", b"\0asm", b"\0asm\x02\0\0\0", b";; a comment", b"(module"] {
        let (_folder, path) = folder_with(content);
        let error = tag(&path, UNSAFE, None).unwrap_err().to_string();
        assert!(error.contains("a.wasm"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), content);
    }
}

#[test]
fn text_is_inspected_but_not_tagged() {
    let (_folder, path) = folder_with(b";; a comment\n(module (@custom \"guesthouse\" \"thread_safe = false\"))");
    let file = WasmFile::read(&path).unwrap();
    assert_eq!(file.inspect().unwrap().size, fs::metadata(&path).unwrap().len());
    assert!(!file.facts().unwrap().unwrap().thread_safe);
    assert!(matches!(tag(&path, UNSAFE, None), Err(TagError::Text(_))));
}

#[test]
fn a_mistake_in_text_is_told_with_its_line() {
    for (text, mistake) in [
        ("(module\n  (fnc))".to_owned(), "line 2: expected valid module field"),
        (format!("(component\n{}", "(component ".repeat(5000)), "line 2: item nesting too deep"),
    ] {
        let (_folder, path) = folder_with(text.as_bytes());
        let error = WasmFile::read(&path).unwrap_err().to_string();
        assert_eq!(error, format!("cannot read {} as WebAssembly text: {mistake}", path.display()));
    }
}

#[test]
fn what_might_never_end_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in [&pipe, folder.path(), Path::new("/dev/zero")] {
        let error = WasmFile::read(path).unwrap_err().to_string();
        assert_eq!(error, format!("cannot read {}: it is not a regular file", path.display()));
    }
    let huge = folder.path().join("huge");
    fs::File::create(&huge).unwrap().set_len(FILE_SIZE_MAX + 1).unwrap();
    assert!(matches!(WasmFile::read(&huge), Err(FileError::TooLarge { .. })));
}

#[test]
fn text_that_is_too_long_is_not_even_parsed() {
    let (_folder, path) = folder_with(&[b"(module) ", &vec![b' '; TEXT_SIZE_MAX][..]].concat());
    assert!(matches!(WasmFile::read(&path), Err(FileError::TooLarge { .. })));
}

/// One thing done to a file's bytes.
#[derive(Debug, Clone)]
enum Damage {
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    CutOff(prop::sample::Index),
}

impl Damage {
    fn any() -> impl Strategy<Value = Damage> {
        let at = any::<prop::sample::Index>;
        prop_oneof![
            6 => (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
            2 => (at(), vec(any::<u8>(), 1..12)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
            2 => (at(), 1_usize..12).prop_map(|(at, count)| Damage::Remove(at, count)),
            1 => at().prop_map(Damage::CutOff),
        ]
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        if length == 0 {
            return;
        }
        match self {
            Damage::Set(at, byte) => bytes[at.index(length)] = *byte,
            Damage::Insert(at, new) => {
                let at = at.index(length);
                bytes.splice(at..at, new.iter().copied());
            }
            Damage::Remove(at, count) => {
                let at = at.index(length);
                bytes.drain(at..length.min(at + count));
            }
            Damage::CutOff(at) => bytes.truncate(at.index(length)),
        }
    }
}

/// Files to damage: the smaller a part, the more often it is hit.
static GOOD_FILES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let change = || Change { thread_safe: Some(false), version: Some("1".into()), description: Some("d".into()) };
    let nested = binary("(component (component (core module (memory 1)) (component)) (core module (func)))");
    let small = [handler(), command(), nested, binary("(module)"), binary("(component)")];
    let tagged = small.iter().map(|wasm| tagged(wasm, change()).unwrap().0);
    small.iter().cloned().chain(tagged).collect()
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_are_refused_or_read_but_never_a_panic(
        file in any::<prop::sample::Index>(),
        damages in vec(Damage::any(), 1..8),
    ) {
        let mut wasm = file.get(&GOOD_FILES).clone();
        damages.iter().for_each(|damage| damage.apply(&mut wasm));
        let said = Facts::of(&wasm);
        if let Ok(inspection) = inspected(&wasm) {
            prop_assert_eq!(Ok(&inspection.facts), said.as_ref());
            prop_assert!(!inspection.to_string().contains('\x1b'));
        }
        if let Ok((tagged, now_said)) = tagged(&wasm, UNSAFE) {
            prop_assert_eq!(Facts::of(&tagged), Ok(Some(now_said)));
            if said.is_ok() {
                prop_assert_eq!(inspected(&tagged).is_ok(), inspected(&wasm).is_ok());
            }
        }
    }

    #[test]
    fn any_facts_come_back_as_they_were_written(
        thread_safe in any::<bool>(),
        version in proptest::option::of("\\PC{1,40}"),
        description in proptest::option::of("\\PC{1,400}"),
    ) {
        let written = Change {
            thread_safe: Some(thread_safe), version: version.clone(), description: description.clone(),
        };
        let (tagged, said) = tagged(&binary("(component)"), written).unwrap();
        prop_assert_eq!(&said, &Facts { thread_safe, version, description });
        prop_assert_eq!(Facts::of(&tagged), Ok(Some(said)));
    }
}

#[test]
fn what_a_component_exports_instead_of_a_handler_is_named() {
    let unsuitable = |wat: &str| inspected(&binary(wat)).unwrap().check_suitable().unwrap_err().to_string();
    let greeter = unsuitable("(component (instance $i) (export \"acme:greet/hello@1.0.0\" (instance $i)))");
    assert!(greeter.contains("it exports acme:greet/hello@1.0.0: build it for a world that exports one"), "{greeter}");
    assert!(unsuitable("(component)").contains("it exports nothing"));
}

#[test]
fn every_import_that_is_not_offered_is_named() {
    let imports = |names: &[&str]| {
        let imports: String = names.iter().map(|name| format!("(import \"{name}\" (instance))")).collect();
        let export = "(instance $i) (export \"wasi:http/incoming-handler@0.2.0\" (instance $i))";
        inspected(&binary(&format!("(component {imports} {export})"))).unwrap().check_suitable()
    };
    assert_eq!(imports(&["wasi:cli/environment@0.2.3", "wasi:http/types@0.2.12"]), Ok(()));
    let error = imports(&["acme:a/b@1.0.0", "wasi:http/types@0.2.0", "wasi:nn/graph@0.2.0", "wasi:http/client@0.3.0"]);
    assert_eq!(
        error.unwrap_err().to_string(),
        "it imports what this server does not offer: acme:a/b@1.0.0, wasi:nn/graph@0.2.0, wasi:http/client@0.3.0: it may \
         import wasi:cli, clocks, filesystem, http, io, random and sockets of WASI 0.2, and nothing else; build it for the \
         world wasi:http/proxy@0.2.0, or compose it with components that export the rest"
    );
}

#[test]
fn a_release_candidate_of_wasi_is_refused_with_the_version_to_build_for() {
    let check = |imports: &str, export: &str| {
        let export = format!("(instance $i) (export \"{export}\" (instance $i))");
        inspected(&binary(&format!("(component {imports} {export})"))).unwrap().check_suitable()
    };
    let import = |name: &str| format!("(import \"{name}\" (instance))");
    for (export, release) in [
        ("wasi:http/handler@0.3.0-rc-2026-01-06", "0.3.0"),
        ("wasi:http/incoming-handler@0.2.0-rc-2023-11-10", "0.2.0"),
        ("wasi:cli/run@0.2.0-rc-2023-11-10", "0.2.0"),
    ] {
        let remedy = format!(
            "it is made for a release candidate of WASI ({export}): build it again with tools for {release} or later"
        );
        assert_eq!(check("", export).unwrap_err().to_string(), remedy);
    }
    let error = check(
        &["wasi:clocks/types@0.3.0-rc-2026-01-06", "acme:a/b@1.0.0", "wasi:http/types@0.3.0"].map(import).concat(),
        "wasi:http/handler@0.3.1",
    );
    let Err(Unsuitable::ReleaseCandidate { interfaces, .. }) = error else { panic!("{error:?}") };
    assert_eq!(interfaces, "wasi:clocks/types@0.3.0-rc-2026-01-06");
    // A hyphen of the build makes no candidate.
    assert_eq!(check(&import("wasi:http/types@0.3.0+a-b"), "wasi:http/handler@0.3.2+a-b"), Ok(()));
    assert!(matches!(check(&import("acme:a/b@1.0.0-rc"), "wasi:http/handler@0.3.0"), Err(Unsuitable::Imports { .. })));
}

#[test]
fn a_program_may_import_what_wasi_preview_1_has_and_nothing_else() {
    let program = |imports: &str| {
        inspected(&binary(&format!("(module {imports} (func (export \"_start\")))"))).unwrap().check_suitable()
    };
    let preview_1 = |name: &str| format!("(import \"wasi_snapshot_preview1\" \"{name}\" (func))");
    assert_eq!(program(""), Ok(()));
    // Go imports those of sockets whether they are used or not.
    assert_eq!(program(&["fd_write", "proc_exit", "sock_accept", "sock_shutdown"].map(preview_1).concat()), Ok(()));
    let foreign = [
        preview_1("fd_write"),
        preview_1("sock_open"),
        "(import \"env\" \"memory\" (memory 1 2 shared)) (import \"wasi\" \"thread-spawn\" (func))".to_owned(),
        "(import \"wasi_snapshot_preview1\" \"fd_read\" (global i32))".to_owned(),
    ];
    let error = program(&foreign.concat()).unwrap_err().to_string();
    let named =
        "wasi_snapshot_preview1 sock_open, env memory, wasi thread-spawn, wasi_snapshot_preview1 fd_read: build it";
    assert!(error.contains(named), "{error}");
}

#[test]
fn a_core_module_that_is_no_program_is_told_what_would_be_one() {
    let error = inspected(&binary("(module (func (export \"handle\")) (memory (export \"memory\") 1))")).unwrap();
    let error = error.check_suitable().unwrap_err().to_string();
    assert!(error.contains("does not export the function _start") && error.contains("handle, memory"), "{error}");
}

#[test]
fn a_component_that_runs_as_a_command_answers_requests_if_it_is_of_0_2() {
    let command = |version: &str| {
        let export = format!("(instance $i) (export \"wasi:cli/run@{version}\" (instance $i))");
        inspected(&binary(&format!("(component {export})"))).unwrap().check_suitable()
    };
    assert_eq!(command("0.2.0"), Ok(()));
    assert!(matches!(command("0.3.0"), Err(Unsuitable::NoHandler { .. })));
}

#[test]
fn a_module_with_exceptions_is_known_by_them_at_any_level() {
    let throws = |wat: &str| inspected(&binary(wat)).unwrap().throws;
    assert!(throws("(module (tag))") && throws("(component (core module (tag (param i32))))"));
    assert!(!throws("(module (memory 1))") && !throws("(component)"));
}

#[test]
fn a_file_that_has_only_just_changed_is_not_remembered() {
    use std::os::unix::fs::MetadataExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wat");
    std::fs::write(&path, "(module)").unwrap();
    let changed = u64::try_from(path.metadata().unwrap().ctime()).unwrap();
    let remembered = |age| WasmFile::read_at(&path, changed + age).unwrap().sighting().is_some();
    assert_eq!([remembered(0), remembered(3600)], [false, true]);
}
