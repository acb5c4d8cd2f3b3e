package fastpath

// missReason says why a query goes through the plugin chain. It is a bounded set, fit for a metric label; 0 is none.
type missReason uint8

const (
	missMalformed missReason = iota + 1 // cut, too long, or not to be read
	missOpcode                          // not a query
	missSections                        // more than a question and an OPT record: TSIG, say
	missClass                           // not IN
	missType                            // a transfer, or another type that no zone holds
	missEDNS                            // another version than 0
	missOption                          // an EDNS option that is not looked into here
	missECS                             // a malformed client subnet, or one that nobody here answers
	missBlock                           // the name belongs to a server block without fastpath, or that keeps it off
	missPlugin                          // another plugin of the block has the name: freshness, popmap's explain
	missZone                            // no zone here has the name, or it has no data, or is too stale
	missResult                          // the answer needs more than the zone: an alias that leaves it, fallthrough, no PoP left
	missSize                            // the answer may not fit as it is
	missFault                           // a fault of ours, which is logged
	missReasons
)

func (r missReason) String() string {
	return [missReasons]string{"", "malformed", "opcode", "sections", "class", "type", "edns", "option", "ecs", "block", "plugin", "zone", "result", "size", "fault"}[r]
}
