package popmap

import (
	"context"

	"github.com/popdns/popdns/internal/ecs"

	"github.com/miekg/dns"
)

// ecsWriter puts the client's ECS option, echoed as sent, into every reply:
// with the scope of the choice that made the answer, and 0 where the client's
// network played no part (RFC 7871 7.2.1).
type ecsWriter struct {
	dns.ResponseWriter
	option ecs.Option
	pick   picker
	scope  int // that was sent last; -1 before
}

// WriteMsg implements dns.ResponseWriter.
func (w *ecsWriter) WriteMsg(m *dns.Msg) error {
	scope := w.pick.scope
	if !positive(m) && !w.pick.unavailable() {
		// RFC 7871 7.4: negative answers and delegations hold for everybody. That
		// the PoPs of a client are all away does not.
		scope = 0
	}
	w.scope = int(scope)
	w.option.AddTo(m, scope)
	return w.ResponseWriter.WriteMsg(m)
}

// positive tells whether m answers the question with data.
func positive(m *dns.Msg) bool { return m.Rcode == dns.RcodeSuccess && len(m.Answer) > 0 }

// count books the choice, and the scope if the answer was steered.
func (w *ecsWriter) count(ctx context.Context) {
	t := w.pick.count(ctx)
	if t == nil || w.scope < 0 {
		return
	}
	family := 0
	if w.option.Family == ecs.FamilyIPv6 {
		family = 1
	}
	t.scopes[family].Observe(float64(w.scope))
}
