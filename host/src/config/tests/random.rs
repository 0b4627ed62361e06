//! Any text at all: nothing makes the reader panic.

use proptest::prelude::*;

use super::*;

/// Lines that a configuration is made of, right and wrong.
fn line() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        Just("listen"),
        Just("mpm"),
        Just("header_timeout"),
        Just("header_timeout_max"),
        Just("limit_request_body"),
        Just("name"),
        Just("path"),
        Just("host"),
        Just("guest"),
        Just("module"),
        Just("text"),
        Just("status"),
        Just("outbound"),
        Just("env"),
        Just("dir"),
        Just("limits"),
        Just("memory"),
        Just("start_servers"),
        Just("server_limit"),
        Just("threads_per_child"),
        Just("thread_limit"),
        Just("max_request_workers"),
        Just("max_spare_threads"),
        Just("max_connections"),
        Just("write"),
        Just("private"),
        Just("handler"),
        Just("allow"),
        Just("pool"),
        Just("min_spare_servers"),
        Just("max_requests_per_instance"),
        Just("max_concurrent_requests_per_instance"),
        Just("time_slice"),
    ];
    let text = prop_oneof![
        "[ -~]{0,12}",
        "[0-9]{1,25}[a-zA-Z]{0,3}( [0-9]{1,12}ms)?",
        "[*\\[\\]:.a-z0-9/]{0,20}",
        "(metrics|server-status|[0-9.]{1,12}/[0-9]{1,3}|::ffff:[0-9.]{7}/[0-9]{1,3})",
        "\\PC{0,8}"
    ];
    let text = text.prop_map(|text| toml::Value::String(text).to_string());
    let value = prop_oneof![
        text.clone(),
        any::<i64>().prop_map(|number| number.to_string()),
        text.clone().prop_map(|text| format!("[{text}]")),
        text.prop_map(|text| format!("{{ host = {text}, guest = {text} }}")),
        Just(String::from("true")),
        Just(String::from("1e9")),
    ];
    let header = prop_oneof![
        Just("[server]"),
        Just("[prefork]"),
        Just("[worker]"),
        Just("[event]"),
        Just("[[module]]"),
        Just("[[route]]"),
        Just("[module.limits]"),
        Just("[module.env]"),
        Just("[module.pool]"),
        Just("[[module.dir]]"),
        Just("[other]"),
    ];
    prop_oneof![
        4 => (key, value).prop_map(|(key, value)| format!("{key} = {value}\n")),
        2 => header.prop_map(|header| format!("{header}\n")),
        1 => "\\PC{0,20}\n",
    ]
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC*") {
        let _ = checked(&text);
    }

    #[test]
    fn no_lines_make_the_reader_panic_and_what_is_read_survives_json(lines in prop::collection::vec(line(), 0..30)) {
        match checked(&lines.concat()) {
            Ok((config, _)) => {
                let json = serde_json::to_string(&config).unwrap();
                prop_assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), config);
            }
            Err(Errors::Mistakes(mistakes)) => prop_assert!(!mistakes.is_empty()),
            Err(errors) => prop_assert!(false, "{}", errors),
        }
    }

    #[test]
    fn no_value_of_any_key_makes_the_reader_panic(index in 0usize..60, value in "\\PC{0,30}") {
        let mut lines: Vec<String> = EXAMPLE.lines().map(str::to_owned).collect();
        let index = index % lines.len();
        if let Some((key, _)) = lines[index].clone().split_once('=') {
            lines[index] = format!("{key}= {}", toml::Value::String(value));
        }
        let _ = checked(&lines.join("\n"));
    }
}
