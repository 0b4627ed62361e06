//! Says what it was asked for. Apart from the program, so that a test can call it where no server is.

const std = @import("std");

pub fn answer(out: *std.Io.Writer, path: []const u8) !void {
    try out.print("Hello from {{name}}. You asked for {s}\n", .{path});
}

test "the path is in the answer" {
    var buffer: [100]u8 = undefined;
    var out = std.Io.Writer.fixed(&buffer);
    try answer(&out, "/there");
    try std.testing.expectEqualStrings("Hello from {{name}}. You asked for /there\n", out.buffered());
}
