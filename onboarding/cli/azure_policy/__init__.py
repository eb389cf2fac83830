"""Azure Policy beside our policies: import its definitions and initiatives, and compare its decisions with ours."""
