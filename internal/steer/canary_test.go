package steer

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// canaryTwin is the slow, obvious twin of Canary.Decide: the list of one address by one resolver, without blocks and scopes.
type canaryTwin struct {
	share       Share
	name        string
	now, staged goldVersion
}

// goldVersion is a map with its gold planes.
type goldVersion struct {
	m             *Map
	resolver, ecs *gold
}

func goldVersionOf(m *Map) goldVersion {
	return goldVersion{m, goldOf(m, Resolver), goldOf(m, ECS)}
}

// list returns the list, and whether the client's address decided rather than the resolver's.
func (g goldVersion) list(resolver, client netip.Addr) (list string, byClient bool) {
	if client.IsValid() && len(g.ecs.rows) > 0 {
		if _, private := g.m.privateBlock(netip.PrefixFrom(client, client.BitLen())); !private {
			if list := g.ecs.list(client); list != g.ecs.hole {
				return list, true
			}
		}
	}
	return g.resolver.list(resolver), false
}

func (w canaryTwin) list(resolver, client netip.Addr) string {
	now, byNow := w.now.list(resolver, client)
	staged, byStaged := w.staged.list(resolver, client)
	a, in := resolver, slices.Concat(w.now.resolver.v4in, w.staged.resolver.v4in)
	if byNow || byStaged {
		a, in = client, slices.Concat(w.now.ecs.v4in, w.staged.ecs.v4in)
	}
	if goldHash(w.name, goldUnit(a, in)) < float64(w.share)/10000 {
		return staged
	}
	return now
}

// goldUnit is the /24 of an IPv4 address, carried or not, and else the /48.
func goldUnit(a netip.Addr, in []goldEmbedding) netip.Prefix {
	for _, e := range in {
		if e.contains(a) {
			a = e.unwrap(a)
		}
	}
	bits := 48
	if a.Is4() {
		bits = 24
	}
	p, _ := a.Prefix(bits)
	return p
}

// goldHash is the hash of DESIGN.md as a fraction of 1: FNV-1a, finished as MurmurHash3 does.
func goldHash(name string, unit netip.Prefix) float64 {
	h := fnv.New64a()
	a := unit.Addr().As16()
	h.Write([]byte("canary" + name))
	h.Write(append(a[:], byte(unit.Bits())))
	x := h.Sum64()
	for _, c := range []uint64{0xff51afd7ed558ccd, 0xc4ceb9fe1a85ec53, 1} {
		x ^= x >> 33
		x *= c
	}
	return float64(x>>32) / (1 << 32)
}

func mustCanary(tb testing.TB, m *Map, share Share, edges ...string) *Canary {
	tb.Helper()
	c, err := NewCanary(m, CanaryRule{Share: share, Edges: edges})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// variantOf returns m with some rows taken out, changed or added, as the next version of a map is.
func variantOf(tb testing.TB, r *rand.Rand, m *Map) *Map {
	tb.Helper()
	if r.IntN(4) == 0 {
		return randomMap(tb, r) // or another map altogether
	}
	b := NewMapBuilder(m.Name())
	initial := m.Default()
	if r.IntN(4) == 0 {
		initial = []string{"x"}
	}
	if err := b.Default(initial); err != nil {
		tb.Fatal(err)
	}
	dropECS := r.IntN(6) == 0
	for row := range m.Rows() {
		list := row.PoPs
		switch n := r.IntN(8); {
		case n == 0 || dropECS && row.Plane == ECS:
			continue
		case n == 1:
			list = []string{"y", "x"}
		}
		if err := b.Add(row.Plane, row.Prefix, list); err != nil {
			tb.Fatal(err)
		}
	}
	for range r.IntN(4) {
		_ = b.Add(Plane(r.IntN(2)), randomPrefix(r), []string{"z"}) // a prefix that is there already stays
	}
	next, err := b.Build(9)
	if err != nil {
		tb.Fatal(err)
	}
	return next
}

// TestCanaryAgreesWithBruteForce holds the choice of the version against a twin that knows no blocks, and the scope against the twin
// too: whoever else is in the block gets the same list.
func TestCanaryAgreesWithBruteForce(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 11))
	split, wide := 0, 0
	for range 1200 {
		now := randomMap(t, r)
		staged := variantOf(t, r, now)
		c := mustCanary(t, staged, Share(1+r.IntN(int(All))))
		twin := canaryTwin{c.rule.Share, staged.Name(), goldVersionOf(now), goldVersionOf(staged)}
		rows := slices.Concat(slices.Collect(now.Rows()), slices.Collect(staged.Rows()))
		for range 40 {
			resolver, a := randomAddr(r, rows), randomAddr(r, rows)
			client := Client{Resolver: resolver, ECS: netip.PrefixFrom(a, a.BitLen()), HasECS: r.IntN(5) > 0}
			asked := a
			if !client.HasECS {
				asked = netip.Addr{}
			}
			d := c.Decide(now, "edge", client)
			if got, want := listKey(d.List), twin.list(resolver.Unmap(), asked); got != want {
				t.Fatalf("seed %d: %+v at share %s gets %s, want %s\nnow %v\nstaged %v", seed, client, c.rule.Share, got, want,
					slices.Collect(now.Rows()), slices.Collect(staged.Rows()))
			}
			// Where the client plays no part the block is the resolver's.
			byClient := client.HasECS && (now.HasPlane(ECS) || staged.HasPlane(ECS))
			around := resolver.Unmap()
			if byClient {
				around = a
				if d.Block.Bits() != int(d.Scope) {
					t.Fatalf("seed %d: %+v: block %s and scope %d", seed, client, d.Block, d.Scope)
				}
			} else if d.Scope != 0 {
				t.Fatalf("seed %d: %+v: scope %d for an answer that only the resolver decides", seed, client, d.Scope)
			}
			if !contains(d.Block, around) {
				t.Fatalf("seed %d: %+v: block %s is not around it", seed, client, d.Block)
			}
			before, after := now.Decide(client), staged.Decide(client)
			if slices.Equal(before.List, after.List) {
				wide++
				// With the whole share the staged version is the only one that answers.
				if most := max(before.Block.Bits(), after.Block.Bits()); byClient && c.rule.Share < All && before.Scope > 0 && after.Scope > 0 && d.Block.Bits() != most {
					t.Fatalf("seed %d: %+v: both versions agree in /%d, and the block is %s", seed, client, most, d.Block)
				}
			} else {
				split++
			}
			for range 4 {
				for _, o := range []netip.Addr{randomAddr(r, rows), d.Block.Addr(), lastAddr(d.Block), randomIn(r, d.Block)} {
					if !contains(d.Block, o) || byClient && privateIn(o, now, staged) {
						continue // section 10 stands above the table
					}
					if !byClient && o.Is4In6() {
						continue // a resolver's is IPv4
					}
					from, to := resolver, o
					if !byClient {
						from, to = o, asked
					}
					if got := twin.list(from.Unmap(), to); got != listKey(d.List) {
						t.Fatalf("seed %d: %+v at share %s gets %v in %s, but %s in it gets %s\nnow %v\nstaged %v", seed, client, c.rule.Share, d.List, d.Block, o, got,
							slices.Collect(now.Rows()), slices.Collect(staged.Rows()))
					}
				}
			}
		}
	}
	if split < 1000 || wide < 1000 {
		t.Errorf("only %d cases where the versions differ and %d where they agree", split, wide)
	}
}

func privateIn(a netip.Addr, maps ...*Map) bool {
	for _, m := range maps {
		if _, private := m.privateBlock(netip.PrefixFrom(a, a.BitLen())); private {
			return true
		}
	}
	return false
}

func randomIn(r *rand.Rand, p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		if r.IntN(2) == 0 {
			b[i/8] |= 0x80 >> (i % 8)
		}
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func TestCanaryShareIsRightAndOnlyGrows(t *testing.T) {
	now := mapOf(t, "old", nil, map[string]string{"0.0.0.0/0": "old", "::/0": "old"})
	staged := mapOf(t, "new", nil, map[string]string{"0.0.0.0/0": "new", "::/0": "new"})
	r := rand.New(rand.NewPCG(1, 2)) // the hash is fixed: so is the outcome
	const clients = 20000
	prefixes := make([]netip.Prefix, clients)
	for i := range prefixes {
		a := netip.AddrFrom4([4]byte{byte(11 + r.IntN(60)), byte(r.IntN(256)), byte(r.IntN(256))})
		if i%2 == 0 {
			a = netip.AddrFrom16([16]byte{0x2a, 0x0f, byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256))})
		}
		prefixes[i] = netip.PrefixFrom(a, 24+24*((i+1)%2))
	}
	before := map[netip.Prefix]bool{}
	for _, share := range []Share{1, 50, 500, 2000, 5000, 9900, All} {
		c := mustCanary(t, staged, share)
		hits := 0
		for _, p := range prefixes {
			d := c.Decide(now, "", Client{Resolver: netip.MustParseAddr("192.0.2.1"), ECS: p, HasECS: true})
			isNew := d.List[0] == "new"
			if isNew != d.Canary {
				t.Fatalf("%s gets %v and the mark %v", p, d.List, d.Canary)
			}
			if isNew {
				hits++
			} else if before[p] {
				t.Fatalf("at %s %s went back to the old version", share, p)
			}
			before[p] = isNew
		}
		want := float64(share) / float64(All)
		if sigma := math.Sqrt(want * (1 - want) / clients); math.Abs(float64(hits)/clients-want) > 4*sigma {
			t.Errorf("at %s the new version has %d of %d clients", share, hits, clients)
		}
	}
}

func TestCanaryCostsNothingWithoutOne(t *testing.T) {
	now := mapOf(t, "old", nil, map[string]string{"44.0.0.0/8": "old"})
	staged := mapOf(t, "new", nil, map[string]string{"44.0.0.0/8": "new"})
	client := Client{Resolver: netip.MustParseAddr("192.0.2.1"), ECS: netip.MustParsePrefix("44.1.2.0/24"), HasECS: true}
	want := now.Decide(client)
	for name, c := range map[string]*Canary{"none": nil, "ended": EndedCanary(3), "other edges": mustCanary(t, staged, 0, "lab-*")} {
		if d := c.Decide(now, "ams1", client); d.List[0] != "old" || d.Scope != want.Scope || d.Block != want.Block || d.Canary {
			t.Errorf("%s: %+v, want %+v", name, d, want)
		}
	}
	if d := mustCanary(t, staged, 0, "ams*").Decide(now, "ams1", client); d.List[0] != "new" || d.Scope != 8 || !d.Canary {
		t.Errorf("a named edge: %+v", d)
	}
	c := mustCanary(t, staged, 500, "lab")
	if n := testing.AllocsPerRun(100, func() { c.Decide(now, "ams1", client) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestDrainStaysWhereItIsWhenACanaryComes(t *testing.T) {
	now := mapOf(t, "a,b", nil, map[string]string{"44.0.0.0/8": "a,b", "45.0.0.0/9": "c,b"})
	staged := mapOf(t, "a,b", nil, map[string]string{"44.0.0.0/8": "a,b", "45.0.0.0/9": "b,c", "44.1.2.0/25": "b"})
	pops, err := NewPoPs(1, []PoP{{Name: "a", Drain: 50}, {Name: "b"}, {Name: "c", Drain: 50}})
	if err != nil {
		t.Fatal(err)
	}
	c := mustCanary(t, staged, 1000)
	has := func(string) bool { return true }
	for i := range 4096 {
		client := Client{ECS: netip.PrefixFrom(netip.AddrFrom4([4]byte{44 + byte(i&1), byte(i >> 4), byte(i)}), 24), HasECS: true}
		before, after := now.Decide(client), c.Decide(now, "", client)
		if !after.Canary && before.Choose(pops, "", has) != after.Choose(pops, "", has) {
			t.Fatalf("%s keeps its list and moves from %v to %v", client.ECS, before.Choose(pops, "", has), after.Choose(pops, "", has))
		}
	}
}

func TestParseShare(t *testing.T) {
	for s, want := range map[string]Share{"5%": 500, "5": 500, "0.25%": 25, "0.5": 50, "100%": All, "12.34%": 1234, "5 %": 500} {
		if got, err := ParseShare(s); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "%", "0", "0%", "-1%", "101%", "1.234%", "x", ".5", "1e1", "700%", "655.37", "+5"} {
		if got, err := ParseShare(s); err == nil {
			t.Errorf("%q is read as %s", s, got)
		}
	}
	for share, want := range map[Share]string{500: "5 %", 25: "0.25 %", All: "100 %"} {
		if share.String() != want {
			t.Errorf("%d is written %q", share, share)
		}
	}
}

var testCanaryCodec = CanaryCodec{Name: "test"}

func sameCanary(t *testing.T, got, want *Canary) {
	t.Helper()
	if got.serial != want.serial || got.promoted != want.promoted || got.rule.Share != want.rule.Share || !slices.Equal(got.rule.Edges, want.rule.Edges) ||
		got.sum != want.sum || (got.m == nil) != (want.m == nil) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	if got.m != nil {
		sameMap(t, got.m, want.m)
	}
}

// TestCanarySurvivesTheCodec walks a random life of a canary: staged, raised, replaced, ended, staged anew.
func TestCanarySurvivesTheCodec(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 3))
	var cur *Canary
	m := randomMap(t, r).WithName("test")
	for i := range 300 {
		var next *Canary
		switch r.IntN(5) {
		case 0:
			next = EndedCanary(r.Uint32N(3))
		case 1:
			m = variantOf(t, r, m).WithName("test")
			fallthrough
		default:
			rule := CanaryRule{Share: Share(r.IntN(int(All)))}
			if r.IntN(2) == 0 || rule.Share == 0 {
				rule.Edges = []string{"ams1", "lab-*"}
			}
			var err error
			if next, err = NewCanary(m, rule); err != nil {
				t.Fatal(err)
			}
		}
		next = testCanaryCodec.WithSerial(next, uint32(i+1))
		chunks, err := testCanaryCodec.Encode(next)
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := testCanaryCodec.Decode(chunks)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		sameCanary(t, decoded, next)
		delta, err := testCanaryCodec.Diff(cur, next)
		if err != nil {
			t.Fatal(err)
		}
		if delta == nil {
			if curSum, _ := testCanaryCodec.Sum(cur); curSum != next.sum {
				t.Fatalf("seed %d: no delta between different canaries", seed)
			}
			continue
		}
		applied, err := testCanaryCodec.Apply(cur, delta)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		sameCanary(t, applied, next)
		for range 4 {
			bad := slices.Clone(delta)
			bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
			if c, err := testCanaryCodec.Apply(cur, bad); err == nil {
				t.Fatalf("seed %d: a damaged delta gives %+v", seed, c)
			}
		}
		cur = applied
	}
}

func TestBadCanaryRulesAreRefused(t *testing.T) {
	m := mapOf(t, "a", nil, nil)
	for name, rule := range map[string]CanaryRule{
		"nobody":         {},
		"share too big":  {Share: All + 1},
		"bad name":       {Edges: []string{"AMS1"}},
		"bad pattern":    {Edges: []string{"[a"}},
		"empty name":     {Edges: []string{""}},
		"twice":          {Edges: []string{"a", "a"}},
		"too many edges": {Edges: make([]string, MaxCanaryEdges+1)},
	} {
		if _, err := NewCanary(m, rule); err == nil {
			t.Errorf("%s: staged", name)
		}
	}
}

func FuzzCanaryCodec(f *testing.F) {
	f.Add([]byte("H\x05\x01testC\x06\x01\xf4\x00\x00\x00\x00M\x01\x02"), []byte("H\x06\x01\x00testD\x01aE\x01\x00"), false)
	f.Add([]byte("H\x05\x01testC\x06\x01\xf4\x00\x00\x00\x00M\x01\x01"), []byte{}, true)
	f.Fuzz(func(t *testing.T, head, content []byte, isDelta bool) {
		var c *Canary
		var err error
		if isDelta {
			b := frameEntries(canaryDeltaMagic, head)
			delta := append([]byte{byte(len(b) >> 24), byte(len(b) >> 16), byte(len(b) >> 8), byte(len(b))}, b...)
			c, err = testCanaryCodec.Apply(mustCanary(t, mapOf(t, "a", nil, nil), 5), append(delta, content...))
		} else {
			chunks := [][]byte{frameEntries(canaryBaseMagic, head)}
			if len(content) > 0 {
				chunks = append(chunks, frameEntries(mapBaseMagic, content))
			}
			c, err = testCanaryCodec.Decode(chunks)
		}
		if err != nil {
			return
		}
		chunks, err := testCanaryCodec.Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		again, err := testCanaryCodec.Decode(chunks)
		if err != nil {
			t.Fatal(err)
		}
		sameCanary(t, again, c)
	})
}

// BenchmarkCanary is what a staged version costs a query: the decision of both maps instead of one.
func BenchmarkCanary(b *testing.B) {
	m := million()
	addrs := addresses(m, v4)
	next := m.WithName("next")
	for name, c := range map[string]*Canary{"none": nil, "ended": EndedCanary(1), "staged": mustCanary(b, next, 500)} {
		b.Run(name, func(b *testing.B) {
			client := Client{Resolver: netip.MustParseAddr("192.0.2.1"), HasECS: true}
			sum := 0
			for i := 0; b.Loop(); i++ {
				client.ECS = netip.PrefixFrom(addrs[i&(1<<16-1)], 24).Masked()
				d := c.Decide(m, "ams1", client)
				sum += int(d.Scope)
			}
			_ = sum
		})
	}
}
