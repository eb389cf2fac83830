// Ends this process when its standard input closes, that is, when the parent has ended in whatever way.
process.stdin.on("end", () => process.exit(0));
process.stdin.resume();
process.stdin.unref(); // an open input does not keep the process alive
