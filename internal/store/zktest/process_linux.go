package zktest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// dieWithParent lets the server not outlive a test process that crashes.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// stopTimeout is far beyond what a busy machine needs to stop a few dozen threads.
const stopTimeout = 10 * time.Second

// awaitStopped returns when every thread of a process that was sent SIGSTOP stands: on a busy machine some run on for many milliseconds, and answer.
func (p *process) awaitStopped() error {
	for end := time.Now().Add(stopTimeout); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if p.stopped() {
			return nil
		}
	}
	return fmt.Errorf("process %d still runs %v after SIGSTOP", p.cmd.Process.Pid, stopTimeout)
}

func (p *process) stopped() bool {
	stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid)) // the pattern is sound
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // the thread ended meanwhile
		}
		// The state follows the name, which stands in parentheses (proc(5)); Java's threads have none in theirs.
		if _, state, _ := bytes.Cut(stat, []byte(") ")); !bytes.HasPrefix(state, []byte("T")) {
			return false
		}
	}
	return len(stats) > 0
}
