package geoip

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/popdns/popdns/internal/steer"
)

// A network of which only the country is known has that country's usual coordinates, somewhere in its middle. Steered by these, all such
// networks of a large country would land on the one PoP that happens to be there, whom few of them are near to. They are spread instead, as the country's
// other networks are: in proportion to the address space that is nearest to each PoP, by the weights that lists may have.

// spread is what the located networks of one country have.
type spread struct {
	first map[string]*amount // by the nearest PoP
	lists map[string]*amount // by whole list, its names joined by commas
}

// amount is address space: IPv4 addresses, and IPv6 /48 networks for countries that have no IPv4.
type amount struct{ v4, v6 uint64 }

func (a *amount) add(o amount) { a.v4 += o.v4; a.v6 += o.v6 }

// spreads returns the list of each country's coarse networks. A country all of whose networks are coarse has none.
func spreads(places []place, amounts []amount, l *locator) map[string][]string {
	of := make(map[string]*spread)
	for i := range places {
		p := &places[i]
		if !p.located || p.coarse {
			continue
		}
		s := of[p.country]
		if s == nil {
			s = &spread{first: make(map[string]*amount), lists: make(map[string]*amount)}
			of[p.country] = s
		}
		list := l.nearest(p.at)
		count(s.first, list[0], amounts[i])
		count(s.lists, strings.Join(list, ","), amounts[i])
	}
	out := make(map[string][]string, len(of))
	for country, s := range of {
		out[country] = s.list(l.count)
	}
	return out
}

func count(in map[string]*amount, key string, n amount) {
	if in[key] == nil {
		in[key] = &amount{}
	}
	in[key].add(n)
}

// share is a part of a country's address space.
type share struct {
	key string
	n   uint64
}

// shares returns the parts in descending order, equal ones by key, and their sum.
func shares(of map[string]*amount) (parts []share, sum uint64) {
	v4 := false
	for _, a := range of {
		v4 = v4 || a.v4 > 0
	}
	for key, a := range of {
		n := a.v6
		if v4 {
			n = a.v4
		}
		parts = append(parts, share{key, n})
		sum += n
	}
	slices.SortFunc(parts, func(a, b share) int { return cmp.Or(cmp.Compare(b.n, a.n), strings.Compare(a.key, b.key)) })
	return parts, max(sum, 1)
}

// list returns the country's list: one choice among the nearest PoPs of its networks with a weight in percent, and behind them what its
// commonest list has beside. What has less than half a percent is left out.
func (s *spread) list(size int) []string {
	parts, _ := shares(s.lists)
	commonest := strings.Split(parts[0].key, ",")
	firsts, sum := shares(s.first)
	var names, list []string
	for _, p := range firsts {
		// The numbers of addresses of a country have 32 bits, and of its /48 networks 48.
		percent := (p.n*100 + sum/2) / sum
		if percent == 0 || len(list) == steer.MaxListLen {
			break
		}
		names = append(names, p.key)
		list = append(list, fmt.Sprintf("%s*%d", p.key, percent))
	}
	if len(names) < 2 {
		return commonest
	}
	for _, name := range commonest {
		if !slices.Contains(names, name) && len(list) < max(size, len(names)) {
			list = append(list, name)
		}
	}
	return list
}
