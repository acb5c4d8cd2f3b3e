// Package fastpath is a CoreDNS plugin that answers UDP queries without the plugin chain. A server block's UDP is read by sockets of its own, many
// datagrams at a time, one loop for each core; a question is parsed in place, answered by the same zone lookup and the same steering as zkzone and popmap
// use, and the reply is copied together from packed records. Whatever it does not know for certain goes through the chain of the block's server, so
// that nothing is ever answered differently.
//
// The pure step, a datagram to a reply or a miss, is responder.answer. Around it: plan.go finds out which blocks may be answered so,
// listener_linux.go owns sockets and workers and hands them from one reading of the Corefile to the next, chain_linux.go leads misses into a dns.Server.
package fastpath

const pluginName = "fastpath"
