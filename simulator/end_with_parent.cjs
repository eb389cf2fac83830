// Ends this process when its standard input closes, which is when the parent has gone, however it went.
process.stdin.on("end", () => process.exit(0));
process.stdin.resume();
process.stdin.unref(); // an input that stays open keeps nothing alive
