//go:build !linux

package zktest

import "syscall"

func dieWithParent() *syscall.SysProcAttr { return nil }

// awaitStopped trusts the signal: there is no portable way to see when it has arrived.
func (p *process) awaitStopped() error { return nil }
