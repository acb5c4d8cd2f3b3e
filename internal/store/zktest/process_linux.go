package zktest

import "syscall"

// dieWithParent lets the server not outlive a test process that crashes.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
