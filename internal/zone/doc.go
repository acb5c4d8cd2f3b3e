// Package zone is a DNS zone in memory: records become an immutable Snapshot, a Snapshot answers questions.
//
// A Builder takes records and settings in any order, checks them and makes the first Snapshot; Apply makes the next one from a Delta at the cost
// of the delta; Lookup answers a Question, choosing among the variants of a steered name with the caller's Picker; Codec turns snapshots and deltas
// into bytes and back. Nothing here knows where records come from or how answers travel.
//
// How a snapshot is laid out, and why, is in DESIGN.md beside this file.
package zone
