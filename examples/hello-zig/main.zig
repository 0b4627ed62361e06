//! A Zig program that speaks CGI: GET is greeted, POST gets its body back. Nothing in it knows of WebAssembly.

const std = @import("std");

pub fn main(init: std.process.Init) !void {
    var out_buffer: [4096]u8 = undefined;
    var out_file = std.Io.File.stdout().writer(init.io, &out_buffer);
    const out = &out_file.interface;
    try out.writeAll("Content-Type: text/plain\r\n\r\n");

    const method = init.environ_map.get("REQUEST_METHOD") orelse "GET";
    if (std.mem.eql(u8, method, "POST")) {
        var in_buffer: [4096]u8 = undefined;
        var in_file = std.Io.File.stdin().reader(init.io, &in_buffer);
        _ = try in_file.interface.streamRemaining(out);
    } else {
        try out.writeAll("Hello, world!\n");
    }
    try out.flush();
}
