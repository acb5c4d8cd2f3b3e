// Package test holds the end-to-end tests: real binaries, a real ZooKeeper,
// real faults. Everything listens on free loopback ports, lives in temporary
// directories, and is stopped by process id.
package test
