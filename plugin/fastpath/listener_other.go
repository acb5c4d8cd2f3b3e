//go:build !linux

package fastpath

import "github.com/coredns/coredns/core/dnsserver"

// supported tells whether this system has what the fast path needs.
const supported = false

type registry struct{}

var listeners registry

func (registry) claim(*instance)                                   {}
func (registry) serve(*instance, string, *plan, *dnsserver.Server) {}
func (registry) release(*instance)                                 {}
func (registry) sweep(map[*instance]bool)                          {}
