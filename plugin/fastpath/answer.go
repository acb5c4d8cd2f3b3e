package fastpath

import (
	"encoding/binary"
	"net/netip"

	"github.com/popdns/popdns/internal/edge"
	"github.com/popdns/popdns/internal/steer"
	"github.com/popdns/popdns/internal/zone"

	"github.com/miekg/dns"
)

// What CoreDNS sends at most without compression (request.Scrub).
const (
	maxReplyIPv4 = 1480
	maxReplyIPv6 = 1220
	// maxReply is the room for a reply.
	maxReply = 1536
)

// responder answers one datagram after the other; it belongs to one worker. It is all of the fast path but for sockets and threads.
type responder struct {
	q       query
	res     zone.Result
	view    *view
	tallies tallies
	// steering has one for each block of the view that has a Steerer.
	steering map[*block]edge.Steering
}

// use makes the responder answer for v from now on. What it counted for another must have been flushed.
func (r *responder) use(v *view) {
	if r.view == v {
		return
	}
	r.view = v
	r.tallies.clear()
	r.steering = make(map[*block]edge.Steering, len(v.blocks))
	for i := range v.blocks {
		if b := v.blocks[i].block; b != nil && b.steerer != nil && r.steering[b] == nil {
			r.steering[b] = b.steerer.NewSteering(v.server)
		}
	}
}

// answer appends the reply to a datagram from a client to out, which has room for maxReplyIPv4 octets more. For a miss it returns nil and the
// reason. It reads the zone, the map and the PoP table once each, and allocates nothing but what zone.Lookup has to.
func (r *responder) answer(datagram []byte, from netip.Addr, out []byte) ([]byte, missReason) {
	q := &r.q
	if reason := q.parse(datagram); reason != 0 {
		return nil, reason
	}
	b := r.view.find(q.Name, q.Type)
	if b == nil {
		return nil, missBlock
	}
	for _, c := range b.claimants {
		if c.Claims(q.Name) {
			return nil, missPlugin
		}
	}
	steering, picker := r.steering[b], zone.Picker(nil)
	if steering != nil && b.steerer.Steers(q.Name) {
		client := steer.Client{Resolver: from}
		if q.HasECS && q.ECS.Usable() {
			client.ECS, client.HasECS = q.ECS.Prefix(), true
		}
		steering.Begin(client)
		picker = steering
	} else if q.HasECS {
		return nil, missECS
	}
	here := b.authority.Answering(q.Name, q.Type)
	if here == nil {
		return nil, missZone
	}
	snapshot := here.Snapshot()
	if snapshot == nil {
		return nil, missZone
	}
	snapshot.Lookup(zone.Question{Name: q.Name, Type: q.Type, DO: q.do()}, picker, &r.res)
	switch {
	case r.res.Kind == zone.Outside || r.res.Kind == zone.Unavailable,
		r.res.Kind == zone.NXDomain && b.authority.PassesOn(),
		r.res.Outside != "" && r.view.has(r.res.Outside): // zkzone asks the server's blocks where an alias leads; where none has the name, it ends there
		return nil, missResult
	}
	scope := -1
	if q.HasECS && picker != nil {
		positive := r.res.Rcode == dns.RcodeSuccess && len(r.res.Answer) > 0
		scope = int(steering.Scope(positive))
	}
	reply, ok := r.encode(datagram, from, scope, out)
	if !ok {
		return nil, missSize
	}
	if picker != nil {
		family := 4
		if q.ECS.Addr.Is6() {
			family = 6
		}
		steering.Count(scope, family)
	}
	r.tallies.count(b, here, q, r.res.Kind, r.res.Rcode, from.Is6())
	return reply, 0
}

// encode appends the reply, octet for octet what CoreDNS's server makes of zkzone's message (dns.SetReply, request.SizeAndDo and Scrub, Msg.Pack). ok is
// false if that might be compressed or cut.
func (r *responder) encode(datagram []byte, from netip.Addr, scope int, out []byte) (reply []byte, ok bool) {
	q, start := &r.q, len(out)
	replyOPT := 0
	switch {
	case scope >= 0:
		replyOPT = optFixed + optionHead + len(q.RawECS)
	case q.HasOPT:
		replyOPT = optFixed
	}
	most := maxReplyIPv4
	if from.Is6() {
		most = maxReplyIPv6
	}
	most = min(most, q.room())
	fixed := headerSize + len(q.Question)
	room := min(most-fixed-replyOPT, q.room()-fixed-q.OPTLen) // Scrub's, and zkzone's own: it leaves room for the query's options
	if room < 0 {
		return nil, false
	}

	out = append(out, datagram[0], datagram[1], 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	out = append(out, q.Question...)
	out, w, ok := r.res.AppendWire(out, q.Name, q.RawName, room)
	size := len(out) - start + w.Excess
	if !ok || size+replyOPT > most || r.res.Outside != "" && size > fixed+room {
		return nil, false
	}
	head := out[start : start+headerSize]
	head[2] = bitQR | datagram[2]&bitRD
	if r.res.Authoritative {
		head[2] |= bitAA
	}
	head[3] = datagram[3]&bitCD | byte(r.res.Rcode) //nolint:gosec // Lookup knows no extended rcode
	additional := w.Additional
	if replyOPT > 0 {
		additional++
		out = q.appendOPT(out, scope)
	}
	binary.BigEndian.PutUint16(head[6:], w.Answer)
	binary.BigEndian.PutUint16(head[8:], w.Authority)
	binary.BigEndian.PutUint16(head[10:], additional)
	return out, true
}

// appendOPT appends the reply's OPT record: with the client subnet if scope is at least 0, otherwise without options.
func (q *query) appendOPT(out []byte, scope int) []byte {
	flags := q.Flags & keptFlags
	if scope >= 0 {
		flags = q.Flags & flagDO // zkzone's reply has an OPT record of its own
	}
	out = append(out, 0, 0, byte(dns.TypeOPT))
	out = binary.BigEndian.AppendUint16(out, q.Size)
	out = append(out, 0, 0)
	out = binary.BigEndian.AppendUint16(out, flags)
	if scope < 0 {
		return append(out, 0, 0)
	}
	n := len(q.RawECS)
	out = binary.BigEndian.AppendUint16(out, uint16(optionHead+n)) //nolint:gosec // a query has 512 octets at most
	out = append(out, 0, dns.EDNS0SUBNET)
	out = binary.BigEndian.AppendUint16(out, uint16(n)) //nolint:gosec // likewise
	out = append(out, q.RawECS...)
	out[len(out)-n+3] = q.ECS.ReplyScope(uint8(scope)) //nolint:gosec // at most 128
	return out
}
