//! A program that speaks CGI: the same program runs under Apache.

const std = @import("std");
const answer = @import("answer.zig").answer;

pub fn main(init: std.process.Init) !void {
    var buffer: [4096]u8 = undefined;
    var file = std.Io.File.stdout().writer(init.io, &buffer);
    const out = &file.interface;
    try out.writeAll("Content-Type: text/plain; charset=utf-8\r\n\r\n");
    const path = init.environ_map.get("PATH_INFO") orelse "";
    try answer(out, if (path.len == 0) "/" else path);
    try out.flush();
}
