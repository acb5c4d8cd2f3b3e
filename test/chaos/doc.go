// Package chaos holds the fault suite of the reading side: a coredns process
// follows a zone in an ensemble of three ZooKeeper servers through proxies that
// make the network fail, a publisher commits version after version, a client
// asks two thousand queries a second, and one thing after another is broken.
//
// Whatever breaks, five things must hold: an answer belongs to exactly one
// version; the served serial never goes back; when all is well again the server
// converges on the head; no query fails that has data; goroutines, file
// descriptors and memory do not grow.
//
// `make chaos` runs all of it, `make test` (with -short) a quick selection. Which
// fault is which test, and what is left to others, is in DESIGN.md.
package chaos
